"""A running server and a real browser for the tests of the web page."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

CHROMIUM = os.environ.get("ECHOMIMIC_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
# what a machine without a GPU, without other users and without a network needs; nobody else should set them
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions"),
    *("--no-first-run", "--mute-audio", "--autoplay-policy=no-user-gesture-required"),
]
WAIT = 1000 * int(os.environ.get("ECHOMIMIC_BROWSER_WAIT", "60"))


@contextmanager
def running_server(*extra: str) -> Iterator[str]:
    """`echomimic web` on a free port; gives its address."""
    command = [sys.executable, "-m", "echomimic", "web", "--port", "0", "--no-browser", *extra]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = next(word for word in line.split() if word.startswith("http://"))
        _wait_for(address)
        yield address
    finally:
        process.terminate()
        assert process.wait(20) in (0, -15, 143)


def _wait_for(address: str) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            with urlopen(f"{address}/editor", timeout=5):
                return
        except (URLError, OSError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


@contextmanager
def running_browser() -> Iterator[Any]:
    """Debian's chromium, driven by playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page that remembers what went wrong in it and whom it asked."""

    def __init__(self, browser: Any, address: str, language: str = "en-US") -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 800}, locale=language)
        self.context.set_default_timeout(WAIT)
        self.page = self.context.new_page()
        self.address = address
        self.faults: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._look)

    def _look(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def open(self, path: str) -> Any:
        self.page.goto(self.address + path)
        return self.page

    def picture(self, folder: Path, name: str) -> None:
        """A screenshot, kept where the tests were asked to keep them."""
        self.page.screenshot(path=folder / name)

    def until(self, script: str) -> None:
        self.page.wait_for_function(script)


@pytest.fixture(scope="session")
def web_server() -> Iterator[str]:
    """One server for all tests of the page; it takes uploads of 5 MB."""
    with running_server("--max-upload", "5") as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for all tests of the page."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def tab(browser: Any, web_server: str) -> Iterator[Tab]:
    """A fresh profile with one page, in which nothing may go wrong and which may ask no other host."""
    tab = Tab(browser, web_server)
    yield tab
    tab.context.close()
    assert tab.faults == []
    assert tab.elsewhere == []


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: ECHOMIMIC_PICTURES (docs/images makes them those of the documentation), or nowhere."""
    named = os.environ.get("ECHOMIMIC_PICTURES")
    return Path(named) if named else tmp_path_factory.mktemp("pictures")

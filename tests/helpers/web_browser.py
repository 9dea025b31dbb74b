"""A running server and a real browser for the tests of the web page."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from helpers.waiting import PATIENCE

CHROMIUM = os.environ.get("ECHOMIMIC_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
# flags for a machine without a GPU, without other users and without a network; do not use them elsewhere
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
    *("--no-first-run", "--mute-audio", "--autoplay-policy=no-user-gesture-required"),
]

PICTURES = Path(os.environ["ECHOMIMIC_PICTURES"]) if "ECHOMIMIC_PICTURES" in os.environ else None
"""The folder for screenshots: docs/images renews those of the documentation."""

SIZE = {"width": 1280, "height": 800}
FORGET = """async () => {
    localStorage.clear()
    sessionStorage.clear()
    for (const { name } of await indexedDB.databases()) {
        await new Promise((done, failed) => {
            Object.assign(indexedDB.deleteDatabase(name), { onsuccess: done, onerror: failed })
        })
    }
}"""
BECOMES = """for (let count = 0; count < 40; count++) {
    if (EXPRESSION) return true
    await new Promise((next) => setTimeout(next, 25))
}"""


class WebServer:
    """`echomimic web`, or `serve`, in a process of its own, with its address; `log` receives what it reports."""

    def __init__(self, *extra: str, port: int = 0, command: str = "web", log: Any = subprocess.DEVNULL) -> None:
        quiet = ["--no-browser"] if command == "web" else []
        words = [sys.executable, "-m", "echomimic", command, "--port", str(port), *quiet, *extra]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.address = next(word for word in line.split() if word.startswith("http://"))

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        assert self.process.wait(PATIENCE) in (0, -15, 143)


@contextmanager
def running_server(*extra: str) -> Iterator[str]:
    """`echomimic web` on a free port; gives its address."""
    server = WebServer(*extra)
    try:
        yield server.address
    finally:
        server.stop()


@contextmanager
def running_browser(*flags: str) -> Iterator[Any]:
    """Debian's chromium, driven by playwright, with further flags."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        blocking = ["--disable-popup-blocking"]  # a switch of playwright: people have a browser that blocks tabs
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags], ignore_default_args=blocking)
        try:
            yield browser
        finally:
            browser.close()


def _fulfill(path: Path, route: Any) -> None:
    route.fulfill(path=path)


def ask(address: str, method: str = "GET", record: object = None) -> bytes:
    """The body of a response, over a separate connection, since the server may close a browser's when it is used."""
    data = None if record is None else json.dumps(record).encode()
    request = Request(address, data, {"Content-Type": "application/json"} if data else {}, method=method)
    with urlopen(request, timeout=PATIENCE) as answer:
        body: bytes = answer.read()
    return body


def jobs_of(address: str) -> list[Any]:
    """The jobs that a server has."""
    items: list[Any] = json.loads(ask(f"{address}/v1/animations?limit=100"))["items"]
    return items


def delete_jobs(address: str) -> None:
    """Leave the server without jobs; one that a page has just deleted is gone already."""
    for job in jobs_of(address):
        try:
            ask(address + job["links"]["self"], "DELETE")
        except HTTPError as error:
            if error.code != 404:
                raise


def take_picture(page: Any, name: str, **how: Any) -> None:
    """Renew a picture of the documentation, if the tests are run for that (ECHOMIMIC_PICTURES)."""
    if PICTURES is not None:
        page.wait_for_timeout(500)
        page.screenshot(path=PICTURES / name, **how)


class Tab:
    """A browser tab that records its errors and its requests to other hosts."""

    def __init__(self, browser: Any, address: str, language: str = "en-US", **context: Any) -> None:
        context = {"viewport": SIZE, **context}
        self.context = browser.new_context(locale=language, **context)
        self.context.set_default_timeout(1000 * PATIENCE)
        self.page = self.context.new_page()
        self.address = address
        self.faults: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._on_console)
        self.page.on("request", self._on_request)

    def _on_console(self, message: Any) -> None:
        if "Content Security Policy" in message.text:
            self.faults.append(message.text)

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def open(self, path: str) -> Any:
        self.page.goto(self.address + path)
        return self.page

    def check(self) -> None:
        """Assert that nothing went wrong, and that no other host was asked."""
        assert self.faults == []
        assert self.elsewhere == []

    def reset(self) -> None:
        """Make the profile like a new one, in the same process of the browser: a new process costs a second."""
        for page in self.context.pages:
            if page is not self.page:
                page.close()
        self.context.unroute_all()
        self.page.unroute_all()
        self.open("/healthz")  # of the same origin, and writes nothing
        self.page.evaluate(FORGET)
        self.context.clear_cookies()
        self.page.mouse.move(0, 0)
        if self.page.viewport_size != SIZE:
            self.page.set_viewport_size(SIZE)

    def use_small_example(self, portrait: Path, voice: Path) -> None:
        """Use these files as the page's example, which is rendered faster; screenshots show the real one."""
        if PICTURES is None:
            for kind, path in (("portrait", portrait), ("voice", voice)):
                self.context.route(f"**/ui/example/{kind}", partial(_fulfill, path))

    def until(self, script: str, seconds: float = PATIENCE) -> None:
        """Wait until an expression is true; playwright's own way needs eval, which the page forbids."""
        end = time.monotonic() + seconds
        while not self._becomes(script):
            assert time.monotonic() < end, f"it did not become true: {script}"

    def _becomes(self, script: str) -> bool:
        """Whether an expression becomes true within a second, asked for in the page; False if the page is left."""
        from playwright.sync_api import Error

        try:
            return bool(self.page.evaluate(f"async () => {{ {BECOMES.replace('EXPRESSION', script)} }}"))
        except Error as error:
            if "navigat" in str(error):
                return False
            raise

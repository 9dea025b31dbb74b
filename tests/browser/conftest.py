"""One server, one browser and one tab for all tests of the pages that follow one another in a process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.web_browser import Tab, delete_jobs, running_browser, running_server

FAILED = pytest.StashKey[bool]()
RULES = "--host-resolver-rules=MAP evil.test 127.0.0.1,MAP talking.test 127.0.0.1"
"""Two names point at this machine, as an attacker's DNS server can arrange."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="package")
def web_server() -> Iterator[str]:
    """A server that takes uploads of 5 MB."""
    with running_server("--max-upload", "5") as address:
        yield address


@pytest.fixture(scope="package")
def browser(voice_file: Path) -> Iterator[Any]:
    """A browser that hears the voice over and over; while it runs, nothing else in the process may use asyncio."""
    sound = (f"--use-file-for-fake-audio-capture={voice_file}", "--allow-loopback-in-peer-connection")
    with running_browser(RULES, *sound) as browser:
        yield browser


@pytest.fixture(scope="package")
def kept_tabs(browser: Any) -> list[Tab]:
    """The tab of the test before, unless that failed."""
    return []


@pytest.fixture
def tab(request: pytest.FixtureRequest, browser: Any, kept_tabs: list[Tab], web_server: str) -> Iterator[Tab]:
    """An empty profile with one page, in which nothing may go wrong and which may ask no other host.

    The server has no jobs at the start of a test.
    """
    delete_jobs(web_server)
    tab = kept_tabs.pop() if kept_tabs else Tab(browser, web_server)
    tab.address = web_server
    yield tab
    if request.node.stash.get(FAILED, True):
        tab.context.close()
        return
    try:
        tab.check()
        tab.reset()
    except BaseException:
        tab.context.close()
        raise
    kept_tabs.append(tab)


@pytest.fixture
def open_tab(browser: Any, web_server: str) -> Iterator[Callable[..., Tab]]:
    """Opens tabs like `tab`, each in a new profile, with a language and further settings of the browser."""
    delete_jobs(web_server)
    tabs: list[Tab] = []

    def open_one(*language: str, **context: Any) -> Tab:
        tabs.append(Tab(browser, web_server, *language, **context))
        return tabs[-1]

    yield open_one
    for tab in tabs:
        tab.context.close()
    for tab in tabs:
        tab.check()

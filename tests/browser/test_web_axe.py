"""Accessibility of the page and the editor by axe-core: no finding, in both languages and both themes."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the page needs the serve extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")
from helpers.web_browser import CHROMIUM, Tab, delete_jobs


def axe_file() -> Path | None:
    """axe-core: that of ECHOMIMIC_AXE, or the copy inside the package axe-playwright-python."""
    named = os.environ.get("ECHOMIMIC_AXE")
    spec = find_spec("axe_playwright_python")
    homes = list(spec.submodule_search_locations or []) if spec else []
    places = [Path(named)] if named else [Path(home) / "axe.min.js" for home in homes]
    return next((place for place in places if place.is_file()), None)


AXE = axe_file()
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}
# every pair of language, scheme and size
CASES = [("en", "light", DESKTOP), ("en", "dark", PHONE), ("zh", "dark", DESKTOP), ("zh", "light", PHONE)]
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
    pytest.mark.skipif(AXE is None, reason="no axe-core: pip install axe-playwright-python, or ECHOMIMIC_AXE"),
]


OPEN_ALL = "document.querySelectorAll('details').forEach((each) => (each.open = true))"


def findings(page: Any) -> list[str]:
    """Every finding, one a line; one of our own is a page that is wider than the screen."""
    assert AXE is not None
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then((result) => result.violations)")
    wide = page.evaluate("document.documentElement.scrollWidth > innerWidth ? ['wider than the screen'] : []")
    return wide + [f"{each['id']}: {node['target']}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize(("language", "scheme", "viewport"), CASES)
def test_the_page(
    browser: Any,
    web_server: str,
    head_file: Path,
    voice_file: Path,
    language: str,
    scheme: str,
    viewport: dict[str, int],
) -> None:
    delete_jobs(web_server)
    tab = Tab(browser, web_server, color_scheme=scheme, viewport=viewport)
    tab.use_small_example(head_file, voice_file)
    page = tab.open(f"/?lang={language}")
    page.wait_for_selector("#generate")
    assert findings(page) == []
    page.click("#generate")
    page.wait_for_selector("#status [role=alert]")
    page.evaluate(OPEN_ALL)
    page.click("#example")
    page.wait_for_selector("#jobs video")
    page.wait_for_selector("#portrait .crop img")
    assert findings(page) == []
    assert tab.faults == []
    tab.context.close()


@pytest.mark.parametrize(("language", "scheme", "viewport"), CASES)
def test_the_editor(
    browser: Any,
    web_server: str,
    portrait_file: Path,
    voice_file: Path,
    language: str,
    scheme: str,
    viewport: dict[str, int],
) -> None:
    tab = Tab(browser, web_server, color_scheme=scheme, viewport=viewport)
    tab.use_small_example(portrait_file, voice_file)
    page = tab.open(f"/editor?lang={language}")
    page.wait_for_selector("body[data-ready]")
    assert findings(page) == []
    page.click("#example")
    page.wait_for_selector("#frame[data-shown]")
    page.press("body", "m")
    page.wait_for_selector("#edits code")
    page.evaluate(OPEN_ALL)
    page.check("#handles-shown")
    page.wait_for_selector("#handles button")
    page.locator("#expressions button").first.click()  # the voice of the tests has no blocks of its own
    page.click(".block.express")
    page.wait_for_selector("#block-actions:not([hidden])")
    page.fill("#layer-name", "A")
    page.click("#new-layer")
    assert findings(page) == []
    page.press("body", "h")
    page.wait_for_selector("#frame[data-kind=hands]")
    page.press("body", "n")
    assert findings(page) == []
    assert tab.faults == []
    tab.context.close()


@pytest.mark.parametrize(("language", "scheme", "viewport"), CASES)
def test_the_live_page(browser: Any, web_server: str, language: str, scheme: str, viewport: dict[str, int]) -> None:
    tab = Tab(browser, web_server, color_scheme=scheme, viewport=viewport)
    page = tab.open(f"/live?lang={language}")
    page.wait_for_selector("#home[href*=lang]")
    assert findings(page) == []
    assert tab.faults == []
    tab.context.close()

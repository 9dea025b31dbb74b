"""Accessibility of the page and the editor by axe-core: no finding, in both languages and both themes."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the page needs the serve extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")
from helpers.editor_page import enter, open_editor
from helpers.web_browser import CHROMIUM, Tab


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
CASES = [("en", [("light", DESKTOP), ("dark", PHONE)]), ("zh", [("dark", DESKTOP), ("light", PHONE)])]
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
    pytest.mark.skipif(AXE is None, reason="no axe-core: pip install axe-playwright-python, or ECHOMIMIC_AXE"),
    pytest.mark.parametrize(("language", "looks"), CASES),
]
Looks = list[tuple[str, dict[str, int]]]


OPEN_ALL = "document.querySelectorAll('details').forEach((each) => (each.open = true))"
RUN = "axe.run({ resultTypes: ['violations'] }).then((result) => result.violations)"


def check(tab: Tab, looks: Looks) -> None:
    """Assert that there is no finding in any of the looks, and that the page is not wider than the screen."""
    assert AXE is not None
    if not tab.page.evaluate("'axe' in window"):
        tab.page.evaluate(AXE.read_text(encoding="utf-8"))
    for scheme, viewport in looks:
        tab.page.emulate_media(color_scheme=scheme)
        tab.page.set_viewport_size(viewport)
        tab.until("document.documentElement.scrollWidth <= innerWidth")
        found = [f"{each['id']}: {node['target']}" for each in tab.page.evaluate(RUN) for node in each["nodes"]]
        assert found == [], (scheme, viewport)
    tab.page.emulate_media(color_scheme="light")


def test_the_page(tab: Tab, head_file: Path, voice_file: Path, language: str, looks: Looks) -> None:
    tab.use_small_example(head_file, voice_file)
    page = tab.open(f"/?lang={language}")
    page.wait_for_selector("#generate")
    check(tab, looks)
    page.click("#generate")
    page.wait_for_selector("#status [role=alert]")
    page.evaluate(OPEN_ALL)
    page.click("#example")
    page.wait_for_selector("#jobs video")
    page.wait_for_selector("#portrait .crop img")
    check(tab, looks)


def test_the_editor(tab: Tab, portrait_file: Path, voice_file: Path, language: str, looks: Looks) -> None:
    page = open_editor(tab, f"/editor?lang={language}")
    check(tab, looks)
    enter(tab, portrait_file, voice_file)  # the language is kept
    assert page.get_attribute("html", "lang").startswith(language)
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
    check(tab, looks)
    page.press("body", "h")
    page.wait_for_selector("#frame[data-kind=hands]")
    page.press("body", "n")
    check(tab, looks)


def test_the_live_page(tab: Tab, language: str, looks: Looks) -> None:
    page = tab.open(f"/live?lang={language}")
    page.wait_for_selector("#home[href*=lang]")
    check(tab, looks)

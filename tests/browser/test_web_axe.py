"""Accessibility of the page and the editor, by axe-core: no serious finding of ours."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs the web extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")
from helpers.web_browser import CHROMIUM, Tab


def axe_file() -> Path | None:
    """axe-core: that of ECHOMIMIC_AXE, or the copy inside the package axe-playwright-python."""
    named = os.environ.get("ECHOMIMIC_AXE")
    spec = find_spec("axe_playwright_python")
    homes = list(spec.submodule_search_locations or []) if spec else []
    places = [Path(named)] if named else [Path(home) / "axe.min.js" for home in homes]
    return next((place for place in places if place.is_file()), None)


AXE = axe_file()
OF_GRADIO = {"aria-prohibited-attr", "label-content-name-mismatch"}
"""Findings in Gradio's own components: an empty video, a drop zone whose name is not its words."""
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
    pytest.mark.skipif(AXE is None, reason="no axe-core: pip install axe-playwright-python, or ECHOMIMIC_AXE"),
]


def serious(page: Any) -> list[str]:
    """The serious findings, one a line."""
    assert AXE is not None
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then((said) => said.violations)")
    return [
        f"{each['id']}: {node['target']}"
        for each in found
        if each["impact"] in ("serious", "critical") and each["id"] not in OF_GRADIO
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("path", ["/en/", "/zh/"])
def test_the_page(tab: Tab, path: str) -> None:
    page = tab.open(path)
    page.wait_for_selector("#generate")
    assert serious(page) == []
    page.click("#generate")
    page.wait_for_selector("#status [role=alert]")
    assert serious(page) == []


@pytest.mark.parametrize("path", ["/editor", "/editor?lang=zh"])
def test_the_editor(tab: Tab, path: str) -> None:
    page = tab.open(path)
    assert serious(page) == []
    page.click("#example")
    page.wait_for_selector("#frame[data-shown]")
    assert serious(page) == []
    page.press("body", "h")
    page.wait_for_selector("#frame[data-kind=hands]")
    page.press("body", "k")
    page.click("#mend summary")
    assert serious(page) == []

"""What several tests do in the editor's page: open a session, drag, read the list of edits, save."""

import json
from pathlib import Path
from typing import Any

from helpers.web_browser import Tab, ask

_SESSIONS: dict[tuple[str, Path, Path], str] = {}
"""Ids of the sessions that tests share, by server, portrait and voice."""


def open_editor(tab: Tab, path: str = "/editor") -> Any:
    page = tab.open(path)
    page.wait_for_selector("body[data-ready]")
    return page


def begin(tab: Tab, portrait: Path, voice: Path) -> Any:
    page = open_editor(tab)
    page.set_input_files("[name=portrait]", portrait)
    page.set_input_files("[name=speech]", voice)
    page.click("#begin [type=submit]")
    page.wait_for_selector("#frame[data-shown]")
    return page


def enter(tab: Tab, portrait: Path, voice: Path) -> Any:
    """The editor with a session of these files, which has no edits. Tests share it: making one costs a second.

    A test that loads a motion or changes the voice must use `begin`: only edits are cleared.
    """
    if (tab.address, portrait, voice) not in _SESSIONS:
        page = begin(tab, portrait, voice)
        _SESSIONS[tab.address, portrait, voice] = page.url.split("#")[1]
        return page
    name = _SESSIONS[tab.address, portrait, voice]
    session = f"{tab.address}/editor/sessions/{name}"
    for kind, records in json.loads(ask(session))["edits"].items():
        if records:
            ask(f"{session}/{kind}/edits", "POST", {"edits": [], "whole": True})
    page = tab.open(f"/editor#{name}")
    page.wait_for_selector("#frame[data-shown]")
    return page


def edits(page: Any) -> list[str]:
    return [each.inner_text() for each in page.locator("#edits code").all()]


def save(page: Any, path: Path) -> Path:
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(path)
    return path


def drag(page: Any, index: int, by: int) -> None:
    box = page.locator(".key").nth(index).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + by, steps=4)
    page.mouse.up()

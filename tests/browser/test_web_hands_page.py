"""The hands at the motion editor in a real browser: the switch, keys alone, drag, save, load, render, no shoulders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the page needs the serve extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")

from conftest import write_wav
from echomimic import motion
from echomimic.types import PoseTrack
from helpers.editor_page import begin, drag, edits, enter, open_editor, save
from helpers.web_browser import CHROMIUM, PICTURES, Tab, ask, take_picture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


def hands_of(tab: Tab, portrait: Path, voice: Path) -> Any:
    """The editor with the hands of a portrait."""
    page = enter(tab, portrait, voice)
    page.click("#kinds [value=hands]")
    page.wait_for_selector("#frame[data-kind=hands]")
    return page


def at_cursor(tab: Tab) -> dict[str, float]:
    """The curves of the hands at the cursor."""
    number = int(tab.page.get_attribute("#frame", "data-shown"))
    said = json.loads(ask(f"{tab.address}/editor/sessions/{tab.page.url.split('#')[1]}/hands"))
    return {name: values[number] for name, values in said["curves"].items()}


def move(tab: Tab, side: str, by: tuple[float, float]) -> None:
    """Take a hand by its wrist in the picture, and move it by shares of the picture, which is square."""
    box, places = tab.page.locator("#frame").bounding_box(), at_cursor(tab)
    whole = min(box["width"], box["height"])
    x = box["x"] + (box["width"] - whole) / 2 + places[f"{side}_x"] * whole
    y = box["y"] + (box["height"] - whole) / 2 + places[f"{side}_y"] * whole
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + by[0] * whole, y + by[1] * whole, steps=4)
    tab.page.mouse.up()


def count(tab: Tab, lines: int) -> None:
    tab.until(f"document.querySelectorAll('#edits code').length == {lines}")


def test_hands_are_dragged_held_still_undone_saved_and_loaded_and_the_face_is_kept(
    tab: Tab, portrait_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    page = hands_of(tab, portrait_file, voice_file)
    assert page.inner_text("#mute") == "Still"
    assert "do not move in this preview" in page.inner_text("#about-hands")
    page.click("#track-left_y")
    drag(page, 1, -60)
    count(tab, 1)
    page.click("#track-right_x")
    page.click("#mute")
    count(tab, 2)
    page.press("body", "h")
    tab.until("document.querySelector('#frame').dataset.kind == 'face'")
    count(tab, 0)  # the face has its own edits, and its own undo
    page.press("body", "m")
    count(tab, 1)
    page.press("body", "h")
    count(tab, 2)
    page.press("body", "Control+z")
    count(tab, 1)
    page.press("body", "Control+y")
    count(tab, 2)
    lines = edits(page)
    assert lines[0].startswith("draw_curve(track, 'left_y', [(")
    assert lines[1] == "scale_curve(track, 'right_x', 0)"
    path = save(page, tmp_path / "hands.npz")
    assert isinstance(motion.load_motion(path), PoseTrack)
    assert [str(edit) for edit in motion.load_edits(path)] == list(lines)

    again = open_editor(tab, "/editor?lang=en")
    again.set_input_files("[name=motion]", path)
    again.set_input_files("[name=portrait]", portrait_file)
    again.set_input_files("[name=speech]", voice_file)
    again.click("#begin [type=submit]")
    again.wait_for_selector("#kinds [value=hands][aria-pressed=true]")
    count(tab, 2)

    again.click("#track-left_x")
    again.click("#mute")
    count(tab, 3)
    again.press("body", "h")
    again.wait_for_selector("#kinds [value=face][aria-pressed=true]")
    again.set_input_files("#load", path)
    again.wait_for_selector("#kinds [value=hands][aria-pressed=true]")
    count(tab, 2)
    assert edits(again) == lines


def test_the_keyboard_alone(tab: Tab, portrait_file: Path, voice_file: Path) -> None:
    page = enter(tab, portrait_file, voice_file)
    page.press("body", "h")
    page.wait_for_selector("#frame[data-kind=hands]")
    page.press("body", "Shift+ArrowRight")
    tab.until("document.querySelector('#frame').dataset.shown == '10'")
    page.press("body", "ArrowDown")
    page.press("body", "n")
    value = "document.querySelector('#clock').textContent.split(' ').pop()"
    before = float(page.evaluate(value))
    page.press("body", "ArrowUp")
    page.wait_for_selector("#edits code:has-text('left_y')")
    tab.until(f"{value} < {before}")  # up is up in the picture, whichever way its numbers run
    page.press("body", "Escape")
    page.press("body", "m")
    count(tab, 2)


def test_edits_of_face_and_hands_on_another_voice_and_after_a_restart(
    tab: Tab, portrait_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    page = enter(tab, portrait_file, voice_file)
    page.press("body", "m")
    count(tab, 1)
    page.press("body", "h")
    page.wait_for_selector("#frame[data-kind=hands]")
    page.press("body", "m")
    page.wait_for_selector("#edits code:has-text('left_x')")
    time = np.arange(12_000) / 16_000
    page.set_input_files("#again", write_wav(tmp_path / "other.wav", 0.3 * np.sin(900 * time) * np.sin(20 * time)))
    page.wait_for_selector("#files >> text=other.wav")
    page.wait_for_selector("#edits code:has-text('left_x')")
    page.press("body", "h")
    page.wait_for_selector("#edits code:has-text('jaw')")
    assert edits(page) == ["scale_curve(track, 'jaw', 0)"]

    tab.open("/healthz")
    page.goto(f"{tab.address}/editor#0123456789abcdef")
    page.wait_for_selector("#lost")
    page.set_input_files("[name=portrait]", portrait_file)
    page.set_input_files("[name=speech]", voice_file)
    page.click("#begin [type=submit]")
    page.wait_for_selector("#edits code:has-text('jaw')")
    assert edits(page) == ["scale_curve(track, 'jaw', 0)"]
    page.press("body", "h")
    page.wait_for_selector("#edits code:has-text('left_x')")


def test_the_editor_says_why_a_portrait_without_shoulders_has_no_hands(
    tab: Tab, portrait_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    closeup = tmp_path / "closeup.png"
    Image.open(portrait_file).crop((160, 30, 290, 175)).resize((390, 435)).save(closeup)
    page = begin(tab, closeup, voice_file)
    page.click("#kinds [value=hands]")
    page.wait_for_selector("#error >> text=expected head and shoulders")
    assert page.get_attribute("#kinds [value=face]", "aria-pressed") == "true"
    assert page.is_disabled("#preset [value=v2]")
    page.click("#fixes summary")
    assert "no shoulders" in page.inner_text("#fixes")
    page.press("body", "m")  # the face continues as before
    count(tab, 1)


def test_presets_show_what_they_follow_and_why_they_cannot_run(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = enter(tab, head_file, voice_file)
    said = {each.get_attribute("value"): each.inner_text() for each in page.locator("#preset option").all()}
    assert said["mesh"] == "mesh: all of the face"
    assert "the area of the head" in said["v1"]
    assert "tiny" not in said
    assert "the hands" in said["v2-acc"]
    for name, text in said.items():
        assert page.is_disabled(f"#preset [value={name}]") == ("not ready" in text)
    if page.is_disabled("#preset [value=v2]"):
        page.click("#fixes summary")
        assert "echomimic weights fetch v2" in page.inner_text("#fixes")


def test_an_upload_past_the_limit_is_reported_in_one_line(tab: Tab, head_file: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(6 << 20))
    page = open_editor(tab, "/editor?lang=zh")
    page.set_input_files("[name=portrait]", head_file)
    page.set_input_files("[name=speech]", large)
    page.click("#begin [type=submit]")
    page.wait_for_selector("#error >> text=最多 5 MB")
    assert page.evaluate("document.querySelector('[name=portrait]').files[0].name") == "head.png"


def test_a_hand_is_moved_in_the_picture(tab: Tab, portrait_file: Path, voice_file: Path) -> None:
    page = hands_of(tab, portrait_file, voice_file)
    page.press("body", "Shift+ArrowRight")
    tab.until("document.querySelector('#frame').dataset.shown == '10'")
    before = at_cursor(tab)
    move(tab, "left", (-0.05, -0.2))
    count(tab, 2)
    after = at_cursor(tab)
    assert after["left_x"] - before["left_x"] == pytest.approx(-0.05, abs=0.01)
    assert after["left_y"] - before["left_y"] == pytest.approx(-0.2, abs=0.01)
    assert after["right_x"] == before["right_x"]
    assert page.get_attribute("#track-left_y", "aria-selected") == "true"
    page.press("body", "Control+z")  # both lines at once, as they were made
    count(tab, 0)
    page.press("body", "Control+y")
    count(tab, 2)
    if PICTURES is not None:
        picture_of_hands(tab)


def picture_of_hands(tab: Tab) -> None:
    page = open_editor(tab, "/editor")
    page.click("#example")
    page.wait_for_selector("#frame[data-shown]")
    page.press("body", "h")
    page.wait_for_selector("#frame[data-kind=hands]")
    for _ in range(6):
        page.press("body", "Shift+ArrowRight")
    tab.until("document.querySelector('#frame').dataset.shown == '60'")
    move(tab, "right", (0.0, -0.22))
    count(tab, 2)
    take_picture(page, "web-editor-hands.png")


def test_a_preset_that_follows_hands_opens_them(tab: Tab, portrait_file: Path, voice_file: Path) -> None:
    page = tab.open("/")
    page.wait_for_selector("#generate")
    page.set_input_files("#portrait input[type=file]", portrait_file)
    page.set_input_files("#voice input[type=file]", voice_file)
    page.wait_for_selector("#voice audio")
    page.click("#advanced > summary")
    page.select_option("#preset", "v2-acc")
    page.wait_for_selector("#voice >> text=24 frames")
    with tab.context.expect_page() as opened:
        page.click("#edit")
    opened.value.wait_for_selector("#frame[data-kind=hands]")


def test_edits_without_effect_are_reported_at_once(tab: Tab, portrait_file: Path, voice_file: Path) -> None:
    page = hands_of(tab, portrait_file, voice_file)
    page.press("body", "m")
    page.wait_for_selector("#warning >> text=preset mesh does not render the hands: your 1 edits")
    page.press("body", "h")
    page.wait_for_selector("#frame[data-kind=face]")
    page.press("body", "m")
    page.wait_for_selector("#edits code:has-text('jaw')")
    page.uncheck("#parts input[value=mouth]")
    page.wait_for_selector("#notes >> text=the edits of jaw have no effect: mouth is not ticked")

"""The motion editor in a real browser: drag, keys, undo, save, load, another voice, render; and without a browser."""

import json
from pathlib import Path

import numpy as np
import pytest

from echomimic.types import LandmarkTrack
from helpers.motion_samples import load_landmarks

pytest.importorskip("fastapi", reason="the page needs the serve extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")
from conftest import write_wav
from echomimic import motion
from echomimic.media import read_video
from echomimic.mesh.landmarks_to_curves import read_curves
from helpers.editor_page import begin, drag, edits, enter, open_editor, save
from helpers.web_browser import CHROMIUM, PICTURES, Tab, ask, jobs_of, take_picture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


def test_edit_by_dragging_then_mute_undo_save_load_and_render(
    tab: Tab, head_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    page = enter(tab, head_file, voice_file)
    drag(page, 2, -60)
    page.wait_for_selector("#edits code")
    page.click("#track-yaw")
    page.press("body", "m")
    tab.until("document.querySelectorAll('#edits code').length == 2")
    page.press("body", "m")
    tab.until("document.querySelectorAll('#edits code').length == 1")
    page.press("body", "Control+z")
    tab.until("document.querySelectorAll('#edits code').length == 2")
    lines = edits(page)
    assert lines[0].startswith("draw_curve(track, 'jaw', [(")
    assert lines[1] == "scale_curve(track, 'yaw', 0)"
    path = save(page, tmp_path / "saved.npz")
    assert [str(edit) for edit in motion.load_edits(path)] == list(lines)
    track = load_landmarks(path)
    assert track.curves is not None
    assert not track.curves["yaw"].any()

    again = begin(tab, head_file, voice_file)
    again.set_input_files("#load", path)
    tab.until("document.querySelectorAll('#edits code').length == 2")
    assert edits(again) == lines
    again.click("#undo")
    tab.until("document.querySelectorAll('#edits code').length == 1")
    again.click("#redo")
    tab.until("document.querySelectorAll('#edits code').length == 2")
    again.click("#render")
    tab.until("document.querySelector('#video').getVideoPlaybackQuality().totalVideoFrames > 1")
    assert "25 frames" in again.inner_text("#result")


def test_a_handle_bends_the_curve_and_python_draws_the_same(
    tab: Tab, head_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    page = enter(tab, head_file, voice_file)
    before = load_landmarks(save(page, tmp_path / "before.npz"))
    page.press("body", ".")
    page.wait_for_selector(".tangent >> nth=1")
    points = [each.get_attribute("aria-label") for each in page.locator(".key").all()]
    box = page.locator(".tangent").nth(1).bounding_box()
    page.mouse.move(box["x"] + 6, box["y"] + 6)
    page.mouse.down()
    page.mouse.move(box["x"] + 16, box["y"] + 46, steps=4)
    page.mouse.up()
    page.wait_for_selector("#edits code:has-text('handles=[[')")
    tab.until(f"document.querySelectorAll('.key').length == {len(points)}")
    bent = page.get_attribute(".tangent >> nth=1", "aria-label")
    page.press("body", "t")
    for _ in range(2):
        page.keyboard.press("ArrowUp")  # both presses are one edit
    tab.until("document.querySelectorAll('#edits code').length == 2")
    page.press("body", "Control+z")
    tab.until("document.querySelectorAll('#edits code').length == 1")
    tab.until(f"document.querySelectorAll('.tangent')[1].ariaLabel == {json.dumps(bent)}")
    assert [each.get_attribute("aria-label") for each in page.locator(".key").all()] == points  # none has moved
    path = save(page, tmp_path / "bent.npz")
    again, saved = motion.apply_edits(before, motion.load_edits(path)), load_landmarks(path)
    assert again.curves is not None and saved.curves is not None and before.curves is not None
    assert np.abs(again.curves["jaw"] - saved.curves["jaw"]).max() < 1e-6
    assert np.abs(before.curves["jaw"] - saved.curves["jaw"]).max() > 0.02


def test_the_keyboard_alone(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = enter(tab, head_file, voice_file)
    page.press("body", "ArrowRight")
    tab.until("document.querySelector('#frame').dataset.shown == '1'")
    page.press("body", "Shift+ArrowRight")
    tab.until("document.querySelector('#frame').dataset.shown == '11'")
    page.press("body", "ArrowDown")
    page.press("body", "n")
    page.press("body", "ArrowUp")
    page.wait_for_selector("#edits code:has-text('spread')")
    first = page.text_content("#edits code")
    page.press("body", "ArrowUp")
    tab.until(f"document.querySelector('#edits code').textContent !== {json.dumps(first)}")
    assert len(edits(page)) == 1  # the second step is part of the first edit
    page.press("body", "Delete")
    tab.until("document.querySelectorAll('#edits code').length == 2")
    page.press("body", "Escape")
    page.press("body", "Home")
    page.press("body", " ")
    tab.until("document.querySelector('#sound').currentTime > 0.3")
    page.press("body", " ")
    tab.until("document.querySelector('#sound').paused")
    tab.until("+document.querySelector('#frame').dataset.shown > 5")


def test_a_slider_that_was_dragged_does_not_hold_the_keys(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = enter(tab, head_file, voice_file)
    box = page.locator("#gain").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 20, middle[1], steps=3)
    page.mouse.move(*middle, steps=3)  # there and back again is not an edit
    page.mouse.up()
    page.mouse.click(middle[0] + 30, middle[1])
    page.wait_for_selector("#edits code")
    assert len(edits(page)) == 1
    page.keyboard.press("Control+z")
    tab.until("!document.querySelector('#edits code')")
    page.keyboard.press("Space")
    tab.until("document.querySelector('#sound').currentTime > 0")
    page.focus("#preset")
    page.keyboard.press("Control+y")
    page.wait_for_selector("#edits code")


def test_points_are_one_stop_of_the_tab_key(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = enter(tab, head_file, voice_file)
    assert page.locator(".key").count() > 3
    page.focus("#wave")
    page.keyboard.press("Tab")
    page.keyboard.press(".")
    tab.until("document.activeElement.matches('.key[aria-pressed=true]') && +document.activeElement.dataset.index > 0")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "gain"


def test_the_files_of_the_page_open_in_the_editor(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = tab.open("/")
    page.wait_for_selector("#generate")
    if PICTURES:
        page.click("#example")
    else:
        page.set_input_files("#portrait input[type=file]", head_file)
        page.set_input_files("#voice input[type=file]", voice_file)
    page.wait_for_selector("#portrait .crop img")  # the page also shows videos of other tabs: they say nothing of ours
    page.wait_for_selector("#voice audio")
    # a slow server: a browser blocks a tab that a page opens more than five seconds after the click
    page.route("**/editor/sessions", lambda route: (page.wait_for_timeout(6000), route.continue_()))
    with tab.context.expect_page() as opened:
        page.click("#edit")
    editor = opened.value
    editor.wait_for_selector("#frame[data-shown]")
    editor.press("body", "n")
    for _ in range(45 if PICTURES else 10):
        editor.press("body", "ArrowRight")
    drag(editor, 7 if PICTURES else 2, -40)
    editor.wait_for_selector("#edits code")
    editor.click("#track-yaw")
    editor.fill("#gain", "1.8")
    editor.wait_for_selector("#edits code:has-text('yaw')")
    editor.click("#track-jaw")
    editor.press("body", ",")
    take_picture(editor, "web-editor.png")


def test_the_wave_form_plays_and_parts_are_selected(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = enter(tab, head_file, voice_file)
    box = page.locator("#wave").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 30)
    tab.until("document.querySelector('#sound').currentTime > 0.45 || document.querySelector('#sound').ended")
    page.uncheck("#parts input[value=mouth]")
    page.wait_for_selector("#edits code >> text=select(track, parts=['eyes', 'brows', 'pupils', 'nose', 'head'])")


def test_two_tabs_on_one_session(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = enter(tab, head_file, voice_file)
    other = tab.context.new_page()
    other.goto(page.url)
    other.wait_for_selector("#frame[data-shown]")
    page.press("body", "m")
    page.wait_for_selector("#edits code:has-text('jaw')")
    other.click("#track-yaw")
    other.press("body", "m")
    other.wait_for_selector("#edits code:has-text('yaw')")
    assert edits(other) == ["scale_curve(track, 'jaw', 0)", "scale_curve(track, 'yaw', 0)"]
    other.click("#track-jaw")
    assert other.inner_text("#clock").endswith("jaw 0")  # the curves of the other tab's edit came with them


def test_bad_files_are_reported_in_one_line(tab: Tab, head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    page = open_editor(tab)
    page.set_input_files("[name=portrait]", voice_file)
    page.set_input_files("[name=speech]", voice_file)
    page.click("#begin [type=submit]")
    page.wait_for_selector("#error >> text=The picture cannot be used")
    assert "/tmp" not in page.inner_text("#error")
    page.set_input_files("[name=portrait]", head_file)
    page.click("#begin [type=submit]")
    page.wait_for_selector("#frame[data-shown]")
    wrong = tmp_path / "wrong.npz"
    wrong.write_bytes(b"PK nonsense")
    page.set_input_files("#load", wrong)
    page.wait_for_selector("#error >> text=The motion cannot be used")


def test_the_selection_alone_is_rendered_again(tab: Tab, head_file: Path, tmp_path: Path) -> None:
    time = np.arange(35_200) / 16_000
    voice = write_wav(tmp_path / "two.wav", 0.3 * np.sin(900 * time) * np.sin(20 * time))
    page = begin(tab, head_file, voice)
    assert page.is_disabled("#render-span")
    page.select_option("#quality", "draft")
    page.click("#render")
    page.wait_for_selector("#takes li", state="attached")
    page.click("#track-yaw")
    page.fill("#gain", "1.8")
    page.wait_for_selector("#edits code")
    assert page.is_disabled("#render-span")
    page.focus("#wave")
    for key in (*3 * ["Shift+ArrowRight"], "i", "Shift+ArrowRight", "o"):
        page.keyboard.press(key)
    page.wait_for_selector("#where:has-text('1.20 to 1.60 s')")
    page.click("#render-span")
    page.click("#taking summary")
    page.wait_for_selector("#takes >> text=rendered again 1.2–1.6 s")
    whole, again = (tmp_path / name for name in ("whole.mp4", "again.mp4"))
    for path, job in zip((again, whole), jobs_of(tab.address), strict=False):
        path.write_bytes(ask(tab.address + job["links"]["result"]))
    frames = zip(*([pixels for _, pixels in read_video(path).frames()] for path in (whole, again)), strict=True)
    same = [np.array_equal(*pair) for pair in frames]
    assert all(same[:25]) and all(same[50:]) and not any(same[30:40])  # a video is cut at whole seconds
    page.reload()
    page.wait_for_selector("#frame[data-shown]")
    for key in ("i", "End", "o"):
        page.press("body", key)
    tab.until("!document.querySelector('#render-span').disabled")


def test_a_drawn_curve_moves_the_rendered_face(tab: Tab, head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    """A curve edited, saved, loaded and rendered: what is seen in the video follows what was commanded."""
    page = begin(tab, head_file, voice_file)
    name = page.url.split("#")[1]
    keys = [(0, 0), (0.2, 18), (0.5, -18), (0.8, 12), (0.96, 0)]
    record = {"op": "draw_curve", "curve": "yaw", "keys": keys}
    ask(f"{tab.address}/editor/sessions/{name}/face/edits", "POST", {"edits": [record]})
    path = save(page, tmp_path / "yaw.npz")
    page.set_input_files("#load", path)
    page.wait_for_selector("#edits code:has-text('yaw')")
    page.click("#render")
    tab.until("document.querySelector('#video').readyState >= 2")
    video = tmp_path / "yaw.mp4"
    video.write_bytes(ask(tab.address + page.get_attribute("#download", "href")))
    tracked, saved = motion.track_video(video), load_landmarks(path)
    assert isinstance(tracked, LandmarkTrack) and saved.curves is not None
    seen, wanted = read_curves(tracked)["yaw"], saved.curves["yaw"]
    assert read_video(video).fps == 25
    assert np.corrcoef(seen, wanted)[0, 1] >= 0.95

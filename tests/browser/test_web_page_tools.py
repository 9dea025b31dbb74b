"""The page's tools in a real browser: trim, framing, recording, comparing, settings, order; takes and projects."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the page needs the serve extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")

from helpers.editor_page import begin, open_editor
from helpers.web_browser import CHROMIUM, Tab

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


def drop(tab: Tab, portrait: Path, voice: Path) -> Any:
    page = tab.open("/")
    page.wait_for_selector("#generate")
    page.set_input_files("#portrait input[type=file]", portrait)
    page.wait_for_selector("#portrait .crop .corner")
    page.set_input_files("#voice input[type=file]", voice)
    page.wait_for_selector("#voice .trim")
    return page


def test_a_part_of_the_voice_and_a_crop_of_the_picture_are_chosen(
    tab: Tab, portrait_file: Path, voice_file: Path
) -> None:
    page = drop(tab, portrait_file, voice_file)
    assert "espeak-ng" in page.text_content("#voice .hint")
    page.fill("#voice .trim input >> nth=0", "0.25")
    page.fill("#voice .trim input >> nth=1", "0.75")
    page.click("#trim")
    page.wait_for_selector("#voice >> text=0.50 s")
    page.wait_for_selector("#voice .filled >> text=voice 0.25-0.75.wav")
    page.click("#untrim")
    page.wait_for_selector("#voice >> text=1.00 s")
    box = page.locator("#portrait .corner").bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] - 70, box["y"] - 70, steps=3)
    page.mouse.up()
    tab.until("document.querySelector('#option-framing').value == 'crop'")
    before = float(page.input_value("#option-crop_margin"))
    page.wait_for_selector("#portrait .corner")
    page.focus("#portrait .corner")
    page.keyboard.press("ArrowUp")
    tab.until(f"+document.querySelector('#option-crop_margin').value > {before}")


def test_videos_are_compared_settings_reused_and_the_storage_time_shown(
    tab: Tab, head_file: Path, voice_file: Path
) -> None:
    page = drop(tab, head_file, voice_file)
    page.click("#advanced > summary")
    for seed in ("3", "4"):
        page.fill("#seed", seed)
        page.click("#generate")
        page.wait_for_selector(f"#jobs >> text=seed {seed}")
    page.wait_for_selector("#storage >> text=is kept for 24 hours")
    mine = page.locator("#jobs li").filter(has_text="seed")
    for number in (0, 1):
        mine.nth(number).get_by_text("Compare").click()
    page.wait_for_selector("#compare video >> nth=1")
    page.check("#compare input[type=checkbox]")
    page.click("#compare >> text=Close")
    page.wait_for_selector("#compare", state="detached")
    mine.filter(has_text="seed 3").get_by_text("Use these settings").click()
    tab.until("document.querySelector('#seed').value == '3'")


def test_inputs_are_recorded_by_microphone_and_camera(tab: Tab) -> None:
    page = tab.open("/")
    page.wait_for_selector("#generate")
    page.click("#voice .capture")
    page.wait_for_selector("#voice .capturing >> text=recording")
    page.click("#voice .capturing button")
    page.wait_for_selector("#voice .filled >> text=recording.webm")
    page.click("#portrait .capture")
    tab.until("document.querySelector('#portrait .capturing video')?.videoWidth > 0")
    page.click("#portrait .capturing button")
    page.wait_for_selector("#portrait .filled >> text=Take a picture.png")


def test_takes_and_a_project_file(tab: Tab, head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    page = begin(tab, head_file, voice_file)
    page.press("body", "m")
    page.wait_for_selector("#edits code")
    page.click("#render")
    page.wait_for_selector("#takes >> text=Take 1: mesh, 1 edits", state="attached")
    page.press("body", "Control+z")
    tab.until("!document.querySelector('#edits code')")
    page.click("#taking > summary")
    page.select_option("#behind", label="Take 1")
    page.click("#takes >> text=Use its edits")
    page.wait_for_selector("#edits code")
    with page.expect_download() as download:
        page.click("#save-project")
    assert download.value.suggested_filename == "head-voice.echomimic.zip"
    download.value.save_as(tmp_path / "project.zip")
    again = open_editor(tab)
    again.set_input_files("#begin-project", tmp_path / "project.zip")
    again.wait_for_selector("#edits code >> text=scale_curve(track, 'jaw', 0)")
    again.wait_for_selector("#takes >> text=Take 1", state="attached")


def test_a_portrait_is_dropped_on_the_live_page_and_a_refusal_is_shown(tab: Tab) -> None:
    page = tab.open("/live")
    page.wait_for_selector("#home[href*=lang]")
    dropped = page.evaluate_handle(
        """() => {
        const data = new DataTransfer()
        data.items.add(new File(["no picture"], "me.png", { type: "image/png" }))
        return data
    }"""
    )
    page.dispatch_event("#portrait", "drop", {"dataTransfer": dropped})
    assert page.text_content("#portrait-name") == "me.png"
    page.click("#start")
    page.wait_for_selector("#status [role=alert]")
    page.wait_for_selector("#start:enabled")

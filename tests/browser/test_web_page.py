"""The web page in a real browser: upload, generate, play, cancel, bad input, reload; nothing asked of other hosts."""

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import write_wav

pytest.importorskip("gradio", reason="the page needs the web extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")
from helpers.web_browser import CHROMIUM, Tab, running_server

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
PLAYS = "document.querySelector('#video video')?.getVideoPlaybackQuality().totalVideoFrames > 1"


@pytest.fixture(scope="module")
def long_voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    time = np.arange(16_000 * 40) / 16_000
    return write_wav(tmp_path_factory.mktemp("long") / "long.wav", 0.3 * np.sin(700 * time) * np.sin(9 * time))


def drop(page: Any, portrait: Path, voice: Path) -> None:
    page.set_input_files("#portrait input[type=file]", portrait)
    page.wait_for_selector("#portrait-look img")
    page.set_input_files("#voice input[type=file]", voice)
    page.wait_for_selector("#voice-look p")


def test_upload_generate_play_and_again_with_a_new_seed(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = tab.open("/en/")
    drop(page, head_file, voice_file)
    assert "256 x 256" in page.inner_text("#portrait-look")
    assert "1.00 s, 25 frames" in page.inner_text("#voice-look")
    page.click("#generate")
    tab.until(PLAYS)
    assert page.evaluate("document.querySelector('#video video').videoWidth") == 256
    assert "25 frames, 1.00 s, 256 x 256, preset mesh, seed 0" in page.inner_text("#status")
    page.fill("#seed input", "7")
    page.click("label:has-text('Draft')")
    page.click("#generate")
    page.wait_for_selector("#status >> text=seed 7")


def test_the_example_in_chinese(tab: Tab, pictures: Path) -> None:
    page = tab.open("/zh/")
    page.click("#example")
    page.wait_for_selector("#portrait-look img")
    page.wait_for_selector("#voice-look p")
    assert "视频显示明亮的部分" in page.inner_text("#portrait-look")
    page.click("#advanced button")
    page.click("#advanced button:has-text('动作')")
    page.wait_for_selector("text=动作幅度")
    tab.picture(pictures, "web-page-zh.png")


@pytest.mark.skipif("ECHOMIMIC_PICTURES" not in os.environ, reason="screenshots are made where ECHOMIMIC_PICTURES says")
def test_what_the_page_looks_like_with_a_video(tab: Tab, pictures: Path) -> None:
    page = tab.open("/en/")
    page.click("#example")
    page.wait_for_selector("#portrait-look img")
    page.click("#generate")
    tab.until("document.querySelector('#video video')?.currentTime > 1.5")
    tab.picture(pictures, "web-page.png")


def test_the_language_follows_the_browser(browser: Any, web_server: str) -> None:
    tab = Tab(browser, web_server, "zh-CN")
    assert tab.open("/").url == f"{web_server}/zh/"
    tab.context.close()


def test_progress_cancel_a_reload_and_a_queue(
    tab: Tab, browser: Any, head_file: Path, long_voice: Path, pictures: Path
) -> None:
    page = tab.open("/en/")
    drop(page, head_file, long_voice)
    page.click("#generate")
    page.wait_for_selector("#status img")
    assert "a second" in page.inner_text("#status")
    assert "s left" in page.inner_text("#status")
    tab.picture(pictures, "web-progress.png")
    page.reload()
    page.wait_for_selector("#status progress[value]")
    other = Tab(browser, tab.address)
    second = other.open("/en/")
    drop(second, head_file, long_voice)
    second.click("#generate")
    second.wait_for_selector("#status >> text=waiting: 1 before this one")
    second.click("#cancel")
    second.wait_for_selector("#status >> text=cancelled")
    other.context.close()
    page.click("#cancel")
    page.wait_for_selector("#status >> text=cancelled; nothing was kept")
    assert page.is_enabled("#generate")


def test_bad_input_is_said_in_place_and_nothing_is_lost(tab: Tab, head_file: Path, tmp_path: Path) -> None:
    page = tab.open("/en/")
    page.click("#generate")
    page.wait_for_selector("#status >> text=drop a portrait and a voice first")
    text = tmp_path / "notes.png"
    text.write_text("no picture")
    page.set_input_files("#portrait input[type=file]", text)
    page.wait_for_selector("#portrait-look [role=alert] >> text=notes.png")
    silent = write_wav(tmp_path / "empty.wav", np.zeros(0))
    page.set_input_files("#voice input[type=file]", silent)
    page.wait_for_selector("#voice-look [role=alert] >> text=empty.wav")
    assert "/tmp" not in page.inner_text("body")
    page.fill("#seed input", "12")
    page.click("#generate")
    page.wait_for_selector("#status [role=alert]")
    assert page.input_value("#seed input") == "12"
    assert page.locator("#portrait >> text=notes").count() == 1


def test_a_server_that_was_started_anew_says_so(tab: Tab) -> None:
    page = tab.open("/en/")
    page.evaluate("sessionStorage.setItem('echomimic-job', 'of before')")
    page.reload()
    page.wait_for_selector("#status >> text=not on the server any more")


def test_a_server_that_dies_in_mid_render_and_comes_back(browser: Any, head_file: Path, long_voice: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = ("--port", str(listener.getsockname()[1]))
    with running_server(*port) as address:
        tab = Tab(browser, address)
        page = tab.open("/en/")
        drop(page, head_file, long_voice)
        page.fill("#seed input", "12")
        page.click("#generate")
        page.wait_for_selector("#status progress[value]")
        page.reload()
        page.wait_for_selector("#portrait-look img")  # what was chosen is there again
        page.wait_for_selector("#status progress[value]")  # and the video is followed again
    page.wait_for_selector("#status >> text=the server does not answer")
    assert page.is_enabled("#generate")
    with running_server(*port):
        page.reload()
        page.wait_for_selector("#portrait-look >> text=head.png is not on the server any more")
        assert page.input_value("#seed input") == "12"
        page.click("#generate")
        page.wait_for_selector("#status [role=alert] >> text=choose it again")
        assert tab.faults == []
        tab.context.close()


def test_a_preset_brings_its_own_options_and_crop(tab: Tab, portrait_file: Path, voice_file: Path) -> None:
    page = tab.open("/en/")
    drop(page, portrait_file, voice_file)
    page.click("#advanced button")
    before = page.get_attribute("#portrait-look img", "src")
    page.click("#preset input")
    page.click("[role=option]:has-text('tiny')")
    page.wait_for_selector("#portrait-look >> text=64 x 64 pixels; the picture has 512 x 512")
    page.wait_for_selector("#voice-look >> text=24 frames")
    assert page.get_attribute("#portrait-look img", "src") != before  # the crop of the head: the rest is dark


def test_options_that_are_shown_stay_as_they_are(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = tab.open("/en/")
    drop(page, head_file, voice_file)
    page.click("#advanced button")
    for group in ("Picture and length", "Motion", "Diffusion", "Machine"):
        page.click(f"#advanced button:has-text('{group}')")
    size = page.get_by_label("Size").first
    size.wait_for()
    page.wait_for_timeout(500)
    page.click("#generate")
    page.wait_for_selector("#status >> text=25 frames, 1.00 s, 256 x 256")
    assert page.get_by_label("Device").first.input_value() == "auto"
    size.click()
    page.keyboard.insert_text("128")  # as it is pasted
    page.keyboard.press("Tab")
    page.wait_for_selector("#portrait-look >> text=128 x 128 pixels")
    size.fill("many")
    page.keyboard.press("Tab")
    page.wait_for_selector("#portrait-look [role=alert] >> text=option size is 'many'")
    size.fill("")
    page.fill("#seed input", "-5")
    page.click("#generate")
    page.wait_for_selector("#status [role=alert] >> text=option seed is -5; expected at least 0")


@pytest.mark.parametrize(("language", "words"), [("en", "expected at most 5 MB"), ("zh", "最多 5 MB")])
def test_an_upload_past_the_limit_is_refused_in_place(
    tab: Tab, head_file: Path, tmp_path: Path, language: str, words: str
) -> None:
    page = tab.open(f"/{language}/")
    page.set_input_files("#portrait input[type=file]", head_file)
    page.wait_for_selector("#portrait-look img")
    page.fill("#seed input", "12")
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(6 << 20))
    page.set_input_files("#voice input[type=file]", large)
    line = page.wait_for_selector("#voice-limit [role=alert]").inner_text()
    assert "large.wav" in line and "6.0 MB" in line and words in line
    assert page.locator("text=/exceed the maximum/i").count() == 0
    assert page.input_value("#seed input") == "12"
    assert page.locator("#portrait >> text=head").count() == 1
    page.set_input_files("#voice input[type=file]", write_wav(tmp_path / "small.wav", np.zeros(16_000)))
    page.wait_for_selector("#voice-look p")
    assert page.is_hidden("#voice-limit [role=alert]")

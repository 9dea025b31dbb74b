"""The page in a real browser: upload, generate, play, queue, cancel, bad input, reload, a server that dies."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import write_wav

pytest.importorskip("fastapi", reason="the page needs the serve extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")
from echomimic.apps.jobs.request import WORKER_COMMAND
from helpers.rest_server import free_port, kill, serving, start
from helpers.rest_worker import HOLD
from helpers.web_browser import CHROMIUM, PICTURES, Tab, take_picture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
PLAYS = "document.querySelector('#jobs video')?.getVideoPlaybackQuality().totalVideoFrames > 1"


def open_page(tab: Tab, path: str = "/") -> Any:
    page = tab.open(path)
    page.wait_for_selector("#generate")
    return page


def drop(page: Any, portrait: Path, voice: Path) -> None:
    page.set_input_files("#portrait input[type=file]", portrait)
    page.wait_for_selector("#portrait .crop img")
    page.set_input_files("#voice input[type=file]", voice)
    page.wait_for_selector("#voice audio")


def test_the_first_visit_is_small_and_asks_only_this_server(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab()
    sizes: dict[str, int] = {}  # by address: the list of jobs is asked for again and again
    tab.page.on("response", lambda answer: sizes.update({answer.url: len(answer.body())}))
    page = open_page(tab)
    page.wait_for_load_state("networkidle")
    assert len(sizes) <= 15
    assert sum(sizes.values()) <= 120_000
    policy = page.request.get(tab.address).headers["content-security-policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy
    assert page.request.get(f"{tab.address}/static/page.js").headers["content-encoding"] == "gzip"
    assert page.is_visible("#example")
    assert "tiny" not in page.inner_text("#preset")


def test_upload_generate_play_and_render_again_with_a_new_seed(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = open_page(tab)
    drop(page, head_file, voice_file)
    assert "256 × 256" in page.inner_text("#portrait")
    assert "1.00 s, 25 frames" in page.inner_text("#voice")
    page.click("#generate")
    tab.until(PLAYS)
    assert page.evaluate("document.querySelector('#jobs video').videoWidth") == 256
    assert "25 frames, 1.00 s, 256 × 256, preset mesh, seed 0" in page.inner_text("#jobs")
    with page.expect_download() as download:
        page.click("#jobs button:has-text('Download')")
    assert download.value.suggested_filename == "head-voice.mp4"
    page.click("#advanced summary")
    page.fill("#seed", "7")
    page.click("label:has-text('Draft')")
    page.click("#generate")
    page.wait_for_selector("#jobs >> text=seed 7")
    page.locator("#jobs li").nth(1).get_by_text("Render again").click()
    tab.until("document.querySelectorAll('#jobs video').length === 3")
    assert page.input_value("#seed") == "0"
    page.locator("#jobs li").nth(0).get_by_text("Remove").click()
    tab.until("document.querySelectorAll('#jobs li').length === 2")


def test_the_example_plays(tab: Tab) -> None:
    page = open_page(tab)
    if not PICTURES:  # sooner
        page.click("#advanced summary")
        page.click("label:has-text('Draft')")
        page.evaluate("document.querySelectorAll('#options details').forEach((each) => (each.open = true))")
        page.fill("#option-size", "128")
        page.fill("#option-frames", "30")
    page.click("#example")
    tab.until(PLAYS)
    if PICTURES:
        tab.until("document.querySelector('#jobs video').currentTime > 1.5")
        take_picture(page, "web-page.png")


def test_chinese_is_complete(open_tab: Callable[..., Tab], tmp_path: Path, head_file: Path, voice_file: Path) -> None:
    tab = open_tab("zh-CN")
    tab.use_small_example(head_file, voice_file)
    page = open_page(tab)
    assert page.get_attribute("html", "lang") == "zh-Hans"
    page.click("#advanced summary")
    for each in page.locator("#options summary").all():
        each.click()
    words = page.evaluate(
        "[...document.querySelectorAll('[data-word], #options label, summary, button')].map((each) => each.textContent)"
    )
    said = [re.sub("EchoMimic|espeak-ng -v cmn -w voice.wav", "", text) for text in words]  # a command is the same
    assert [text for text in said if re.search("[a-z]{3,}", text)] == []
    wrong = tmp_path / "wrong.png"
    wrong.write_text("no picture")
    page.set_input_files("#portrait input[type=file]", wrong)
    line = page.wait_for_selector("#portrait [role=alert]").inner_text()
    assert line.startswith("这张图片无法使用")
    silent = write_wav(tmp_path / "silent.wav", np.zeros(16_000))
    page.set_input_files("#voice input[type=file]", silent)
    page.wait_for_selector("#voice .notes >> text=没有声音：脸只会自然地动")
    page.click("#example")
    page.wait_for_selector("#jobs >> text=用时")
    take_picture(page, "web-page-zh.png")
    page.click("#language")
    page.wait_for_selector("#generate >> text=Generate")
    page.wait_for_selector("#portrait .crop img")  # the files are still there


def test_the_keyboard_and_the_clipboard_fill_the_inputs(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = open_page(tab)
    for zone, key, file in (("portrait", "Enter", head_file), ("voice", "Space", voice_file)):
        with page.expect_file_chooser() as chooser:
            page.focus(f"#{zone} input[type=file]")
            page.keyboard.press(key)
        chooser.value.set_files(file)
        page.wait_for_selector(f"#{zone} .filled >> text={file.name}")
    give = """(kind) => {
        const data = new DataTransfer()
        data.items.add(new File([new Uint8Array(10)], 'pasted.png', { type: 'image/png' }))
        const target = kind === 'paste' ? document : document.querySelector('#portrait .drop')
        const event = kind === 'paste' ? new ClipboardEvent('paste', { clipboardData: data, bubbles: true })
            : new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })
        target.dispatchEvent(event)
    }"""
    for kind in ("paste", "drop"):
        page.set_input_files("#portrait input[type=file]", head_file)
        page.wait_for_selector("#portrait .crop img")
        page.evaluate(give, kind)
        page.wait_for_selector("#portrait .filled >> text=pasted.png")
        page.wait_for_selector("#portrait [role=alert]")


def test_a_click_chooses_the_face(tab: Tab, portrait_file: Path, voice_file: Path, tmp_path: Path) -> None:
    from PIL import Image

    one = Image.open(portrait_file).convert("RGB").crop((100, 0, 360, 300))
    pair = Image.new("RGB", (560, 300), "grey")
    pair.paste(one.resize((208, 240)), (0, 60))
    pair.paste(one, (300, 0))
    pair.save(tmp_path / "pair.png")
    page = open_page(tab)
    drop(page, tmp_path / "pair.png", voice_file)
    page.wait_for_selector("#portrait .notes >> text=2 faces in portrait: taking the largest, number 2")
    assert page.get_attribute(".crop button >> nth=1", "aria-pressed") == "true"
    page.click(".crop button >> nth=0")
    page.wait_for_selector(".crop button[aria-pressed=true] >> nth=0")
    tab.until("document.querySelectorAll('.crop button')[0].getAttribute('aria-pressed') === 'true'")
    assert page.input_value("#option-face") == "1"
    page.click("#advanced summary")
    page.click("#options summary")
    page.select_option("#option-framing", "crop")
    page.wait_for_selector("#portrait >> text=512 × 512 pixels")
    assert page.evaluate("document.querySelector('.shown').getBoundingClientRect().width") < 250


@pytest.fixture(scope="module")
def held_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose engine renders half of the frames of a job with the seed HOLD, and waits; pictures show a face."""
    worker = {"worker_command": WORKER_COMMAND} if PICTURES else {}
    with serving(tmp_path_factory.mktemp("held"), **worker) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_progress_reload_a_queue_and_cancel(
    held_server: str, tab: Tab, portrait_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    tab.address = held_server
    page = open_page(tab)
    drop(page, portrait_file, write_wav(tmp_path / "long.wav", np.zeros(200 * 16_000)) if PICTURES else voice_file)
    page.click("#advanced summary")
    page.fill("#seed", str(HOLD))
    page.click("#generate")
    page.wait_for_selector("#jobs img[src^='data:image/jpeg']")
    page.wait_for_selector("#jobs >> text=/frames, .* a second, .* s left/")
    take_picture(page, "web-progress.png")
    page.reload()
    page.wait_for_selector("#jobs progress[value]")
    page.wait_for_selector("#portrait .crop img")  # what was chosen is there again
    page.wait_for_selector("#voice audio")
    page.click("#generate")
    page.wait_for_selector("#jobs li:first-child >> text=/waiting|reading/")
    page.click("#jobs li:first-child button:has-text('Cancel')")
    page.wait_for_selector("#jobs li:first-child >> text=cancelled")
    page.click("#jobs li:nth-child(2) button:has-text('Cancel')")
    page.wait_for_selector("#jobs li:nth-child(2) >> text=cancelled")
    assert page.is_enabled("#generate")


def test_bad_input_is_reported_in_place_and_nothing_is_lost(tab: Tab, head_file: Path, tmp_path: Path) -> None:
    page = open_page(tab)
    page.click("#generate")
    page.wait_for_selector("#status [role=alert] >> text=A portrait and a voice are needed")
    text = tmp_path / "notes.png"
    text.write_text("no picture")
    page.set_input_files("#portrait input[type=file]", text)
    page.wait_for_selector("#portrait [role=alert] >> text=The picture cannot be used")
    empty = write_wav(tmp_path / "empty.wav", np.zeros(0))
    page.set_input_files("#voice input[type=file]", empty)
    page.wait_for_selector("#voice [role=alert] >> text=The sound cannot be used")
    assert "/tmp" not in page.inner_text("body")
    page.click("#advanced summary")
    page.fill("#seed", "12")
    page.click("#generate")
    page.wait_for_selector("#jobs [role=alert]")
    assert page.input_value("#seed") == "12"
    assert page.locator("#portrait >> text=notes.png").count() == 1
    page.fill("#seed", "-5")
    page.set_input_files("#portrait input[type=file]", head_file)
    page.wait_for_selector("#portrait .crop img")
    page.click("#generate")
    page.wait_for_selector("#jobs li:first-child [role=alert] >> text=/seed.? is '?-5/")


@pytest.mark.parametrize(("language", "words"), [("en", "at most 5 MB"), ("zh", "最多 5 MB")])
def test_an_upload_past_the_limit_is_refused_in_place(
    tab: Tab, head_file: Path, tmp_path: Path, language: str, words: str
) -> None:
    page = open_page(tab, f"/?lang={language}")
    page.set_input_files("#portrait input[type=file]", head_file)
    page.wait_for_selector("#portrait .crop img")
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(6 << 20))
    page.set_input_files("#voice input[type=file]", large)
    line = page.wait_for_selector("#voice [role=alert]").inner_text()
    assert "large.wav" in line and "6.3 MB" in line and words in line
    page.set_input_files("#voice input[type=file]", write_wav(tmp_path / "small.wav", np.zeros(16_000)))
    page.wait_for_selector("#voice audio")
    assert page.locator("#voice [role=alert]").count() == 0


def test_a_preset_brings_its_own_options_and_crop(tab: Tab, portrait_file: Path, voice_file: Path) -> None:
    page = open_page(tab)
    drop(page, portrait_file, voice_file)
    page.click("#advanced summary")
    page.select_option("#preset", "v1-acc")
    page.wait_for_selector("#portrait >> text=512 × 512 pixels; the picture has 512 × 512")
    page.wait_for_selector("#voice >> text=24 frames")
    tab.until("document.querySelector('.shown').getBoundingClientRect().width < 300")
    page.click("#options summary >> text=Diffusion")
    assert page.input_value("#option-steps") == "6"


def test_options_are_sent_as_shown(tab: Tab, head_file: Path, voice_file: Path) -> None:
    page = open_page(tab)
    drop(page, head_file, voice_file)
    page.click("#advanced summary")
    for each in page.locator("#options summary").all():
        each.click()
    page.fill("#option-size", "128")
    page.keyboard.press("Tab")
    page.wait_for_selector("#portrait >> text=128 × 128 pixels")
    page.fill("#option-size", "many")
    page.keyboard.press("Tab")
    page.wait_for_selector("#portrait [role=alert] >> text=size is 'many'")
    page.fill("#option-size", "")
    page.keyboard.press("Tab")
    page.wait_for_selector("#portrait >> text=256 × 256 pixels")
    page.click("#generate")
    page.wait_for_selector("#jobs >> text=25 frames, 1.00 s, 256 × 256")


def test_a_server_that_dies_in_mid_render_and_comes_back(
    open_tab: Callable[..., Tab], head_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    port, tab = free_port(), open_tab()
    tab.address = f"http://127.0.0.1:{port}"
    server = start(tmp_path / "first", port)
    try:
        page = open_page(tab)
        drop(page, head_file, voice_file)
        page.click("#advanced summary")
        page.fill("#seed", str(HOLD))
        page.click("#generate")
        page.wait_for_selector("#jobs progress[value]")
        page.wait_for_selector("#jobs >> text=a second")
        kill(server)
        page.wait_for_selector("#offline >> text=The server does not answer")
        assert page.is_enabled("#generate")
        server = start(tmp_path / "second", port)
        page.wait_for_selector("#offline", state="hidden")
        page.wait_for_selector("#jobs >> text=/frames, .* a second/")  # it was sent again
        assert page.locator("#jobs li").count() == 1
        assert page.input_value("#seed") == str(HOLD)
    finally:
        kill(server)


def test_a_phone_shows_everything_in_one_column(
    open_tab: Callable[..., Tab], head_file: Path, voice_file: Path
) -> None:
    tab = open_tab(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    tab.use_small_example(head_file, voice_file)
    page = open_page(tab)
    page.tap("#example")
    tab.until(PLAYS)
    page.tap("#advanced > summary")
    for each in page.locator("#options summary").all():
        each.tap()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    take_picture(page, "web-phone.png", full_page=True)

"""The editor's tools in a real browser: layers, expressions, blocks, words, points in groups, touch, what is kept."""

from collections.abc import Callable
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the page needs the serve extra")
pytest.importorskip("playwright", reason="the browser is driven by playwright")

from helpers.editor_page import edits, enter, open_editor
from helpers.waiting import wait_until
from helpers.web_browser import CHROMIUM, Tab

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
COUNT = "document.querySelectorAll('#edits code').length"


@pytest.fixture
def page(tab: Tab, head_file: Path, voice_file: Path) -> Any:
    return enter(tab, head_file, voice_file)


def count(tab: Tab, number: int) -> None:
    tab.until(f"{COUNT} == {number}")


def test_the_mute_button_and_the_end_points_show_their_state(tab: Tab, page: Any) -> None:
    page.press("body", "m")
    tab.until("document.querySelector('#mute').getAttribute('aria-pressed') == 'true'")
    page.click("#track-spread")
    page.press("body", "n")  # a point at the cursor, which is the first
    for _ in range(8):
        page.press("body", "ArrowUp")
    tab.until(f"{COUNT} == 2 && document.querySelector('#edits').textContent.includes('spread')")
    page.press("body", "Delete")  # the first point of the curve
    count(tab, 3)
    page.press("body", "Escape")
    page.click("#track-jaw")
    page.press("body", "m")
    tab.until("document.querySelector('#mute').getAttribute('aria-pressed') == 'false'")
    count(tab, 2)
    page.click("#edits li:first-child button")
    count(tab, 1)
    for number in (2, 3, 2):  # removals are undone like all else; eight presses were one edit
        page.press("body", "Control+z")
        count(tab, number)


def test_back_and_reload_keep_the_session(tab: Tab, head_file: Path, voice_file: Path) -> None:
    home = tab.open("/")
    home.wait_for_selector("#generate")
    page = enter(tab, head_file, voice_file)
    page.press("body", "m")
    count(tab, 1)
    page.reload()
    page.wait_for_selector("#frame[data-shown]")
    count(tab, 1)
    page.go_back()
    page.wait_for_selector("#generate")
    page.go_forward()
    count(tab, 1)
    open_editor(tab)
    page.click("#open")
    page.wait_for_selector("#frame[data-shown]")
    count(tab, 1)
    other = tab.context.new_page()
    other.goto(f"{tab.address}/editor")
    other.wait_for_selector("#restore option >> nth=1", state="attached")
    assert "head.png · voice.wav" in other.inner_text("#restore")


def test_layers_are_muted_soloed_weakened_and_reordered(tab: Tab, page: Any) -> None:
    page.press("body", "m")
    count(tab, 1)
    page.click("#layering > summary")
    for name in ("mine", "yours"):
        page.fill("#layer-name", name)
        page.click("#new-layer")
        page.click("#expressions button >> nth=0")
        page.wait_for_selector(f"#layers >> text={name} (1)")
    jaw = "document.querySelector('#clock').textContent"
    page.click("#track-smile")
    page.focus("#wave")
    for _ in range(12):
        page.press("body", "ArrowRight")
    tab.until("document.querySelector('#frame').dataset.shown == '12'")
    both = float(page.evaluate(jaw).split()[-1])
    page.click("[aria-label='Mute: mine']")
    tab.until(f"+{jaw}.split(' ').pop() < {both} - 0.05")
    page.click("[aria-label='Mute: mine']")
    tab.until(f"+{jaw}.split(' ').pop() == {both}")
    page.click("[aria-label='Only this: yours']")
    tab.until(f"+{jaw}.split(' ').pop() < {both} - 0.05")
    page.click("[aria-label='Earlier: yours']")
    page.wait_for_selector("#layers li:nth-child(2) >> text=yours")
    page.fill("[aria-label='Strength: yours']", "0")
    tab.until(f"Math.abs(+{jaw}.split(' ').pop()) < 0.2")
    page.click("[aria-label='Remove: mine']")
    tab.until("document.querySelectorAll('#layers li').length == 2")
    page.press("body", "Control+z")
    tab.until("document.querySelectorAll('#layers li').length == 3")


def test_expressions_are_dropped_moved_stretched_and_kept(tab: Tab, page: Any) -> None:
    page.drag_and_drop("#expressions button:has-text('nod')", "#timeline", target_position={"x": 200, "y": 60})
    page.wait_for_selector(".block.express")
    assert edits(page)[0].startswith("express(track, 'nod', 0.")
    page.focus(".block.express")
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/face/edits", hold, times=1)
    page.keyboard.press("Alt+ArrowRight")
    while not held:
        page.wait_for_timeout(10)
    page.keyboard.press("Alt+Shift+ArrowLeft")  # before the answer to the first press has come
    held[0].continue_()
    tab.until("document.querySelector('#edits code').textContent.includes('seconds=0.66')")
    page.click(".block.express")
    page.fill("#clip-strength", "-1")
    tab.until("document.querySelector('#edits code').textContent.includes('strength=-1')")
    page.fill("#own-name", "greeting")
    page.click("#save-own")
    page.click("#expressions button:has-text('greeting')")
    count(tab, 2)
    assert edits(page)[1].startswith("shift_curve(track, 'pitch'")
    page.focus(".block.express")
    page.keyboard.press("Delete")
    tab.until("!document.querySelector('.block.express')")


def test_points_are_chosen_by_a_box_copied_stretched_and_removed(tab: Tab, page: Any) -> None:
    box = page.locator("#timeline").bounding_box()
    page.keyboard.down("Alt")
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] - 2, steps=3)
    page.mouse.up()
    page.keyboard.up("Alt")
    chosen = page.locator(".key[aria-pressed=true]").count()
    assert chosen > 1
    page.press("body", "]")
    count(tab, 1)
    page.press("body", "ArrowUp")
    count(tab, 2)
    page.press("body", "Control+c")
    page.click("#track-brow")
    page.press("body", "Home")
    page.select_option("#ease", label="overshoot")
    page.press("body", "Control+v")
    page.wait_for_selector("#edits code:has-text(\"'brow'\")")
    assert "ease='0.3,0,0.4,1.5'" in edits(page)[-1]


def chin_dragged(page: Any) -> bool:
    """Drag the chin down and say whether an edit came of it: a picture of the edit before may replace the handle."""
    box = page.wait_for_selector(".handle[data-name=chin]").bounding_box()
    if box is None:
        return False
    page.mouse.move(box["x"] + 9, box["y"] + 9)
    page.mouse.down()
    page.mouse.move(box["x"] + 9, box["y"] + 24, steps=3)
    page.mouse.up()
    page.wait_for_timeout(1000)
    return any("'jaw'" in line for line in edits(page))


def test_blocks_of_lips_words_and_the_face_in_the_picture_are_moved(tab: Tab) -> None:
    page = open_editor(tab)
    page.click("#example")
    page.wait_for_selector(".block.closed")
    page.click(".block.tuck >> nth=0")
    page.click("#close_here")
    page.wait_for_selector("#edits code:has-text('closure')")
    page.click("#rounder")
    page.wait_for_selector("#edits code:has-text('shift_curve')")
    page.check("#handles-shown")
    wait_until(lambda: chin_dragged(page), "the chin is dragged")
    if find_library("espeak-ng") is None:
        return
    page.click("#face-tools summary")
    page.fill("#transcript", "Hello! I am only a photograph, but now I can speak.")
    page.click("#align")
    page.wait_for_selector(".block.word >> text=only", state="attached")
    before = len(edits(page))
    page.focus(".block.word")
    page.keyboard.press("Alt+ArrowRight")
    count(tab, before + 6)  # each curve of the mouth, as one step
    page.press("body", "Control+z")
    count(tab, before)


def test_touch_zooms_and_shows_points_on_a_phone(open_tab: Callable[..., Tab]) -> None:
    tab = open_tab(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = open_editor(tab)
    page.tap("#example")
    page.wait_for_selector(".key")
    assert page.locator(".key").count() > 3
    first = page.get_attribute(".key:last-child", "aria-label")
    page.evaluate(
        """() => {
        const wave = document.querySelector('#wave'), box = wave.getBoundingClientRect()
        const send = (kind, id, x) => wave.dispatchEvent(new PointerEvent(kind, { pointerId: id, pointerType: 'touch',
            clientX: box.left + x, clientY: box.top + 20, bubbles: true }))
        wave.setPointerCapture = () => {}
        send('pointerdown', 11, 100); send('pointerdown', 12, 140)
        send('pointermove', 12, 240); send('pointermove', 11, 40)
        send('pointerup', 11, 40); send('pointerup', 12, 240)
    }"""
    )
    assert page.get_attribute(".key:last-child", "aria-label") != first
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_render_button_is_seen_on_a_small_laptop(tab: Tab, head_file: Path, voice_file: Path) -> None:
    tab.page.set_viewport_size({"width": 1366, "height": 768})
    box = enter(tab, head_file, voice_file).locator("#render").bounding_box()
    assert box["y"] + box["height"] <= 768

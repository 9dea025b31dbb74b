"""Waiting times of the web page in a real browser: until the example plays, and until the frame at the cursor is shown.

Needs chromium and the `web` extra; run from the repository: `python benchmarks/web.py`.
"""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.web_browser import Tab, running_browser, running_server

PLAYS = "document.querySelector('#jobs video')?.currentTime > 0.05"
PLAYED = """async () => {
    const began = performance.now(), frame = document.querySelector('#frame')
    const shown = new Promise((done) => {
        new MutationObserver(done).observe(frame, { attributeFilter: ["data-shown"] })
    })
    document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }))
    await shown; await frame.decode()
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)))
    return performance.now() - began
}"""
"""Milliseconds from a key press to the painted frame, measured in the page."""


def until_it_plays(tab: Tab) -> float:
    """Seconds from opening the page to a playing video of the example, 6.5 s long."""
    began = time.monotonic()
    page = tab.open("/")
    page.wait_for_selector("#generate")
    page.click("#example")
    tab.until(PLAYS)
    waited = time.monotonic() - began
    tab.context.close()
    return round(waited, 1)


def until_it_shows(page: Any, steps: int = 60) -> str:
    """Milliseconds from moving the cursor to the frame on the screen: median, and the three longest."""
    waits = sorted(page.evaluate(PLAYED) for _ in range(steps))
    return f"median {statistics.median(waits):.0f}, longest {', '.join(f'{wait:.0f}' for wait in waits[-3:][::-1])}"


def main() -> None:
    """Print the figures."""
    with running_server() as address, running_browser() as browser:
        time.sleep(10)  # the worker loads the engine meanwhile
        plays = [until_it_plays(Tab(browser, address)) for _ in range(3)]
        print(f"page opened -> video plays, s: {plays}, longest {max(plays)}")
        began = time.monotonic()
        page = Tab(browser, address).open("/editor")
        page.wait_for_selector("body[data-ready]")
        page.click("#example")
        page.wait_for_selector("#frame[data-shown]")
        print(f"editor opened -> first frame, s: {time.monotonic() - began:.1f}")
        print(f"face: cursor moved -> frame shown, ms: {until_it_shows(page)}")
        began = time.monotonic()
        page.press("body", "h")
        page.wait_for_selector("#frame[data-kind=hands]")
        print(f"switch -> hands shown, s: {time.monotonic() - began:.1f}")
        print(f"hands: cursor moved -> frame shown, ms: {until_it_shows(page)}")


if __name__ == "__main__":
    main()

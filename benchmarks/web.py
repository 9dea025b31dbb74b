"""How long a user of the web page waits, in a real browser: until a video plays, until the frame at the cursor shows.

Needs chromium and the `web` extra; run from the repository: `python benchmarks/web.py`.
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from echomimic.apps.demo import demo_portrait, demo_voice
from web_browser import Tab, running_browser, running_server

PLAYS = "document.querySelector('#video video')?.getVideoPlaybackQuality().totalVideoFrames > 1"


def until_it_plays(tab: Tab) -> float:
    """Seconds from opening the page to a playing video of the demo, 6.5 s long."""
    began = time.monotonic()
    page = tab.open("/en/")
    page.set_input_files("#portrait input[type=file]", demo_portrait())
    page.set_input_files("#voice input[type=file]", demo_voice())
    page.wait_for_selector("#voice-look p")
    page.click("#generate")
    tab.until(PLAYS)
    waited = time.monotonic() - began
    tab.context.close()
    return round(waited, 1)


def until_it_shows(tab: Tab) -> list[int]:
    """Milliseconds from moving the cursor to the frame on the screen, forty times."""
    page = tab.open("/editor")
    page.click("#example")
    page.wait_for_selector("#frame[data-shown]")
    waits = []
    for step in range(1, 41):
        page.press("body", "ArrowRight")
        tab.until(f"document.querySelector('#frame').dataset.shown == '{step}'")
        waits.append(int(page.get_attribute("#frame", "data-ms")))
    return waits


def main() -> None:
    """Print the figures."""
    with running_server() as address, running_browser() as browser:
        time.sleep(10)  # the server loads its libraries beside
        print("page opened -> video plays, s:", [until_it_plays(Tab(browser, address)) for _ in range(3)])
        waits = until_it_shows(Tab(browser, address))
        print(f"cursor moved -> frame shown, ms: median {statistics.median(waits):.0f}, longest {max(waits)}")


if __name__ == "__main__":
    main()

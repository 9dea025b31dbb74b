"""The page, the editor and their server in a real browser: bytes, memory, processor time, waiting times, a crash.

Needs chromium and the `web` extra; run from the repository: `python benchmarks/web.py [ROW...]`, where a row is the
name of a function below; all by default. Latencies depend on what else the machine does: its load is printed.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from echomimic.data import demo_portrait, demo_voice
from helpers.web_browser import Tab, WebServer, ask, delete_jobs, jobs_of, running_browser, running_server

PLAYS = "document.querySelector('#jobs video')?.currentTime > 0.05"
MOVED = """async (key) => {
    const began = performance.now(), frame = document.querySelector('#frame')
    const shown = new Promise((done) => {
        new MutationObserver(done).observe(frame, { attributeFilter: ["data-shown"] })
    })
    document.body.dispatchEvent(new KeyboardEvent('keydown', { ...key, bubbles: true }))
    await shown; await frame.decode()
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)))
    return performance.now() - began
}"""
"""Milliseconds from a press of a key to the painted frame, measured in the page."""
WAYS: dict[str, tuple[dict[str, object], ...]] = {
    "frame by frame": ({"key": "ArrowRight"},),
    "jumps": ({"key": "ArrowRight", "shiftKey": True}, {"key": "ArrowLeft"}),
}
RATE, LATENCY = 50_000, 400
"""Bytes a second and milliseconds of a slow connection."""
LOAD = 10
ROUNDS = 30
"""Editors that are opened one after another for the memory."""


def cpu_seconds(process: int) -> float:
    """Processor time of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def megabytes(process: int) -> int:
    """Resident memory of a process."""
    line = next(each for each in Path(f"/proc/{process}/status").read_text().splitlines() if each.startswith("VmRSS"))
    return round(int(line.split()[1]) / 1024)


@contextmanager
def served(*extra: str, command: str = "web") -> Iterator[WebServer]:
    """A server of its own for one figure."""
    server = WebServer(*extra, command=command)
    try:
        yield server
    finally:
        server.stop()


def first_page() -> None:
    """Requests and bytes of the first page, and seconds until it can be used over a slow connection."""
    with running_server() as address, running_browser() as browser:
        for rate, latency in ((-1, 0), (RATE, LATENCY)):
            tab = Tab(browser, address)
            network = tab.context.new_cdp_session(tab.page)
            sizes: list[float] = []
            network.on("Network.loadingFinished", lambda event, sizes=sizes: sizes.append(event["encodedDataLength"]))
            network.send("Network.enable")
            given = {"offline": False, "latency": latency, "downloadThroughput": rate, "uploadThroughput": rate}
            network.send("Network.emulateNetworkConditions", given)
            began = time.monotonic()
            page = tab.open("/")
            page.wait_for_selector("#generate:has-text('Generate')")
            tab.until("document.querySelector('#preset').options.length > 1")
            usable = time.monotonic() - began
            page.wait_for_load_state("networkidle")
            said = f"{len(sizes)} requests, {sum(sizes) / 1000:.0f} KB, usable after {usable:.1f} s"
            print(f"first page{f' at {rate // 1000} KB/s and {latency} ms' if latency else ''}: {said}")
            tab.context.close()


def start() -> None:
    """Processor time from the start of the command to its first answer, and memory of the idle server.

    `web` loads the libraries of live sessions where they are installed; `serve` does so with `--live`.
    """
    for command in ("serve", "serve", "serve", "web"):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder, served("--data", folder, command=command) as server:
            ask(f"{server.address}/")
            used, waited = cpu_seconds(server.process.pid), time.monotonic() - began
            time.sleep(5)
            idle = megabytes(server.process.pid)
            print(f"{command}, start -> first answer: {used:.2f} s of processor time, {waited:.1f} s; idle {idle} MB")


def playing() -> None:
    """Seconds from opening the page to a playing video of the example, 6.5 s long, with a worker that is ready."""
    with running_server() as address, running_browser() as browser:
        time.sleep(15)  # the worker loads the engine meanwhile
        for _ in range(3):
            tab = Tab(browser, address)
            began = time.monotonic()
            page = tab.open("/")
            page.wait_for_selector("#generate")
            page.click("#example")
            tab.until(PLAYS)
            print(f"page opened -> example plays: {time.monotonic() - began:.1f} s")
            tab.context.close()


def cursor() -> None:
    """Milliseconds from moving the cursor to the painted frame, as the machine is and with `LOAD` busy processes.

    Frame by frame, where the page asks for the next one beforehand, and by jumps to and fro.
    """
    with running_server() as address, running_browser() as browser:
        for kind, load in (("face", 0), ("face", LOAD), ("hands", 0), ("hands", LOAD)):
            for way, keys in WAYS.items():
                tab = Tab(browser, address)  # with a session of its own, whose frames the browser has not seen
                page = tab.open("/editor")
                page.wait_for_selector("body[data-ready]")
                page.click("#example")
                page.wait_for_selector("#frame[data-shown]")
                if kind == "hands":
                    page.press("body", "h")
                    page.wait_for_selector("#frame[data-kind=hands]")
                busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(load)]
                try:
                    print(f"{kind}, {way}, {load} busy processes: cursor -> frame: {_moves(page, keys)}")
                finally:
                    for each in busy:
                        each.kill()
                        each.wait()
                tab.context.close()


def _moves(page: Any, keys: tuple[dict[str, object], ...], steps: int = 30) -> str:
    waits = sorted(page.evaluate(MOVED, keys[step % len(keys)]) for step in range(steps))
    tenth = waits[round(0.9 * steps)]
    return f"median {statistics.median(waits):.0f} ms, 90 % within {tenth:.0f} ms, load {os.getloadavg()[0]:.0f}"


def crash() -> None:
    """Seconds until the page says that its server was killed in mid-render, and until the video continues."""
    with running_browser() as browser:
        server = WebServer()
        port = int(server.address.rpartition(":")[2])
        tab = Tab(browser, server.address)
        page = tab.open("/")
        page.wait_for_selector("#generate")
        page.click("#example")
        page.wait_for_selector("#jobs progress[value]")
        server.kill()
        began = time.monotonic()
        page.wait_for_selector("#offline:not([hidden])")
        said = time.monotonic() - began
        server = WebServer(port=port)
        began = time.monotonic()
        page.wait_for_selector("#offline", state="hidden")
        back = time.monotonic() - began
        tab.until(PLAYS)
        print(
            f"killed in mid-render -> said {said:.1f} s; back -> noticed {back:.1f} s; the video is finished and plays"
        )
        tab.context.close()
        server.stop()


def use() -> None:
    """Memory of the server in the use of 45 minutes, without the pauses: editors stay open, videos are rendered.

    Prints what is left afterwards: lines of the log, and folders in the server's data once its jobs are deleted.
    """
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w") as log:
        server = WebServer("--data", f"{folder}/data", log=log)
        began, sizes = time.monotonic(), [megabytes(server.process.pid)]
        for number in range(ROUNDS):
            _use_editor(server.address, number, watch=lambda: sizes.append(megabytes(server.process.pid)))
        renders, minutes = len(jobs_of(server.address)), (time.monotonic() - began) / 60
        shown = ", ".join(str(each) for each in sizes[:: max(1, len(sizes) // 15)])
        print(f"{ROUNDS} editors left open in {minutes:.1f} min, {renders} renders: {shown} MB, highest {max(sizes)}")
        while any(job["state"] in ("queued", "running") for job in jobs_of(server.address)):
            time.sleep(1)
        print(f"all rendered: {[job['state'] for job in jobs_of(server.address)].count('succeeded')} of {renders}")
        delete_jobs(server.address)
        server.stop()
        left = [each.name for each in Path(folder, "data").rglob("*") if each.is_file()]
        print(f"log: {Path(folder, 'log').read_text().splitlines() or 'empty'}; files left: {left}")


def _use_editor(address: str, number: int, watch: Callable[[], None]) -> None:
    """A video on the page, then an editor: 60 frames, previews, 10 edits, hands, blocks; every third time a render."""
    import httpx

    portrait, voice = _picture(number), demo_voice().read_bytes()
    with httpx.Client(base_url=address, timeout=600) as client:
        client.post("/ui/portraits", files={"portrait": portrait}).raise_for_status()
        client.post("/ui/voices", files={"speech": voice}).raise_for_status()
        name = client.post("/editor/sessions", files={"portrait": portrait, "speech": voice}).json()["id"]
        here = f"/editor/sessions/{name}"
        for path in ("", "/stretches", "/hands", "/voice"):
            client.get(here + path).raise_for_status()
        for frame in random.Random(number).sample(range(160), 60):
            kind = "hands" if frame % 4 == 0 else "face"
            client.get(f"{here}/{kind}/frame/{frame}?close={str(frame % 3 == 0).lower()}").raise_for_status()
            watch()
        for curve in ("jaw", "yaw", "smile", "brow", "blink") * 2:
            edits = {"edits": [{"op": "scale_curve", "curve": curve, "gain": 1.1}], "at": 3}
            for path in ("preview", "edits"):
                client.post(f"{here}/face/{path}", json=edits).raise_for_status()
        client.get(f"{here}/project").raise_for_status()
        if number % 3 == 0:
            client.post(f"{here}/render", json={"options": {"size": "256"}}).raise_for_status()
        watch()


def _picture(number: int) -> bytes:
    """The example's portrait as a photo of another size each time, up to 12 million pixels."""
    import cv2

    side = (512, 1024, 2048, 3464)[number % 4]
    pixels = cv2.resize(cv2.imread(str(demo_portrait())), (side + number, side), interpolation=cv2.INTER_CUBIC)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


ROWS: dict[str, Callable[[], None]] = {each.__name__: each for each in (first_page, start, playing, cursor, crash, use)}


def main() -> None:
    """Print the figures."""
    for name in sys.argv[1:] or ROWS:
        ROWS[name]()


if __name__ == "__main__":
    main()

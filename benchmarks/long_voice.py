"""Peak memory of the whole command, and sound against picture, for long voices.

    python benchmarks/long_voice.py --minutes 1 10 60 180 [--size 256] [--drawn 60]

Each voice is the bundled one over and over, with a click half a second before its end. Prints the peak resident memory
of the command and its anonymous part in MB, relative to the first, the seconds that it took, by how many seconds the
sound of the finished file is longer than its pictures, and by how many the click is late.

With `--drawn N` only the last N seconds of a longer video are drawn by the command. The seconds before lie in a work
folder, as of a render that was cut off, and show a still picture. The command analyzes the whole voice, copies them and
encodes the whole sound, so three hours take minutes instead of an hour.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from echomimic import api
from echomimic.data import demo_portrait
from echomimic.media import write_clip
from echomimic.media.segments import Segment, segment_start
from echomimic.options import USUAL_WORK
from echomimic.work import open_work
from memory import repeat_voice

CLICK = 0.5
"""Seconds of the click before the end."""
PROGRAM = """
import re, sys, threading, time
from pathlib import Path
from echomimic.apps.cli.main import main

def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def watch():
    while True:
        peak[0] = max(peak[0], memory("RssAnon"))
        time.sleep(0.05)

peak = [0]
threading.Thread(target=watch, daemon=True).start()
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
print(memory("VmHWM"), peak[0])
"""


class FirstSegment:
    """A store that keeps the first segment in memory."""

    token = "benchmark"

    def __init__(self) -> None:
        self.segment: Segment | None = None

    def load(self, number: int) -> None:
        """Nothing is stored."""

    def save(self, number: int, segment: Segment) -> None:
        """Keep it."""
        self.segment = segment


def lay_down(voice: Path, video: Path, size: int, drawn: int) -> None:
    """Make a work folder that lacks only the last seconds of the video, with one still picture in all others."""
    run = api._prepare(demo_portrait(), voice, None, "mesh", None, None, None, {"size": size})
    fps, store = run.render.fps, FirstSegment()
    picture = np.ascontiguousarray(run.render.crop.cut(api._read(demo_portrait(), voice, None)[0].pixels))
    write_clip(video.with_name("still.mp4"), iter([picture] * segment_start(1, fps)), fps, None, {}, store=store)
    folder = open_work(video, api._record(run), USUAL_WORK)
    assert folder is not None and store.segment is not None
    for number in range(folder.segments - drawn):
        first = segment_start(number, fps)
        packets = [(data, pts + first, dts + first, key) for data, pts, dts, key in store.segment.packets]
        segment = replace(store.segment, packets=packets)
        (folder.path / f"segment-{number:06d}.npz").write_bytes(segment.to_bytes())
    folder._lock.close()


def lengths(path: Path) -> tuple[float, float]:
    """Seconds of pictures and of sound: where the last packet of each stream ends."""
    ends = {"video": 0.0, "audio": 0.0}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pts is not None and packet.time_base is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                ends[packet.stream.type] = max(ends[packet.stream.type], end)
    return ends["video"], ends["audio"]


def find_click(path: Path, near: float) -> float:
    """The time in seconds of the loudest sample within a second."""
    best = (0.0, 0.0)
    with av.open(str(path)) as container:
        container.seek(int((near - 2) * av.time_base))
        for frame in container.decode(audio=0):
            if frame.time is not None and abs(frame.time - near) < 1:
                samples = np.abs(frame.to_ndarray()[0])
                best = max(best, (float(samples.max()), frame.time + int(samples.argmax()) / frame.sample_rate))
    return best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--drawn", type=int)
    chosen = parser.parse_args()
    first: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in chosen.minutes:
            voice, video = Path(folder) / "voice.wav", Path(folder) / "out.mp4"
            click = minutes * 60 - CLICK
            repeat_voice(voice, minutes * 60, click)
            if chosen.drawn and chosen.drawn < minutes * 60:
                lay_down(voice, video, chosen.size, chosen.drawn)
            line = ["animate", str(demo_portrait()), str(voice), "-o", str(video), "--preset", "mesh"]
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, *line, "--size", str(chosen.size)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            took = time.monotonic() - began
            peaks = [int(number) for number in done.stdout.split()[-2:]]
            first = first or peaks
            pictures, sound = lengths(video)
            print(
                f"{minutes} min: peak {peaks[0] / 1024:.0f} MB ({peaks[0] / first[0]:.3f}), anonymous "
                f"{peaks[1] / 1024:.0f} MB ({peaks[1] / first[1]:.3f}), {took:.0f} s, pictures {pictures:.3f} s, "
                f"sound {sound - pictures:+.3f} s, click {find_click(video, click) - click:+.4f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()

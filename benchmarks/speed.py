"""How fast the mesh engine is: frames per CPU-second, against one remap, and the whole command from a cold start."""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np

from echomimic.mesh.engine import MeshEngine
from echomimic.options import make_options
from echomimic.types import Picture, Portrait
from samples import SHARED, demo_voice, portraits, voices

SIZE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    for framing in ("crop", "full"):
        speeds = [render_speed(person, framing) for person in portraits()]
        print(
            f"rendering {SIZE}, framing {framing}: median {statistics.median(speeds):.0f} frames per CPU-second,",
            end=" ",
        )
        print(", ".join(f"{speed:.0f}" for speed in speeds))
    costs = np.array([against_remap(person) for person in portraits()])
    ours, remap, encoder = np.median(costs, 0)
    print(
        f"CPU ms a frame at {SIZE}: ours {ours:.2f}, one linear remap {remap:.2f}, x264 veryfast {encoder:.2f};",
        end=" ",
    )
    print(f"(ours + encoder) / (remap + encoder) = {(ours + encoder) / (remap + encoder):.2f}")
    command(given.runs)


def against_remap(person: Portrait, frames: int = 50, rounds: int = 3) -> tuple[float, float, float]:
    """CPU milliseconds a frame: ours, one `cv2.remap` of the picture, and the encoder; the least of a few rounds."""
    engine = MeshEngine()
    options = make_options({"size": SIZE, "framing": "crop"})
    scene = engine.prepare_portrait(person, options).scene
    rows = engine.prepare(person, voices()[0], None, options).curves.values[:frames]
    pixels = [scene.frame(row) for row in rows]
    at = np.stack(np.meshgrid(*(np.arange(SIZE, dtype=np.float32) + 0.4,) * 2), -1)
    works: tuple[Callable[[], object], ...] = (
        lambda: [scene.frame(row) for row in rows],
        lambda: [cv2.remap(scene.pixels, at, None, cv2.INTER_LINEAR) for _ in rows],  # type: ignore[call-overload]
        lambda: encode(pixels),
    )
    found = np.array([[_cpu_seconds(work) for work in works] for _ in range(rounds)])
    ours, remap, encoder = (1000 * found.min(0) / len(rows)).tolist()
    return ours, remap, encoder


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def encode(frames: list[Picture]) -> None:
    """Encode frames with x264 veryfast on one thread, to nowhere."""
    with av.open(io.BytesIO(), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=25, options={"preset": "veryfast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def render_speed(person: Portrait, framing: str, seconds: float = 4.0) -> float:
    """Frames per CPU-second of `Renderer.frame` alone, layering on."""
    engine = MeshEngine()
    options = make_options({"size": SIZE, "framing": framing})
    scene = engine.prepare_portrait(person, options).scene
    rows = engine.prepare(person, voices()[0], None, options).curves.values[: round(seconds * 25)]
    scene.frame(rows[0])
    began = time.process_time()
    for row in rows:
        scene.frame(row)
    return len(rows) / (time.process_time() - began)


def command(runs: int) -> None:
    """Wall and CPU time of `echomimic animate` on six seconds of speech."""
    picture = SHARED / "data" / "portraits" / "woman_0033.png"
    if not picture.exists():
        print("the whole command: skipped, it needs the sample portraits")
        return
    wall, cpu = [], []
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "echomimic", "animate", str(picture), str(demo_voice())]
        line += ["-o", str(Path(folder) / "out.mp4"), "--size", str(SIZE), "--framing", "crop", "--frames", "150"]
        for _ in range(runs):
            began, before = time.monotonic(), os.times()
            subprocess.run(line, check=True, capture_output=True)
            after = os.times()
            wall.append(time.monotonic() - began)
            cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
    spread = np.ptp(wall)
    print(f"the whole command: median {statistics.median(wall):.2f} s wall (spread {spread:.2f}),", end=" ")
    print(f"{statistics.median(cpu):.2f} s CPU, {runs} runs, {os.cpu_count()} cores")


if __name__ == "__main__":
    main()

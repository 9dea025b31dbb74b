"""How fast the mesh engine is: frames per CPU-second, and the whole command from a cold start."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from echomimic.mesh.engine import MeshEngine
from echomimic.options import make_options
from echomimic.types import Portrait
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
    command(given.runs)


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

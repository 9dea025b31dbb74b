"""Measure one clip by two processes against one, each process on one core.

    python benchmarks/ranks.py [--rounds 5] [--frames 147] [--steps 3]

Renders with tiny at 64 x 64 without guidance, networks loaded before; one process and two take turns. Prints by round
how many times as long one process takes as two: on the clock, and in CPU time of the busier process, which other work
on the machine does not change.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from echomimic import api
from echomimic.data import demo_portrait, demo_voice


def work(frames: int, steps: int) -> None:
    """Render once for each line of stdin; print the seconds on the clock and of CPU time."""
    import torch

    from echomimic.diffusion.engine import DiffusionEngine

    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    torch.set_num_threads(1)
    engine = api.load("tiny", "cpu", ranks=True)
    assert isinstance(engine, DiffusionEngine)
    engine.networks(torch.device("cpu"), torch.float32)
    portrait, voice = demo_portrait(), demo_voice()
    with tempfile.TemporaryDirectory() as folder:
        for _ in sys.stdin:
            began, cpu = time.monotonic(), time.process_time()
            given = {"size": 64, "frames": frames, "steps": steps, "guidance_scale": 1.0, "engine": engine}
            if rank == 0:
                api.animate(portrait, voice, output=Path(folder) / "clip.mp4", **given)  # type: ignore[arg-type]
                if count > 1:
                    api.dismiss()
            else:
                api.assist(portrait, voice, **given)  # type: ignore[arg-type]
            print(time.monotonic() - began, time.process_time() - cpu, flush=True)


def start(count: int, options: list[str]) -> "list[subprocess.Popen[str]]":
    """Start `count` processes that wait for work."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        given = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(listener.getsockname()[1])}
    return [
        subprocess.Popen(
            [sys.executable, __file__, "--work", *options],
            env={**os.environ, **given, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(count)
    ]


def render(processes: "list[subprocess.Popen[str]]") -> tuple[float, float]:
    """Render once; the most seconds on the clock and of CPU time of a process."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    found = []
    for process in processes:
        assert process.stdout is not None
        found.append([float(text) for text in process.stdout.readline().split()])
    return max(wall for wall, _ in found), max(cpu for _, cpu in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=147)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.frames, given.steps)
        return
    options = ["--frames", str(given.frames), "--steps", str(given.steps)]
    one, two = start(1, options), start(2, options)
    ratios: list[tuple[float, float]] = []
    for number in range(given.rounds + 1):
        (wall, cpu), (wall_of_two, cpu_of_two) = render(one), render(two)
        if number:  # the first round warms up
            ratios.append((wall / wall_of_two, cpu / cpu_of_two))
            print(f"{ratios[-1][0]:.2f} on the clock, {ratios[-1][1]:.2f} in CPU time", flush=True)
    for process in (*one, *two):
        process.communicate()
    clock, cpu = (median(column) for column in zip(*ratios, strict=True))
    print(f"medians: {clock:.2f} on the clock, {cpu:.2f} in CPU time")


if __name__ == "__main__":
    main()

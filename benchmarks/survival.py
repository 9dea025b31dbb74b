"""Kill renders at random moments, go on with them, and compare; measure what keeping the finished part costs.

python benchmarks/survival.py [--kills 20] [--preset mesh] [--size 256] [--runs 4]
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from echomimic import api
from echomimic.data import demo_portrait, demo_voice
from echomimic.files import work_path
from echomimic.options import WorkOptions
from echomimic.replay import compare_videos


def kill_and_go_on(command: list[str], output: Path, whole: Path, seconds: float) -> bool:
    """Kill the command after a random time and run it again; whether all frames are those of `whole`."""
    output.unlink(missing_ok=True)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        time.sleep(random.uniform(0, seconds))
        process.kill()
    subprocess.run(command, check=True, capture_output=True)
    return compare_videos(whole, output)[0] is None


def overhead(folder: Path, preset: str, size: int, runs: int) -> tuple[float, float]:
    """CPU time with a work folder relative to that without, runs alternating; bytes kept relative to the video."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    output = folder / "cost.mp4"
    for number in range(2 * runs + 2):
        keeps = number % 2 == 1
        shutil.rmtree(work_path(output), ignore_errors=True)
        began = time.process_time()
        work = WorkOptions(keep=True) if keeps else None
        api.animate(demo_portrait(), demo_voice(), output=output, preset=preset, size=size, work=work, workers=1)
        if number > 1:  # the first pair warms up
            seconds[keeps].append(time.process_time() - began)
    kept = sum(path.stat().st_size for path in work_path(output).iterdir())
    return median(seconds[True]) / median(seconds[False]), kept / output.stat().st_size


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--preset", default="mesh")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--runs", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        whole, output = Path(name) / "whole.mp4", Path(name) / "killed.mp4"
        start = [sys.executable, "-m", "echomimic", "animate", str(demo_portrait()), str(demo_voice())]
        end = ["--preset", given.preset, "--size", str(given.size)]
        began = time.monotonic()
        subprocess.run([*start, "-o", str(whole), *end], check=True, capture_output=True)
        seconds = time.monotonic() - began
        same = sum(
            kill_and_go_on([*start, "-o", str(output), *end], output, whole, seconds) for _ in range(given.kills)
        )
        print(f"killed at a random moment, then the same frames: {same} of {given.kills}", flush=True)
        cpu, disk = overhead(Path(name), given.preset, given.size, given.runs)
        print(f"CPU with a work folder: {cpu:.3f} times that without; its size: {disk:.2f} of the video's")


if __name__ == "__main__":
    main()

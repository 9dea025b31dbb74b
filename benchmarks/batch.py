"""Measure `echomimic batch` against a loop of commands, and Ray against processes.

    python benchmarks/batch.py [--clips 200] [--loop 20] [--ray]

Clips of two seconds with mesh at 256 x 256, each with another seed. Prints for each way the clips a second on the clock
and a CPU second, and from the first to the last result, which leaves out the start.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from echomimic.data import demo_portrait, demo_voice

FLAGS = ["--preset", "mesh", "--size", "256", "--frames", "50"]


def measure(name: str, commands: list[list[str]], clips: int) -> None:
    """Run commands one after the other and print the rates."""
    before, began, first = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic(), None
    last, done = 0.0, 0
    for command in commands:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                event = json.loads(line) if line.startswith("{") else {}
                if event.get("event") == "progress" and len(commands) == 1:
                    last, done = time.monotonic(), event["done"]
                    first = first or (last, done)
        assert process.returncode == 0, command
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    steady = f", {(done - first[1]) / (last - first[0]):.2f} after the first result" if first else ""
    print(f"{name}: {clips / took:.2f} clips a second, {clips / cpu:.2f} a CPU second{steady}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--loop", type=int, default=20)
    parser.add_argument("--ray", action="store_true")
    given = parser.parse_args()
    program = [sys.executable, "-m", "echomimic"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [f"{demo_portrait()},{demo_voice()},{number}.mp4,256,50,{number}" for number in range(given.clips)]
        (folder / "clips.csv").write_text("\n".join(["portrait,speech,output,size,frames,seed", *rows]) + "\n")
        animate = [*program, "animate", str(demo_portrait()), str(demo_voice()), *FLAGS, "--json"]
        loop = [[*animate, "--seed", str(n), "-o", str(folder / f"loop{n}.mp4")] for n in range(given.loop)]
        measure("loop of commands", loop, given.loop)
        batch = [*program, "batch", str(folder / "clips.csv"), "--preset", "mesh", "--workers", "2", "--json", "-o"]
        measure("batch --workers 2", [[*batch, str(folder / "processes")]], given.clips)
        if given.ray:
            measure("batch --workers 2 --ray local", [[*batch, str(folder / "ray"), "--ray", "local"]], given.clips)


if __name__ == "__main__":
    main()

"""Compare the cold `animate` command of two installed versions, run in turn.

    python benchmarks/cold.py OLD/bin/echomimic NEW/bin/echomimic --portrait face.png --speech voice.wav --runs 5

Prints the medians of CPU seconds (user and system) and of wall seconds of each, and the ratios new / old. POSIX only.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs=2, metavar="COMMAND", help="the echomimic command of the old, then the new")
    parser.add_argument("--portrait", required=True)
    parser.add_argument("--speech", required=True, help="about 6 seconds of speech")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    measured: list[list[tuple[float, float]]] = [[], []]
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.runs):
            for command, times in zip(given.commands, measured, strict=True):
                times.append(_run([command, "animate", given.portrait, given.speech, "-o", str(Path(folder, "o.mp4"))]))
    for column, name in enumerate(("CPU", "wall")):
        old, new = (median(row[column] for row in times) for times in measured)
        print(f"{name}: {old:.2f} s, {new:.2f} s, ratio {new / old:.3f}")


def _run(arguments: list[str]) -> tuple[float, float]:
    """CPU seconds and wall seconds of a command."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(arguments, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system, wall


if __name__ == "__main__":
    main()

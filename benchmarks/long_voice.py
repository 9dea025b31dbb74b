"""Peak memory of the whole command, and sound against picture, for long voices.

    python benchmarks/long_voice.py --minutes 1 10 60 180 [--size 256]

Each voice is the bundled one over and over. Prints the peak memory in MB, relative to the first, the seconds that it
took, and by how many seconds the sound of the finished file is longer than its pictures.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

from echomimic.data import demo_portrait
from memory import PROGRAM, repeat_voice


def lengths(path: Path) -> tuple[float, float]:
    """Seconds of pictures and of sound: where the last packet of each stream ends."""
    ends = {"video": 0.0, "audio": 0.0}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.pts is not None and packet.time_base is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                ends[packet.stream.type] = max(ends[packet.stream.type], end)
    return ends["video"], ends["audio"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--size", type=int, default=256)
    chosen = parser.parse_args()
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in chosen.minutes:
            voice, video = Path(folder) / "voice.wav", Path(folder) / "out.mp4"
            repeat_voice(voice, minutes * 60)
            line = ["animate", str(demo_portrait()), str(voice), "-o", str(video), "--preset", "mesh"]
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, *line, "--size", str(chosen.size)],
                check=True,
                capture_output=True,
                text=True,
            )
            took = time.monotonic() - began
            peaks.append(int(done.stdout.split()[-1]) / 1024)
            pictures, sound = lengths(video)
            print(
                f"{minutes} min: peak {peaks[-1]:.0f} MB ({peaks[-1] / peaks[0]:.3f}), {took:.0f} s, "
                f"pictures {pictures:.3f} s, sound {sound - pictures:+.3f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()

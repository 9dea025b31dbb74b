"""How soon live video plays after a POST, and the memory of an idle server.

python benchmarks/rest_first_bytes.py [--runs 5]
"""

import argparse
import tempfile
import time
from io import BytesIO
from pathlib import Path
from statistics import median

import av

from echomimic.data import demo_portrait, demo_voice
from rest_started import Started, started


def playable(data: bytes) -> bool:
    """Whether a player could show a frame of this."""
    try:
        with av.open(BytesIO(data)) as container:
            return next(container.decode(video=0), None) is not None
    except (av.error.FFmpegError, StopIteration):
        return False


def first_playable(server: Started) -> tuple[float, float, float]:
    """Seconds from the start of the POST to its answer, to the first bytes, to the first that can be decoded."""
    client, began = server.client, time.monotonic()
    job = client.animate(demo_portrait(), demo_voice())
    answered = time.monotonic() - began
    first, data = 0.0, b""
    for piece in client.live(job):
        first = first or time.monotonic() - began
        data += piece
        if playable(data):
            break
    seen = time.monotonic() - began
    client.wait(job)
    return answered, first, seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as server:
        time.sleep(2)
        server.client._json("GET", "/healthz")
        print(f"idle server: {server.resident_mb():.0f} MB, workers {server.children_mb():.0f} MB (asked: 150)")
        answered, first, seen = first_playable(server)
        print(f"first job, no engine loaded yet: answer {answered:.2f} s, bytes {first:.2f} s, playable {seen:.2f} s")
        found = [first_playable(server) for _ in range(runs)]
        for name, values in zip(("answer", "first bytes", "playable"), zip(*found, strict=True), strict=True):
            print(f"{name}: median {median(values):.2f} s, worst {max(values):.2f} s (asked: 1.5)")
        print(f"after {runs + 1} jobs: {server.resident_mb():.0f} MB, workers {server.children_mb():.0f} MB")


if __name__ == "__main__":
    main()

"""A hundred clients at once, each a thread that uploads, polls and downloads: what is lost, and what fails.

python benchmarks/rest_load.py [--clients 100] [--seconds 60]

Only to this machine: the server is started here, on loopback, and stopped at the end.
"""

import argparse
import random
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from echomimic.client import ServerError
from echomimic.data import demo_voice
from rest_started import Started, small_portrait, started

FRAMES = 10
FINAL = ("succeeded", "failed", "cancelled")


@dataclass
class Tally:
    """What all clients saw."""

    answers: Counter[str] = field(default_factory=Counter)
    jobs: list[Any] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def timed(self, name: str, call: Any, *given: Any, **fields: Any) -> Any:
        """Make a call and count how it went; None where it was refused."""
        began, result, how = time.monotonic(), None, "ok"
        try:
            result = call(*given, **fields)
        except ServerError as refused:
            how = str(refused.status or "no answer")
            if refused.status >= 500 or not refused.status:
                self.faults.append(f"{name}: {refused}")
        with self.lock:
            self.answers[f"{name} {how}"] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
        return result


def one_client(server: Started, portrait: Path, folder: Path, until: float, tally: Tally) -> None:
    """Submit a job, poll it until it has ended, download it; again and again."""
    client, chance = server.client, random.Random(threading.get_ident())
    while time.monotonic() < until:
        job = tally.timed("post", client.animate, portrait, demo_voice(), size=64, frames=FRAMES, preset="mesh")
        if job is None:
            time.sleep(chance.uniform(0.5, 1.5))
            continue
        tally.jobs.append(job)
        while job and job["state"] not in FINAL and time.monotonic() < until:
            time.sleep(chance.uniform(0.1, 0.5))
            job = tally.timed("get", client.get, job)
        if job and job["state"] == "succeeded":
            tally.timed("download", client.download, job, folder / f"{job['id']}.mp4")


def drain(server: Started, tally: Tally) -> Counter[str]:
    """Wait for what is still queued; how all jobs ended."""
    ended: Counter[str] = Counter()
    for job in tally.jobs:
        try:
            now = server.client.get(job)
            while now["state"] not in FINAL:
                time.sleep(0.2)
                now = server.client.get(job)
            whole = now["state"] == "succeeded" and now["result"]["frames"] == FRAMES
            ended["whole" if whole else now["state"]] += 1
        except ServerError as lost:
            ended[f"lost ({lost.status})"] += 1
    return ended


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory() as scratch, started(Path(scratch) / "data") as server:
        portrait, until = small_portrait(Path(scratch)), time.monotonic() + given.seconds
        threads = [
            threading.Thread(target=one_client, args=(server, portrait, Path(scratch), until, tally))
            for _ in range(given.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ended = drain(server, tally)
        total = sum(tally.answers.values())
        print(f"{given.clients} clients, {given.seconds:.0f} s: {total} requests, {total / given.seconds:.0f} a second")
        print(", ".join(f"{name}: {count}" for name, count in sorted(tally.answers.items())))
        print(f"slowest answer {tally.slowest:.2f} s; server {server.resident_mb():.0f} MB")
        print(f"{len(tally.jobs)} jobs: {dict(ended)}; lost {len(tally.jobs) - ended['whole']} (asked: 0)")
        print(f"5xx or no answer: {len(tally.faults)} (asked: 0)", *tally.faults[:5], sep="\n  ")


if __name__ == "__main__":
    main()

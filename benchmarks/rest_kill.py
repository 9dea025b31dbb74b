"""`kill -9` at random moments with jobs queued, running and uploading: which jobs are lost, which files are incomplete.

python benchmarks/rest_kill.py [--kills 10]
"""

import argparse
import random
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import av

from echomimic.client import ServerError
from echomimic.data import demo_voice
from rest_started import Started, small_portrait, started

FRAMES = 40
FINAL = ("succeeded", "failed", "cancelled")


class Clients:
    """Threads that go on asking while servers come and go."""

    def __init__(self, server: Started, portrait: Path, folder: Path) -> None:
        self.server, self.portrait, self.folder = server, portrait, folder
        self.jobs: list[Any] = []
        self.halves: list[str] = []
        self.downloads = 0
        self.over = threading.Event()

    def ask(self) -> None:
        """Ask for jobs, a few at a time."""
        while not self.over.is_set():
            try:
                if sum(job["state"] not in FINAL for job in self.jobs[-12:]) < 8:
                    wanted = {"size": 128, "frames": FRAMES, "preset": "mesh"}
                    self.jobs.append(self.server.client.animate(self.portrait, demo_voice(), **wanted))
            except ServerError:
                pass
            time.sleep(0.1)

    def check_all(self) -> None:
        """Get all jobs, download finished ones and check that they are complete."""
        while not self.over.is_set():
            for place, job in enumerate(list(self.jobs)):
                if job["state"] in FINAL:
                    continue
                try:
                    self.jobs[place] = now = self.server.client.get(job)
                    if now["state"] == "succeeded":
                        self.check(now)
                except ServerError as fault:
                    if fault.status:
                        self.halves.append(f"{job['id']}: {fault}")
            time.sleep(0.2)

    def check(self, job: Any) -> None:
        """A result must have all its frames."""
        path = self.server.client.download(job, self.folder / f"{job['id']}.mp4")
        self.downloads += 1
        with av.open(str(path)) as container:
            count = sum(1 for _ in container.decode(video=0))
        if count != FRAMES:
            self.halves.append(f"{job['id']} has {count} frames")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    with tempfile.TemporaryDirectory() as scratch:
        data, clients, threads = Path(scratch) / "data", None, list[threading.Thread]()
        for _ in range(given.kills):
            with started(data, port=port) as server:
                if clients is None:
                    clients = Clients(server, small_portrait(Path(scratch)), Path(scratch))
                    threads = [threading.Thread(target=work) for work in (clients.ask, clients.ask, clients.check_all)]
                    for thread in threads:
                        thread.start()
                pause = chance.uniform(0.2, 9.0)
                time.sleep(pause)
                server.kill()
                print(f"killed after {pause:.1f} s, {len(clients.jobs)} jobs so far")
        assert clients is not None
        with started(data, port=port) as server:
            clients.over.set()
            for thread in threads:
                thread.join()
            clients.over.clear()
            checking = threading.Thread(target=clients.check_all)
            checking.start()
            until = time.monotonic() + 300
            while any(job["state"] not in FINAL for job in clients.jobs) and time.monotonic() < until:
                time.sleep(0.5)
            clients.over.set()
            checking.join()
            report(clients, data)


def report(clients: Clients, data: Path) -> None:
    """Report how every accepted job ended."""
    jobs = clients.jobs
    lost = [job["id"] for job in jobs if job["state"] != "succeeded"]
    again = sum(job["attempt"] > 1 for job in jobs)
    files = {path.name for path in (data / "jobs").rglob("*") if path.is_file()}
    print(f"{len(jobs)} jobs promised, {again} begun more than once, {clients.downloads} downloads checked")
    print(f"lost: {len(lost)} (asked: 0) {lost[:5]}")
    print(f"halves seen: {len(clients.halves)} (asked: 0) {clients.halves[:5]}; files in the end: {files}")


if __name__ == "__main__":
    main()

"""A real `echomimic serve` for measurements: on loopback, in a folder of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from echomimic.client import Client
from echomimic.data import demo_portrait


@dataclass
class Started:
    """A server that runs: its address and its process."""

    address: str
    process: "subprocess.Popen[str]"

    @property
    def client(self) -> Client:
        return Client(self.address, timeout=60, patience=0)

    def kill(self) -> None:
        """Kill the server and its workers (SIGKILL)."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def resident_mb(self) -> float:
        """Memory of the server's process, without its workers."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024

    def children_mb(self) -> float:
        """Memory of its workers."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
        return sum(int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) for text in texts) / 1024


@contextmanager
def started(data: Path, *flags: str, port: int = 0) -> Iterator[Started]:
    """A server for the length of the block."""
    command = [sys.executable, "-m", "echomimic", "serve", "--port", str(port), "--data", str(data), *flags]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://\S+", line)
    if not found:
        raise SystemExit(f"the server has not started: {line}")
    try:
        yield Started(found[0], process)
    finally:
        process.terminate()
        process.wait()


def small_portrait(folder: Path, side: int = 384) -> Path:
    """The portrait of the demo, as small as its face may be."""
    path = folder / f"portrait-{side}.png"
    with Image.open(demo_portrait()) as image:
        image.resize((side, side)).save(path)
    return path

"""A running ComfyUI with our nodes: COMFYUI_DIR is a checkout of it, COMFYUI_PYTHON a Python that can run it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import write_wav

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = os.environ.get("COMFYUI_DIR", "")
PYTHON = os.environ.get("COMFYUI_PYTHON", sys.executable)
START_SECONDS = 180
RUN_SECONDS = 400


@dataclass(frozen=True)
class Server:
    """A running ComfyUI with our nodes; `process` to measure it."""

    url: str
    base: Path
    process: subprocess.Popen[bytes]

    def ask(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def queue(self, prompt: dict[str, Any]) -> str:
        return str(self.ask("/prompt", {"prompt": prompt})["prompt_id"])

    def wait(self, job: str) -> dict[str, Any]:
        """The history of a job that has ended."""
        end = time.monotonic() + RUN_SECONDS
        while time.monotonic() < end:
            found = self.ask(f"/history/{job}")
            if job in found:
                history: dict[str, Any] = found[job]
                return history
            time.sleep(0.2)
        raise TimeoutError(job)

    def megabytes(self, field: str) -> float:
        """VmRSS, the memory now, or VmHWM, its peak since `forget_peak`."""
        words = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").split(f"{field}:")[1].split()
        return int(words[0]) / 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")


@contextmanager
def running_comfyui(base: Path) -> Iterator[Server]:
    """A server whose folders are in `base`, with our pack among its custom nodes."""
    for name in ("input", "output", "models", "custom_nodes", "temp", "user"):
        (base / name).mkdir(exist_ok=True)
    (base / "custom_nodes" / "echomimic").symlink_to(ROOT / "comfyui")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base)]
    command += ["--disable-auto-launch", "--disable-api-nodes"]
    with (base / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=log)
        made = Server(f"http://127.0.0.1:{port}", base, process)
        try:
            _until_up(made)
            yield made
        finally:
            process.terminate()
            process.wait(30)


def _until_up(server: Server) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        try:
            server.ask("/system_stats")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    pytest.fail("ComfyUI did not start:\n" + (server.base / "log.txt").read_text()[-2000:])


def write_voice(path: Path, seconds: float) -> None:
    when = np.arange(round(16_000 * seconds)) / 16_000
    write_wav(path, 0.3 * np.sin(2 * np.pi * 140 * when) * np.sin(np.pi * 4 * when) ** 2)


def graph(version: str, image: str = "head.png", audio: str = "voice.wav", **options: Any) -> dict[str, Any]:
    """A portrait and a voice through the native sampler to SaveVideo, as the API takes it."""
    sampler = {"model": ["3", 0], "image": ["1", 0], "audio": ["2", 0]}
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": image}},
        "2": {"class_type": "LoadAudio", "inputs": {"audio": audio}},
        "3": {"class_type": "EchoMimicLoad", "inputs": {"version": version, "version.workers": 1}},
        "4": {"class_type": "EchoMimicSampler", "inputs": {**sampler, **options}},
        "5": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["4", 0], "filename_prefix": "out", "format": "auto", "format.codec": "auto"},
        },
    }


def defaults(server: Server, name: str) -> dict[str, Any]:
    entries = server.ask(f"/object_info/{name}")[name]["input"]["required"]
    return {key: entry[1]["default"] for key, entry in entries.items() if "default" in entry[1]}


def saved(server: Server, history: dict[str, Any]) -> Path:
    (file,) = history["outputs"]["5"]["images"]
    return server.base / "output" / file["subfolder"] / file["filename"]

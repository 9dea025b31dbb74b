"""A server on loopback for the tests of the HTTP API, in this process, with a fake engine."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from PIL import Image

from echomimic.apps.server import runner
from echomimic.apps.server.app import create_app
from echomimic.apps.server.settings import Settings
from echomimic.client import Client
from helpers.rest_worker import HOLD, release_file
from helpers.waiting import PATIENCE, wait_until

FAKE = (sys.executable, str(Path(__file__).with_name("rest_worker.py")))
FINAL = ("succeeded", "failed", "cancelled")


def png(size: int = 64) -> bytes:
    file = BytesIO()
    Image.fromarray(np.full((size, size, 3), 128, np.uint8)).save(file, "PNG")
    return file.getvalue()


def wav(seconds: float = 1.0) -> bytes:
    samples = (np.sin(np.arange(round(16_000 * seconds)) / 9) * 9000).astype("<i2").tobytes()
    head = b"RIFF" + (36 + len(samples)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    head += (1).to_bytes(2, "little") * 2 + (16_000).to_bytes(4, "little") + (32_000).to_bytes(4, "little")
    return head + b"\x02\x00\x10\x00data" + len(samples).to_bytes(4, "little") + samples


def form(mark: str = "mark", /, **parts: bytes | str) -> tuple[bytes, dict[str, str]]:
    """A multipart body and its headers; bytes are files."""
    body = b""
    for name, value in parts.items():
        file = '; filename="../../etc/passwd"' if isinstance(value, bytes) else ""
        body += f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += (value if isinstance(value, bytes) else value.encode()) + b"\r\n"
    return body + f"--{mark}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={mark}"}


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A server that listens, and a minimal client."""

    port: int
    settings: Settings
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self.port}", next(iter(self.settings.keys), None), timeout=PATIENCE)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def post(self, path: str = "/v1/animations", /, **parts: bytes | str) -> Answer:
        return self.ask("POST", path, *form(**{"portrait": png(), "speech": wav(), **parts}))

    def ended(self, job: Any) -> Any:
        """The job, once it has."""
        return self._once(job, *FINAL)

    def until(self, job: Any, state: str) -> Any:
        """Wait until the job is in this state; fails if it has ended in another one."""
        job = self._once(job, state, *FINAL)
        assert job["state"] == state, job
        return job

    def held(self, frames: int = 100, **parts: bytes | str) -> Any:
        """A job that is running and stays so until it is released, cancelled or deleted."""
        return self.until(self.post(seed=str(HOLD), frames=str(frames), **parts).json, "running")

    def release(self, job: Any) -> None:
        """Let a held job continue."""
        release_file(self.settings.data, job["id"]).touch()

    def _once(self, job: Any, *states: str) -> Any:
        def look() -> Any:
            now = self.ask("GET", job["links"]["self"]).json
            return now if now["state"] in states else None

        return wait_until(look, f"{job['id']} is {' or '.join(states)}")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


@contextmanager
def serving(data: Path, **changes: Any) -> Iterator[Server]:
    """A server for the length of the block."""
    settings = Settings(**{"data": data, "worker_command": FAKE, **changes})
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(runner._config(create_app(settings), settings))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield Server(listener.getsockname()[1], settings)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start(data: Path, port: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-m", "helpers.rest_server", str(data), str(port)], env=environment)

    def answers() -> bool:
        assert process.poll() is None, "the server has not started"
        try:
            return Server(port, Settings(data=data)).ask("GET", "/healthz").status == 200
        except OSError:
            return False

    wait_until(answers, "the server answers")
    return process


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


if __name__ == "__main__":

    def create_with_blocked_route(settings: Settings) -> FastAPI:
        app = create_app(settings)

        @app.get("/healthz/blocked")
        def block() -> None:
            (settings.data / "blocked").touch()
            time.sleep(3600)

        return app

    setattr(runner, "create_app", create_with_blocked_route)  # noqa: B010 - the name is imported there
    own = Settings(data=Path(sys.argv[1]), port=int(sys.argv[2]), worker_command=FAKE)
    runner.run_server(own, lambda _: None)

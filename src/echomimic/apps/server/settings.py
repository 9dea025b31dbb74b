"""What the person who starts the server decides."""

import sys
from dataclasses import dataclass
from pathlib import Path

MB = 1_000_000
WORKER = (sys.executable, "-m", "echomimic.apps.jobs.worker")
"""The command of the process that renders."""


@dataclass(frozen=True)
class Settings:
    """Where jobs live, who may come in, and how much anybody may ask for. Sizes are in bytes, times in seconds."""

    data: Path
    keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1")
    any_host: bool = False
    allow_urls: bool = False
    workers: int = 1
    queue: int = 32
    streams: int = 256
    max_upload: int = 200 * MB
    max_pixels: int = 50_000_000
    max_seconds: float = 600.0
    max_job_seconds: float = 3600.0
    max_disk: int = 20_000 * MB
    spare_disk: int = 500 * MB
    upload_seconds: float = 300.0
    stall_seconds: float = 30.0
    keep_seconds: float = 86_400.0
    remember_seconds: float = 7 * 86_400.0
    idle_seconds: float = 900.0
    warm: bool = False
    crashes: int = 2
    restarts: int = 20
    worker: tuple[str, ...] = WORKER

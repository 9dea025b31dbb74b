"""Where the files of jobs lie. No name from a client ever becomes part of a path: they are fixed words and our ids."""

import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

from echomimic.apps.jobs.store import Job, new_id
from echomimic.apps.server.problems import Problem

INPUTS = ("portrait", "speech", "motion", "video")
"""The files that a client hands in; they have no suffix, since their kind is read from their content."""


class Folders:
    """`jobs/<id>/` for each job, and `incoming/<token>/` for uploads that are under way."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._jobs, self._incoming = self.root / "jobs", self.root / "incoming"
        for folder in (self.root, self._jobs, self._incoming):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(self.root / "lock")

    def close(self) -> None:
        """Let another server have the folder."""
        self._lock.close()

    def of(self, name: str) -> Path:
        """The folder of a job."""
        return self._jobs / name

    def new_upload(self) -> Path:
        """An empty folder for what is coming in."""
        folder = self._incoming / new_id()
        folder.mkdir(mode=0o700)
        return folder

    def adopt(self, upload: Path, name: str) -> None:
        """Make a complete upload the folder of a job; it is on disk when this returns."""
        for path in upload.iterdir():
            _sync(path)
        upload.rename(self.of(name))
        _sync(self._jobs)

    def remove(self, name: str) -> None:
        """Delete all files of a job."""
        shutil.rmtree(self.of(name), ignore_errors=True)

    def tidy(self, job: Job) -> None:
        """Keep only the results of a finished job."""
        self._keep(job.id, {path.name for path in self._results(job)} if job.state == "succeeded" else set())

    def size(self, job: Job) -> int:
        """What the results of a job take, in bytes."""
        return sum(path.stat().st_size for path in self._results(job) if path.exists())

    def prepare(self, job: Job) -> None:
        """Drop what an attempt that was cut off has left."""
        self._keep(job.id, set(INPUTS))

    def sweep(self, known: set[str]) -> None:
        """At the start: drop uploads that were cut off, and folders whose job was never written down."""
        for folder in self._incoming.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        for folder in self._jobs.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def result(self, job: Job) -> Path:
        """The finished file: whole, or not there."""
        return self.of(job.id) / f"result.{job.request['format']}"

    def motion(self, job: Job) -> Path:
        """The motion that an animation was rendered from."""
        return self.of(job.id) / "motion.npz"

    def live(self, job: Job) -> Path:
        """What grows while a job runs; each attempt has its own."""
        return self.of(job.id) / f"live-{job.attempt}.mp4"

    def free(self) -> int:
        """Bytes that the disk has left."""
        return shutil.disk_usage(self.root).free

    def _results(self, job: Job) -> tuple[Path, Path]:
        return self.result(job), self.motion(job)

    def _keep(self, name: str, keep: set[str]) -> None:
        for path in self.of(name).iterdir() if self.of(name).is_dir() else ():
            if path.name not in keep:
                with suppress(OSError):  # somebody may be reading it where that forbids deleting
                    path.unlink()


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock(path: Path) -> sqlite3.Connection:
    """Hold a lock that ends with this process, however it ends, on every system: SQLite's own."""
    lock = sqlite3.connect(path, isolation_level=None, timeout=2, check_same_thread=False)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        lock.close()
        raise Problem(503, "in_use", "another server uses this data folder; stop it or choose another --data") from None
    return lock

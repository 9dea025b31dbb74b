"""Persistent state: one SQLite row and one folder per job. A kill at any moment loses no accepted job.

Files are on disk before the row is written; a row that is final never changes again.
"""

import json
import os
import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from echomimic.apps.jobs.request import JobError
from echomimic.files import Lock, lock_file, remove, sync_file, work_path

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Values = Mapping[str, Any]
UNFINISHED = ("queued", "running")
STATES: tuple[State, ...] = ("queued", "running", "succeeded", "failed", "cancelled")


_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, owner TEXT NOT NULL,
    state TEXT NOT NULL, request TEXT NOT NULL, created REAL NOT NULL, started REAL, finished REAL,
    crashes INTEGER NOT NULL DEFAULT 0, restarts INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0, deleted REAL, result TEXT, error TEXT, ticket TEXT, content TEXT,
    UNIQUE (owner, kind, ticket)
);
CREATE INDEX IF NOT EXISTS jobs_state ON jobs (state, place);
CREATE INDEX IF NOT EXISTS jobs_owner ON jobs (owner, kind, place);
"""


@dataclass(frozen=True)
class Job:
    """One row. Times are seconds since 1970.

    `idempotency_key` is the client's name for its request, accepted once per owner and kind; `content` is the digest
    of the files and fields that came with it.
    """

    id: str
    kind: str
    owner: str
    state: State
    request: Values
    created: float
    started: float | None = None
    finished: float | None = None
    crashes: int = 0
    restarts: int = 0
    attempt: int = 0
    bytes: int = 0
    deleted: float | None = None
    result: Values = field(default_factory=dict)
    error: Values = field(default_factory=dict)
    idempotency_key: str | None = None
    content: str | None = None

    @property
    def final(self) -> bool:
        return self.state not in UNFINISHED


def new_id() -> str:
    """A random job id of 128 bits, in hex."""
    return secrets.token_hex(16)


class Store:
    """The table of jobs. All methods block: call them in a thread. Reading does not wait for writing."""

    def __init__(self, path: Path) -> None:
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._writer, self._reader = (self._connect(path) for _ in range(2))
        self._writer.executescript(_SCHEMA)
        if "content" not in {row[1] for row in self._writer.execute("PRAGMA table_info(jobs)")}:  # made by 0.1.0
            self._writer.execute("ALTER TABLE jobs ADD COLUMN content TEXT")

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def close(self) -> None:
        """Close the database, after statements of other threads: closing it under them crashes the process."""
        with self._lock, self._reading:
            self._writer.close()
            self._reader.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:  # the block raised, or COMMIT failed on a full disk
                    self._writer.execute("ROLLBACK")

    def add(self, job: Job, max_queued: int) -> bool:
        """Queue a job; False if the queue is full. Raises sqlite3.IntegrityError if its idempotency key exists."""
        with self._writing() as table:
            (waiting,) = table.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()
            if waiting >= max_queued:
                return False
            table.execute(
                "INSERT INTO jobs (id, kind, owner, state, request, created, bytes, ticket, content) "
                "VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?)",
                (
                    *(job.id, job.kind, job.owner, json.dumps(job.request)),
                    *(job.created, job.bytes, job.idempotency_key, job.content),
                ),
            )
        return True

    def claim(self) -> Job | None:
        with self._writing() as table:
            row = table.execute("SELECT id FROM jobs WHERE state = 'queued' ORDER BY place LIMIT 1").fetchone()
            if row is None:
                return None
            table.execute(
                "UPDATE jobs SET state = 'running', started = ?, attempt = attempt + 1 WHERE id = ?",
                (time.time(), row[0]),
            )
        return self.get(row[0])

    def finish(
        self, name: str, state: State, *, result: Values | None = None, error: Values | None = None, size: int = 0
    ) -> bool:
        """Record the end of a job; False if it had ended before: the first end counts."""
        with self._writing() as table:
            done = table.execute(
                "UPDATE jobs SET state = ?, finished = ?, result = ?, error = ?, bytes = ? "
                "WHERE id = ? AND state IN ('queued', 'running')",
                (state, time.time(), json.dumps(result or {}), json.dumps(error or {}), size, name),
            )
        return done.rowcount == 1

    def requeue(self, name: str) -> None:
        """Queue a job again at its old position after its worker crashed."""
        with self._writing() as table:
            table.execute(
                "UPDATE jobs SET state = 'queued', crashes = crashes + 1 WHERE id = ? AND state = 'running'", (name,)
            )

    def requeue_interrupted(self, max_restarts: int, error: Values) -> int:
        """Queue again the jobs that ran when the server stopped; fail those to which it happened too often."""
        with self._writing() as table:
            table.execute(
                "UPDATE jobs SET state = 'failed', finished = ?, error = ? WHERE state = 'running' AND restarts >= ?",
                (time.time(), json.dumps(error), max_restarts),
            )
            again = table.execute("UPDATE jobs SET state = 'queued', restarts = restarts + 1 WHERE state = 'running'")
        return again.rowcount

    def move_earlier(self, name: str, owner: str) -> bool:
        """Swap a queued job with the owner's queued job before it; False if there is none."""
        with self._writing() as table:
            mine = table.execute("SELECT place FROM jobs WHERE id = ? AND state = 'queued'", (name,)).fetchone()
            if mine is None:
                return False
            before = table.execute(
                "SELECT place FROM jobs WHERE state = 'queued' AND owner = ? AND place < ? ORDER BY place DESC LIMIT 1",
                (owner, mine[0]),
            ).fetchone()
            if before is None:
                return False
            for old, new in ((mine[0], -1), (before[0], mine[0]), (-1, before[0])):
                table.execute("UPDATE jobs SET place = ? WHERE place = ?", (new, old))
        return True

    def mark_deleted(self, name: str) -> None:
        """Mark a job as deleted; its row stays for a while, so that clients get 410 and not 404."""
        with self._writing() as table:
            table.execute("UPDATE jobs SET deleted = ?, bytes = 0 WHERE id = ?", (time.time(), name))

    def forget(self, before: float) -> None:
        with self._writing() as table:
            table.execute("DELETE FROM jobs WHERE deleted < ?", (before,))

    def get(self, name: str) -> Job | None:
        return next(iter(self._jobs("id = ?", name)), None)

    def with_idempotency_key(self, owner: str, kind: str, key: str | None) -> Job | None:
        return next(iter(self._jobs("owner = ? AND kind = ? AND ticket = ?", owner, kind, key)), None)

    def newest(self, owner: str, kind: str, count: int) -> list[Job]:
        return self._jobs("owner = ? AND kind = ? AND deleted IS NULL ORDER BY place DESC LIMIT ?", owner, kind, count)

    def names(self) -> set[str]:
        return {name for (name,) in self._read("SELECT id FROM jobs WHERE deleted IS NULL")}

    def finished_before(self, when: float) -> list[Job]:
        return self._jobs("finished < ? AND deleted IS NULL", when)

    def position(self, name: str) -> int:
        mine = "(SELECT place FROM jobs WHERE id = ?)"
        return int(self._read(f"SELECT count(*) FROM jobs WHERE state = 'queued' AND place <= {mine}", name)[0][0])

    def counts(self) -> dict[State, int]:
        found = dict(self._read("SELECT state, count(*) FROM jobs WHERE deleted IS NULL GROUP BY state"))
        return {state: int(found.get(state, 0)) for state in STATES}

    def bytes(self) -> int:
        return int(self._read("SELECT coalesce(sum(bytes), 0) FROM jobs")[0][0])

    def _jobs(self, where: str, *values: object) -> list[Job]:
        return [_job(row) for row in self._read(f"SELECT * FROM jobs WHERE {where}", *values)]

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._reading:
            return self._reader.execute(query, values).fetchall()


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in row.keys() if name not in ("place", "ticket")}  # noqa: SIM118
    parsed = {name: json.loads(row[name] or "{}") for name in ("request", "result", "error")}
    return Job(**{**values, **parsed}, idempotency_key=row["ticket"])


INPUTS = ("portrait", "speech", "motion", "video")
"""Names of input files; they have no suffix, since their format is detected from their content."""


class JobFiles:
    """The data folder: `jobs/<id>/` for each job and `incoming/<token>/` for each upload in progress.

    No text from a client becomes part of a path. Raises JobError if another process uses the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._jobs, self._incoming = self.root / "jobs", self.root / "incoming"
        for folder in (self.root, self._jobs, self._incoming):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(self.root / "lock")

    def close(self) -> None:
        self._lock.close()

    def of(self, name: str) -> Path:
        return self._jobs / name

    def new_upload(self) -> Path:
        folder = self._incoming / new_id()
        folder.mkdir(mode=0o700)
        return folder

    def copy_work(self, job: Job, folder: Path) -> None:
        """Put the kept work of a finished job into `folder`, to render a span of its video again.

        Its files are linked where the disk can do that, since a file of finished work is only ever replaced.
        """
        work = work_path(self.result(job))
        if work.is_dir():
            shutil.copytree(work, folder / work.name, copy_function=_link, ignore=shutil.ignore_patterns("lock"))

    def adopt(self, upload: Path, name: str) -> None:
        """Turn a complete upload into the folder of a job; it is on disk when this returns."""
        for path in upload.iterdir():
            sync_file(path)
        upload.rename(self.of(name))
        sync_file(self._jobs)

    def remove(self, name: str) -> None:
        shutil.rmtree(self.of(name), ignore_errors=True)

    def tidy(self, job: Job) -> None:
        """Delete everything but the results of a finished job, and its work if that is to be kept."""
        self._keep(job.id, {path.name for path in self._results(job)} if job.state == "succeeded" else set())

    def size(self, job: Job) -> int:
        paths = [path for result in self._results(job) for path in (result, *result.glob("*")) if path.is_file()]
        return sum(path.stat().st_size for path in paths)

    def prepare(self, job: Job) -> None:
        """Delete what an interrupted attempt left behind, except the finished part of its work."""
        self._keep(job.id, {*INPUTS, work_path(self.result(job)).name})

    def sweep(self, known: set[str]) -> None:
        """Delete interrupted uploads, and folders whose job has no row; call it at the start."""
        for folder in self._incoming.iterdir():
            shutil.rmtree(folder, ignore_errors=True)
        for folder in self._jobs.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def result(self, job: Job) -> Path:
        """The path of the result; the file appears when it is complete."""
        return self.of(job.id) / f"result.{job.request['format']}"

    def motion(self, job: Job) -> Path:
        return self.of(job.id) / "motion.npz"

    def live(self, job: Job) -> Path:
        """The path of the fragmented mp4 that grows while an attempt runs."""
        return self.of(job.id) / f"live-{job.attempt}.mp4"

    def free(self) -> int:
        return shutil.disk_usage(self.root).free

    def _results(self, job: Job) -> list[Path]:
        kept = [work_path(self.result(job))] if job.request.get("work", {}).get("keep") else []
        return [self.result(job), self.motion(job), *kept]

    def _keep(self, name: str, keep: set[str]) -> None:
        for path in self.of(name).iterdir() if self.of(name).is_dir() else ():
            if path.name not in keep:
                remove(path)  # Windows refuses to delete a file that is being read


def _link(source: str, target: str) -> None:
    """A second name of a file, or a copy on disks that have no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _lock(path: Path) -> Lock:
    """Hold the lock of a data folder. Raises JobError if another server does."""
    lock = lock_file(path)
    if lock is None:
        raise JobError("another server uses this data folder; stop it or choose another `data` folder", "in_use")
    return lock


def remove_abandoned_folders(prefix: str) -> None:
    """Delete data folders in the system's temporary folder whose server was killed: nobody holds their lock."""
    for lock in Path(tempfile.gettempdir()).glob(f"{prefix}*/lock"):
        with suppress(JobError, sqlite3.Error, OSError):
            _lock(lock).close()
            shutil.rmtree(lock.parent, ignore_errors=True)

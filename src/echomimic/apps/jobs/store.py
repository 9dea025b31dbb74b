"""Jobs in SQLite: what was asked for, what became of it. A kill at any moment loses none."""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Values = Mapping[str, Any]
UNFINISHED = ("queued", "running")
STATES: tuple[State, ...] = ("queued", "running", "succeeded", "failed", "cancelled")

_COLUMNS = (
    "id, kind, owner, state, request, created, started, finished, crashes, restarts, attempt, bytes, deleted, "
    "result, error, ticket"
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, owner TEXT NOT NULL,
    state TEXT NOT NULL, request TEXT NOT NULL, created REAL NOT NULL, started REAL, finished REAL,
    crashes INTEGER NOT NULL DEFAULT 0, restarts INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0, deleted REAL, result TEXT, error TEXT, ticket TEXT,
    UNIQUE (owner, kind, ticket)
);
CREATE INDEX IF NOT EXISTS jobs_state ON jobs (state, place);
CREATE INDEX IF NOT EXISTS jobs_owner ON jobs (owner, kind, place);
"""


@dataclass(frozen=True)
class Job:
    """One row: times are seconds since 1970; `request`, `result` and `error` are what their names say, as JSON.

    `ticket` is the client's own name for its request, under which it is taken once only.
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
    ticket: str | None = None

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state not in UNFINISHED


def new_id() -> str:
    """A name that nobody can guess."""
    return secrets.token_hex(16)


class Store:
    """The table of jobs. Writing waits for the disk (call it in a thread); reading does not wait for writing."""

    def __init__(self, path: Path) -> None:
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._writer, self._reader = (self._connect(path) for _ in range(2))
        self._writer.executescript(_SCHEMA)

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def close(self) -> None:
        """Let go of the file."""
        self._writer.close()
        self._reader.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                if self._writer.in_transaction:  # the block has failed, or the disk is too full for its end
                    self._writer.execute("ROLLBACK")

    def add(self, job: Job, most_waiting: int) -> bool:
        """Queue a job; False where `most_waiting` wait already. sqlite3.IntegrityError where the ticket is taken."""
        with self._writing() as table:
            (waiting,) = table.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()
            if waiting >= most_waiting:
                return False
            table.execute(
                "INSERT INTO jobs (id, kind, owner, state, request, created, bytes, ticket) "
                "VALUES (?, ?, ?, 'queued', ?, ?, ?, ?)",
                (job.id, job.kind, job.owner, json.dumps(job.request), job.created, job.bytes, job.ticket),
            )
        return True

    def claim(self) -> Job | None:
        """Take the job that has waited longest: it is running from now on."""
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
        """Write down how a job ended; False where it had ended otherwise already: the first end counts."""
        with self._writing() as table:
            done = table.execute(
                "UPDATE jobs SET state = ?, finished = ?, result = ?, error = ?, bytes = ? "
                "WHERE id = ? AND state IN ('queued', 'running')",
                (state, time.time(), json.dumps(result or {}), json.dumps(error or {}), size, name),
            )
        return done.rowcount == 1

    def requeue(self, name: str) -> None:
        """Back into the queue, at its old place, after its worker died."""
        with self._writing() as table:
            table.execute(
                "UPDATE jobs SET state = 'queued', crashes = crashes + 1 WHERE id = ? AND state = 'running'", (name,)
            )

    def requeue_cut_off(self, most: int, error: Values) -> int:
        """Queue again what ran when the server stopped, or mark it failed where that happened `most` times."""
        with self._writing() as table:
            table.execute(
                "UPDATE jobs SET state = 'failed', finished = ?, error = ? WHERE state = 'running' AND restarts >= ?",
                (time.time(), json.dumps(error), most),
            )
            again = table.execute("UPDATE jobs SET state = 'queued', restarts = restarts + 1 WHERE state = 'running'")
        return again.rowcount

    def mark_deleted(self, name: str) -> None:
        """The files of a finished job are about to go; its row stays for a while, to say so."""
        with self._writing() as table:
            table.execute("UPDATE jobs SET deleted = ?, bytes = 0 WHERE id = ?", (time.time(), name))

    def forget(self, before: float) -> None:
        """Drop rows of jobs that were deleted before that time."""
        with self._writing() as table:
            table.execute("DELETE FROM jobs WHERE deleted < ?", (before,))

    def get(self, name: str) -> Job | None:
        """The job of that name."""
        return next(iter(self._jobs("id = ?", name)), None)

    def with_ticket(self, owner: str, kind: str, ticket: str | None) -> Job | None:
        """The job that somebody has asked for under that name."""
        return next(iter(self._jobs("owner = ? AND kind = ? AND ticket = ?", owner, kind, ticket)), None)

    def newest(self, owner: str, kind: str, count: int) -> list[Job]:
        """The newest jobs of somebody."""
        return self._jobs("owner = ? AND kind = ? AND deleted IS NULL ORDER BY place DESC LIMIT ?", owner, kind, count)

    def names(self) -> set[str]:
        """All jobs whose files should be there."""
        return {name for (name,) in self._read("SELECT id FROM jobs WHERE deleted IS NULL")}

    def finished_before(self, when: float) -> list[Job]:
        """What ended before that time and is not deleted yet."""
        return self._jobs("finished < ? AND deleted IS NULL", when)

    def position(self, name: str) -> int:
        """How many jobs stand before this one in the queue, and itself."""
        mine = "(SELECT place FROM jobs WHERE id = ?)"
        return int(self._read(f"SELECT count(*) FROM jobs WHERE state = 'queued' AND place <= {mine}", name)[0][0])

    def counts(self) -> dict[State, int]:
        """How many jobs there are in each state."""
        found = dict(self._read("SELECT state, count(*) FROM jobs WHERE deleted IS NULL GROUP BY state"))
        return {state: int(found.get(state, 0)) for state in STATES}

    def bytes(self) -> int:
        """What all jobs take on disk."""
        return int(self._read("SELECT coalesce(sum(bytes), 0) FROM jobs")[0][0])

    def _jobs(self, where: str, *values: object) -> list[Job]:
        return [_job(row) for row in self._read(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", *values)]

    def _read(self, query: str, *values: object) -> list[Any]:
        with self._reading:
            return self._reader.execute(query, values).fetchall()


def _job(row: tuple[Any, ...]) -> Job:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    for name in ("request", "result", "error"):
        values[name] = json.loads(values[name] or "{}")
    return Job(**values)

"""What the server does, apart from HTTP: take jobs in, end them, delete them, clean up."""

import asyncio
import logging
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from echomimic.apps.jobs.events import Board
from echomimic.apps.jobs.job_types import Kind
from echomimic.apps.jobs.pool import Pool
from echomimic.apps.jobs.storage import Folders
from echomimic.apps.jobs.store import Job, Store, new_id
from echomimic.apps.server.multipart import disk_full
from echomimic.apps.server.problems import Problem, gone, missing_job
from echomimic.apps.server.schemas import Answer, describe
from echomimic.apps.server.settings import Settings
from echomimic.apps.server.validation import read_wishes

_log = logging.getLogger("echomimic.rest")
_SWEEP_EVERY = 30.0

TakeIn = Callable[[Path], Awaitable[dict[str, Any]]]


class Service:
    """Jobs from beginning to end. Everything runs on the event loop but what waits for the disk."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.board = settings, Board()
        self.folders = Folders(settings.data)
        self.store = Store(self.folders.root / "jobs.sqlite")
        self.pool = Pool(settings, self.store, self.folders, self.board)
        self.streams = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Work while the block lasts, beginning with what a stopped server has left."""
        await run_in_threadpool(self._recover)
        self.pool.start()
        sweeping = asyncio.create_task(self._sweep_for_ever())
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
            await self.pool.close()
            self.store.close()
            self.folders.close()

    def _recover(self) -> None:
        often = Problem(500, "cut_off", "the server was stopped each time this job ran; send it again")
        again = self.store.requeue_cut_off(self.settings.restarts, often.as_dict())
        if again:
            _log.info("%d jobs were cut off and begin again", again)
        self.folders.sweep(self.store.names())

    async def submit(self, kind: Kind, owner: str, ticket: str | None, take_in: TakeIn) -> Answer:
        """A new job from what `take_in` puts into a folder. When this returns, nothing short of a fire loses it.

        `ticket` is the client's own name for the request: who asks again with the same one gets the same job.
        """
        job = self.store.with_ticket(owner, kind.name, ticket)
        if job is None:
            self._check_room()
            await self.pool.expect()
        asked = Job(new_id(), kind.name, owner, "queued", {}, time.time(), ticket=ticket)
        try:
            upload = await run_in_threadpool(self.folders.new_upload)
            try:
                fields, sizes = await take_in(upload), {path.name: path.stat().st_size for path in upload.iterdir()}
                request = read_wishes(kind, kind.way(sizes), fields, self.settings)
                asked = replace(asked, request=request, bytes=sum(sizes.values()))
                kept = await run_in_threadpool(self._keep, upload, asked) if job is None else job
            finally:
                await run_in_threadpool(shutil.rmtree, upload, ignore_errors=True)
        except OSError as fault:
            raise disk_full(fault) from None
        self.pool.wake()
        return self.answer(self.find(kind, owner, kept.id))

    def _keep(self, upload: Path, job: Job) -> Job:
        """Files first, then the row: a kill in between leaves files that nobody was promised. Returns what is kept."""
        self.folders.adopt(upload, job.id)
        kept: Job | None = None
        try:
            if not self.store.add(job, self.settings.queue):
                raise self._busy()
            kept = job
        except sqlite3.IntegrityError:  # the same request came twice, and the other one was quicker
            kept = self.store.with_ticket(job.owner, job.kind, job.ticket)
            if kept is None:
                raise
        except sqlite3.Error as fault:
            raise OSError(fault) from fault
        finally:
            if kept is not job:
                self.folders.remove(job.id)
        return kept

    def _check_room(self) -> None:
        """Raise Problem where another job finds no place, before it is uploaded."""
        if self.store.counts()["queued"] >= self.settings.queue:
            raise self._busy()
        if self.folders.free() < self.settings.spare_disk or self.store.bytes() > self.settings.max_disk:
            why = "the server has no disk space left for another job"
            raise Problem(507, "no_space", f"{why}; delete finished ones or try again later", {"Retry-After": "60"})

    def _busy(self) -> Problem:
        seconds = max(1, min(120, round(self.pool.typical_seconds / self.settings.workers)))
        why = f"{self.settings.queue} jobs are waiting already, which is the most; try again in {seconds} s"
        return Problem(429, "queue_full", why, {"Retry-After": str(seconds)})

    def find(self, kind: Kind, owner: str, name: str) -> Job:
        """Somebody's job; Problem where there is none, or no longer."""
        job = self.store.get(name)
        if job is None or job.owner != owner or job.kind != kind.name:
            raise missing_job()
        if job.deleted:
            raise gone()
        return job

    def answer(self, job: Job) -> Answer:
        """A job as a client sees it."""
        return describe(job, self.store, self.board, self.settings.keep_seconds)

    async def cancel(self, kind: Kind, owner: str, name: str) -> Answer:
        """Stop a job; Problem where it has ended already."""
        job = self.find(kind, owner, name)
        if not await run_in_threadpool(self.store.finish, name, "cancelled"):
            state = self.find(kind, owner, name).state
            raise Problem(409, "already_ended", f"the job has {_ended(state)}; expected one that is queued or running")
        await self._let_go(job)
        return self.answer(self.find(kind, owner, name))

    async def delete(self, kind: Kind, owner: str, name: str) -> None:
        """Delete a job and its files, and stop it first where it runs."""
        job = self.find(kind, owner, name)
        await run_in_threadpool(self.store.finish, name, "cancelled")
        await run_in_threadpool(self.store.mark_deleted, name)
        await self._let_go(job)
        await run_in_threadpool(self.folders.remove, name)

    async def _let_go(self, job: Job) -> None:
        self.board.ring(job.id)
        await self.pool.release(job.id)
        now = self.store.get(job.id)
        if now is not None and now.state == "cancelled":
            await run_in_threadpool(self.folders.tidy, now)

    async def _sweep_for_ever(self) -> None:
        """Delete what has been kept long enough."""
        while True:
            try:
                await run_in_threadpool(self._sweep)
            except (OSError, sqlite3.Error):
                _log.exception("cleaning up failed; it is tried again")
            await asyncio.sleep(min(_SWEEP_EVERY, self.settings.keep_seconds / 4))

    def _sweep(self) -> None:
        now = time.time()
        for job in self.store.finished_before(now - self.settings.keep_seconds):
            self.store.mark_deleted(job.id)
            self.folders.remove(job.id)
        self.store.forget(now - self.settings.keep_seconds - self.settings.remember_seconds)


def _ended(state: str) -> str:
    return {"succeeded": "succeeded", "failed": "failed"}.get(state, "been cancelled")

"""The pool takes jobs from the store and sees each through, whatever becomes of the process that renders it."""

import asyncio
import logging
import sqlite3
import time
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.concurrency import run_in_threadpool

from echomimic.apps.jobs.events import Board
from echomimic.apps.jobs.job_types import KINDS
from echomimic.apps.jobs.storage import Folders
from echomimic.apps.jobs.store import Job, State, Store
from echomimic.apps.jobs.worker_process import Died, Worker
from echomimic.apps.server.problems import Problem
from echomimic.apps.server.settings import Settings

_log = logging.getLogger("echomimic.rest")
_PATIENCE = 5.0
"""Seconds that a worker has to stop a job by itself before it is killed."""
_TRY_AGAIN = 2.0


@dataclass
class Seat:
    """One worker, the bell that wakes it, and the job that it runs; `free` is set while there is none."""

    worker: Worker
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    job: Job | None = None


class Pool:
    """Some workers, each with one job at a time. `on_end` is called with each job that ended and its seconds."""

    def __init__(self, settings: Settings, store: Store, folders: Folders, board: Board) -> None:
        self.settings, self.store, self.folders, self.board = settings, store, folders, board
        self.typical_seconds = 2.0
        self.on_end: Callable[[Job, State, float], None] = lambda job, state, seconds: None
        self._seats: list[Seat] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> int:
        """How many workers have a job."""
        return sum(seat.job is not None for seat in self._seats)

    def start(self) -> None:
        """Begin to work; call it on the event loop."""
        self._seats = [Seat(Worker(self.settings.worker)) for _ in range(self.settings.workers)]
        self._tasks = {asyncio.create_task(self._serve(seat)) for seat in self._seats}

    async def close(self) -> None:
        """End all workers. What ran is queued again by the next server."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """There is something to do."""
        for seat in self._seats:
            seat.bell.set()

    async def expect(self) -> None:
        """There will soon be something to do: a worker that is free starts its process, which takes a while."""
        seat = next((seat for seat in self._seats if seat.job is None), None)
        if seat:
            with suppress(OSError):  # it is said when the job runs
                await seat.worker.start()

    async def release(self, name: str) -> None:
        """Make the worker let go of a job that has been cancelled, and wait until it has."""
        seat = next((seat for seat in self._seats if seat.job and seat.job.id == name), None)
        if seat is None:
            return
        seat.worker.cancel(name)
        try:
            await asyncio.wait_for(seat.free.wait(), _PATIENCE)
        except asyncio.TimeoutError:
            if seat.job and seat.job.id == name:
                await seat.worker.stop()

    async def _serve(self, seat: Seat) -> None:
        """One worker's life: jobs as they come, and no process where none has come for long."""
        try:
            while True:
                if self.settings.warm:
                    await seat.worker.start()
                seat.bell.clear()
                job = await self._claim()
                if job is not None:
                    await self._see_through(job, seat)
                    continue
                try:
                    await asyncio.wait_for(seat.bell.wait(), self.settings.idle_seconds)
                except asyncio.TimeoutError:
                    await seat.worker.stop()
        finally:
            await seat.worker.stop()

    async def _claim(self) -> Job | None:
        try:
            return await run_in_threadpool(self.store.claim)
        except sqlite3.OperationalError as fault:  # a full disk; jobs wait until there is room
            _log.error("no job can be started yet (%s)", fault)
            await asyncio.sleep(_TRY_AGAIN)
            return None

    async def _see_through(self, job: Job, seat: Seat) -> None:
        """Run one job to its end, whatever that is."""
        began = time.monotonic()
        seat.job = job
        seat.free.clear()
        news = self.board.begin(job.id)

        def tell(event: str, said: dict[str, Any]) -> None:
            if event == "progress":
                news.move(said["done"], said["total"])
            elif event == "preview":
                news.preview, news.previews = b64decode(said["jpeg"]), news.previews + 1
            self.board.ring(job.id)

        try:
            state, facts = await self._outcome(job, seat.worker, tell)
            state = await self._write_down(job, state, facts)
        finally:
            seat.job = None
            seat.free.set()
            self.board.drop(job.id)
        seconds = time.monotonic() - began
        self.typical_seconds += 0.2 * (seconds - self.typical_seconds)
        self.on_end(job, state, seconds)

    async def _outcome(self, job: Job, worker: Worker, tell: Callable[..., None]) -> tuple[State, dict[str, Any]]:
        """How a job ended, with its result or its problem; the state `queued` where it is to be tried again."""
        try:
            await run_in_threadpool(self.folders.prepare, job)
            said = await asyncio.wait_for(worker.run(self._order(job), tell), self.settings.max_job_seconds)
        except asyncio.TimeoutError:
            await worker.stop()
            most = self.settings.max_job_seconds
            return "failed", _problem("too_slow", f"the job took longer than {most:g} s; expected less to do")
        except Died as how:
            await worker.stop()
            if job.crashes + 1 < self.settings.crashes:
                return "queued", {}
            return "failed", _problem("worker_died", f"the process that rendered has died ({how}); lower the size")
        except Exception:  # no job may end the loop that all others wait for
            _log.exception("job %s", job.id)
            await worker.stop()
            return "failed", _problem(
                "server_fault", "a fault of the server; its log has the id of this job: report it"
            )
        if said["event"] == "done":
            return "succeeded", said["result"]
        return "failed", _problem(said["code"], said["detail"])

    def _order(self, job: Job) -> dict[str, Any]:
        """What a worker has to know; files are named as they are called in the job's folder."""
        followed = job.request["format"] == KINDS[job.kind].live
        settings = self.settings
        return {
            "id": job.id,
            "kind": job.kind,
            "folder": str(self.folders.of(job.id)),
            "request": job.request,
            "result": self.folders.result(job).name,
            "motion": self.folders.motion(job).name,
            "live": self.folders.live(job).name if followed else None,
            "limits": {
                "pixels": settings.max_pixels,
                "seconds": settings.max_seconds,
                "spare": settings.spare_disk // 2,
            },
        }

    async def _write_down(self, job: Job, state: State, facts: dict[str, Any]) -> State:
        """Record the end of a job, patiently: what is not written down would be done again. Returns its state."""
        while True:
            try:
                return await run_in_threadpool(self._record, job, state, facts)
            except sqlite3.OperationalError as fault:
                _log.error("job %s has ended, which cannot be written down yet (%s)", job.id, fault)
                await asyncio.sleep(_TRY_AGAIN)

    def _record(self, job: Job, state: State, facts: dict[str, Any]) -> State:
        if state == "queued":
            self.store.requeue(job.id)
        elif state == "succeeded":
            self.store.finish(job.id, state, result=facts, size=self.folders.size(job))
        else:
            self.store.finish(job.id, state, error=facts)
        now = self.store.get(job.id)  # it may have been cancelled and deleted meanwhile
        if now is None or now.deleted:
            self.folders.remove(job.id)
        elif now.final:
            self.folders.tidy(now)
        return state if now is None else now.state


def _problem(code: str, detail: str) -> dict[str, Any]:
    return Problem(422 if code == "bad_input" else 500, code, detail).as_dict()

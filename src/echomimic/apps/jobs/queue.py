"""The queue: accepts jobs, hands them to worker processes, reports progress, ends, deletes and cleans up."""

import asyncio
import errno
import logging
import sqlite3
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from echomimic.apps.jobs.request import JOB_TYPES, JobError, JobSettings, JobType
from echomimic.apps.jobs.store import Job, JobFiles, State, Store, new_id
from echomimic.apps.jobs.worker import Message, WorkerDiedError, WorkerProcess, WorkerStartError


@dataclass
class JobProgress:
    """Progress of a running attempt; `preview` is the latest preview (JPEG) and `previews` their count."""

    attempt: int = 0
    done: int = 0
    total: int = 0
    preview: bytes = b""
    previews: int = 0
    _first: tuple[float, int] | None = field(default=None, repr=False)

    def update(self, done: int, total: int) -> None:
        self._first = self._first or (time.monotonic(), done)
        self.done, self.total = done, total

    @property
    def speed(self) -> float:
        """Frames a second since the first report; 0 if unknown."""
        if self._first is None or self.done <= self._first[1]:
            return 0.0
        return (self.done - self._first[1]) / max(time.monotonic() - self._first[0], 1e-6)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds for the rest; None if unknown."""
        return (self.total - self.done) / self.speed if self.speed else None


class JobEvents:
    """Progress of the running jobs, and notification of changes. Everything but `progress` needs the event loop."""

    def __init__(self) -> None:
        self._progress: dict[str, JobProgress] = {}
        self._changes: dict[str, asyncio.Event] = {}

    def progress(self, name: str) -> JobProgress:
        """The progress of a running job; an empty one, with attempt 0, for any other."""
        return self._progress.get(name) or JobProgress()

    def begin(self, name: str, attempt: int) -> JobProgress:
        self._progress[name] = JobProgress(attempt)
        self.notify(name)
        return self._progress[name]

    def end(self, name: str) -> None:
        self._progress.pop(name, None)
        self.notify(name)

    def notify(self, name: str) -> None:
        change = self._changes.pop(name, None)
        if change:
            change.set()

    def subscribe(self, name: str) -> asyncio.Event:
        """An event that is set at the next change; subscribe before reading the job, so that no change is missed."""
        return self._changes.setdefault(name, asyncio.Event())


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for at most `seconds`; whether it was set."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True


_log = logging.getLogger("echomimic.jobs")
_CANCEL_SECONDS = 5.0
"""Time for a worker to stop a job by itself before it is killed."""
_ANSWER_SECONDS = 0.7
"""Time that a client waits for that at most."""
_RETRY_SECONDS = 2.0
_SWEEP_SECONDS = 30.0
_PROBE_SECONDS = 5.0


@dataclass
class WorkerSlot:
    """A worker and the job that it runs; `free` is set while it runs none."""

    worker: WorkerProcess
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    job: Job | None = None
    cancelled: bool = False


class JobQueue:
    """All jobs from submission to deletion. `on_end` is called with each attempt that ended and its seconds."""

    def __init__(self, settings: JobSettings) -> None:
        self.settings, self.events = settings, JobEvents()
        self.files = JobFiles(settings.data)
        self.store = Store(self.files.root / "jobs.sqlite")
        self.on_end: Callable[[Job, State, float], None] = lambda job, state, seconds: None
        self.upload_bytes: Callable[[], int] = lambda: 0
        self._typical_seconds = 2.0
        self._slots: list[WorkerSlot] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._unwritten: set[str] = set()
        self._start_error, self._probed, self._has_started = "", 0.0, False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run the workers inside the block, beginning with what a stopped server left."""
        await run_in_threadpool(self._recover)
        self._slots = [WorkerSlot(WorkerProcess(self.settings.command)) for _ in range(self.settings.workers)]
        loops = [asyncio.create_task(self._serve(slot)) for slot in self._slots]
        loops.append(asyncio.create_task(self._sweep_forever()))
        try:
            yield
        finally:
            await _cancel_all({*loops, *self._tasks})
            self.store.close()
            self.files.close()

    @property
    def busy(self) -> int:
        return sum(slot.job is not None for slot in self._slots)

    # submission

    async def submit(
        self, job_type: JobType, owner: str, request: dict[str, Any], folder: Path, key: str | None, content: str
    ) -> Job:
        """Queue a job whose input files are in `folder`, which is taken over; durable on return.

        `key` is the client's idempotency key and `content` the digest of what came with it. Raises JobError, OSError.
        """
        job = await run_in_threadpool(self._keep, folder, job_type, owner, request, key, content)
        for slot in self._slots:
            slot.wake.set()
        return job

    def _keep(
        self, folder: Path, job_type: JobType, owner: str, request: dict[str, Any], key: str | None, content: str
    ) -> Job:
        """Store the files first, then the row: a kill in between leaves files of a job that nobody was promised."""
        before = self._with_key(job_type, owner, key, content)
        if before:
            return before
        size = sum(path.stat().st_size for path in folder.iterdir())
        job = Job(new_id(), job_type.name, owner, "queued", request, time.time(), bytes=size)
        job = replace(job, idempotency_key=key, content=content)
        self.files.adopt(folder, job.id)
        kept: Job | None = None
        try:
            if not self.store.add(job, self.settings.max_queued):
                raise self._full()
            kept = job
        except sqlite3.IntegrityError:  # the same request came twice at the same time, and the other was first
            kept = self._with_key(job_type, owner, key, content)
            if kept is None:
                raise
        except sqlite3.Error as fault:
            raise OSError(errno.ENOSPC, str(fault)) from fault
        finally:
            if kept is not job:
                self.files.remove(job.id)
        return kept

    def _with_key(self, job_type: JobType, owner: str, key: str | None, content: str) -> Job | None:
        """The job that was submitted with an idempotency key. Raises JobError for other content, or if deleted."""
        job = self.store.with_idempotency_key(owner, job_type.name, key)
        if job and job.content and job.content != content:
            raise JobError(
                "this Idempotency-Key was used for a request with other files or fields; expected a new key for them",
                "idempotency_key_reused",
            )
        return self.find(job_type, owner, job.id) if job else None

    def check_room(self, key: tuple[str, str, str | None] | None = None) -> None:
        """Raise JobError if another job cannot be accepted; a known idempotency key (owner, type, key) always can."""
        if key and self.store.with_idempotency_key(*key):
            return
        if self.store.counts()["queued"] >= self.settings.max_queued:
            raise self._full()
        self.check_disk()

    def check_disk(self, more: int = 0) -> None:
        """Raise JobError if `more` bytes exceed the quota or the free space of the disk."""
        used = self.store.bytes() + self.upload_bytes() + more
        if self.files.free() - more < self.settings.spare_disk or used > self.settings.max_disk:
            why = "the server has no disk space left for this"
            raise JobError(f"{why}; delete finished jobs or try again later", "no_space", 60)

    def _full(self) -> JobError:
        seconds = max(1, min(120, round(self._typical_seconds / self.settings.workers)))
        why = f"{self.settings.max_queued} jobs are queued, which is the limit; try again in {seconds} s"
        return JobError(why, "queue_full", seconds)

    def prewarm(self) -> None:
        """Start a free worker in the background, since a job is about to be submitted."""
        slot = next((slot for slot in self._slots if slot.job is None), None)
        if slot and not slot.worker.is_ready:
            self._in_background(self._start_quietly(slot))

    async def _start_quietly(self, slot: WorkerSlot) -> None:
        with suppress(WorkerStartError):
            await self._start(slot)

    async def _start(self, slot: WorkerSlot) -> None:
        """Wait until a worker is ready, and remember whether it could start. Raises WorkerStartError."""
        try:
            await slot.worker.ready()
            self._has_started, self._start_error = True, ""
        except WorkerStartError as fault:
            self._has_started, self._start_error, self._probed = False, str(fault), time.monotonic()
            raise

    async def check_ready(self) -> None:
        """Start a worker if none has started yet, or the last start failed. Raises JobError if it cannot start."""
        if self._has_started:
            return
        if not self._start_error or time.monotonic() - self._probed > _PROBE_SECONDS:
            await self._start_quietly(self._slots[0])
        if self._start_error:
            raise JobError(f"no worker can start ({self._start_error}); see the server's log", "worker_start_failed", 5)

    # one job

    def find(self, job_type: JobType, owner: str, name: str) -> Job:
        """A job of an owner. Raises JobError if there is none, or it was deleted. Blocks."""
        job = self.store.get(name)
        if job is None or job.owner != owner or job.kind != job_type.name:
            raise JobError("there is no such job; expected the id of a submitted job", "unknown_job")
        if job.deleted or name in self._unwritten:
            raise JobError("this job was deleted; results are kept for a limited time: submit it again", "deleted")
        return job

    async def cancel(self, job_type: JobType, owner: str, name: str) -> Job:
        """Cancel a job; a slow worker stops in the background. Raises JobError if the job has ended."""
        await run_in_threadpool(self.find, job_type, owner, name)
        done = await run_in_threadpool(self.store.finish, name, "cancelled")
        job = await run_in_threadpool(self.find, job_type, owner, name)
        if not done:
            why = f"the job has ended ({job.state}); expected one that is queued or running"
            raise JobError(why, "already_ended")
        await self._stop_running(name)
        return job

    async def delete(self, job_type: JobType, owner: str, name: str) -> None:
        """Delete a job and its files, also on a full disk; it is cancelled first. Raises JobError."""
        await run_in_threadpool(self.find, job_type, owner, name)
        self._unwritten.add(name)
        await run_in_threadpool(self._delete, name)
        await self._stop_running(name)

    def _delete(self, name: str) -> None:
        """Mark a job as deleted, then delete its files; on a full disk the files go first and the row follows later."""
        try:
            self._mark_deleted(name)
        except sqlite3.OperationalError:
            self.files.remove(name)
            try:
                self._mark_deleted(name)
            except sqlite3.OperationalError as fault:
                _log.error("job %s is deleted, which cannot be recorded yet (%s)", name, fault)
        self.files.remove(name)

    def _mark_deleted(self, name: str) -> None:
        self.store.finish(name, "cancelled")
        self.store.mark_deleted(name)
        self._unwritten.discard(name)

    async def _stop_running(self, name: str) -> None:
        """Make the worker that runs a job stop; returns when it has, or soon."""
        self.events.end(name)
        slot = next((slot for slot in self._slots if slot.job and slot.job.id == name), None)
        if slot is None:
            await run_in_threadpool(self._clean, name)
            return
        slot.cancelled = True
        slot.worker.send({"cancel": name})
        stopped = self._in_background(self._kill_unless_free(slot, name))
        await asyncio.wait({stopped}, timeout=_ANSWER_SECONDS)

    async def _kill_unless_free(self, slot: WorkerSlot, name: str) -> None:
        if not await wait_for_event(slot.free, _CANCEL_SECONDS) and slot.job and slot.job.id == name:
            await slot.worker.stop()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # workers

    async def _serve(self, slot: WorkerSlot) -> None:
        try:
            while True:
                try:
                    await self._serve_one(slot)
                except Exception:  # no job may end the loop that all others wait for
                    _log.exception("a worker's loop failed and continues")
                    await asyncio.sleep(_RETRY_SECONDS)
        finally:
            await slot.worker.stop()

    async def _serve_one(self, slot: WorkerSlot) -> None:
        """Run a job if one is queued; otherwise wait for one, and end the process after a long wait."""
        if self.settings.warm:
            await self._start_quietly(slot)  # if it cannot start, each job fails with the reason
        slot.wake.clear()
        job = await self._claim()
        if job is not None:
            await self._run(job, slot)
        elif not await wait_for_event(slot.wake, self.settings.idle_seconds):
            await slot.worker.stop()

    async def _claim(self) -> Job | None:
        try:
            return await run_in_threadpool(self.store.claim)
        except sqlite3.OperationalError as fault:  # a full disk: jobs wait until there is room
            _log.error("no job can be started yet (%s)", fault)
            await asyncio.sleep(_RETRY_SECONDS)
            return None

    async def _run(self, job: Job, slot: WorkerSlot) -> None:
        began = time.monotonic()
        slot.job, slot.cancelled = job, False
        slot.free.clear()
        progress = self.events.begin(job.id, job.attempt)
        try:
            state, facts = await self._attempt(job, slot, progress)
            state = await self._record(job, state, facts)
        finally:
            slot.job = None
            slot.free.set()
            self.events.end(job.id)
        seconds = time.monotonic() - began
        self._typical_seconds += 0.2 * (seconds - self._typical_seconds)
        self.on_end(job, state, seconds)

    async def _attempt(self, job: Job, slot: WorkerSlot, progress: JobProgress) -> tuple[State, dict[str, Any]]:
        """How an attempt ended, with its result or error; the state `queued` means that it is to be tried again."""

        def on_message(message: Message) -> None:
            if message["event"] == "progress":
                progress.update(message["done"], message["total"])
            elif message["event"] == "preview":
                progress.preview, progress.previews = b64decode(message["jpeg"]), progress.previews + 1
            self.events.notify(job.id)

        try:
            await run_in_threadpool(self.files.prepare, job)
            await self._start(slot)
            now = await run_in_threadpool(self.store.get, job.id)
            if slot.cancelled or job.id in self._unwritten or now is None or now.state != "running":
                return "cancelled", {}
            slot.worker.send(self._order(job))
            end = await asyncio.wait_for(slot.worker.follow(on_message), self.settings.max_job_seconds)
        except Exception as fault:
            return await self._explain(job, slot, fault)
        if end["event"] == "done":
            return "succeeded", end["result"]
        if end.get("unexpected") and not slot.cancelled:
            slot.worker.log_fault(job.id)
        return "failed", _error(end["code"], end["detail"], end["status"])

    async def _explain(self, job: Job, slot: WorkerSlot, fault: Exception) -> tuple[State, dict[str, Any]]:
        """How an attempt ended that was not ended by the worker."""
        if not isinstance(fault, WorkerStartError):
            await slot.worker.stop()
        if isinstance(fault, asyncio.TimeoutError):
            limit = self.settings.max_job_seconds
            return "failed", _error("too_slow", f"the job took longer than {limit:g} s; expected less to do")
        if isinstance(fault, WorkerStartError):
            return "failed", _error("worker_start_failed", f"the worker cannot start ({fault}); see the server's log")
        if isinstance(fault, WorkerDiedError):
            if slot.cancelled:
                return "cancelled", {}
            if job.crashes + 1 < self.settings.max_crashes:
                return "queued", {}
            advice = "lower the size" if "memory" in str(fault) else "see the server's log"
            return "failed", _error("worker_died", f"the worker crashed ({fault}); {advice}")
        _log.error("job %s", job.id, exc_info=fault)
        return "failed", _error("server_fault", "a fault of the server; its log has the id of this job: report it")

    def _order(self, job: Job) -> Message:
        """The message that makes a worker run a job; file names are relative to its folder."""
        is_live = job.request["format"] == JOB_TYPES[job.kind].live_format
        limits = self.settings
        return {
            "id": job.id,
            "kind": job.kind,
            "folder": str(self.files.of(job.id)),
            "request": job.request,
            "result": self.files.result(job).name,
            "motion": self.files.motion(job).name,
            "live": self.files.live(job).name if is_live else None,
            "limits": {"pixels": limits.max_pixels, "seconds": limits.max_seconds, "spare": limits.spare_disk // 2},
        }

    async def _record(self, job: Job, state: State, facts: dict[str, Any]) -> State:
        """Record the end of an attempt, however long the disk is full: what is not recorded would run again."""
        while True:
            try:
                return await run_in_threadpool(self._write_end, job, state, facts)
            except sqlite3.OperationalError as fault:
                _log.error("job %s has ended, which cannot be recorded yet (%s)", job.id, fault)
                await asyncio.sleep(_RETRY_SECONDS)

    def _write_end(self, job: Job, state: State, facts: dict[str, Any]) -> State:
        if job.id in self._unwritten:
            self._mark_deleted(job.id)
        elif state == "queued":
            self.store.requeue(job.id)
        elif state == "succeeded":
            self.store.finish(job.id, state, result=facts, size=self.files.size(job))
        else:
            self.store.finish(job.id, state, error=facts)
        self._clean(job.id)
        now = self.store.get(job.id)
        return state if now is None else now.state

    def _clean(self, name: str) -> None:
        job = self.store.get(name)
        if job is None or job.deleted or name in self._unwritten:
            self.files.remove(name)
        elif job.final:
            self.files.tidy(job)

    # cleaning up

    def _recover(self) -> None:
        error = _error("interrupted", "the server was stopped each time this job ran; send it again")
        again = self.store.requeue_interrupted(self.settings.max_restarts, error)
        if again:
            _log.info("%d interrupted jobs begin again", again)
        self.files.sweep(self.store.names())
        for job in self.store.finished_before(time.time()):
            self.files.tidy(job)  # a killed server may have left the inputs of finished jobs

    async def _sweep_forever(self) -> None:
        while True:
            try:
                await run_in_threadpool(self._sweep)
            except (OSError, sqlite3.Error):
                _log.exception("cleaning up failed; it is tried again")
            await asyncio.sleep(min(_SWEEP_SECONDS, self.settings.keep_seconds / 4))

    def _sweep(self) -> None:
        now = time.time()
        for name in list(self._unwritten):
            self._mark_deleted(name)
        for job in self.store.finished_before(now - self.settings.keep_seconds):
            self.store.mark_deleted(job.id)
            self.files.remove(job.id)
        self.store.forget(now - self.settings.keep_seconds - self.settings.remember_seconds)


def _error(code: str, detail: str, status: int = 500) -> dict[str, Any]:
    return {"status": status, "code": code, "detail": " ".join(detail.split())}


async def _cancel_all(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks until all have ended: before Python 3.12, `wait_for` may swallow a cancellation."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=0.5)

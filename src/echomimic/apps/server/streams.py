"""Responses that last as long as a job: its growing video, and its events."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from echomimic.apps.jobs.queue import JobQueue, wait_for_event
from echomimic.apps.jobs.request import JobError
from echomimic.apps.jobs.store import Job
from echomimic.apps.server.schemas import Problem, describe_job, describe_progress, not_ready

_PIECE = 1 << 17
_POLL_SECONDS = 0.25
HEARTBEAT_SECONDS = 2.0
_NO_STORE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Find = Callable[[], Job]
"""Reads the job as it is now; raises JobError if it is gone. Blocks."""


class StreamAborted(Exception):  # noqa: N818 - no error: the connection is closed, so that a part never passes for all
    """A response that has begun cannot be completed."""


class StreamLimit:
    """Counts the open streams."""

    def __init__(self, limit: int) -> None:
        self.limit, self.count = limit, 0

    @contextmanager
    def hold(self) -> Iterator[None]:
        if self.count >= self.limit:
            why = f"{self.count} streams are open, which is the limit; close some or try again"
            raise Problem(429, "too_many_streams", why, {"Retry-After": "5"})
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1


async def live_response(queue: JobQueue, limit: StreamLimit, find: Find) -> StreamingResponse:
    """The video of a job as fragmented mp4, from its beginning; the response begins when the video does."""
    pieces = _follow(queue, limit, find)
    return StreamingResponse(_from_first(await anext(pieces), pieces), 200, _NO_STORE, "video/mp4")


async def _from_first(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """All pieces. An error after the first closes the connection."""
    yield first
    try:
        async for piece in pieces:
            yield piece
    except (Problem, JobError, OSError) as error:
        raise StreamAborted(str(error)) from None


async def _follow(queue: JobQueue, limit: StreamLimit, find: Find) -> AsyncIterator[bytes]:
    """The bytes of the growing file, in order. Raises Problem if they end too early."""
    with limit.hold():
        job = await run_in_threadpool(find)
        change = queue.events.subscribe(job.id)
        while (job := await run_in_threadpool(find)).state == "queued":
            await wait_for_event(change, 1.0)
            change = queue.events.subscribe(job.id)
        file = _GrowingFile(queue, job)
        try:
            while True:
                change = queue.events.subscribe(job.id)
                running = queue.events.progress(job.id).attempt == job.attempt
                now = job if running else await run_in_threadpool(find)  # before reading: the end is written before it
                if piece := await run_in_threadpool(file.read, now):
                    yield piece
                elif now.state == "succeeded":
                    return
                elif now.final or now.attempt != job.attempt:
                    raise not_ready(now)
                else:
                    await wait_for_event(change, _POLL_SECONDS)
        finally:
            file.close()


class _GrowingFile:
    """The file of a running job; the result, which plays as well, if that file is gone already."""

    def __init__(self, queue: JobQueue, job: Job) -> None:
        self._live, self._result = queue.files.live(job), queue.files.result(job)
        self._file: BinaryIO | None = None

    def read(self, job: Job) -> bytes:
        for path in (self._live, self._result) if self._file is None else ():
            if path == self._live or job.state == "succeeded":
                try:
                    self._file = path.open("rb")
                    break
                except FileNotFoundError:
                    continue
        return self._file.read(_PIECE) if self._file else b""

    def close(self) -> None:
        if self._file:
            self._file.close()


async def event_response(queue: JobQueue, limit: StreamLimit, find: Find) -> StreamingResponse:
    """Server-sent events of a job: `job`, `progress`, `preview`, `heartbeat`; the last is the `job` that ended."""
    events = _events(queue, limit, find)
    return StreamingResponse(_from_first(await anext(events), events), 200, _NO_STORE, "text/event-stream")


async def _events(queue: JobQueue, limit: StreamLimit, find: Find) -> AsyncIterator[bytes]:
    with limit.hold():
        job = await run_in_threadpool(find)
        sent, previews, done = ("", -1), 0, -1
        while True:
            change, progress = queue.events.subscribe(job.id), queue.events.progress(job.id)
            if not sent[0] or progress.attempt != job.attempt:
                job = await run_in_threadpool(find)
            if (job.state, job.attempt) != sent:
                sent = job.state, job.attempt
                yield _event("job", (await run_in_threadpool(describe_job, job, queue)).model_dump_json())
            if job.final:
                return
            if progress.done != done:
                done = progress.done
                yield _event("progress", describe_progress(job, queue.events).model_dump_json())
            if progress.previews > previews:
                previews = progress.previews
                image = f"data:image/jpeg;base64,{b64encode(progress.preview).decode()}"
                yield _event("preview", json.dumps({"done": progress.done, "image": image}))
            if not await wait_for_event(change, HEARTBEAT_SECONDS):
                yield _event("heartbeat", "{}")


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()

"""Answers that go on while a job does: its video as it grows, and what happens as events."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO

from starlette.responses import StreamingResponse

from echomimic.apps.jobs.service import Service
from echomimic.apps.jobs.store import Job
from echomimic.apps.server.problems import Problem
from echomimic.apps.server.schemas import describe_progress

_PIECE = 1 << 17
_LOOK_EVERY = 0.05
_BREATH = 15.0
_NO_STORE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

Look = Callable[[], Job]
"""Looks at the job as it is now; raises Problem where it is gone."""


class CutOff(Exception):  # noqa: N818 - not an error: the connection is closed, so that nobody takes a part for all
    """What is being sent will never be complete."""


@contextmanager
def _counted(service: Service) -> Iterator[None]:
    """One of the long answers that are allowed at a time."""
    if service.streams >= service.settings.streams:
        why = f"{service.streams} streams are open, which is the most; close some or try again"
        raise Problem(429, "too_many_streams", why, {"Retry-After": "5"})
    service.streams += 1
    try:
        yield
    finally:
        service.streams -= 1


async def live_response(service: Service, look: Look) -> StreamingResponse:
    """The video of a job as fragmented mp4 from its beginning, as it is made; the answer begins when the video does."""
    pieces = _follow(service, look)
    first = await anext(pieces)
    return StreamingResponse(_from_first(first, pieces), 200, _NO_STORE, "video/mp4")


async def _from_first(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """All pieces. What goes wrong from here on closes the connection."""
    yield first
    try:
        async for piece in pieces:
            yield piece
    except Problem as problem:
        raise CutOff(problem.detail) from None


async def _follow(service: Service, look: Look) -> AsyncIterator[bytes]:
    """The bytes of the growing file, in order. Raises Problem where they end too early."""
    with _counted(service):
        job, bell = look(), service.board.bell(look().id)
        while job.state == "queued":
            await service.board.heard(bell, 1.0)
            bell, job = service.board.bell(job.id), look()
        with closing(_Growing(service, job)) as file:
            while True:
                now = look()  # before reading: what was written until it ended is read after that is known
                if piece := file.read(now):
                    yield piece
                elif now.state == "succeeded":
                    return
                elif now.final or now.attempt != job.attempt:
                    raise not_ready(now)
                else:
                    await service.board.heard(service.board.bell(job.id), _LOOK_EVERY)


class _Growing:
    """The file of a job that runs; the finished one, which is as playable, where that has gone already."""

    def __init__(self, service: Service, job: Job) -> None:
        self._paths = service.folders.live(job), service.folders.result(job)
        self._file: BinaryIO | None = None

    def read(self, job: Job) -> bytes:
        """What is new; empty where there is nothing."""
        for path in self._paths if self._file is None else ():
            if path == self._paths[0] or job.state == "succeeded":
                try:
                    self._file = path.open("rb")
                    break
                except FileNotFoundError:
                    continue
        return self._file.read(_PIECE) if self._file else b""

    def close(self) -> None:
        """Let go of the file."""
        if self._file:
            self._file.close()


def not_ready(job: Job) -> Problem:
    """Why there is no result."""
    if job.state == "failed":
        return Problem(409, "job_failed", f"there is no result: {job.error.get('detail', 'the job has failed')}")
    if job.state == "cancelled":
        return Problem(409, "job_cancelled", "there is no result: the job has been cancelled")
    return Problem(409, "not_finished", f"the job is {job.state}; the result is there when it has succeeded: wait")


async def event_response(service: Service, look: Look) -> StreamingResponse:
    """What happens to a job, as server-sent events: `job`, `progress` and `preview`; the last is a `job` that ended."""
    events = _events(service, look)
    return StreamingResponse(_from_first(await anext(events), events), 200, _NO_STORE, "text/event-stream")


async def _events(service: Service, look: Look) -> AsyncIterator[bytes]:
    with _counted(service):
        said, shown, moved = ("", -1), 0, -1
        while True:
            bell = service.board.bell(look().id)
            job, news = look(), service.board.news(look().id)
            if (job.state, job.attempt) != said:
                said = job.state, job.attempt
                yield _event("job", service.answer(job).model_dump_json())
            if job.final:
                return
            if news.done != moved:
                moved = news.done
                yield _event("progress", describe_progress(job, service.board).model_dump_json())
            if news.previews > shown:
                shown = news.previews
                image = f"data:image/jpeg;base64,{b64encode(news.preview).decode()}"
                yield _event("preview", json.dumps({"done": news.done, "image": image}))
            if not await service.board.heard(bell, _BREATH):
                yield b": still here\n\n"


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()

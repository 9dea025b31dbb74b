"""What the server says about a job."""

from datetime import datetime, timezone
from typing import Any

from pydantic import BaseModel, Field

from echomimic.apps.jobs.events import Board
from echomimic.apps.jobs.job_types import KINDS
from echomimic.apps.jobs.store import Job, State, Store


class Progress(BaseModel):
    """How far a job is."""

    done: int = Field(description="frames that are made")
    total: int = Field(description="frames to make; 0 while that is not known")
    share: float = Field(description="0 to 1")
    speed: float = Field(description="frames a second")
    seconds_left: float | None = Field(description="how long the rest takes; null while that is not known")


class Fault(BaseModel):
    """A problem, in the words of RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    code: str = Field(description="for programs: it does not change")
    detail: str = Field(description="what was got, what was expected, what to do")
    request_id: str | None = Field(None, description="under which the server's log has this request")


class Answer(BaseModel):
    """A job: what was asked for and what became of it."""

    id: str
    kind: str
    state: State
    position: int | None = Field(description="place in the queue, from 1; null where it does not wait")
    progress: Progress
    request: dict[str, Any] = Field(description="the fields that were given, and their defaults")
    attempt: int = Field(description="how often it was begun; more than 1 after a crash or restart")
    created: datetime
    started: datetime | None
    finished: datetime | None
    expires: datetime | None = Field(description="when its files will be deleted")
    result: dict[str, Any] | None = Field(description="facts on what was made: frames, fps, width, height, seed, …")
    error: Fault | None = Field(description="why it failed")
    links: dict[str, str] = Field(description="where to go from here, on this server")


class Answers(BaseModel):
    """Jobs, the newest first."""

    items: list[Answer]


def describe(job: Job, store: Store, board: Board, keep_seconds: float) -> Answer:
    """A job as a client sees it: no path of the server is in it."""
    return Answer(
        id=job.id,
        kind=job.kind,
        state=job.state,
        position=store.position(job.id) if job.state == "queued" else None,
        progress=describe_progress(job, board),
        request=dict(job.request),
        attempt=job.attempt,
        created=datetime.fromtimestamp(job.created, timezone.utc),
        started=_when(job.started),
        finished=_when(job.finished),
        expires=_when(job.finished, keep_seconds),
        result={**job.result, "bytes": job.bytes} if job.state == "succeeded" else None,
        error=Fault(**job.error) if job.error else None,
        links=_links(job),
    )


def describe_progress(job: Job, board: Board) -> Progress:
    """How far it is: what the board says while it runs, all of it when it has succeeded."""
    if job.state == "succeeded":
        frames = int(job.result.get("frames", 0))
        return Progress(done=frames, total=frames, share=1.0, speed=0.0, seconds_left=0.0)
    news = board.news(job.id)
    left = news.seconds_left
    return Progress(
        done=news.done,
        total=news.total,
        share=round(news.done / news.total, 4) if news.total else 0.0,
        speed=round(news.speed, 2),
        seconds_left=None if left is None else round(left, 2),
    )


def _links(job: Job) -> dict[str, str]:
    """What can be asked of this job now."""
    kind = KINDS[job.kind]
    here = f"/v1/{kind.plural}/{job.id}"
    links = {"self": here, "events": f"{here}/events"}
    if not job.final:
        links["cancel"] = f"{here}/cancel"
    if job.state == "succeeded":
        links["result"] = f"{here}/result"
    if job.request["format"] == kind.live and (not job.final or job.state == "succeeded"):
        links["live"] = f"{here}/live"
    if job.state == "succeeded" and job.request.get("save_motion"):
        links["motion"] = f"{here}/motion"
    return links


def _when(seconds: float | None, later: float = 0.0) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds + later, timezone.utc)

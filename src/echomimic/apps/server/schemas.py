"""Response models of the API: jobs, presets and problems."""

from datetime import datetime, timezone
from typing import Any

from pydantic import BaseModel, Field

from echomimic.apps.jobs.events import JobEvents
from echomimic.apps.jobs.queue import JobQueue
from echomimic.apps.jobs.request import JOB_TYPES
from echomimic.apps.jobs.store import Job, State
from echomimic.apps.server.problems import problem_dict


class Progress(BaseModel):
    """Progress of a job."""

    done: int = Field(description="finished frames")
    total: int = Field(description="frames to make; 0 while unknown")
    share: float = Field(description="0 to 1")
    speed: float = Field(description="frames a second")
    seconds_left: float | None = Field(description="estimated time for the rest; null while unknown")


class ProblemDetails(BaseModel):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    code: str = Field(description="stable code for programs")
    detail: str = Field(description="what was wrong, what is accepted, what to do")
    request_id: str | None = Field(None, description="the id of the request in the server's log")


class JobResource(BaseModel):
    """A job."""

    id: str
    kind: str
    state: State
    position: int | None = Field(description="position in the queue, from 1; null unless it is queued")
    progress: Progress
    request: dict[str, Any] = Field(description="the given fields and the defaults of the others")
    attempt: int = Field(description="number of starts; more than 1 after a crash or restart")
    created: datetime
    started: datetime | None
    finished: datetime | None
    expires: datetime | None = Field(description="when its files will be deleted")
    result: dict[str, Any] | None = Field(description="facts about the result: frames, fps, width, height, seed, …")
    error: ProblemDetails | None = Field(description="why it failed")
    links: dict[str, str] = Field(description="addresses on this server that make sense in this state")


class JobList(BaseModel):
    """Jobs, the newest first."""

    items: list[JobResource]


class PresetResource(BaseModel):
    """A preset and whether it can run here."""

    name: str
    engine: str
    ready: bool
    missing_files: list[str] = Field(description="names of checkpoint files that this server lacks")
    missing_packages: list[str] = Field(description="Python packages that this server lacks")
    defaults: dict[str, Any] = Field(description="options whose defaults differ from the general ones")


class PresetList(BaseModel):
    """All presets."""

    items: list[PresetResource]


def describe_job(job: Job, queue: JobQueue) -> JobResource:
    """A job as a client sees it, without paths of the server. Blocks."""
    return JobResource(
        id=job.id,
        kind=job.kind,
        state=job.state,
        position=queue.store.position(job.id) if job.state == "queued" else None,
        progress=describe_progress(job, queue.events),
        request=dict(job.request),
        attempt=job.attempt,
        created=datetime.fromtimestamp(job.created, timezone.utc),
        started=_time(job.started),
        finished=_time(job.finished),
        expires=_time(job.finished, queue.settings.keep_seconds),
        result={**job.result, "bytes": job.bytes} if job.state == "succeeded" else None,
        error=_problem_details(job),
        links=_links(job),
    )


def _problem_details(job: Job) -> ProblemDetails | None:
    if not job.error:
        return None
    return ProblemDetails.model_validate(problem_dict(job.error["status"], job.error["code"], job.error["detail"]))


def describe_progress(job: Job, events: JobEvents) -> Progress:
    """Progress: as reported while the job runs, complete once it has succeeded."""
    if job.state == "succeeded":
        frames = int(job.result.get("frames", 0))
        return Progress(done=frames, total=frames, share=1.0, speed=0.0, seconds_left=0.0)
    progress = events.progress(job.id)
    left = progress.seconds_left
    return Progress(
        done=progress.done,
        total=progress.total,
        share=round(progress.done / progress.total, 4) if progress.total else 0.0,
        speed=round(progress.speed, 2),
        seconds_left=None if left is None else round(left, 2),
    )


def _links(job: Job) -> dict[str, str]:
    job_type = JOB_TYPES[job.kind]
    here = f"/v1/{job_type.plural}/{job.id}"
    links = {"self": here, "events": f"{here}/events"}
    if not job.final:
        links["cancel"] = f"{here}/cancel"
    if job.state == "succeeded":
        links["result"] = f"{here}/result"
    if job.request["format"] == job_type.live_format and (not job.final or job.state == "succeeded"):
        links["live"] = f"{here}/live"
    if job.state == "succeeded" and job.request.get("save_motion"):
        links["motion"] = f"{here}/motion"
    return links


def _time(seconds: float | None, later: float = 0.0) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds + later, timezone.utc)

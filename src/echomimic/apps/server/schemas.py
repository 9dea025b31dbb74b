"""The response models of the API, and HTTP errors as problem details (RFC 9457), each with a stable code."""

import errno
import os
import sqlite3
from collections.abc import Mapping
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from echomimic.apps.jobs.queue import JobEvents, JobQueue
from echomimic.apps.jobs.request import JOB_TYPES
from echomimic.apps.jobs.store import Job, State
from echomimic.apps.jobs.worker import public_text
from echomimic.errors import EchoMimicError, InputError

MEDIA_TYPE = "application/problem+json"
_CODES = {
    404: ("unknown_job", "session_gone"),
    409: ("already_ended", "idempotency_key_reused", "weights_missing", "package_missing"),
    410: ("deleted",),
    413: ("upload_too_large",),
    429: ("queue_full",),
    503: ("worker_start_failed",),
    507: ("no_space",),
}
_STATUS = {code: status for status, codes in _CODES.items() for code in codes}


class Problem(HTTPException):
    """An error answer: `detail` says in one line what was wrong, what is accepted and what to do."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, " ".join(detail.split()), headers)
        self.code = code

    def response(self, request_id: str) -> JSONResponse:
        content = {**problem_dict(self.status_code, self.code, self.detail), "request_id": request_id}
        return JSONResponse(content, self.status_code, self.headers, MEDIA_TYPE)


def problem_dict(status: int, code: str, detail: str) -> dict[str, object]:
    """The body of a problem response (RFC 9457)."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }


def problem_of(error: Exception) -> Problem:
    """The problem that describes an error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, EchoMimicError):
        wait = getattr(error, "retry_after", 0)
        status = _STATUS.get(error.code, 422 if isinstance(error, InputError) else 500)
        return Problem(status, error.code, public_text(str(error)), {"Retry-After": str(wait)} if wait else None)
    if isinstance(error, (OSError, sqlite3.OperationalError)):
        return _storage_problem(error)
    if isinstance(error, HTTPException):
        code = {404: "no_such_address", 405: "method_not_allowed"}.get(error.status_code, "refused")
        return Problem(error.status_code, code, f"{error.detail}; expected an address of /openapi.json", error.headers)
    return Problem(500, "server_fault", "a fault of the server; its log has the request_id: report it")


def _storage_problem(fault: OSError | sqlite3.OperationalError) -> Problem:
    if getattr(fault, "errno", None) in (errno.EMFILE, errno.ENFILE) or _no_descriptor_left():
        why = "the server has too many files and connections open; try again later"
        return Problem(503, "too_many_open_files", why, {"Retry-After": "5"})
    full = isinstance(fault, sqlite3.Error) or fault.errno in (errno.ENOSPC, errno.EDQUOT)
    why = "the server's disk is full" if full else "the server cannot write to its disk"
    return Problem(507, "no_space", f"{why}; try again later", {"Retry-After": "60"})


def _no_descriptor_left() -> bool:
    """Whether this process can open no more files: SQLite reports that as a general error."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return True
    return False


def request_id(request: Request) -> str:
    """The id of a request, as it stands in the log."""
    return str(request.scope.get("state", {}).get("request_id", "-"))


def not_ready(job: Job) -> Problem:
    """Why a job has no result."""
    if job.state == "failed":
        return Problem(409, "job_failed", f"there is no result: {job.error.get('detail', 'the job has failed')}")
    if job.state == "cancelled":
        return Problem(409, "job_cancelled", "there is no result: the job was cancelled")
    return Problem(409, "not_finished", f"the job is {job.state}; expected one that has succeeded: wait for it")


def add_handlers(app: FastAPI) -> None:
    """Make the application answer every error with a problem."""

    async def known(request: Request, error: Exception) -> Response:
        return problem_of(error).response(request_id(request))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        return Problem(422, "invalid", f"{where}: {first['msg']}").response(request_id(request))

    for kind in (HTTPException, EchoMimicError, OSError, sqlite3.OperationalError):
        app.add_exception_handler(kind, known)
    app.add_exception_handler(RequestValidationError, invalid)


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


class LiveResource(BaseModel):
    """A live session."""

    id: str
    state: str = Field(description="new, connecting, connected, failed")
    width: int
    height: int
    fps: float
    delay: float = Field(description="seconds between a sound and its frame, without rendering and network")
    queued: float = Field(description="seconds of sound that wait to be spoken")
    statistics: dict[str, int] = Field(description="frames, held pictures, samples inserted and dropped, stalls")
    links: dict[str, str] = Field(description="addresses of this session")


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
        error=ProblemDetails.model_validate(problem_dict(**job.error)) if job.error else None,
        links=_links(job),
    )


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

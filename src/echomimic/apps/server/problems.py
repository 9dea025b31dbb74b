"""HTTP errors as problem details (RFC 9457), each with a stable code."""

import errno
import os
import sqlite3
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from echomimic.apps.jobs.store import Job
from echomimic.apps.jobs.worker import public_text
from echomimic.errors import EchoMimicError, InputError

MEDIA_TYPE = "application/problem+json"
_STATUS = {
    "unknown_job": 404,
    "session_gone": 404,
    "already_ended": 409,
    "idempotency_key_reused": 409,
    "weights_missing": 409,
    "package_missing": 409,
    "deleted": 410,
    "upload_too_large": 413,
    "queue_full": 429,
    "worker_start_failed": 503,
    "no_space": 507,
}


class Problem(HTTPException):
    """An error answer: `detail` says in one line what was wrong, what is accepted and what to do."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, " ".join(detail.split()), headers)
        self.code = code

    def response(self, request_id: str) -> JSONResponse:
        content = {**problem_dict(self.status_code, self.code, self.detail), "request_id": request_id}
        return JSONResponse(content, self.status_code, self.headers, MEDIA_TYPE)


def problem_dict(status: int, code: str, detail: str) -> dict[str, object]:
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }


def problem_of(error: Exception) -> Problem:
    """The problem for an error of this package, of the disk or of the framework."""
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
    return str(request.scope.get("state", {}).get("request_id", "-"))


def deleted() -> Problem:
    return Problem(410, "deleted", "this file was deleted; results are kept for a limited time: submit the job again")


def not_ready(job: Job) -> Problem:
    """Why a job has no result."""
    if job.state == "failed":
        return Problem(409, "job_failed", f"there is no result: {job.error.get('detail', 'the job has failed')}")
    if job.state == "cancelled":
        return Problem(409, "job_cancelled", "there is no result: the job was cancelled")
    return Problem(409, "not_finished", f"the job is {job.state}; expected one that has succeeded: wait for it")


def add_handlers(app: FastAPI) -> None:
    """Answer every known error with a problem."""

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

"""Errors as HTTP says them: problem details (RFC 9457), each with a code that programs can rely on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"


@dataclass
class Problem(Exception):  # noqa: N818 - the name of RFC 9457
    """An answer that is an error: `detail` says in one line what was got, what was expected and what to do."""

    status: int
    code: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """The members of RFC 9457, and the code."""
        title = HTTPStatus(self.status).phrase
        return {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "code": self.code,
            "detail": " ".join(self.detail.split()),
        }


def answer(problem: Problem, request_id: str) -> JSONResponse:
    """A problem as a response."""
    content = {**problem.as_dict(), "request_id": request_id}
    return JSONResponse(content, problem.status, dict(problem.headers), MEDIA_TYPE)


def request_id(request: Request) -> str:
    """The name under which this request is in the log."""
    return str(request.scope.get("state", {}).get("request_id", "-"))


def missing_job() -> Problem:
    """For a job that never was, or is somebody else's."""
    return Problem(404, "unknown_job", "there is no such job; expected the id that a POST has answered")


def gone(what: str = "this job") -> Problem:
    """For what was here once."""
    return Problem(410, "deleted", f"{what} has been deleted; results are kept for a limited time: ask for a new one")

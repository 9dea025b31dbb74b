"""The HTTP application: the addresses, put together."""

import errno
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from echomimic import __version__
from echomimic.apps.jobs.job_types import KINDS
from echomimic.apps.jobs.service import Service
from echomimic.apps.server.metrics import CONTENT_TYPE, Metrics
from echomimic.apps.server.middleware import Door
from echomimic.apps.server.multipart import disk_full
from echomimic.apps.server.openapi import describe_with, files_of
from echomimic.apps.server.page import make_page
from echomimic.apps.server.problems import Problem, answer, request_id
from echomimic.apps.server.routes import make_router
from echomimic.apps.server.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The server as an ASGI application; its folder is locked from now on. Raises Problem where that is in use."""
    service = Service(settings)

    @asynccontextmanager
    async def working(app: FastAPI) -> AsyncIterator[None]:
        async with service.open():
            yield

    app = FastAPI(
        title="echomimic",
        version=__version__,
        summary="A portrait and a voice become a video of that person speaking",
        lifespan=working,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    metrics = Metrics(service)
    app.add_middleware(Door, settings=settings, metrics=metrics)
    for kind in KINDS.values():
        app.include_router(make_router(kind, service))
    _add_pages(app, metrics, settings)
    _add_handlers(app)
    return app


def _add_pages(app: FastAPI, metrics: Metrics, settings: Settings) -> None:
    """What is not about jobs."""
    paper: dict[str, Any] = {}

    @app.get("/healthz", operation_id="health", summary="Whether the server is there")
    async def health() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    text = files_of("text/plain")
    text[200]["content"]["text/plain"]["schema"] = {"type": "string"}

    @app.get(
        "/metrics", operation_id="metrics", summary="Numbers for Prometheus", response_class=Response, responses=text
    )
    async def numbers() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/openapi.json", include_in_schema=False)
    async def description() -> dict[str, Any]:
        return paper

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse(make_page(paper, str(request.base_url).rstrip("/")))

    paper.update(describe_with(app, settings))


def _add_handlers(app: FastAPI) -> None:
    """Errors of the framework in the words of ours."""

    @app.exception_handler(Problem)
    async def problem(request: Request, problem: Problem) -> Response:
        return answer(problem, request_id(request))

    @app.exception_handler(sqlite3.OperationalError)
    async def unwritten(request: Request, error: sqlite3.OperationalError) -> Response:
        return answer(disk_full(OSError(errno.ENOSPC, str(error))), request_id(request))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        codes = {404: "no_such_address", 405: "method_not_allowed"}
        code = codes.get(error.status_code, "refused")
        why = f"{request.method} {request.url.path[:200]}: {error.detail}; expected an address of /openapi.json"
        return answer(Problem(error.status_code, code, why, dict(error.headers or {})), request_id(request))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        return answer(Problem(422, "invalid", f"{where}: {first['msg']}"), request_id(request))

"""The HTTP application: the API under /v1, the page at / and the editor at /editor."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool

from echomimic import __version__
from echomimic.apps.jobs.queue import JobQueue
from echomimic.apps.jobs.request import JOB_TYPES
from echomimic.apps.server.memory import tidy_forever
from echomimic.apps.server.middleware import CONTENT_TYPE, Metrics, SecurityMiddleware
from echomimic.apps.server.openapi import describe_api, files_of, make_page, problems
from echomimic.apps.server.routes import AppState, editor, ui
from echomimic.apps.server.routes.jobs import make_jobs_router, make_presets_router
from echomimic.apps.server.routes.videos import make_videos_router
from echomimic.apps.server.schemas import add_handlers
from echomimic.apps.server.settings import Settings
from echomimic.apps.server.streams import StreamLimit
from echomimic.apps.server.uploads import Uploads
from echomimic.errors import SetupError
from echomimic.installation import missing_package


def create_app(settings: Settings) -> FastAPI:
    """The server as an ASGI application, which holds the lock of its data folder. Raises JobError if it is in use."""
    queue, streams = JobQueue(settings.jobs), StreamLimit(settings.streams)
    state = AppState(settings, queue, Uploads(queue), streams)

    closing: list[Callable[[], Awaitable[None]]] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tidying = asyncio.create_task(tidy_forever())
        async with queue.open():
            yield
            for close in closing:
                await close()
        tidying.cancel()
        await run_in_threadpool(state.uploads.discard_all)

    app = FastAPI(
        title="echomimic",
        version=__version__,
        summary="A portrait and a voice become a video of that person speaking",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.echomimic = state
    metrics = Metrics(queue, streams)
    app.add_middleware(SecurityMiddleware, settings=settings, metrics=metrics)
    for job_type in JOB_TYPES.values():
        app.include_router(make_jobs_router(job_type, state))
    app.include_router(make_presets_router())
    app.include_router(make_videos_router(state))
    if settings.live:
        closing.append(_add_live(app, state))
    _add_system_routes(app, metrics, state)
    app.state.editors = editor.EditorSessions(state)
    for pages in (ui.make_router(state), editor.make_router(state, app.state.editors)):
        app.include_router(pages, include_in_schema=False)
    add_handlers(app)
    return app


def _add_live(app: FastAPI, state: AppState) -> Callable[[], Awaitable[None]]:
    """Add the routes of live sessions; returns what closes them. Raises SetupError without the extra."""
    for package in ("aiortc", "websockets"):
        if find_spec(package) is None:
            raise SetupError(missing_package(package, "live", "live sessions need"))
    from echomimic.apps.server.live_sessions import LiveSessions
    from echomimic.apps.server.routes.live import make_live_router

    sessions = LiveSessions(state.settings.live_sessions)
    app.include_router(make_live_router(state, sessions))
    app.state.live = sessions
    return sessions.close_all


def _add_system_routes(app: FastAPI, metrics: Metrics, state: AppState) -> None:
    @cache
    def api() -> dict[str, Any]:
        return describe_api(app, state.settings)

    @app.get("/healthz", operation_id="health", summary="Whether the server runs")
    async def health() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @app.get("/readyz", operation_id="ready", summary="Whether a worker can start", responses=problems(503))
    async def ready() -> dict[str, str]:
        await state.queue.check_ready()
        return {"status": "ready"}

    text = files_of("text/plain")
    text[200]["content"]["text/plain"]["schema"] = {"type": "string"}

    @app.get(
        "/metrics", operation_id="metrics", summary="Metrics for Prometheus", response_class=Response, responses=text
    )
    def numbers() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/openapi.json", include_in_schema=False)
    def description() -> dict[str, Any]:
        return api()

    @app.get("/docs", include_in_schema=False)
    def page(request: Request) -> HTMLResponse:
        return HTMLResponse(make_page(api(), str(request.base_url).rstrip("/")))

"""Routes of live sessions: WHEP-style signalling, sound by WebSocket, barge-in."""

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from echomimic.apps.jobs.request import LIVE
from echomimic.apps.jobs.runner import check_picture
from echomimic.apps.server.live_sessions import LiveSessions
from echomimic.apps.server.openapi import Responses, problems, request_body
from echomimic.apps.server.routes import AppState
from echomimic.apps.server.routes.ui import receive
from echomimic.apps.server.schemas import LiveResource, Problem
from echomimic.apps.server.uploads import Upload
from echomimic.apps.server.validation import parse_request

if TYPE_CHECKING:
    from echomimic.apps.server.live import LiveSession
    from echomimic.streaming import Stream

_SDP = "application/sdp"
_ANSWER: Responses = {201: {"description": "the answer", "content": {_SDP: {"schema": {"type": "string"}}}}}
_SIZE = 512
_MAX_FPS = 60.0
_RATES = (8_000, 48_000)
_TOO_MUCH = 1 << 20
"""Bytes of one message of sound."""


def make_live_router(state: AppState, sessions: LiveSessions) -> APIRouter:
    """The routes under /v1/live."""
    router = APIRouter(prefix="/v1/live", tags=["live"])
    _add_sessions(router, state, sessions)
    _add_connection(router, state, sessions)
    _add_sound(router, sessions)
    return router


def _add_sessions(router: APIRouter, state: AppState, sessions: LiveSessions) -> None:
    preparing = asyncio.Semaphore(1)

    @router.post(
        "",
        status_code=201,
        operation_id="open_live",
        summary="Open a live session with a portrait",
        openapi_extra={"requestBody": request_body(LIVE)},
        responses=problems(400, 403, 408, 413, 415, 422, 429, 507),
    )
    async def open_session(request: Request, response: Response) -> LiveResource:
        sessions.reserve()
        try:
            async with receive(request, state, ("portrait",)) as upload, preparing:
                made = await run_in_threadpool(_make_stream, upload, state)
            from echomimic.apps.server.live import LiveSession  # it was loaded in the other thread

            session = LiveSession(made, request.state.owner)
            sessions.add(session)
        finally:
            sessions.opening -= 1
        response.headers["Location"] = f"/v1/live/{session.id}"
        return describe_session(session)

    @router.get("/{id}", operation_id="get_live", summary="A live session", responses=problems(404))
    async def get(request: Request, id: str) -> LiveResource:  # noqa: A002 - the name in the address
        return describe_session(sessions.find(id, request.state.owner))

    @router.delete(
        "/{id}", status_code=204, operation_id="close_live", summary="Close a live session", responses=problems(404)
    )
    async def close(request: Request, id: str) -> None:  # noqa: A002
        await sessions.close(sessions.find(id, request.state.owner))


def _make_stream(upload: Upload, state: AppState) -> "Stream":
    """The stream of an upload's portrait and options. Raises Problem, EchoMimicError. Blocks."""
    from echomimic.apps.server.live import RATE
    from echomimic.streaming import stream

    asked = parse_request(LIVE, LIVE.variants[0], upload.fields, state.settings.max_seconds)
    options = {"size": _SIZE, **asked["options"]}
    if float(options.get("fps") or 25) > _MAX_FPS:
        raise Problem(
            422, "option_invalid", f"fps is {options['fps']}; expected at most {_MAX_FPS:g} for a live session"
        )
    check_picture(upload.file("portrait"), state.queue.settings.max_pixels)
    return stream(upload.file("portrait"), rate=RATE, overflow=asked["overflow"], **options)


def describe_session(session: "LiveSession") -> LiveResource:
    """A session as a client sees it."""
    here, made = f"/v1/live/{session.id}", session.stream
    return LiveResource(
        id=session.id,
        state=session.state,
        width=made.size[0],
        height=made.size[1],
        fps=made.fps,
        delay=made.delay,
        queued=round(made.queued, 3),
        statistics=vars(made.statistics),
        links={"self": here, "whep": f"{here}/whep", "sound": f"{here}/sound", "clear": f"{here}/clear"},
    )


def _add_connection(router: APIRouter, state: AppState, sessions: LiveSessions) -> None:
    @router.post(
        "/{id}/whep",
        status_code=201,
        operation_id="connect_live",
        summary="Connect by WebRTC: an SDP offer that receives video and sound, and may send a microphone",
        response_class=Response,
        openapi_extra={"requestBody": {"required": True, "content": {_SDP: {"schema": {"type": "string"}}}}},
        responses=_ANSWER | problems(404, 415, 422),
    )
    async def connect(request: Request, id: str) -> Response:  # noqa: A002
        session = sessions.find(id, request.state.owner)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _SDP:
            raise Problem(415, "wrong_content_type", f"the content type is not {_SDP}; expected an SDP offer")
        offer = (await request.body()).decode("utf-8", "replace")
        answer = await session.answer(offer, state.settings.ice_server)
        return Response(answer, 201, {"Location": f"/v1/live/{session.id}/whep"}, _SDP)

    @router.delete(
        "/{id}/whep", status_code=204, operation_id="disconnect_live", summary="Disconnect", responses=problems(404)
    )
    async def disconnect(request: Request, id: str) -> None:  # noqa: A002
        await sessions.find(id, request.state.owner).disconnect()

    @router.post(
        "/{id}/clear",
        status_code=204,
        operation_id="clear_live",
        summary="Barge-in: forget the sound that was not heard yet; the mouth closes",
        responses=problems(404),
    )
    async def clear(request: Request, id: str) -> None:  # noqa: A002
        sessions.find(id, request.state.owner).stream.clear()


def _add_sound(router: APIRouter, sessions: LiveSessions) -> None:
    @router.websocket("/{id}/sound")
    async def sound(socket: WebSocket, id: str, rate: int = 24_000) -> None:  # noqa: A002
        """Sound as binary messages of 16-bit mono PCM at `rate`; `{"type": "end"}` and `{"type": "clear"}` as text."""
        try:
            session = sessions.find(id, socket.state.owner)
        except Problem:
            session = None
        if session is None or not _RATES[0] <= rate <= _RATES[1]:
            await socket.close(1008)
            return
        await socket.accept()
        session.senders += 1
        events = session.listen()
        telling = asyncio.create_task(_tell(socket, events))
        try:
            await _receive(socket, session, rate)
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            session.senders -= 1
            session.forget(events)
            telling.cancel()


async def _receive(socket: WebSocket, session: "LiveSession", rate: int) -> None:
    """Push what a client sends at `rate` until it leaves or the session ends."""
    import numpy as np

    from echomimic.apps.server.live import RATE
    from echomimic.media import Resampler

    resampler = Resampler(rate, RATE)
    while not session.closed:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        data, text = message.get("bytes"), message.get("text")
        if data is not None and len(data) % 2 == 0 and len(data) <= _TOO_MUCH:
            await session.push(np.frombuffer(data, "<i2") / np.float32(32768), resampler)
        elif text is not None and _command(text) == "end":
            session.stream.end_segment()
        elif text is not None and _command(text) == "clear":
            session.stream.clear()
        else:
            await socket.close(1003, "expected 16-bit PCM of at most 1 MiB, or a type: end or clear")
            return
    await socket.close(1001)


def _command(text: str) -> Any:
    with suppress(ValueError):
        message = json.loads(text)
        return message.get("type") if isinstance(message, dict) else None
    return None


async def _tell(socket: WebSocket, events: "asyncio.Queue[str]") -> None:
    while True:
        await socket.send_json({"type": await events.get()})

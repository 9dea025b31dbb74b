"""The editor's addresses. Each answers with the new state, or with an error in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from echomimic.apps.web.advice import trouble_of
from echomimic.apps.web.desk import Desk
from echomimic.apps.web.editor_state import change_state, changed, edited_state, job_state, rounded, session_state
from echomimic.apps.web.editor_words import editor_page
from echomimic.apps.web.jobs import in_one_line, named_after
from echomimic.apps.web.look import to_data_url, to_jpeg
from echomimic.editing import EditHistory, Kind
from echomimic.errors import EchoMimicError, OptionError
from echomimic.motion import read_edits

STATIC = Path(__file__).parent / "static"


class Seen(BaseModel):
    """What the browser shows: another tab may have changed it since."""

    revision: int = -1


class Lines(Seen):
    """Edits as records or as lines of Python, and the frame to show after them."""

    lines: list[str | dict[str, Any]]
    at: int = 0
    instead: bool = False
    close: bool = False


class Wanted(BaseModel):
    """How to render the track."""

    preset: str = "mesh"
    quality: str = "balanced"


def add_editor(app: FastAPI, desk: Desk) -> None:
    """Put the editor at /editor."""
    router = APIRouter(prefix="/editor")
    _add_page(router, desk)
    _add_sessions(router, desk)
    _add_looking(router, desk)
    _add_edits(router, desk)
    _add_renders(router, desk)
    app.include_router(router)

    @app.exception_handler(EchoMimicError)
    async def say(_request: Request, error: EchoMimicError) -> JSONResponse:
        said = {"error": in_one_line(error, desk.folder), "trouble": trouble_of(error)}
        return JSONResponse(said, getattr(error, "status", 422))


def _add_page(router: APIRouter, desk: Desk) -> None:
    @router.get("")
    def page(lang: str = "en") -> Response:
        html = (STATIC / "editor.html").read_text(encoding="utf-8")
        page = editor_page(html, "zh" if lang == "zh" else "en", desk.studio.settings.max_upload)
        return Response(page, media_type="text/html")

    @router.get("/static/{name}")
    def static(name: str) -> FileResponse:
        known = {each.name: each for each in STATIC.iterdir() if each.suffix in (".js", ".css")}
        if name not in known:
            raise OptionError(f"there is no {name}; expected one of {', '.join(known)}")
        return FileResponse(known[name], headers={"Cache-Control": "no-cache"})


def _add_sessions(router: APIRouter, desk: Desk) -> None:
    @router.post("/sessions")
    async def begin(request: Request) -> dict[str, Any]:
        async with desk.take_in(request) as (files, fields):
            session = await run_in_threadpool(desk.begin, files, fields)
        return {"id": session.id}

    @router.get("/sessions/{name}")
    def show(name: str) -> dict[str, Any]:
        return session_state(desk.find(name))

    @router.post("/sessions/{name}/track")
    async def load(name: str, request: Request) -> dict[str, Any]:
        session = desk.find(name)
        async with desk.take_in(request) as (files, _):
            kind = await run_in_threadpool(desk.load, session, files)
        return edited_state(session, kind)

    @router.post("/sessions/{name}/again")
    async def again(name: str, request: Request) -> dict[str, Any]:
        async with desk.take_in(request) as (files, _):
            session = await run_in_threadpool(desk.again, desk.find(name), files)
        return {"id": session.id}

    @router.get("/sessions/{name}/voice")
    def voice(name: str) -> FileResponse:
        session = desk.find(name)
        path = desk.home(session) / "voice.wav"
        if not path.is_file():
            session.write_voice(path)
        return FileResponse(path, media_type="audio/wav")


def _add_looking(router: APIRouter, desk: Desk) -> None:
    @router.get("/sessions/{name}/{kind}")
    def show(name: str, kind: Kind) -> dict[str, Any]:
        return edited_state(desk.find(name), kind)

    @router.get("/sessions/{name}/{kind}/track")
    def save(name: str, kind: Kind) -> FileResponse:
        session = desk.find(name)
        words = [session.portrait_file.stem, session.voice_file.stem, *(["hands"] if kind == "hands" else [])]
        path = session.editor(kind).save(desk.home(session) / f"{named_after(*words)}.npz")
        return FileResponse(path, filename=path.name)

    @router.get("/sessions/{name}/{kind}/frame/{number}")
    def frame(name: str, kind: Kind, number: int, close: bool = False) -> Response:
        picture = to_jpeg(desk.find(name).editor(kind).picture(number, close))
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})


def _add_edits(router: APIRouter, desk: Desk) -> None:
    @router.post("/sessions/{name}/{kind}/try")
    def attempt(name: str, kind: Kind, wanted: Lines) -> dict[str, Any]:
        edited = desk.find(name).editor(kind)
        track: Any = edited.history.preview(read_edits(wanted.lines))
        picture = to_data_url(to_jpeg(edited.picture(wanted.at, wanted.close, track)))
        after = edited.values(track)
        return {"curves": rounded(after, changed(edited.values(), after)), "frame": picture}

    def changing(change: Callable[[EditHistory[Any]], None], name: str, kind: Kind, seen: Seen) -> dict[str, Any]:
        session = desk.find(name)
        edited = session.editor(kind)
        with session.lock:
            before, same = edited.values(), seen.revision == session.revision
            change(edited.history)
            return change_state(session, kind, changed(before, edited.values()) if same else tuple(before))

    @router.post("/sessions/{name}/{kind}/edits")
    def edit(name: str, kind: Kind, wanted: Lines) -> dict[str, Any]:
        return changing(lambda history: history.apply(read_edits(wanted.lines), wanted.instead), name, kind, wanted)

    @router.post("/sessions/{name}/{kind}/undo")
    def undo(name: str, kind: Kind, seen: Seen) -> dict[str, Any]:
        return changing(EditHistory.undo, name, kind, seen)

    @router.post("/sessions/{name}/{kind}/redo")
    def redo(name: str, kind: Kind, seen: Seen) -> dict[str, Any]:
        return changing(EditHistory.redo, name, kind, seen)


def _add_renders(router: APIRouter, desk: Desk) -> None:
    @router.post("/sessions/{name}/render")
    def render(name: str, wanted: Wanted) -> dict[str, Any]:
        session = desk.find(name)
        job = desk.render(session, wanted.preset, wanted.quality)
        return job_state(job, desk.studio.jobs.ahead(job)) | {"warnings": session.warnings(wanted.preset)}

    @router.get("/jobs/{name}")
    def follow(name: str) -> dict[str, Any]:
        job = desk.job(name)
        return job_state(job, desk.studio.jobs.ahead(job))

    @router.post("/jobs/{name}/cancel")
    def cancel(name: str) -> dict[str, Any]:
        job = desk.job(name)
        desk.studio.jobs.cancel(job)
        return job_state(job, 0)

    @router.get("/jobs/{name}/video")
    def video(name: str) -> FileResponse:
        job = desk.job(name)
        if job.clip is None or not job.clip.path.is_file():
            raise OptionError("this video is not finished, or was deleted; expected a job that is done")
        path = job.clip.path
        return FileResponse(path, media_type="video/mp4", filename=path.name, content_disposition_type="inline")

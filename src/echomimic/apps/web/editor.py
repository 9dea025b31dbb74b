"""The editor's addresses. Each answers with the new state, or with an error in one line."""

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from echomimic import motion
from echomimic.apps.web.desk import Desk
from echomimic.apps.web.editor_words import editor_page
from echomimic.apps.web.jobs import Job, in_one_line
from echomimic.apps.web.look import to_jpeg
from echomimic.apps.web.session import Session, curve_table
from echomimic.errors import EchoMimicError, OptionError
from echomimic.presets import PRESETS, Preset
from echomimic.types import CURVE_NAMES, CURVES, Curves

STATIC = Path(__file__).parent / "static"


class Line(BaseModel):
    """An edit, and the frame to show after it."""

    line: str
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
    _add_page(router)
    _add_sessions(router, desk)
    _add_looking(router, desk)
    _add_edits(router, desk)
    _add_renders(router, desk)
    app.include_router(router)

    @app.exception_handler(EchoMimicError)
    async def say(_request: Request, error: EchoMimicError) -> JSONResponse:
        return JSONResponse({"error": in_one_line(error, desk.folder)}, getattr(error, "status", 422))


def _add_page(router: APIRouter) -> None:
    @router.get("")
    def page(lang: str = "en") -> Response:
        html = (STATIC / "editor.html").read_text(encoding="utf-8")
        return Response(editor_page(html, "zh" if lang == "zh" else "en"), media_type="text/html")

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
        session = desk.find(name)
        return _whole(session) | {"presets": {each.name: follows_faces(each) for each in PRESETS.values()}}

    @router.post("/sessions/{name}/track")
    async def load(name: str, request: Request) -> dict[str, Any]:
        session = desk.find(name)
        async with desk.take_in(request) as (files, _):
            await run_in_threadpool(desk.load, session, files)
        return _state(session, CURVE_NAMES)

    @router.get("/sessions/{name}/track")
    def save(name: str) -> FileResponse:
        session = desk.find(name)
        path = session.save(desk.home(session) / f"{session.portrait_file.stem}-{session.voice_file.stem}.npz")
        return FileResponse(path, filename=path.name)

    @router.post("/sessions/{name}/again")
    async def again(name: str, request: Request) -> dict[str, Any]:
        async with desk.take_in(request) as (files, _):
            session = await run_in_threadpool(desk.again, desk.find(name), files)
        return {"id": session.id}


def _add_looking(router: APIRouter, desk: Desk) -> None:
    @router.get("/sessions/{name}/frame/{number}")
    def frame(name: str, number: int, close: bool = False) -> Response:
        picture = to_jpeg(desk.find(name).frame(number, close))
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    @router.get("/sessions/{name}/voice")
    def voice(name: str) -> FileResponse:
        session = desk.find(name)
        path = desk.home(session) / "voice.wav"
        if not path.is_file():
            session.write_voice(path)
        return FileResponse(path, media_type="audio/wav")


def _add_edits(router: APIRouter, desk: Desk) -> None:
    @router.post("/sessions/{name}/try")
    def attempt(name: str, wanted: Line) -> dict[str, Any]:
        session = desk.find(name)
        track = session.tried(wanted.line)
        picture = b64encode(to_jpeg(session.frame(wanted.at, wanted.close, track))).decode()
        before, after = session.curves, session.curves_of(track)
        return {"curves": _values(after, _changed(before, after)), "frame": f"data:image/jpeg;base64,{picture}"}

    def changing(change: Callable[[Session], None], name: str) -> dict[str, Any]:
        session = desk.find(name)
        with session.lock:
            before = session.curves
            change(session)
            return _state(session, _changed(before, session.curves))

    @router.post("/sessions/{name}/edits")
    def edit(name: str, wanted: Line) -> dict[str, Any]:
        return changing(lambda session: session.edit(wanted.line, wanted.instead), name)

    @router.post("/sessions/{name}/undo")
    def undo(name: str) -> dict[str, Any]:
        return changing(Session.undo, name)

    @router.post("/sessions/{name}/redo")
    def redo(name: str) -> dict[str, Any]:
        return changing(Session.redo, name)


def _add_renders(router: APIRouter, desk: Desk) -> None:
    @router.post("/sessions/{name}/render")
    def render(name: str, wanted: Wanted) -> dict[str, Any]:
        return _progress(desk, desk.render(desk.find(name), wanted.preset, wanted.quality))

    @router.get("/jobs/{name}")
    def follow(name: str) -> dict[str, Any]:
        return _progress(desk, desk.job(name))

    @router.post("/jobs/{name}/cancel")
    def cancel(name: str) -> dict[str, Any]:
        job = desk.job(name)
        desk.studio.jobs.cancel(job)
        return _progress(desk, job)

    @router.get("/jobs/{name}/video")
    def video(name: str) -> FileResponse:
        job = desk.job(name)
        if job.clip is None or not job.clip.path.is_file():
            raise OptionError("this video is not finished, or was deleted; expected a job that is done")
        path = job.clip.path
        return FileResponse(path, media_type="video/mp4", filename=path.name, content_disposition_type="inline")


def follows_faces(preset: Preset) -> bool:
    """Whether a preset renders the track of a face: a mask has no motion, and hands are another kind of track."""
    return preset.engine == "mesh" or preset.drive == "landmarks"


def _progress(desk: Desk, job: Job) -> dict[str, Any]:
    clip = job.clip
    said = {
        "id": job.id,
        "state": job.state,
        "ahead": desk.studio.jobs.ahead(job),
        "done": job.done,
        "total": job.total,
        "speed": job.speed,
        "left": job.left,
        "error": job.error,
    }
    if clip:
        words = ("frames", "seconds", "width", "height", "preset", "seed", "took", "notes")
        said |= {name: getattr(clip, name) for name in words} | {"name": clip.path.name}
    return said


def _whole(session: Session) -> dict[str, Any]:
    """All that the editor shows."""
    return _state(session, CURVE_NAMES) | {
        "table": curve_table(),
        "fps": session.track.fps,
        "frames": len(session.track),
        "seconds": session.speech.duration,
        "width": session.stage.framing.width,
        "height": session.stage.framing.height,
        "portrait": session.portrait_file.name,
        "voice": session.voice_file.name,
        "peaks": session.peaks,
        "closures": session.closures,
        "seed": session.options.seed,
        "far": session.far,
    }


def _state(session: Session, names: tuple[str, ...]) -> dict[str, Any]:
    """What an edit may change: the list of edits, and the curves called `names`."""
    curves = session.curves
    lines = {line.name: line for line in CURVES}
    keys = {
        name: [
            (round(at, 4), round(value, 4)) for at, value in motion.curve_keys(curves[name], lines[name], curves.fps)
        ]
        for name in names
    }
    return {
        "revision": session.revision,
        "edits": session.edits,
        "undone": session.undone,
        "past": session.past,
        "parts": session.track.parts,
        "curves": _values(curves, names),
        "keys": keys,
    }


def _values(curves: Curves, names: tuple[str, ...]) -> dict[str, list[float]]:
    return {name: [round(float(value), 4) for value in curves[name]] for name in names}


def _changed(before: Curves, after: Curves) -> tuple[str, ...]:
    if before.values.shape != after.values.shape:
        return CURVE_NAMES
    moved = (before.values != after.values).any(axis=0)
    return tuple(name for name, different in zip(CURVE_NAMES, moved, strict=True) if different)

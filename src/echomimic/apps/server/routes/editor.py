"""Routes of the motion editor: sessions, the frame at the cursor, edits, and renders as jobs of the queue."""

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from echomimic.apps.jobs.request import ANIMATION
from echomimic.apps.jobs.runner import check_picture
from echomimic.apps.option_specs import OPTION_SPECS
from echomimic.apps.server.memory import trim_memory
from echomimic.apps.server.routes import AppState
from echomimic.apps.server.routes.editor_state import (
    TOLERANCE,
    Kind,
    change_state,
    changed_curves,
    edited_state,
    keys_of,
    rounded_curves,
    session_state,
)
from echomimic.apps.server.routes.ui import data_url, html_page, to_jpeg
from echomimic.apps.server.schemas import JobResource, Problem, describe_job, not_ready
from echomimic.apps.server.uploads import Upload
from echomimic.apps.server.validation import parse_request
from echomimic.options import make_options
from echomimic.presets import find_preset
from echomimic.types import Progress

_IDLE_SECONDS = 3600.0
"""A session is closed if it is not used for this time; an open editor reports every few seconds."""
_ABANDONED_SECONDS = 180.0
"""If memory is short, a session that is not used for this time may be closed: browsers let a hidden tab report once a
minute.
"""
_MAX_FRAMES = 100_000
"""Frames of all sessions together; a track takes some 12 kB for each."""
_SWEEP_SECONDS = 60.0
_MAX_VIEW_BYTES = 30_000_000
"""Memory limit of all views; beyond it, the view that was not drawn for the longest time is released, and made again
with its next frame, which takes about a second.
"""
_UNSEEN_SECONDS = 300.0
"""A view that is not drawn for this time is released in any case."""


@dataclass
class OpenSession:
    """An editing session with the upload that it reads from, which is kept as long as it is open."""

    session: Any
    upload: Upload
    owner: str
    used: float = field(default_factory=time.monotonic)
    takes: list[Any] = field(default_factory=list)
    """What was rendered, with the edits that made it (`editor_project.Take`)."""
    users: int = 0
    """Requests that are using the session now: it is not closed before they end."""

    def name(self, *fields: str) -> str:
        """The client's names of these files, without suffix, joined."""
        names = (Path(self.upload.filenames.get(each, "") or each).stem for each in fields)
        return "-".join(name.encode()[:90].decode(errors="ignore") for name in names)


class EditorSessions:
    """The open sessions by id. A session that is in use is never closed."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._sessions: dict[str, OpenSession] = {}
        self.analyzed: dict[str, tuple[int, int]] = {}
        """Seconds of a voice that were analyzed, and its length, by the token that the browser sent with the upload."""
        self._lock = threading.Lock()
        self._sweeping: asyncio.Task[None] | None = None

    @contextmanager
    def using(self, name: str, owner: str) -> Iterator[OpenSession]:
        """The session with that id, which stays open inside the block. Problem 404 if there is none."""
        with self._lock:
            found = self._sessions.get(name)
            if found is None or found.owner != owner:
                why = "this session is no longer open; expected an open one: choose portrait and voice again"
                raise Problem(404, "session_gone", why)
            found.users += 1
            found.used = time.monotonic()
        try:
            yield found
        finally:
            with self._lock:
                found.users -= 1
                found.used = time.monotonic()
            self._release_views()

    def _release_views(self) -> None:
        """Release the views that have not been drawn for a long time, and those that are too many."""
        with self._lock:
            views = [view for each in self._sessions.values() for view in set(each.session.views) if view.held_bytes]
        views.sort(key=lambda view: -view.drawn)
        held, old = 0, time.monotonic() - _UNSEEN_SECONDS
        for number, view in enumerate(views):
            held += view.held_bytes
            if view.drawn < old or (number and held > _MAX_VIEW_BYTES):
                view.release()
        trim_memory()

    @contextmanager
    def analysis_progress(self, upload: Upload) -> Iterator[Progress]:
        """The progress of analyzing an upload's voice, which the browser asks for by the token that it sent."""
        token = upload.fields.get("token", "")[:64]

        def report(done: int, total: int) -> None:
            if token:
                self.analyzed[token] = done, total

        try:
            yield report
        finally:
            self.analyzed.pop(token, None)

    async def add(self, session: Any, upload: Upload, owner: str, takes: Sequence[Any] = ()) -> str:
        """Keep a session. Problem 503 if the sessions in use leave too little memory for it."""
        for abandoned in self._make_room(session.frames):
            await self._state.uploads.discard(abandoned.upload)
        with self._lock:
            self._sessions[session.id] = OpenSession(session, upload, owner, takes=[*takes])
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._sweep())
        await run_in_threadpool(trim_memory)  # decoding takes several times the picture
        return str(session.id)

    def _make_room(self, frames: int) -> list[OpenSession]:
        """Close sessions until `frames` fit, those first that have not been used for the longest time."""
        closed: list[OpenSession] = []
        with self._lock:
            for each in self._oldest_first():
                if self._frames + frames <= _MAX_FRAMES or not self._close_if_unused(each, _ABANDONED_SECONDS):
                    break
                closed.append(each)
            if self._sessions and self._frames + frames > _MAX_FRAMES:
                why = (
                    "too many editors are open; expected fewer or shorter voices: close one, or try again in 3 minutes"
                )
                raise Problem(503, "too_many_sessions", why, {"Retry-After": "180"})
        return closed

    @property
    def _frames(self) -> int:
        return sum(each.session.frames for each in self._sessions.values())

    def _oldest_first(self) -> list[OpenSession]:
        return sorted(self._sessions.values(), key=lambda each: each.used)

    def _close_if_unused(self, each: OpenSession, seconds: float) -> bool:
        unused = each.users == 0 and time.monotonic() - each.used > seconds
        if unused:
            del self._sessions[each.session.id]
        return unused

    async def _sweep(self) -> None:
        """Close sessions that are not used any more, until none is left."""
        while self._sessions:
            await asyncio.sleep(_SWEEP_SECONDS)
            with self._lock:
                closed = [each for each in self._oldest_first() if self._close_if_unused(each, _IDLE_SECONDS)]
            for each in closed:
                await self._state.uploads.discard(each.upload)
            await run_in_threadpool(self._release_views)


Tolerance = Annotated[float, Field(ge=0.01, le=0.9)]
"""How far a curve may be from its keyframes, as a fraction of how far it moves."""


Second = Annotated[float, Field(ge=0, le=86_400)]


class SeenRevision(BaseModel):
    """The revision and the tolerance that the browser shows: another tab may have changed the track since."""

    revision: int = -1
    tolerance: Tolerance = TOLERANCE
    curve: str = Field(default="", max_length=50)
    """The curve that is shown, whose keyframes are wanted also of a long clip."""


class EditRequest(SeenRevision):
    """Edits as records, and the frame to show after them."""

    edits: list[dict[str, Any]] = Field(max_length=1000)
    at: int = 0
    replace_last: bool = False
    whole: bool = False
    """Whether the edits take the place of all, rather than being applied after them."""
    close: bool = False


class Transcript(BaseModel):
    """What a voice says, plain or as .srt, and its language for espeak-ng."""

    text: str = Field(max_length=200_000)
    language: str = Field(default="en-us", pattern="^[a-z]{2,3}(-[a-z0-9-]{1,20})?$")


class RenderRequest(BaseModel):
    """A preset and the options that the page sends with it."""

    preset: str = "mesh"
    options: dict[str, str] = Field(default={}, max_length=100)
    span: tuple[Second, Second] | None = None
    """The seconds of the video of `base` that are rendered again, with its preset and options."""
    base: str = Field(default="", pattern="^[0-9a-f]{0,32}$")


def _opened(request: Request, name: str) -> Iterator[OpenSession]:
    """The session of an address, which stays open until the request has ended. Problem 404 if there is none."""
    with request.app.state.editors.using(name, request.state.owner) as found:
        yield found


def _check_kind(kind: Kind) -> Kind:
    if kind not in ("face", "hands"):
        raise Problem(404, "no_such_address", f"there is no {kind[:50]!r}; expected face or hands")
    return kind


Opened = Annotated[OpenSession, Depends(_opened)]


def _edited(found: Opened, kind: Kind) -> Any:
    """The face or the hands of a session, as the address says."""
    return found.session.editor(_check_kind(kind))


Edited = Annotated[Any, Depends(_edited)]


def make_router(state: AppState, sessions: EditorSessions) -> APIRouter:
    """The routes below `/editor`."""
    from echomimic.apps.server.routes.editor_project import add_projects

    router = APIRouter(prefix="/editor")
    router.add_api_route("", lambda: html_page("editor.html"))
    _add_sessions(router, state, sessions)
    _add_words(router)
    add_projects(router, state, sessions)
    _add_views(router)  # after those: its addresses end in a kind, which may be any word
    _add_frames(router)
    _add_edits(router)
    _add_renders(router, state)
    return router


def _add_sessions(router: APIRouter, state: AppState, sessions: EditorSessions) -> None:
    @router.get("/analysis/{token}")
    async def analysis(token: str) -> dict[str, int]:
        """Seconds of an upload's voice that were analyzed, and its length; zeros before the analysis begins."""
        done, total = sessions.analyzed.get(token, (0, 0))
        return {"done": done, "total": total}

    @router.post("/sessions")
    async def begin(request: Request) -> dict[str, Any]:
        async with kept_upload(request, state, ("portrait", "speech", "motion")) as upload:
            with sessions.analysis_progress(upload) as on_analysis:
                session = await run_in_threadpool(_begin, upload, state, on_analysis)
            return {"id": await sessions.add(session, upload, request.state.owner)}

    @router.post("/sessions/{name}/fork")
    async def fork(request: Request, found: Opened) -> dict[str, Any]:
        async with kept_upload(request, state, ("speech",)) as upload:
            with sessions.analysis_progress(upload) as on_analysis:
                session = await run_in_threadpool(_fork, found, upload, on_analysis)
            return {"id": await sessions.add(session, upload, request.state.owner)}

    @router.post("/sessions/{name}/motion")
    async def load(request: Request, found: Opened) -> dict[str, Any]:
        async with kept_upload(request, state, ("motion",)) as upload:
            kind = await run_in_threadpool(_load, found.session, upload)
            await state.uploads.discard(upload)
        return await run_in_threadpool(edited_state, found.session, kind)


@asynccontextmanager
async def kept_upload(request: Request, state: AppState, names: tuple[str, ...]) -> AsyncIterator[Upload]:
    """An upload that stays after the block, unless the block raises."""
    upload = await state.uploads.receive(request, names)
    try:
        yield upload
    except BaseException:
        await state.uploads.discard(upload)
        raise


def _begin(upload: Upload, state: AppState, on_analysis: Progress) -> Any:
    """A session of an uploaded portrait and voice, and of a saved motion if there is one."""
    from echomimic.editing import EditingSession

    known = {spec.name for spec in OPTION_SPECS}
    given = {name: text for name, text in upload.fields.items() if name in known}
    portrait, speech = upload.file("portrait"), upload.file("speech")
    check_picture(portrait, state.queue.settings.max_pixels)
    session = EditingSession(portrait, speech, given, on_analysis=on_analysis)
    if "motion" in upload.files:
        _load(session, upload)
    return session


def _fork(found: OpenSession, upload: Upload, on_analysis: Progress) -> Any:
    """The same portrait, options and edits with another voice."""
    from echomimic.editing import EditingSession

    speech, portrait = upload.file("speech"), upload.folder / "portrait"
    shutil.copy(found.session.portrait_file, portrait)
    upload.files["portrait"] = portrait
    upload.filenames["portrait"] = found.upload.filenames.get("portrait", "")
    upload.bytes += portrait.stat().st_size
    session = EditingSession(portrait, speech, found.session.given, on_analysis=on_analysis)
    session.apply(found.session.edits)
    return session


def _load(session: Any, upload: Upload) -> Kind:
    """Continue with an uploaded motion of a face or of hands; returns which of them it was."""
    with session.lock:
        return str(session.load(upload.file("motion")))


def _add_views(router: APIRouter) -> None:
    @router.get("/sessions/{name}")
    def show(found: Opened) -> dict[str, Any]:
        return session_state(found)

    @router.get("/sessions/{name}/alive")
    def alive(found: Opened) -> dict[str, Any]:
        return {"revision": found.session.revision}

    @router.get("/sessions/{name}/voice")
    def voice(found: Opened) -> FileResponse:
        path = found.upload.folder / "voice.wav"
        if not path.is_file():
            found.session.write_voice(path)
        return FileResponse(path, media_type="audio/wav")

    @router.get("/sessions/{name}/{kind}")
    def editor(found: Opened, kind: Kind, tolerance: Tolerance = TOLERANCE, curve: str = "") -> dict[str, Any]:
        return edited_state(found.session, _check_kind(kind), tolerance, curve)

    @router.get("/sessions/{name}/{kind}/keys/{curve}")
    def keys(editor: Edited, curve: str, tolerance: Tolerance = TOLERANCE) -> list[tuple[float, ...]]:
        return keys_of(editor, curve, tolerance)


def _add_frames(router: APIRouter) -> None:
    @router.get("/sessions/{name}/face/handles/{number}")
    def handles(found: Opened, number: int, close: bool = False) -> list[dict[str, Any]]:
        """The parts of the face that can be dragged in the picture of a frame."""
        return [asdict(each) for each in found.session.face.handles(_bounded(number), close)]

    @router.get("/sessions/{name}/{kind}/motion")
    def save(found: Opened, editor: Edited, kind: Kind) -> FileResponse:
        words = found.name("portrait", "speech") + ("-hands" if kind == "hands" else "")
        return FileResponse(editor.save(found.upload.folder / f"saved-{kind}.npz"), filename=f"{words}.npz")

    @router.get("/sessions/{name}/{kind}/frame/{number}")
    def frame(editor: Edited, number: int, close: bool = False) -> Response:
        picture = editor.picture(_bounded(number), close)
        return Response(to_jpeg(picture), media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})


def _bounded(number: int) -> int:
    """A frame number that fits an array index; the editor clips it to the clip."""
    return min(max(number, 0), 2**31)


def _add_edits(router: APIRouter) -> None:
    from echomimic.motion import read_edits

    @router.post("/sessions/{name}/{kind}/curves")
    def curves(editor: Edited, wanted: EditRequest) -> dict[str, list[float]]:
        """The curves under other edits; under none those that the voice gives."""
        values = editor.values(editor.history.under(read_edits(wanted.edits)))
        return rounded_curves(values, tuple(values))

    @router.post("/sessions/{name}/{kind}/preview")
    def preview(editor: Edited, wanted: EditRequest) -> dict[str, Any]:
        track = editor.history.preview(read_edits(wanted.edits))
        picture = data_url(to_jpeg(editor.picture(_bounded(wanted.at), wanted.close, track)))
        after = editor.values(track)
        return {"curves": rounded_curves(after, changed_curves(editor.values(), after)), "frame": picture}

    @router.post("/sessions/{name}/{kind}/edits")
    def edit(found: Opened, kind: Kind, wanted: EditRequest) -> dict[str, Any]:
        edits = read_edits(wanted.edits)
        if wanted.whole:
            return _change(found, kind, wanted, lambda history: history.replace(edits, wanted.replace_last))
        return _change(found, kind, wanted, lambda history: history.apply(edits, wanted.replace_last))

    @router.post("/sessions/{name}/{kind}/undo")
    def undo(found: Opened, kind: Kind, seen: SeenRevision) -> dict[str, Any]:
        return _change(found, kind, seen, lambda history: history.undo())

    @router.post("/sessions/{name}/{kind}/redo")
    def redo(found: Opened, kind: Kind, seen: SeenRevision) -> dict[str, Any]:
        return _change(found, kind, seen, lambda history: history.redo())

    @router.post("/sessions/{name}/restore")
    def restore(found: Opened, kept: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        """Apply the edits that a browser kept when a server has lost its session."""
        with found.session.lock:
            found.session.apply({_check_kind(kind): edits for kind, edits in kept.items()})
            return session_state(found)


def _change(found: OpenSession, kind: Kind, seen: SeenRevision, work: Callable[[Any], None]) -> dict[str, Any]:
    """Change the edits of the face or of the hands; what the browser has to show then."""
    with found.session.lock:
        editor = found.session.editor(_check_kind(kind))
        before, is_current = editor.values(), seen.revision == found.session.revision
        work(editor.history)
        names = changed_curves(before, editor.values()) if is_current else tuple(before)
        return change_state(found.session, kind, names, seen.tolerance, seen.curve)


def _add_words(router: APIRouter) -> None:
    @router.get("/sessions/{name}/stretches")
    def stretches(found: Opened) -> list[dict[str, Any]]:
        return [asdict(each) for each in found.session.stretches]

    @router.post("/sessions/{name}/words")
    def words(found: Opened, transcript: Transcript) -> list[dict[str, Any]]:
        return [asdict(each) for each in found.session.align(transcript.text, transcript.language)]


def _add_renders(router: APIRouter, state: AppState) -> None:
    @router.post("/sessions/{name}/render")
    async def render(request: Request, found: Opened, wanted: RenderRequest) -> JobResource:
        queue = state.queue
        await run_in_threadpool(queue.check_room)
        folder = await run_in_threadpool(queue.files.new_upload)
        try:
            asked = await run_in_threadpool(_parse_render, found, wanted, state, request.state.owner)
            await run_in_threadpool(_prepare_render, found, folder, asked)
            if wanted.span:
                base = queue.find(ANIMATION, request.state.owner, wanted.base)
                await run_in_threadpool(queue.files.copy_work, base, folder)
            job = await queue.submit(ANIMATION, request.state.owner, asked, folder, None, "")
        finally:
            await run_in_threadpool(shutil.rmtree, folder, True)
        return await run_in_threadpool(describe_job, job, queue)


def _parse_render(found: OpenSession, wanted: RenderRequest, state: AppState, owner: str) -> dict[str, Any]:
    """The request of a render, whose work is kept; of a span of a finished one with its preset and options."""
    if wanted.span:
        base = state.queue.find(ANIMATION, owner, wanted.base)
        if base.state != "succeeded":
            raise not_ready(base)
        return {**base.request, "work": {"keep": True, "start": wanted.span[0], "end": wanted.span[1]}}
    fields = {**{name: str(text) for name, text in found.session.given.items()}, **wanted.options}
    fields["preset"] = wanted.preset
    return {
        **parse_request(ANIMATION, ANIMATION.variants[0], fields, state.settings.max_seconds),
        "work": {"keep": True},
    }


def _prepare_render(found: OpenSession, folder: Path, request: dict[str, Any]) -> None:
    """Put the inputs of a job into `folder`: the files of the session, and the motion that the preset follows."""
    session, preset = found.session, find_preset(request["preset"])
    options = make_options(request["options"], preset.defaults)
    if preset.engine == "diffusion":  # the network sees the crop, also if it is put back into the whole picture
        options = replace(options, framing="crop")
    shutil.copy(session.portrait_file, folder / "portrait")
    shutil.copy(session.voice_file, folder / "speech")
    with session.lock:
        editor = session.editor("hands" if preset.conditioning == "hands" else "face")
        editor.save(folder / "motion.npz", options).rename(folder / "motion")

"""Project files of the editor: portrait, voice, edits in their layers, and takes, in one zip that can be mailed."""

import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from echomimic.apps.jobs.runner import check_picture
from echomimic.apps.option_specs import OPTION_SPECS
from echomimic.apps.server.routes import AppState
from echomimic.apps.server.routes.editor import EditorSessions, Opened, kept_upload
from echomimic.apps.server.settings import MB
from echomimic.errors import MotionError
from echomimic.files import sync_file
from echomimic.types import Progress

_FORMAT = "echomimic-project"
_FACTS = "project.json"
Kind = Literal["face", "hands"]
_MOTIONS: dict[Kind, str] = {"face": "face.npz", "hands": "hands.npz"}
_FILES = (_FACTS, "portrait", "voice", *_MOTIONS.values())
_MAX_FACTS = 16 << 20
_BLOCK = 1 << 20
Records = dict[Kind, list[dict[str, Any]]]


class Take(BaseModel):
    """A render with the edits that made it; `job` is its video, as long as the server keeps it.

    `span` has the seconds that were rendered again in the video of the take before it.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=100)
    at: float
    preset: str = Field(max_length=100)
    job: str = Field(default="", pattern="^[0-9a-f]{0,32}$")
    edits: Records = {}
    span: tuple[float, float] | None = None


class Takes(BaseModel):
    """The takes of a session."""

    takes: list[Take] = Field(max_length=100)


class Project(Takes):
    """The facts of a project beside its files."""

    format: Literal["echomimic-project"] = "echomimic-project"
    version: Literal[1] = 1
    portrait: str = Field(max_length=200)
    voice: str = Field(max_length=200)
    options: dict[str, str] = Field(default={}, max_length=100)
    edits: Records = {}


def add_projects(router: APIRouter, state: AppState, sessions: EditorSessions) -> None:
    """The routes that save and open projects, and keep the takes of a session."""

    @router.post("/sessions/{name}/takes")
    def keep(found: Opened, kept: Takes) -> dict[str, int]:
        found.takes = kept.takes
        return {"takes": len(found.takes)}

    @router.get("/sessions/{name}/project")
    def save(found: Opened) -> FileResponse:
        path = write_project(found, found.upload.folder / "saved.zip")
        words = found.name("portrait", "speech")
        return FileResponse(path, filename=f"{words}.echomimic.zip", media_type="application/zip")

    @router.post("/projects")
    async def open_project(request: Request) -> dict[str, Any]:
        async with kept_upload(request, state, ("project",)) as upload:
            with sessions.analysis_progress(upload) as on_analysis:
                session, takes = await run_in_threadpool(_open, upload, state, on_analysis)
            return {"id": await sessions.add(session, upload, request.state.owner, takes)}


def write_project(found: Any, path: Path) -> Path:
    """Write the project of an open session; the file appears when it is complete."""
    session = found.session
    names = found.upload.filenames
    with session.lock:
        facts = Project(
            portrait=names.get("portrait", ""),
            voice=names.get("speech", ""),
            options={name: str(value) for name, value in session.given.items()},
            edits={kind: [edit.record() for edit in edits] for kind, edits in session.edits.items()},
            takes=found.takes,
        )
        part = path.with_suffix(".part")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_FACTS, facts.model_dump_json(), zipfile.ZIP_DEFLATED)
            archive.write(session.portrait_file, "portrait")
            archive.write(session.voice_file, "voice")
            for kind, edits in session.edits.items():
                if edits and session.editor(kind).history.baked:  # a loaded motion, which the voice does not give
                    archive.write(session.editor(kind).save(path.with_name(f"project-{kind}.npz")), _MOTIONS[kind])
    sync_file(part)
    return part.replace(path)


def read_project(path: Path, folder: Path, most: int) -> Project:
    """The facts of a project; its files are unpacked into `folder` under names of ours, `most` bytes in all.

    MotionError if it is not a project, or a hostile one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if len(set(names)) != len(names) or not {*_FILES[:3]} <= set(names) <= {*_FILES}:
                raise _no_project("it holds other files than a project")
            if sum(entry.file_size for entry in entries) > most:
                raise _no_project(f"it unpacks to more than {most // MB} MB")
            if archive.getinfo(_FACTS).file_size > _MAX_FACTS:
                raise _no_project("its list of edits is too long")
            for entry in entries:
                _unpack(archive, entry, folder / f"project-{entry.filename}")
        return Project.model_validate_json((folder / f"project-{_FACTS}").read_bytes())
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
        why = "its facts are not sound" if isinstance(error, ValidationError) else "it is damaged"
        raise _no_project(why) from None


def _no_project(why: str) -> MotionError:
    return MotionError(f"the project cannot be opened ({why}); expected a .zip that the editor has saved")


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    """Unpack one file, of no more bytes than it declares."""
    left = entry.file_size
    with archive.open(entry) as source, path.open("xb") as target:
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise _no_project("a file in it is larger than it says")
            target.write(block)


def _open(upload: Any, state: AppState, on_analysis: Progress) -> tuple[Any, list[Take]]:
    """A session of a project, and its takes."""
    from echomimic.editing import EditingSession

    folder = upload.folder
    facts = read_project(upload.file("project"), folder, round(2 * state.settings.max_upload * MB))
    portrait, speech = folder / "project-portrait", folder / "project-voice"
    check_picture(portrait, state.queue.settings.max_pixels)
    known = {spec.name for spec in OPTION_SPECS}
    given = {name: text for name, text in facts.options.items() if name in known}
    session = EditingSession(portrait, speech, given, on_analysis=on_analysis)
    for kind, name in _MOTIONS.items():
        saved = folder / f"project-{name}"
        if saved.is_file():
            session.load(saved)
        elif facts.edits.get(kind):
            session.apply({kind: facts.edits[kind]})
    upload.files |= {"portrait": portrait, "speech": speech}
    upload.filenames |= {"portrait": facts.portrait, "speech": facts.voice}
    upload.file("project").unlink()
    upload.bytes = sum(path.stat().st_size for path in folder.iterdir())
    return session, facts.takes

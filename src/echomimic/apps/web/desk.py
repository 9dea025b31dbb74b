"""The editor's sessions: what is uploaded for them, how long they stay, and how their tracks are rendered."""

import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import UploadFile
from starlette.requests import Request

from echomimic.apps.demo import demo_portrait, demo_voice
from echomimic.apps.web.jobs import Job, Order, named_after
from echomimic.apps.web.qualities import quality_options
from echomimic.apps.web.settings import MB
from echomimic.apps.web.studio import Studio
from echomimic.editing import EditingSession, Kind
from echomimic.errors import InputError, OptionError
from echomimic.options import make_options
from echomimic.presets import find_preset

_KEPT = 6
"""Sessions that stay open; each holds a portrait set up for rendering, some tens of megabytes."""
_KEPT_FRAMES = 100_000
"""And that all together have no more frames than this: a track takes some 12 kB for each."""
_KEPT_EDITS = TypeAdapter(dict[Kind, list[str | dict[str, Any]]])
_BLOCK = 1 << 20
_FIELD = 1_000_000
_LONGEST_SUFFIX = 12


class GoneError(InputError):
    """The session or job is not here any more."""

    status = 404
    code = "session_gone"


class TooLargeError(InputError):
    """An upload is larger than the server takes."""

    status = 413
    code = "upload_too_large"


class Desk:
    """Keeps the newest sessions; the files of the others are deleted."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.folder = studio.settings.folder / "sessions"
        self._sessions: OrderedDict[str, tuple[EditingSession, float]] = OrderedDict()
        self._lock = threading.Lock()

    @asynccontextmanager
    async def take_in(self, request: Request) -> AsyncIterator[tuple[dict[str, Path], dict[str, str]]]:
        """The files of a form, each under its own name in a folder that is deleted afterwards, and the form's words."""
        most = self.studio.settings.max_upload
        if int(request.headers.get("content-length") or most + 1) > most:
            raise TooLargeError(f"the upload is too large; expected at most {most // MB} MB in all")
        files: dict[str, Path] = {}
        fields: dict[str, str] = {}
        folder = self.folder / f"new-{uuid4().hex}"
        try:
            async with request.form(max_part_size=_FIELD) as form:
                for name, value in form.items():
                    if isinstance(value, UploadFile):
                        files[name] = await _kept(value, folder / str(len(files)))
                    else:
                        fields[name] = value
            yield files, fields
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def begin(self, files: Mapping[str, Path], fields: Mapping[str, str]) -> EditingSession:
        """A session with an uploaded portrait and voice, perhaps a saved track, perhaps edits to apply."""
        if "example" in fields:
            files = {"portrait": demo_portrait(), "voice": demo_voice()}
        if "portrait" not in files or "voice" not in files:
            raise OptionError("a portrait and a voice are needed; expected a file for each")
        with self._opened(files["portrait"], files["voice"], {}) as session:
            if "track" in files:
                self.load(session, files)
            session.apply(_edits(fields.get("edits", "{}")))
        return session

    def open(self, portrait: Path, voice: Path, given: Mapping[str, Any]) -> EditingSession:
        """A session with copies of these files."""
        with self._opened(portrait, voice, given) as session:
            return session

    @contextmanager
    def _opened(self, portrait: Path, voice: Path, given: Mapping[str, Any]) -> Iterator[EditingSession]:
        """A session with copies of these files; kept where all that is done to it first goes well."""
        home = self.folder / uuid4().hex
        copies = []
        for place, source in enumerate((portrait, voice)):
            (home / str(place)).mkdir(parents=True)
            copies.append(Path(shutil.copy(source, home / str(place) / source.name)))
        try:
            session = EditingSession(copies[0], copies[1], given, id=home.name)
            yield session
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            raise
        with self._lock:
            self._sessions[session.id] = session, time.monotonic()
        self.tidy()

    def again(self, session: EditingSession, files: Mapping[str, Path]) -> EditingSession:
        """The same portrait, options and edits with another voice."""
        if "voice" not in files:
            raise OptionError("a voice is needed; expected a file")
        with self._opened(session.portrait_file, files["voice"], session.given) as other:
            other.apply(session.edits)
        return other

    def load(self, session: EditingSession, files: Mapping[str, Path]) -> Kind:
        """Go on with an uploaded track, of a face or of hands; gives which of them it was."""
        if "track" not in files:
            raise OptionError("a saved track is needed; expected a file")
        with session.lock:
            return session.load(files["track"])

    def find(self, name: str) -> EditingSession:
        """The session of that id; GoneError where it is not here."""
        with self._lock:
            if name not in self._sessions:
                raise GoneError(
                    "this session is not here any more; expected an open one: drop portrait and voice again"
                )
            session, _ = self._sessions.pop(name)
            self._sessions[name] = session, time.monotonic()
            return session

    def home(self, session: EditingSession) -> Path:
        """The folder of a session."""
        return self.folder / session.id

    def render(self, session: EditingSession, preset: str, quality: str) -> Job:
        """Put the track that the preset follows in the queue: hands for V2, for all others the face."""
        chosen = find_preset(preset)
        longer = max(session.portrait.pixels.shape[:2])
        given = quality_options(quality, preset, longer) | dict(session.given)
        options = make_options(given, chosen.defaults)
        if chosen.engine == "diffusion":  # the network sees the crop, also where it is put back into the whole
            options = replace(options, framing="crop")
        with session.lock:
            edited = session.editor("hands" if chosen.conditioning == "hands" else "face")
            track = edited.save(self.home(session) / f"{uuid4().hex}.npz", options)
        try:
            return self.studio.jobs.submit(Order(session.portrait_file, session.voice_file, track, preset, given))
        finally:
            track.unlink()

    def job(self, name: str) -> Job:
        """The job of that id; GoneError where it is not here."""
        job = self.studio.jobs.find(name)
        if job is None:
            raise GoneError("this video is not here any more; expected a newer one: render it again")
        return job

    def tidy(self) -> None:
        """Forget sessions that nobody has used for long, and the oldest where they are too many or too long."""
        old = time.monotonic() - self.studio.settings.keep_seconds
        with self._lock:
            frames = sum(session.frames for session, _ in self._sessions.values())
            for name, (session, used) in list(self._sessions.items()):
                if used < old or len(self._sessions) > _KEPT or (frames > _KEPT_FRAMES and len(self._sessions) > 1):
                    frames -= session.frames
                    del self._sessions[name]
                    shutil.rmtree(self.folder / name, ignore_errors=True)


async def _kept(upload: UploadFile, folder: Path) -> Path:
    folder.mkdir(parents=True)
    given = Path(upload.filename or "")
    path = folder / (named_after(given.stem.strip(".") or "file") + given.suffix[:_LONGEST_SUFFIX])
    with path.open("wb") as file:
        while block := await upload.read(_BLOCK):
            file.write(block)
    return path


def _edits(text: str) -> dict[Kind, list[str | dict[str, Any]]]:
    """Edits by what they change, as the browser kept them."""
    try:
        return _KEPT_EDITS.validate_json(text)
    except ValidationError:
        raise OptionError(
            'the edits are no lists of edits; expected JSON like {"face": [{"op": "mirror"}], "hands": []}'
        ) from None

"""Routes of the page: its files, its configuration, and checks of a portrait and a voice before a job is submitted."""

import gzip
import threading
from base64 import b64encode
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.staticfiles import StaticFiles

from echomimic import __version__
from echomimic.apps.doctor import quick_check
from echomimic.apps.jobs.request import ANIMATION
from echomimic.apps.jobs.runner import check_picture
from echomimic.apps.jobs.worker import describe_note
from echomimic.apps.option_specs import OPTION_SPECS
from echomimic.apps.server.memory import trim_memory
from echomimic.apps.server.routes import AppState
from echomimic.apps.server.schemas import Problem
from echomimic.apps.server.settings import MB, Settings
from echomimic.apps.server.uploads import Upload
from echomimic.data import demo_portrait, demo_voice
from echomimic.options import GROUPS, Options, make_options
from echomimic.presets import PRESETS, find_preset, resolve_preset

SERVER = Path(__file__).parents[1]
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_CROP_OPTIONS = ("size", "framing", "face", "face_box", "crop_margin")
_PREVIEW_SIDE = 640
_KEPT_PORTRAITS = 4
_KEPT_PIXELS = 12_000_000
_PEAK_RATE, _PEAKS = 100, 400
"""Peaks a second of a voice, and the number that are sent of it."""
_DRAFT_STEPS = 0.4
"""A draft of a diffusion preset runs this fraction of the preset's steps."""


def html_page(name: str) -> FileResponse:
    """A page from the static folder under the page's content security policy."""
    headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
    return FileResponse(SERVER / "static" / name, headers=headers)


def _serve_folder(folder: Path) -> Callable[..., Awaitable[Response]]:
    """An endpoint for text files, which browsers revalidate on each visit, so that an upgrade takes effect at once."""
    files = StaticFiles(directory=folder)

    async def serve(request: Request, path: str) -> Response:
        response = await files.get_response(path, request.scope)
        if isinstance(response, FileResponse) and "gzip" in request.headers.get("accept-encoding", ""):
            kept = {name: response.headers[name] for name in ("etag", "last-modified", "content-type")}
            body = await run_in_threadpool(_compressed, str(response.path), kept["etag"])
            response = Response(body, headers=kept | {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"})
        response.headers["Cache-Control"] = "no-cache"
        return response

    return serve


@lru_cache(maxsize=256)
def _compressed(path: str, _etag: str) -> bytes:
    return gzip.compress(Path(path).read_bytes(), mtime=0)


def make_router(state: AppState) -> APIRouter:
    """Routes `/`, `/static`, `/locales` and `/ui`; none of them is part of the described API."""
    router = APIRouter()
    router.add_api_route("/", lambda: html_page("index.html"))
    router.add_api_route("/live", lambda: html_page("live.html"))
    router.add_api_route("/favicon.ico", lambda: FileResponse(SERVER / "static" / "icon.svg"))
    for folder in ("static", "locales"):
        router.add_api_route(f"/{folder}/{{path:path}}", _serve_folder(SERVER / folder))
    router.add_api_route("/ui/example/portrait", lambda: FileResponse(demo_portrait(), filename="example.png"))
    router.add_api_route("/ui/example/voice", lambda: FileResponse(demo_voice(), filename="example.flac"))
    _add_checks(router, state)
    return router


def _add_checks(router: APIRouter, state: AppState) -> None:
    portraits = PortraitCache(state.queue.settings.max_pixels)

    @router.get("/ui/config")
    async def config() -> dict[str, Any]:
        state.queue.prewarm()  # the page is open: load in the background what the first video needs
        threading.Thread(target=portraits.warm_up, name="warm-up", daemon=True).start()
        return await run_in_threadpool(page_config, state.settings)

    @router.post("/ui/portraits")
    async def portrait(request: Request) -> dict[str, Any]:
        async with receive(request, state, ("portrait",)) as upload:
            described = await run_in_threadpool(portraits.add, upload)
        await run_in_threadpool(trim_memory)  # decoding takes several times the picture
        return described

    @router.get("/ui/portraits/{name}")
    def crop(name: str, request: Request) -> dict[str, Any]:
        return portraits.describe(name, request.query_params)

    @router.post("/ui/jobs/{name}/earlier")
    def earlier(name: str, request: Request) -> dict[str, bool]:
        """Let a job that waits be made before the one that waits before it."""
        job = state.queue.find(ANIMATION, str(request.state.owner), name)
        return {"moved": state.queue.store.move_earlier(job.id, job.owner)}

    @router.post("/ui/voices")
    async def voice(request: Request) -> dict[str, Any]:
        async with receive(request, state, ("speech",)) as upload:
            return await run_in_threadpool(_describe_voice, upload.files["speech"])


@asynccontextmanager
async def receive(request: Request, state: AppState, names: tuple[str, ...]) -> AsyncIterator[Upload]:
    """An upload that has a file for each name; it is deleted afterwards. Raises Problem."""
    upload = await state.uploads.receive(request, names)
    try:
        for name in names:
            upload.file(name)
        yield upload
    finally:
        await state.uploads.discard(upload)


# ---- configuration of the page


def page_config(settings: Settings) -> dict[str, Any]:
    """Presets, options and limits, as plain values."""
    return {
        "version": __version__,
        "max_upload": settings.max_upload * MB,
        "max_disk": settings.max_disk * MB,
        "keep_hours": settings.keep,
        "groups": list(GROUPS.values()),
        "options": [{**asdict(spec), "kind": spec.kind.__name__} for spec in OPTION_SPECS],
        "presets": describe_presets(),
        "auto": resolve_preset("auto")[0].name,
    }


def describe_presets() -> list[dict[str, Any]]:
    """The presets for people, each with what it needs to run here and the options of each quality."""
    return [
        {
            "name": found.preset,
            "summary": preset.summary,
            "engine": preset.engine,
            "takes": preset.conditioning,
            "defaults": preset.defaults,
            "ready": found.ready,
            "fix": found.fix,
            "qualities": _qualities(found.preset),
        }
        for found in quick_check()
        if (preset := find_preset(found.preset)).files or preset.engine == "mesh"
    ]


def _qualities(name: str) -> dict[str, dict[str, object]]:
    """Options of draft, balanced and best. A `size` counts only if the picture is larger.

    A diffusion preset has the one size it was trained at: a draft of it takes fewer steps.
    """
    preset = PRESETS[name]
    if preset.engine == "mesh":
        return {"draft": {"size": 320}, "balanced": {"size": 640}, "best": {}}
    steps = make_options({}, preset.defaults).steps
    return {"draft": {"steps": max(2, round(_DRAFT_STEPS * steps))}, "balanced": {}, "best": {}}


# ---- checks


@dataclass
class SeenPortrait:
    """An uploaded portrait: decoded once; `faces` are those found for each choice of options.

    `given` is the picture of the file, and `portrait` the same turned upright, which is what the page shows.
    """

    given: Any
    portrait: Any
    preview: str
    boxes: list[dict[str, float]]
    faces: dict[object, tuple[Any, list[Any]]] = field(default_factory=dict)


class PortraitCache:
    """Describes portraits and keeps the last few, because options change more often than the picture."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._seen: OrderedDict[str, SeenPortrait] = OrderedDict()
        self._lock = threading.Lock()
        self._is_warm = False

    def warm_up(self) -> None:
        """Load the libraries that find faces; a check that comes meanwhile waits for them."""
        with self._lock:
            if not self._is_warm:
                import numpy as np

                from echomimic.landmarks.face import find_faces

                find_faces(np.zeros((64, 64, 3), np.uint8))
                self._is_warm = True

    def add(self, upload: Upload) -> dict[str, Any]:
        """Describe an uploaded picture. Raises PictureError, FaceError and OptionError."""
        name, path = upload.digests["portrait"], upload.files["portrait"]
        with self._lock:
            if name not in self._seen:
                check_picture(path, self._max_pixels)
                self._seen[name] = _read_portrait(path)
                while len(self._seen) > _KEPT_PORTRAITS or (len(self._seen) > 1 and self._pixels > _KEPT_PIXELS):
                    self._seen.popitem(last=False)
        return self.describe(name, upload.fields)

    @property
    def _pixels(self) -> int:
        return sum(seen.portrait.width * seen.portrait.height for seen in self._seen.values())

    def describe(self, name: str, given: Mapping[str, str]) -> dict[str, Any]:
        """The faces and the crop of a portrait that was added; Problem 404 if it was dropped since."""
        from echomimic.landmarks.crop import frame_portrait

        options = read_options(given)
        with self._lock:
            seen = self._seen.get(name)
            if seen is None:
                raise Problem(404, "portrait_dropped", "the server has dropped this portrait; upload it again")
            self._seen.move_to_end(name)
            face, notes = _find_face(seen, options)
        crop = frame_portrait(seen.portrait, face, options)
        return {
            "id": name,
            "width": seen.portrait.width,
            "height": seen.portrait.height,
            "preview": seen.preview,
            "faces": seen.boxes,
            "face": _box(face),
            "crop": {"x": crop.left, "y": crop.top, "width": crop.source_width, "height": crop.source_height},
            "video": {"width": crop.width, "height": crop.height},
            "notes": notes,
        }


def read_options(given: Mapping[str, str]) -> Options:
    """The options that decide the crop, over the defaults of the field `preset`. Raises OptionError."""
    preset = given.get("preset", "mesh")
    chosen = {name: given[name] for name in _CROP_OPTIONS if given.get(name)}
    return make_options(chosen, find_preset(preset).defaults)


def _read_portrait(path: Path) -> SeenPortrait:
    from echomimic.landmarks.face import find_faces, upright_portrait
    from echomimic.media import read_picture

    given = read_picture(path)
    portrait = upright_portrait(given)
    faces = find_faces(portrait.pixels)
    return SeenPortrait(
        given, portrait, data_url(to_jpeg(portrait.pixels, _PREVIEW_SIDE)), [_box(face) for face in faces]
    )


def _find_face(seen: SeenPortrait, options: Options) -> tuple[Any, list[Any]]:
    from echomimic.landmarks.face import locate_face
    from echomimic.notes import collect_notes

    key = options.face, options.face_box
    if key not in seen.faces:
        with collect_notes() as notes:
            face = locate_face(seen.given, options).face
        seen.faces[key] = face, [describe_note(each) for each in notes]
    return seen.faces[key]


def _box(face: Any) -> dict[str, float]:
    x, y, width, height = (round(float(number), 1) for number in face.box)
    return {"x": x, "y": y, "width": width, "height": height}


def _describe_voice(path: Path) -> dict[str, Any]:
    from echomimic.editing import voice_peaks
    from echomimic.media import read_speech
    from echomimic.notes import collect_notes

    with collect_notes() as notes:
        speech = read_speech(path)
    step = max(1, round(speech.duration * _PEAK_RATE / _PEAKS))
    peaks = voice_peaks(speech, _PEAK_RATE)
    shown = [max(peaks[first : first + step]) for first in range(0, len(peaks), step)]
    return {"seconds": speech.duration, "notes": [describe_note(each) for each in notes], "peaks": shown}


def to_jpeg(pixels: Any, longest: int | None = None) -> bytes:
    """Pixels (H, W, 3) uint8 as a JPEG whose longer side is at most `longest`."""
    import cv2

    if longest is not None:
        from echomimic.landmarks.face import shrink

        pixels, _ = shrink(pixels, longest)
    written, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert written
    return data.tobytes()


def data_url(jpeg: bytes) -> str:
    """A JPEG as a data URL."""
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"

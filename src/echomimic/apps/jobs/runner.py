"""Run one job in this process: used by the worker process, the command line and ComfyUI."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echomimic.cancellation import cancellable
from echomimic.checkpoints import LoraFile
from echomimic.engines import Engine, Part, Render, TappedEngine
from echomimic.errors import InputError
from echomimic.options import USUAL_WORK, WorkOptions
from echomimic.types import Clip, LandmarkTrack, Motion, Picture, Portrait, Previewing, Progress, Speech

if TYPE_CHECKING:
    from echomimic.inputs import InputCache


@dataclass(frozen=True)
class JobRequest:
    """Inputs, output and options of one job: an animation, or a track if `kind` says so.

    A track is tracked in `video` or predicted from `portrait` and `speech`. `max_pixels` and `max_seconds` limit the
    inputs; None means no limit.
    """

    output: Path
    kind: str = "animation"
    portrait: Path | Portrait | None = None
    speech: Path | Speech | None = None
    motion: Path | Motion | None = None
    video: Path | None = None
    preset: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    save_motion: Path | None = None
    live: Path | None = None
    weights: Path | None = None
    lora: LoraFile | None = None
    sign: tuple[Path, Path] | None = None
    work: WorkOptions | None = USUAL_WORK
    pose: bool = False
    person: int | None = None
    max_pixels: int | None = None
    max_seconds: float | None = None


class EngineCache:
    """Keeps the last engine, so that consecutive jobs of one preset load its networks once."""

    def __init__(self) -> None:
        self._key: object = None
        self._engine: Engine | None = None

    def get(self, preset: str, weights: Path | None, lora: LoraFile | None = None) -> Engine:
        """The engine of a preset with these weights and this LoRA."""
        from echomimic import api

        if self._engine is None or self._key != (preset, weights, lora):
            self._engine = None
            self._engine, self._key = api.load(preset, weights=weights, lora=lora), (preset, weights, lora)
        return self._engine


def run_job(
    request: JobRequest,
    progress: Progress | None = None,
    *,
    engine: Engine | None = None,
    engines: EngineCache | None = None,
    inputs: "InputCache | None" = None,
) -> Clip:
    """Run a job and return what was made. Raises EchoMimicError.

    The engine is the given one, or that of `engines`; then a `Previewing` progress is offered every frame. Without
    either it is loaded for this job only. `inputs` keeps what was read, for further jobs. If `progress` has the method
    `check_cancelled`, it is called between its reports too, as while a long voice is read.
    """
    with cancellable(getattr(progress, "check_cancelled", None)):
        if request.kind == "track":
            return _run_track(request, progress)
        return _run_animation(request, progress, engine, engines, inputs)


def _run_animation(
    request: JobRequest,
    progress: Progress | None,
    engine: Engine | None,
    engines: EngineCache | None,
    inputs: "InputCache | None",
) -> Clip:
    from echomimic import api

    preset, speech = request.preset, _check_limits(request)
    if engine is None and engines is not None:
        preset = preset_name(request)
        engine = TappedEngine(engines.get(preset, request.weights, request.lora), _previewed)
    return api.animate(
        _require_input(request.portrait, "portrait"),
        _require_input(speech, "voice"),
        request.motion,
        output=request.output,
        preset=preset,
        save_motion=request.save_motion,
        live=request.live,
        sign=request.sign,
        weights=request.weights,
        lora=request.lora if engine is None else None,
        engine=engine,
        inputs=inputs,
        progress=progress,
        work=request.work,
        **request.options,
    )


def _previewed(render: Render, progress: Progress | None, part: Part) -> Iterator[Picture]:
    """The frames, each of which is offered to a `Previewing` progress as it passes."""
    for frame in render.frames(progress, part):
        if isinstance(progress, Previewing):
            progress.preview(lambda frame=frame: frame)  # type: ignore[misc]
        yield frame


def preset_name(request: JobRequest) -> str:
    """The name of the preset to use; `auto` depends on the kind of the motion. A video gives a face."""
    if request.preset != "auto":
        return request.preset
    import numpy as np

    from echomimic.motion import is_video, load_motion
    from echomimic.presets import resolve_preset

    motion = request.motion
    if isinstance(motion, Path) and is_video(motion):
        motion = LandmarkTrack(np.zeros((1, 478, 3), np.float32), (1, 1), 25.0, np.ones(1, bool))
    elif isinstance(motion, Path):
        motion = load_motion(motion)
    return resolve_preset("auto", motion, request.weights)[0].name


def _run_track(request: JobRequest, progress: Progress | None) -> Clip:
    from echomimic.motion import save_motion
    from echomimic.notes import collect_notes

    began = time.monotonic()
    with collect_notes() as notes:
        track = _tracked(request, progress) if request.video else _predicted(request, progress)
        save_motion(request.output, track)
    (width, height), frames = track.image_size, len(track)
    took = time.monotonic() - began
    return Clip(
        request.output, "", frames, track.fps, width, height, frames / track.fps, 0, took, request.output, tuple(notes)
    )


def _predicted(request: JobRequest, progress: Progress | None) -> Motion:
    from echomimic import api

    portrait, speech = _require_input(request.portrait, "portrait"), _require_input(_check_limits(request), "voice")
    track = api.predict(portrait, speech, request.motion, **request.options)
    if progress:
        progress(len(track), len(track))
    return track


def _tracked(request: JobRequest, progress: Progress | None) -> Motion:
    from echomimic.motion import track_video

    assert request.video is not None
    _check_video(request.video, request)
    return track_video(request.video, request.pose, request.person, progress)


def _check_video(path: Path, request: JobRequest) -> None:
    from echomimic.media import read_video

    video = read_video(path)
    _check_seconds(video.duration, request)
    _check_pixels("video", video.width * video.height, request.max_pixels)


def _require_input(value: object, what: str) -> Any:
    if value is None:
        raise InputError(f"the {what} is missing; expected a file")
    return value


def _check_limits(request: JobRequest) -> Path | Speech | None:
    """Refuse inputs that exceed the limits; the speech, read if its length is limited."""
    from echomimic.media import read_speech
    from echomimic.motion import is_video
    from echomimic.options import make_options

    speech = request.speech
    if isinstance(request.portrait, Path):
        check_picture(request.portrait, request.max_pixels)
    if request.max_seconds is None:
        return speech
    if isinstance(request.motion, Path) and is_video(request.motion):
        _check_video(request.motion, request)
    if isinstance(speech, Path):
        speech = read_speech(speech)
    if speech is not None:
        options = make_options(request.options)
        _check_seconds(options.frames / options.fps or speech.duration, request)
    return speech


def check_picture(path: Path, max_pixels: int | None) -> None:
    """Raise InputError if a picture's header promises more pixels than `max_pixels`; None accepts any."""
    if max_pixels:
        _check_pixels("portrait", _pixels_in_header(path), max_pixels)


def _pixels_in_header(path: Path) -> int:
    """The number of pixels according to a picture's header, without decoding; 0 if Pillow does not know the format."""
    import warnings

    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                return int(image.size[0] * image.size[1])
        except Image.DecompressionBombError:
            return 2**62
        except (OSError, ValueError, SyntaxError):
            return 0


def _check_pixels(what: str, pixels: int, max_pixels: int | None) -> None:
    if max_pixels and pixels > max_pixels:
        limit = f"{max_pixels / 1e6:g} million"
        raise InputError(f"the {what} has too many pixels; expected at most {limit}: make it smaller")


def _check_seconds(seconds: float, request: JobRequest) -> None:
    if request.max_seconds and seconds > request.max_seconds:
        limit = f"{request.max_seconds:.0f} s"
        raise InputError(f"the video lasts {seconds:.0f} s; expected at most {limit}: cut it, or the voice")

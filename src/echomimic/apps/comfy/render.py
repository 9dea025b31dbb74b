"""The operations of the nodes: load a preset, render into a temporary file, crop a portrait, paste a video back."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echomimic.apps.comfy import host
from echomimic.apps.comfy.widgets import note_lines, rewrite_option_names
from echomimic.engines import Engine, Part, Render, TappedEngine
from echomimic.errors import MotionError, PictureError
from echomimic.notes import collect_notes, note
from echomimic.options import Options, make_options
from echomimic.presets import Preset, find_preset
from echomimic.types import Clip, LandmarkTrack, Motion, Picture, Portrait, PoseTrack, Progress, Speech

if TYPE_CHECKING:
    from echomimic.landmarks.crop import Crop
    from echomimic.landmarks.face import Face

_log = logging.getLogger("echomimic")
TAGS = {"title": "AI-generated", "comment": "AI-generated video of a still picture, a face put back into it"}
MOTION_TYPES = {"mask": LandmarkTrack, "landmarks": LandmarkTrack, "hands": PoseTrack}
"""The type of motion that a network follows, by its conditioning."""
_KINDS = {LandmarkTrack: "a face", PoseTrack: "hands and body"}
_IDLE_SECONDS = 600
_PARTS = {LandmarkTrack: "face", PoseTrack: "body"}


@dataclass(frozen=True)
class Model:
    """A loaded preset with its machine options and its place in the host's memory.

    `why` tells why it was chosen, if the user did not choose it; `sync` and `mouth` are the published loader's
    motion_sync and draw_mouse.
    """

    preset: Preset
    machine: Mapping[str, object]
    engine: Engine
    management: host.ModelManagement
    weights: Path | None = None
    why: str = ""
    sync: bool = False
    mouth: bool = False


@dataclass(frozen=True)
class Driver:
    """A motion to follow; `align` fits its movements to the portrait's own face or body.

    With `mouth` a network that follows landmarks also sees the driver's mouth.
    """

    motion: Motion
    align: bool = True
    mouth: bool = False


@dataclass(frozen=True)
class Place:
    """Where a portrait was cropped, and the width and height of the whole picture."""

    crop: "Crop"
    size: tuple[int, int]


@dataclass(frozen=True)
class Result:
    """A finished clip, its report, and its frames if they were kept."""

    clip: Clip
    report: str
    frames: list[Picture]


def load_model(
    preset: str, machine: Mapping[str, object], why: str = "", *, sync: bool = False, mouth: bool = False
) -> Model:
    """Load a preset for many clips. Raises WeightsError if one of its files is missing."""
    from echomimic import api

    found = find_preset(preset)
    make_options(machine)
    weights = host.weights_of(preset)
    if found.engine == "diffusion":
        machine = {**machine, "device": host.device()}
    engine = api.load(found.name, host.device() if found.engine == "diffusion" else None, weights)
    _log.info("preset %s is loaded%s", found.name, f" from {weights}" if weights else "")
    return Model(found, dict(machine), engine, host.ModelManagement(engine), weights, why, sync, mouth)


class FrameTap:
    """Shows the host each frame; `cut` keeps the middle (width, height) of each, `keep` collects them."""

    def __init__(
        self, model: Model, options: Options, reporter: host.HostProgress, keep: bool, cut: tuple[int, int] | None
    ) -> None:
        self._model, self._options, self._reporter, self._keep, self._cut = model, options, reporter, keep, cut
        self.kept: list[Picture] = []
        self.box = ""

    def __call__(self, render: Render, progress: Progress | None, part: Part) -> Iterator[Picture]:
        """Load the networks onto the device and yield the frames."""
        self.box = _describe_crop(render.crop)
        self._model.management.load(self._options, render.memory_mb)
        for frame in render.frames(progress, part):
            shown = frame if self._cut is None else _middle(frame, self._cut)
            self._reporter.show(shown)
            if self._keep:
                self.kept.append(shown)
            yield shown


def _middle(frame: Picture, size: tuple[int, int]) -> Picture:
    top, left = (frame.shape[0] - size[1]) // 2, (frame.shape[1] - size[0]) // 2
    return np.ascontiguousarray(frame[top : top + size[1], left : left + size[0]])


def render(
    model: Model,
    portrait: Portrait,
    speech: Speech,
    driver: Driver | None,
    options: Mapping[str, object],
    *,
    keep: bool = False,
    cut: tuple[int, int] | None = None,
) -> Result:
    """Make a clip in the host's temporary folder. The host's exception for a stopped run passes through."""
    from echomimic.apps.jobs.runner import JobRequest, run_job

    given: dict[str, Any] = {**model.machine, **options}
    device = model.machine.get("device")
    reporter, peak = host.HostProgress(), host.PeakMemory(None if device is None else str(device))
    with collect_notes() as notes, rewrite_option_names(), host.explain_out_of_memory():
        settings = make_options(given, model.preset.defaults)
        tap = FrameTap(model, settings, reporter, keep, cut)
        job = JobRequest(
            host.temporary(".mp4"),
            portrait=portrait,
            speech=speech,
            motion=None if driver is None else driving_motion(driver, model.preset),
            preset=model.preset.name,
            weights=model.weights,
            options=given,
            work=None,  # the name of the output is new each time, so no other run could resume from a work folder
        )
        engine = TappedEngine(model.engine, tap, align=driver is not None and driver.align)
        clip = run_job(job, reporter, engine=engine)
    lines = [
        f"{clip.frames} frames, {clip.seconds:.2f} s at {clip.fps:g} fps: {_length_reason(clip, speech, settings)}",
        f"{clip.width}x{clip.height}, preset {clip.preset}, seed {clip.seed}, made in {clip.took:.1f} s",
        f"{tap.box} of the picture, {portrait.width}x{portrait.height}",
        str(peak),
        model.why and f"preset {clip.preset}: {model.why}",
        *note_lines(notes),
    ]
    return Result(clip, "\n".join(filter(None, lines)), tap.kept)


def limit_frames(options: dict[str, object], model: Model, speech: Speech) -> dict[str, object]:
    """The options with no more frames than the voice and ten minutes after it: a typing error must not run for days."""
    asked = options.get("frames", 0)
    assert isinstance(asked, int)
    fps = make_options({"fps": options["fps"]} if "fps" in options else {}, model.preset.defaults).fps
    most = speech.frames(fps) + round(_IDLE_SECONDS * fps)
    if asked <= most:
        return options
    note(
        "frames_limited",
        "{asked} frames were asked for; the voice lasts {voice}: {used} are made, ten minutes more than that",
        asked=asked,
        voice=speech.frames(fps),
        used=most,
    )
    return {**options, "frames": most}


def _length_reason(clip: Clip, speech: Speech, options: Options) -> str:
    whole = speech.frames(clip.fps)
    if clip.frames == options.frames and clip.frames != whole:
        return f"as many as were asked for; the voice lasts {whole}"
    return "the whole voice" if clip.frames == whole else f"the motion ends there; the voice lasts {whole}"


def describe_motion(motion: Motion | None) -> str:
    """Describe a motion in one line for the report."""
    if motion is None:
        return "generated from the voice"
    return f"{_KINDS[type(motion)]}: {len(motion)} frames, {len(motion) / motion.fps:.2f} s at {motion.fps:g} fps"


def driving_motion(driver: Driver, preset: Preset) -> Motion:
    """The driver's motion. Raises MotionError if the preset's network follows motions of the other type."""
    motion, wanted = driver.motion, MOTION_TYPES.get(preset.conditioning)
    if wanted is None:
        return motion
    if not isinstance(motion, wanted):
        raise MotionError(
            f"a motion of {_KINDS[type(motion)]} is linked; expected {_KINDS[wanted]}, which preset {preset.name} "
            f"follows: use such a motion, or EchoMimic Motion with part {_PARTS[wanted]}, or another version"
        )
    if driver.mouth and isinstance(motion, LandmarkTrack):
        from echomimic.motion import FACE_PARTS

        return replace(motion, parts=FACE_PARTS)
    return motion


def _describe_crop(crop: "Crop") -> str:
    box = f"{crop.left},{crop.top},{crop.source_width},{crop.source_height}"
    return f"box {box} as {crop.width}x{crop.height}"


@dataclass(frozen=True)
class CroppedPortrait:
    """The square around a head, its place in the picture, the face there, and a report."""

    pixels: Picture
    place: Place
    face: "Face"
    report: str


def crop_portrait(portrait: Portrait, options: Mapping[str, object]) -> CroppedPortrait:
    """The square around the head. Raises FaceError."""
    from echomimic.landmarks.crop import frame_portrait
    from echomimic.landmarks.face import pick_face

    with collect_notes() as notes, rewrite_option_names():
        settings = make_options({**options, "framing": "crop"})
        face = pick_face(portrait, settings)
        crop = frame_portrait(portrait, face, settings)
    place = Place(crop, (portrait.width, portrait.height))
    report = "\n".join([_describe_crop(crop), *note_lines(notes)])
    return CroppedPortrait(crop.cut(portrait.pixels), place, face, report)


def paste_back(video: Any, portrait: Portrait, place: Place) -> Path:
    """A video of a crop inside the whole picture, with the video's sound.

    Raises PictureError if the picture has another size than the one that was cropped.
    """
    from echomimic.landmarks.crop import PasteBack, frame_full
    from echomimic.media import read_speech, read_video, write_clip

    if place.size != (portrait.width, portrait.height):
        raise PictureError(
            f"an image of {portrait.width}x{portrait.height} is linked; expected the one of {place.size[0]}x"
            f"{place.size[1]} that EchoMimic Portrait cropped: link the same image to both"
        )
    with host.scratch(".mp4") as source:
        video.save_to(str(source))
        film = read_video(source)
        whole = frame_full(portrait.width, portrait.height, None).cut(portrait.pixels)
        paste = PasteBack(whole, replace(place.crop, width=film.width, height=film.height), place.size)
        speech = read_speech(source) if _has_sound(source) else None
        path = host.temporary(".mp4")
        write_clip(path, _pasted_frames(film, paste, host.HostProgress()), film.fps, speech, TAGS)
        return path


def _pasted_frames(film: Any, paste: Any, reporter: host.HostProgress) -> Iterator[Picture]:
    for done, face in enumerate(film.even_frames(), start=1):
        whole: Picture = paste(face)
        reporter.show(whole)
        reporter(done, max(done, film.count))
        yield whole


def _has_sound(path: Path) -> bool:
    with import_module("av").open(str(path)) as container:
        return bool(container.streams.audio)

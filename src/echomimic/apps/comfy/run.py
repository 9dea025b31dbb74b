"""What the nodes do: load, render into a temporary file, crop, put a face back."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echomimic.apps.comfy import host
from echomimic.apps.comfy.fields import rewrite_option_names
from echomimic.apps.comfy.motions import Driver, driving_motion
from echomimic.apps.comfy.peak import Peak
from echomimic.apps.comfy.watch import Watch
from echomimic.apps.option_specs import spell_options
from echomimic.engines import Engine, Render, TappedEngine
from echomimic.errors import PictureError
from echomimic.notes import collect_notes
from echomimic.options import Options, make_options
from echomimic.presets import Preset, find_preset
from echomimic.types import Clip, Picture, Portrait, Progress, Speech

if TYPE_CHECKING:
    from echomimic.landmarks.crop import Crop

_log = logging.getLogger("echomimic")
TAG = {"title": "AI-generated", "comment": "AI-generated video of a still picture, a face put back into it"}


@dataclass(frozen=True)
class Model:
    """A loaded preset: its engine, how the machine is to be used, and its place in the host's memory.

    `why` it was chosen, where the user did not; `sync` and `mouth` are the published loader's motion_sync and
    draw_mouse.
    """

    preset: Preset
    machine: Mapping[str, object]
    engine: Engine
    residence: host.Residence
    weights: Path | None = None
    why: str = ""
    sync: bool = False
    mouth: bool = False


@dataclass(frozen=True)
class Place:
    """Where a crop was taken: its framing, and the width and height of the picture."""

    framing: "Crop"
    size: tuple[int, int]


@dataclass(frozen=True)
class Made:
    """A finished clip, what is to be said of it, and its frames where they were kept."""

    clip: Clip
    report: str
    frames: list[Picture]


def load_model(
    preset: str, machine: Mapping[str, object], why: str = "", *, sync: bool = False, mouth: bool = False
) -> Model:
    """A preset ready for many clips; WeightsError at once where a file of it is missing."""
    from echomimic import api

    found = find_preset(preset)
    make_options(machine)
    weights = host.weights_of(preset)
    engine = api.load(found.name, host.device() if found.engine == "diffusion" else None, weights)
    machine = {**machine, "device": host.device()} if found.engine == "diffusion" else machine
    _log.info("preset %s is loaded%s", found.name, f" from {weights}" if weights else "")
    return Model(found, dict(machine), engine, host.Residence(engine), weights, why, sync, mouth)


class FrameTap:
    """Lets the host see the frames as they pass; `cut` keeps the middle (width, height) of each, `keep` all of them."""

    def __init__(self, model: Model, options: Options, watch: Watch, keep: bool, cut: tuple[int, int] | None) -> None:
        self._model, self._options, self._watch, self._keep, self._cut = model, options, watch, keep, cut
        self.kept: list[Picture] = []
        self.box = ""

    def __call__(self, render: Render, progress: Progress | None) -> Iterator[Picture]:
        """Move the networks to the device and yield the frames one by one."""
        self.box = _box(render.crop)
        self._model.residence.take(self._options, render.memory_mb)
        for frame in render.frames(progress):
            shown = frame if self._cut is None else _middle(frame, self._cut)
            self._watch.show(shown)
            if self._keep:
                self.kept.append(shown)
            yield shown


def render(
    model: Model,
    portrait: Portrait,
    speech: Speech,
    driver: Driver | None,
    options: Mapping[str, object],
    *,
    keep: bool = False,
    cut: tuple[int, int] | None = None,
) -> Made:
    """Make the clip in the host's temporary folder; what the host raises to stop a run goes through."""
    from echomimic import api

    given: dict[str, Any] = {**model.machine, **options}
    watch, peak = Watch(), Peak(str(model.machine["device"]) if "device" in model.machine else None)
    with collect_notes() as notes, rewrite_option_names(), host.out_of_memory_told():
        settings = make_options(given, model.preset.defaults)
        tap = FrameTap(model, settings, watch, keep, cut)
        clip = api.animate(
            portrait,
            speech,
            None if driver is None else driving_motion(driver, model.preset),
            output=host.temporary(".mp4"),
            preset=model.preset.name,
            weights=model.weights,
            engine=TappedEngine(model.engine, tap, align=driver is not None and driver.align),
            progress=watch,
            **given,
        )
    lines = [
        f"{clip.frames} frames, {clip.seconds:.2f} s at {clip.fps:g} fps: {_why(clip, speech, settings.frames)}",
        f"{clip.width}x{clip.height}, preset {clip.preset}, seed {clip.seed}, made in {clip.took:.1f} s",
        f"{tap.box} of the picture, {portrait.width}x{portrait.height}",
        peak.words(),
        model.why and f"preset {clip.preset}: {model.why}",
        *lines_of(notes),
    ]
    return Made(clip, "\n".join(filter(None, lines)), tap.kept)


def lines_of(notes: Sequence[str]) -> list[str]:
    """Notes as a report has them."""
    return [f"note: {spell_options(text)}" for text in notes]


def _why(clip: Clip, speech: Speech, asked: int) -> str:
    """Which limit made the clip as long as it is."""
    whole = speech.frames(clip.fps)
    if clip.frames == asked and clip.frames != whole:
        return f"as many as were asked for; the voice lasts {whole}"
    return "the whole voice" if clip.frames == whole else f"the motion ends there; the voice lasts {whole}"


def _box(framing: "Crop") -> str:
    place = f"{framing.left},{framing.top},{framing.source_width},{framing.source_height}"
    return f"box {place} as {framing.width}x{framing.height}"


def _middle(frame: Picture, size: tuple[int, int]) -> Picture:
    top, left = (frame.shape[0] - size[1]) // 2, (frame.shape[1] - size[0]) // 2
    return np.ascontiguousarray(frame[top : top + size[1], left : left + size[0]])


def crop(portrait: Portrait, options: Mapping[str, object]) -> tuple[Picture, Place, str]:
    """The square round the head, the place that puts it back, and what is to be said."""
    from echomimic.landmarks.crop import frame_portrait
    from echomimic.landmarks.face import pick_face

    with collect_notes() as notes, rewrite_option_names():
        settings = make_options({**options, "framing": "crop"})
        framing = frame_portrait(portrait, pick_face(portrait, settings), settings)
    place = Place(framing, (portrait.width, portrait.height))
    return framing.cut(portrait.pixels), place, "\n".join([_box(framing), *lines_of(notes)])


def put_back(video: Any, portrait: Portrait, place: Place) -> Path:
    """A video of a crop inside the whole picture, frame by frame, with the video's own sound.

    PictureError where the picture has another size than the one that was cropped.
    """
    from echomimic.diffusion.conditioning import PasteBack
    from echomimic.media import read_speech, read_video, write_clip

    if place.size != (portrait.width, portrait.height):
        raise PictureError(
            f"an image of {portrait.width}x{portrait.height} came in; expected the one of {place.size[0]}x"
            f"{place.size[1]} that EchoMimic Portrait cropped: link the same image to both"
        )
    with host.scratch(".mp4") as source:
        video.save_to(str(source))
        film = read_video(source)
        placed = replace(place.framing, width=film.width, height=film.height)
        finish = PasteBack(_whole(portrait), placed, place.size)
        watch = Watch()
        speech = read_speech(source) if _has_sound(source) else None
        path = host.temporary(".mp4")
        write_clip(path, _pasted(film, finish, watch), film.fps, speech, TAG)
        return path


def _pasted(film: Any, finish: Any, watch: Watch) -> Iterator[Picture]:
    for done, face in enumerate(film.even_frames(), start=1):
        whole: Picture = finish(face)
        watch.show(whole)
        watch(done, max(done, film.count))
        yield whole


def _has_sound(path: Path) -> bool:
    with import_module("av").open(str(path)) as container:
        return bool(container.streams.audio)


def _whole(portrait: Portrait) -> Picture:
    """The picture that a face is put back into, with even sides."""
    from echomimic.landmarks.crop import frame_full

    return frame_full(portrait.width, portrait.height, None).cut(portrait.pixels)

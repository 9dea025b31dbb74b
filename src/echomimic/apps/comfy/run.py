"""What the nodes do: load, find a motion, render into a temporary file, put a face back."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from echomimic.apps.comfy import host
from echomimic.apps.comfy.values import file_of, landmarks_of
from echomimic.errors import MotionError
from echomimic.notes import collect_notes
from echomimic.options import Options, make_options
from echomimic.presets import Preset, find_preset
from echomimic.types import Clip, Engine, LandmarkTrack, Motion, Picture, Portrait, PoseTrack, Progress, Speech

TAG = {"title": "AI-generated", "comment": "AI-generated video of a still picture, a face put back into it"}


@dataclass(frozen=True)
class Model:
    """A loaded preset: its engine, how the machine is to be used, and its place in the host's memory."""

    preset: Preset
    machine: Mapping[str, object]
    engine: Engine
    residence: host.Residence
    weights: Path | None = None
    sync: bool = True


@dataclass(frozen=True)
class Made:
    """A finished clip, what is to be said of it, and its frames where they were kept."""

    clip: Clip
    report: str
    frames: list[Picture]


def load_model(preset: str, machine: Mapping[str, object], sync: bool = True) -> Model:
    """A preset ready for many clips; WeightsError at once where a file of it is missing.

    `sync` puts the movements of a driving face on the portrait's own where the preset follows landmarks.
    """
    from echomimic import api

    found = find_preset(preset)
    make_options(machine)
    weights = host.weights_of(preset)
    engine = api.load(found.name, host.device() if found.engine == "diffusion" else None, weights)
    machine = {**machine, "device": host.device()} if found.engine == "diffusion" else machine
    return Model(found, dict(machine), engine, host.Residence(engine), weights, sync)


class Watched:
    """An engine whose frames the host sees as they pass; `cut` keeps the middle (width, height) of each."""

    def __init__(self, model: Model, watch: host.Watch, keep: bool, cut: tuple[int, int] | None) -> None:
        self._model, self._watch, self._keep, self._cut = model, watch, keep, cut
        self.kept: list[Picture] = []

    def frames(
        self,
        portrait: Portrait,
        speech: Speech,
        motion: Motion | None,
        options: Options,
        progress: Progress | None = None,
    ) -> Iterator[Picture]:
        """Yield the engine's frames one by one."""
        self._model.residence.take(options, _megabytes(self._model.preset, options))
        for frame in self._model.engine.frames(portrait, speech, motion, options, progress):
            shown = frame if self._cut is None else _middle(frame, self._cut)
            self._watch.show(shown)
            if self._keep:
                self.kept.append(shown)
            yield shown


def render(
    model: Model,
    portrait: Portrait,
    speech: Speech,
    motion: Motion | None,
    options: Mapping[str, object],
    *,
    keep: bool = False,
    cut: tuple[int, int] | None = None,
) -> Made:
    """Make the clip in the host's temporary folder; what the host raises to stop a run goes through."""
    from echomimic import api

    given: dict[str, Any] = {**model.machine, **options}
    watch = host.Watch()
    engine = Watched(model, watch, keep, cut)
    with collect_notes() as notes, host.out_of_memory_told():
        settings = make_options(given, model.preset.defaults)
        if model.sync and motion is not None:
            motion = synced(motion, portrait, settings, model.preset)
        clip = api.animate(
            portrait,
            speech,
            motion,
            output=host.temporary(".mp4"),
            preset=model.preset.name,
            weights=model.weights,
            engine=engine,
            progress=watch.progress,
            **given,
        )
    return Made(clip, report(clip, speech, settings.frames, notes), engine.kept)


def report(clip: Clip, speech: Speech, asked: int, notes: list[str]) -> str:
    """What was made and why it is as long as it is, for people to read."""
    whole = speech.frames(clip.fps)
    if clip.frames == asked and clip.frames != whole:
        why = f"as many as were asked for; the voice lasts {whole}"
    elif clip.frames == whole:
        why = "the whole voice"
    else:
        why = f"the motion ends there; the voice lasts {whole}"
    lines = [
        f"{clip.frames} frames, {clip.seconds:.2f} s at {clip.fps:g} fps: {why}",
        f"{clip.width}x{clip.height}, preset {clip.preset}, seed {clip.seed}, made in {clip.took:.1f} s",
    ]
    return "\n".join([*lines, *(f"note: {text}" for text in notes)])


def _middle(frame: Picture, size: tuple[int, int]) -> Picture:
    top, left = (frame.shape[0] - size[1]) // 2, (frame.shape[1] - size[0]) // 2
    return np.ascontiguousarray(frame[top : top + size[1], left : left + size[0]])


def _megabytes(preset: Preset, options: Options) -> int:
    """What a run takes on the device besides what is there, about."""
    if preset.engine != "diffusion":
        return 0
    from echomimic.diffusion.memory import peak_megabytes

    side = options.size or 512
    return peak_megabytes(preset, options, side, side)


def synced(motion: Motion, portrait: Portrait, settings: Options, preset: Preset) -> Motion:
    """A face track with its movements on the portrait's own face, as the network will see it; others as they are."""
    if preset.drive != "landmarks" or not isinstance(motion, LandmarkTrack):
        return motion
    from echomimic.diffusion.shot import take_shot
    from echomimic.face import pick_face
    from echomimic.motion import align_motion

    framing = take_shot(portrait, settings, preset).framing
    landmarks = framing.points(pick_face(portrait, settings).landmarks)
    return align_motion(motion, landmarks, (framing.width, framing.height))


def motion_of(folder: str, body: bool, fps: float, sources: Mapping[str, Any]) -> Motion | None:
    """The one motion that was given: a folder's, a VIDEO's, POSE_KEYPOINT's or FACE_LANDMARKS'; None without any."""
    from echomimic import motion as tracks

    given = {name: value for name, value in sources.items() if value is not None}
    if folder:
        given["folder"] = folder
    if len(given) > 1:
        raise MotionError(f"{' and '.join(sorted(given))} came in; expected one source of motion: unlink the others")
    if "folder" in given:
        return tracks.load_motion(host.input_path(*Path(folder).parts), fps=fps)
    if "video" in given:
        return tracks.load_motion(file_of(given["video"]), pose=body)
    if "face_landmarks" in given:
        return landmarks_of(given["face_landmarks"], fps)
    return _keypoints(given["pose_keypoints"], fps) if "pose_keypoints" in given else None


def _keypoints(found: Any, fps: float) -> Motion:
    """The host's POSE_KEYPOINT, which is OpenPose's JSON."""
    from echomimic import motion as tracks

    path = host.temporary(".json")
    path.write_text(json.dumps(found, default=float), encoding="utf-8")
    try:
        return tracks.load_motion(path, fps=fps)
    finally:
        path.unlink()


def describe(motion: Motion | None) -> str:
    """A motion in one line."""
    if motion is None:
        return "generated from the voice"
    kind = "hands and body" if isinstance(motion, PoseTrack) else "a face"
    return f"{kind}: {len(motion)} frames, {len(motion) / motion.fps:.2f} s at {motion.fps:g} fps"


def crop(portrait: Portrait, options: Mapping[str, object]) -> tuple[Picture, Any, str]:
    """The square round the head, the framing that puts it back, and what is to be said."""
    from echomimic.face import pick_face
    from echomimic.framing import frame_portrait

    with collect_notes() as notes:
        settings = make_options({**options, "framing": "crop"})
        framing = frame_portrait(portrait, pick_face(portrait, settings), settings)
    words = f"box {framing.left},{framing.top},{framing.wide},{framing.high} as {framing.width}x{framing.height}"
    return framing.cut(portrait.pixels), framing, "\n".join([words, *(f"note: {text}" for text in notes)])


def put_back(video: Any, portrait: Portrait, framing: Any) -> Path:
    """A video of a crop inside the whole picture, frame by frame, with the video's own sound."""
    from echomimic.diffusion.shot import PasteBack, Shot
    from echomimic.media import read_speech, read_video, write_clip

    source = file_of(video)
    try:
        film = read_video(source)
        placed = replace(framing, width=film.width, height=film.height)
        blank = np.zeros((film.height, film.width, 3), np.uint8)
        finish = PasteBack(Shot(blank, None, placed, _whole(portrait)), portrait)
        watch = host.Watch()
        speech = read_speech(source) if _has_sound(source) else None
        path = host.temporary(".mp4")
        write_clip(path, _pasted(film, finish, watch), film.fps, speech, TAG)
        return path
    finally:
        source.unlink(missing_ok=True)


def _pasted(film: Any, finish: Any, watch: host.Watch) -> Iterator[Picture]:
    for done, (_, face) in enumerate(film.frames(), start=1):
        whole: Picture = finish(face)
        watch.show(whole)
        watch.progress(done, max(done, film.count))
        yield whole


def _has_sound(path: Path) -> bool:
    with import_module("av").open(str(path)) as container:
        return bool(container.streams.audio)


def _whole(portrait: Portrait) -> Picture:
    """The picture that a face is put back into, with even sides."""
    from echomimic.framing import frame_full

    return frame_full(portrait.width, portrait.height, None).cut(portrait.pixels)

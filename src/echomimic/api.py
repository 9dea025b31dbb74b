"""All that the front doors call: animate, plan, predict, load."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from echomimic import __version__
from echomimic import motion as tracks
from echomimic.choice import choose_preset
from echomimic.errors import SetupError
from echomimic.motion.files import is_video
from echomimic.notes import collect_notes, emit, note
from echomimic.options import Options, make_options
from echomimic.presets import PRESETS, Preset
from echomimic.types import Clip, Engine, LandmarkTrack, Motion, Picture, Plan, Portrait, PoseTrack, Progress, Speech

if TYPE_CHECKING:
    from echomimic.mesh.engine import MeshEngine

Source = str | Path
MESH_MEMORY_MB = 215
"""Resident memory of the mesh engine, besides what grows with the picture."""
MESH_BYTES_PER_PIXEL = 160
"""What the scene and the frames in flight take for each pixel of the video."""


@dataclass(frozen=True)
class _Inputs:
    """What the user handed in, read."""

    portrait: Portrait
    speech: Speech
    motion: Motion | None


def animate(
    portrait: Source | Portrait,
    speech: Source | Speech,
    motion: Source | Motion | None = None,
    *,
    output: Source,
    preset: str = "auto",
    save_motion: Source | None = None,
    live: Source | None = None,
    weights: Source | None = None,
    engine: Engine | None = None,
    progress: Progress | None = None,
    **options: object,
) -> Clip:
    """Make a video of `portrait` speaking `speech` and write it to `output`: .mp4, .webm, .gif or a folder of PNGs.

    `motion` is a track to follow instead of what the voice alone would move; `save_motion` is where the rendered
    track goes; `live` is where an .mp4 may be followed while it grows; `engine` is one of `load` for the same preset,
    kept for many clips; `options` are the fields of `Options`. Raises EchoMimicError; the output exists whole or not
    at all.
    """
    began = time.monotonic()
    _check_outputs(output, save_motion, [portrait, speech, motion])
    with collect_notes() as notes:
        inputs, chosen, _, settings = _prepare(portrait, speech, motion, preset, weights, options)
        engine = engine or load(chosen.name, weights=weights)
        if save_motion is not None:
            inputs = _with_its_motion(inputs, engine, settings)
        frames = _Sized(engine.frames(inputs.portrait, inputs.speech, inputs.motion, settings, progress))
        count = _write(Path(output), frames, inputs.speech, chosen, settings, live)
        if save_motion is not None and inputs.motion is not None:
            tracks.save_motion(save_motion, inputs.motion)
    return Clip(
        path=Path(output),
        preset=chosen.name,
        frames=count,
        fps=settings.fps,
        width=frames.width,
        height=frames.height,
        seconds=count / settings.fps,
        seed=settings.seed,
        took=time.monotonic() - began,
        motion=None if save_motion is None else Path(save_motion),
        notes=tuple(notes),
    )


def plan(
    portrait: Source | Portrait,
    speech: Source | Speech,
    motion: Source | Motion | None = None,
    *,
    preset: str = "auto",
    weights: Source | None = None,
    **options: object,
) -> Plan:
    """What `animate` would do with the same arguments; nothing is rendered or written."""
    from echomimic.motion.clip_timing import clip_length

    with collect_notes() as notes:
        inputs, chosen, why, settings = _prepare(portrait, speech, motion, preset, weights, options)
        size = _video_size(inputs, chosen, settings)
        frames = clip_length(inputs.speech, inputs.motion, settings)
    width, height = size
    return Plan(
        preset=chosen.name,
        why=why,
        frames=frames,
        fps=settings.fps,
        seconds=frames / settings.fps,
        width=width,
        height=height,
        memory_mb=_memory(chosen, settings, width, height),
        notes=tuple(notes),
    )


def predict(
    portrait: Source | Portrait, speech: Source | Speech, motion: Source | Motion | None = None, **options: object
) -> LandmarkTrack:
    """The face motion that the mesh engine would render: landmarks and curves, to save, edit and render again."""
    settings = make_options(options)
    inputs = _read(portrait, speech, _read_motion(motion))
    return _mesh().track(inputs.portrait, inputs.speech, inputs.motion, settings)


def load(preset: str = "auto", device: str | None = None, weights: Source | None = None) -> Engine:
    """The engine of a preset, kept ready for many clips; `device` is the one to use where the options say auto."""
    chosen, _ = choose_preset(preset, weights=_folder(weights))
    _need_packages(chosen)
    if chosen.engine == "mesh":
        return _mesh()
    from echomimic.diffusion.engine import DiffusionEngine

    return DiffusionEngine(chosen, _folder(weights), _predicted, device)


def _prepare(
    portrait: Source | Portrait,
    speech: Source | Speech,
    motion: Source | Motion | None,
    preset: str,
    weights: Source | None,
    options: dict[str, object],
) -> tuple[_Inputs, Preset, str, Options]:
    """The inputs read, the preset and why it was chosen, and the options with its defaults."""
    make_options(options)  # a wrong option is refused before anything is read
    track = _read_motion(motion, preset)
    chosen, why = choose_preset(preset, track, _folder(weights))
    settings = make_options(options, chosen.defaults)
    _need_packages(chosen)
    inputs = _followed(_read(portrait, speech, track), motion, chosen, settings)
    _warn_of_motion(inputs, chosen, settings)
    return inputs, chosen, why, settings


def _need_packages(chosen: Preset) -> None:
    """SetupError where a diffusion preset lacks its packages."""
    lacking = [name for name in ("torch", "diffusers") if find_spec(name) is None]
    if chosen.engine == "diffusion" and lacking:
        raise SetupError(
            f"preset {chosen.name} needs the package {lacking[0]}, which is not installed; "
            "expected the extra diffusion: python -m pip install 'echomimic[diffusion]'"
        )


def _predicted(portrait: Portrait, speech: Speech, options: Options) -> LandmarkTrack:
    """The motion that a landmark preset follows when the user gives none."""
    return _mesh().track(portrait, speech, None, options)


def _memory(chosen: Preset, settings: Options, width: int, height: int) -> int:
    """Megabytes that a run will take at its peak, about: on the device for a diffusion preset, else in all."""
    if chosen.engine == "diffusion":
        from echomimic.diffusion.memory import peak_megabytes

        return peak_megabytes(chosen, settings, width, height)
    return MESH_MEMORY_MB + width * height * MESH_BYTES_PER_PIXEL // 2**20


def _mesh() -> "MeshEngine":
    from echomimic.mesh.engine import MeshEngine

    return MeshEngine()


def _check_outputs(output: Source, save_motion: Source | None, inputs: list[object]) -> None:
    """Refuse what cannot be written, or would overwrite what is read, before anything expensive runs."""
    from echomimic.media import check_not_input, check_output

    check_output(output)
    check_not_input(output, *inputs)
    if save_motion is not None:
        tracks.check_motion_path(save_motion)
        check_not_input(save_motion, *inputs)


def _read(portrait: Source | Portrait, speech: Source | Speech, motion: Motion | None) -> _Inputs:
    from echomimic.media import read_picture, read_speech

    return _Inputs(
        portrait if isinstance(portrait, Portrait) else read_picture(portrait),
        speech if isinstance(speech, Speech) else read_speech(speech),
        motion,
    )


def _read_motion(motion: Source | Motion | None, preset: str = "auto") -> Motion | None:
    """The motion; of a video the hands where the preset follows hands, else the face."""
    if not isinstance(motion, (str, Path)):
        return motion
    hands = preset in PRESETS and PRESETS[preset].drive == "hands"
    return tracks.load_motion(motion, pose=hands)


def _followed(inputs: _Inputs, source: object, chosen: Preset, settings: Options) -> _Inputs:
    """The inputs, with the motion brought to the portrait where a network is to follow it and it stands elsewhere.

    With `exact` only the motion of a driving video is: a track is then drawn as it stands.
    """
    video = isinstance(source, (str, Path)) and is_video(Path(source))
    if inputs.motion is None or chosen.drive == "none":
        return inputs
    from echomimic.diffusion.conditioning import aligned_to_shot, stands_elsewhere

    if not video and (settings.exact or not stands_elsewhere(inputs.motion, inputs.portrait, chosen, settings)):
        return inputs
    note("motion_aligned", "the motion is aligned to the portrait")
    return replace(inputs, motion=aligned_to_shot(inputs.motion, inputs.portrait, chosen, settings))


def _warn_of_motion(inputs: _Inputs, chosen: Preset, settings: Options) -> None:
    """Say what will go wrong with a motion that a network is about to follow, before any of its time is spent."""
    motion, portrait = inputs.motion, inputs.portrait
    if motion is None or chosen.drive not in ("landmarks", "hands"):
        return
    size = (portrait.width, portrait.height)
    if isinstance(motion, PoseTrack):
        from echomimic.landmarks.body import find_body

        said = tracks.preflight(motion, size=size, body=find_body(portrait))
    else:
        from echomimic.diffusion.conditioning import face_in_shot

        landmarks, size = face_in_shot(portrait, chosen, settings)
        said = tracks.preflight(motion, size=size, landmarks=landmarks)
    for warning in said:
        emit(warning)


def _folder(weights: Source | None) -> Path | None:
    return None if weights is None else Path(weights)


def _video_size(inputs: _Inputs, chosen: Preset, settings: Options) -> tuple[int, int]:
    """Width and height of the video."""
    if chosen.engine == "diffusion":
        from echomimic.diffusion.conditioning import take_shot, video_size

        return video_size(take_shot(inputs.portrait, settings, chosen))
    from echomimic.landmarks.crop import frame_portrait
    from echomimic.landmarks.face import pick_face

    framing = frame_portrait(inputs.portrait, pick_face(inputs.portrait, settings), settings)
    return framing.width, framing.height


def _with_its_motion(inputs: _Inputs, engine: Engine, settings: Options) -> _Inputs:
    """The same inputs with the motion that will be rendered."""
    from echomimic.mesh.engine import MeshEngine

    if isinstance(inputs.motion, PoseTrack):
        return inputs
    mesh = engine if isinstance(engine, MeshEngine) else _mesh()
    track = mesh.track(inputs.portrait, inputs.speech, inputs.motion, settings)
    return _Inputs(inputs.portrait, inputs.speech, track)


def _write(
    output: Path, frames: "_Sized", speech: Speech, chosen: Preset, settings: Options, live: Source | None
) -> int:
    from echomimic.media import write_clip

    tags = {
        "title": f"{speech.name} (AI-generated)",
        "comment": f"AI-generated video of a still picture, made by echomimic {__version__}, "
        f"preset {chosen.name}, seed {settings.seed}",
        "encoder": f"echomimic {__version__}",
    }
    return write_clip(output, iter(frames), settings.fps, speech, tags, live)


class _Sized:
    """Frames that remember their size as they pass."""

    def __init__(self, frames: Iterator[Picture]) -> None:
        self.width = self.height = 0
        self._frames = frames

    def __iter__(self) -> Iterator[Picture]:
        for frame in self._frames:
            self.height, self.width = frame.shape[:2]
            yield frame

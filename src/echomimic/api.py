"""The public functions: animate, plan, predict, load."""

import os
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Unpack

from echomimic import __version__
from echomimic import motion as tracks
from echomimic.checkpoints import LoraFile, other_preset, read_lora_metadata
from echomimic.engines import Engine, Part, Render, lora_of
from echomimic.errors import OptionError, WeightsError
from echomimic.notes import collect_notes
from echomimic.options import USUAL_WORK, Options, OptionsDict, WorkOptions, make_options
from echomimic.presets import (
    PRESETS,
    Preset,
    file_checksums,
    find_preset,
    require_files,
    require_packages,
    resolve_preset,
)
from echomimic.types import Clip, LandmarkTrack, Motion, Picture, Plan, Portrait, Progress, Speech

if TYPE_CHECKING:
    from echomimic.inputs import InputCache
    from echomimic.landmarks.face import Face
    from echomimic.provenance import RenderRecord, SigningKey
    from echomimic.work import WorkFolder

Source = str | Path
_MOST_EDIT_TEXT = 20_000
"""Characters of edits that a render record holds in full."""
SHORT_SECONDS = 3.0
"""Length of a clip up to which the mesh engine keeps no work folder."""


@dataclass(frozen=True)
class _PreparedRun:
    """A prepared run with its voice, its preset, why that preset was chosen, and its options."""

    render: Render
    speech: Speech
    preset: Preset
    why: str
    options: Options
    inputs: dict[str, "Source | Portrait | Speech | Motion | None"]
    weights: Path | None
    lora: LoraFile | None


def animate(
    portrait: Source | Portrait,
    speech: Source | Speech,
    motion: Source | Motion | None = None,
    *,
    output: Source,
    preset: str = "auto",
    save_motion: Source | None = None,
    live: Source | None = None,
    sign: tuple[Source, Source] | None = None,
    weights: Source | None = None,
    lora: Source | LoraFile | None = None,
    engine: Engine | None = None,
    inputs: "InputCache | None" = None,
    progress: Progress | None = None,
    work: WorkOptions | None = USUAL_WORK,
    **options: Unpack[OptionsDict],
) -> Clip:
    """Make a video of `portrait` speaking `speech` and write it to `output`: .mp4, .webm, .gif or a folder of PNGs.

    `motion` is a track to render instead of the motion predicted from the voice; `save_motion` is where the rendered
    track is written; `live` is a file that holds the .mp4 while it is made, for readers; `sign` is a PEM certificate
    chain and its key, with which the video is signed (Content Credentials; default: ECHOMIMIC_SIGN_CERT and
    ECHOMIMIC_SIGN_KEY); `lora` is a file that adapts a diffusion preset to a person; `engine` is an engine that `load`
    returned for the same preset and `inputs` a cache of inputs, both for runs of many clips; `work` states how the work
    folder beside the output is used, from which the same call resumes after a crash (None for no folder); `options` are
    the fields of `Options`. Raises EchoMimicError; the output exists completely or not at all.
    """
    began = time.monotonic()
    _check_outputs(output, save_motion, [portrait, speech, motion])
    with collect_notes() as notes:
        signing = _signing(Path(output), sign)
        run = _prepare(portrait, speech, motion, preset, weights, lora, engine, options, inputs, check_files=True)
        render = run.render
        count = _write(Path(output), run, progress, live, signing, work)
        if save_motion is not None:
            tracks.save_motion(save_motion, render.motion)
    return Clip(
        path=Path(output),
        preset=run.preset.name,
        frames=count,
        fps=render.fps,
        width=render.size[0],
        height=render.size[1],
        seconds=count / render.fps,
        seed=run.options.seed,
        took=time.monotonic() - began,
        motion=None if save_motion is None else Path(save_motion),
        notes=tuple(notes),
    )


def assist(
    portrait: Source | Portrait,
    speech: Source | Speech,
    motion: Source | Motion | None = None,
    *,
    engine: Engine,
    **options: Unpack[OptionsDict],
) -> None:
    """Compute this process's share of the clip that the first process makes by `animate` with the same arguments.

    `engine` is one that `load` returned with `ranks`. Nothing is written. Returns when the first process calls
    `dismiss`; raises DeviceError if that process has died.
    """
    from echomimic.diffusion.engine import DiffusionRender

    render = _prepare(portrait, speech, motion, "auto", None, None, engine, options).render
    assert isinstance(render, DiffusionRender)  # no other engine has ranks
    render.assist()


def dismiss() -> None:
    """End `assist` in the other processes."""
    from echomimic.diffusion.ranks import launched_ranks

    launched_ranks().broadcast()


def plan(
    portrait: Source | Portrait,
    speech: Source | Speech,
    motion: Source | Motion | None = None,
    *,
    preset: str = "auto",
    weights: Source | None = None,
    lora: Source | LoraFile | None = None,
    engine: Engine | None = None,
    **options: Unpack[OptionsDict],
) -> Plan:
    """Prepare the run of `animate` with the same arguments and describe it; nothing is rendered or written."""
    with collect_notes() as notes:
        run = _prepare(portrait, speech, motion, preset, weights, lora, engine, options)
    render = run.render
    return Plan(
        preset=run.preset.name,
        why=run.why,
        frames=render.num_frames,
        fps=render.fps,
        seconds=render.num_frames / render.fps,
        width=render.size[0],
        height=render.size[1],
        memory_mb=render.memory_mb,
        notes=tuple(notes),
    )


def predict(
    portrait: Source | Portrait,
    speech: Source | Speech,
    motion: Source | Motion | None = None,
    *,
    output: Source | None = None,
    preset: str = "mesh",
    weights: Source | None = None,
    lora: Source | LoraFile | None = None,
    engine: Engine | None = None,
    **options: Unpack[OptionsDict],
) -> Motion:
    """Predict the motion that `animate` would render with the same arguments, to save, edit and render it.

    Returns a LandmarkTrack, or a PoseTrack for the presets v2 and v2-acc, and also writes it to `output` if given.
    """
    if output is not None:
        tracks.check_motion_path(output)
    track = _prepare(portrait, speech, motion, preset, weights, lora, engine, options).render.motion
    if output is not None:
        tracks.save_motion(output, track)
    return track


def load(
    preset: str = "auto",
    device: str | None = None,
    weights: Source | None = None,
    lora: Source | LoraFile | None = None,
    *,
    ranks: bool = False,
) -> Engine:
    """Load the engine of a preset, to render many clips with it; `device` is used if the option `device` is auto.

    Networks are loaded, and merged with the `lora`, when they are first used. With `ranks` a diffusion preset shares
    the work of each clip with the other processes that torchrun started: the first calls `animate`, the others
    `assist`. Raises WeightsError if a checkpoint file is missing or the LoRA is of another preset.
    """
    adapted = _lora_file(lora)
    chosen, _ = resolve_preset(_preset_of(adapted, preset), weights=_folder(weights))
    engine = _load(chosen, device, weights, adapted, ranks=ranks)
    require_files(chosen, _folder(weights))
    return engine


def _load(
    preset: Preset, device: str | None, weights: Source | None, lora: LoraFile | None, *, ranks: bool = False
) -> Engine:
    require_packages(preset)
    module = import_module(f"echomimic.{preset.engine}.engine")
    engine: Engine = module.load_engine(preset, _folder(weights), device, _predict, lora, ranks)
    return engine


def _lora_file(lora: Source | LoraFile | None) -> LoraFile | None:
    return LoraFile(Path(lora)) if isinstance(lora, (str, Path)) else lora


def _preset_of(lora: LoraFile | None, preset: str) -> str:
    """The preset to use with a LoRA: for `auto` the one it was trained for. Raises WeightsError for another one."""
    if lora is None:
        return preset
    made_for = read_lora_metadata(lora.path).preset
    if preset not in ("auto", made_for):
        raise WeightsError(other_preset(lora.path, made_for, preset))
    return made_for


def _prepare(
    portrait: Source | Portrait,
    speech: Source | Speech,
    motion: Source | Motion | None,
    preset: str,
    weights: Source | None,
    lora: Source | LoraFile | None,
    engine: Engine | None,
    options: OptionsDict,
    cache: "InputCache | None" = None,
    *,
    check_files: bool = False,
) -> _PreparedRun:
    """Read the inputs, choose the preset, and have its engine prepare the run."""
    make_options(options)  # an invalid option is refused before anything is read
    adapted = _lora_file(lora)
    preset = _preset_of(adapted, preset)
    if engine is not None:
        preset = _same_preset(engine, preset, adapted)
    elif check_files and preset != "auto":
        require_packages(find_preset(preset))
        require_files(find_preset(preset), _folder(weights))  # before any note about inputs that it cannot render
    inputs: dict[str, Source | Portrait | Speech | Motion | None]
    inputs = {"portrait": portrait, "speech": speech, "motion": motion}
    track = _read_motion(motion, preset, cache)
    chosen, why = resolve_preset(preset, track, _folder(weights))
    settings = make_options(options, chosen.defaults)
    if engine is None:
        engine = _load(chosen, None, weights, adapted)
    portrait, speech = _read(portrait, speech, cache)
    align = isinstance(motion, (str, Path)) and tracks.is_video(Path(motion))
    render = engine.prepare(portrait, speech, track, settings, align=align)
    return _PreparedRun(render, speech, chosen, why, settings, inputs, _folder(weights), lora_of(engine))


def _same_preset(engine: Engine, preset: str, lora: LoraFile | None) -> str:
    """The engine's preset. Raises OptionError if another preset, or any LoRA, was asked for."""
    own = engine.preset.name
    if lora is not None:
        raise OptionError(f"an engine and a LoRA are given; expected an engine with that LoRA: load({own!r}, lora=...)")
    if preset not in ("auto", own):
        raise OptionError(
            f"the engine is of preset {own} and preset is {preset!r}; expected an engine of that preset: "
            f"load({preset!r})",
            code="engine_of_other_preset",
        )
    return own


def _predict(portrait: Portrait, speech: Speech, options: Options, face: "Face | None") -> LandmarkTrack:
    """The face motion that a preset follows if the user gives none."""
    from echomimic.mesh.engine import MeshEngine

    return MeshEngine().prepare(portrait, speech, None, options, face=face).motion


def _check_outputs(output: Source, save_motion: Source | None, inputs: list[object]) -> None:
    """Refuse an output that cannot be written, or that would overwrite an input, before anything expensive runs."""
    from echomimic.media import check_not_input, check_output

    check_output(output)
    check_not_input(output, *inputs)
    if save_motion is not None:
        tracks.check_motion_path(save_motion)
        check_not_input(save_motion, *inputs)


def _read(portrait: Source | Portrait, speech: Source | Speech, cache: "InputCache | None") -> tuple[Portrait, Speech]:
    from echomimic.media import read_picture, read_speech

    if not isinstance(portrait, Portrait):
        portrait = read_picture(portrait) if cache is None else cache.portrait(Path(portrait))
    if not isinstance(speech, Speech):
        speech = read_speech(speech) if cache is None else cache.speech(Path(speech))
    return portrait, speech


def _read_motion(motion: Source | Motion | None, preset: str, cache: "InputCache | None") -> Motion | None:
    """Read the motion; from a video the hands if the preset uses hands, else the face."""
    if not isinstance(motion, (str, Path)):
        return motion
    pose = preset in PRESETS and PRESETS[preset].uses_hands
    return tracks.load_motion(motion, pose=pose) if cache is None else cache.motion(Path(motion), pose=pose)


def _folder(weights: Source | None) -> Path | None:
    return None if weights is None else Path(weights)


def _signing(output: Path, given: tuple[Source, Source] | None) -> "SigningKey | None":
    """The key to sign with: the given one, or that of the environment if the format can hold a signature."""
    named = given or (os.environ.get("ECHOMIMIC_SIGN_CERT", ""), os.environ.get("ECHOMIMIC_SIGN_KEY", ""))
    if not all(map(str, named)):
        return None
    from echomimic.provenance import SIGNED_SUFFIXES, SigningKey, check_signing

    if given is None and output.suffix.lower() not in SIGNED_SUFFIXES:
        return None
    key = SigningKey(Path(named[0]), Path(named[1]))
    check_signing(output, key)
    return key


def _write(
    output: Path,
    run: _PreparedRun,
    progress: Progress | None,
    live: Source | None,
    signing: "SigningKey | None",
    options: WorkOptions | None,
) -> int:
    """Render into the file and return the number of frames."""
    from echomimic.media import write_clip
    from echomimic.provenance import sign_in_place

    record = _record(run)
    # a palette of 256 colours would hide the mark
    payload = record.payload() if run.options.mark and output.suffix.lower() != ".gif" else None
    finish = None if signing is None else partial(sign_in_place, key=signing, record=record)
    with _work_folder(output, run, record, options) as kept:
        frames = _frames(run.render, progress, payload, kept)
        tags = _tags(run, record if kept is None else kept.record)
        return write_clip(output, frames, run.render.fps, run.speech, tags, live, finish, kept)


def _tags(run: _PreparedRun, record: "RenderRecord") -> dict[str, str]:
    """The tags of the file."""
    from echomimic.provenance import TAG

    return {
        "title": f"{run.speech.name} (AI-generated)",
        "comment": f"AI-generated video of a still picture, made by echomimic {__version__}, "
        f"preset {run.preset.name}, seed {run.options.seed}",
        "encoder": f"echomimic {__version__}",
        TAG: record.to_json(),
    }


def _work_folder(
    output: Path, run: _PreparedRun, record: "RenderRecord", options: WorkOptions | None
) -> "AbstractContextManager[WorkFolder | None]":
    """The work folder of a run; None if the clip is short."""
    wanted = run.preset.engine == "diffusion" or run.render.num_frames / run.render.fps > SHORT_SECONDS
    if options is None or not (wanted or options != USUAL_WORK):
        return nullcontext()
    from echomimic.work import open_work

    return open_work(output, record, options) or nullcontext()


def _frames(
    render: Render, progress: Progress | None, payload: bytes | None, work: "WorkFolder | None"
) -> Generator[Picture]:
    """Yield the frames that the work folder lacks, with the mark that holds `payload`."""
    from echomimic.provenance import mark_frames

    for first, last in [(0, render.num_frames)] if work is None else work.missing():
        frames = render.frames(progress, Part(first, last, work))
        yield from frames if payload is None else mark_frames(frames, render.fps, payload, first)


def _record(run: _PreparedRun) -> "RenderRecord":
    """The record that is stored in the file, from which the video can be rendered again."""
    from echomimic.provenance import digest, new_record

    render = run.render
    return new_record(
        run.preset.name,
        run.options,
        render.size,
        render.num_frames,
        render.fps,
        edits=recorded_edits(run.inputs["motion"]),
        weights=file_checksums(run.preset, run.weights, run.lora),
        **{name: None if value is None else digest(value) for name, value in run.inputs.items()},
    )


def recorded_edits(motion: "Source | Portrait | Speech | Motion | None") -> list[dict[str, Any]]:
    """The edits that made a saved motion, without comments and names; if their text is long, only their kinds."""
    if not isinstance(motion, (str, Path)) or not Path(motion).is_file():
        return []
    edits = [_without_names(edit.record()) for edit in tracks.load_edits(motion) if edit.op != "note"]
    return edits if len(repr(edits)) <= _MOST_EDIT_TEXT else [{"op": edit["op"]} for edit in edits]


def _without_names(record: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in record.items() if key not in ("name", "other", "others")}
    return kept | ({"edits": [_without_names(each) for each in record["edits"]]} if "edits" in record else {})

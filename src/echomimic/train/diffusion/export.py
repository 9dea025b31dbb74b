"""Export trained networks in the published layout: the presets load them unchanged; and the model card of the run.

A folder appears with all of its files or not at all. The files hold exactly the published names and shapes, or those of
the geometry of smaller networks. A run of a LoRA is exported as a LoRA file, or merged into preset files. The card
states data, rights, settings, versions and figures, which all come from the run folder.
"""

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from echomimic.checkpoints import FILES, Geometry, write_geometry, write_lora
from echomimic.diffusion.networks import condition_channels, empty_networks, on_meta, require_same, shapes_of
from echomimic.errors import OptionError, OutputError, WeightsError
from echomimic.files import sync_file
from echomimic.media import atomic_path
from echomimic.media.output import check_place
from echomimic.presets import Preset, find_preset
from echomimic.train.diffusion.checkpoints import list_checkpoints, read_state
from echomimic.train.diffusion.lora import lora_of, merge_layers, trainable_parameters
from echomimic.train.diffusion.rights import require_written_consent
from echomimic.train.diffusion.run_folder import DataRecord, read_data, read_log, read_run_settings, without_places
from echomimic.train.diffusion.settings import TrainSettings, format_settings
from echomimic.train.diffusion.starts import Start, export_preset, load_start
from echomimic.train.diffusion.trainee import Trainee

CARD = "card.md"
_LAST = 100
"""Number of last steps over which the training loss is averaged."""
_STEP_FIELDS = frozenset({"step", "loss", "norm", "rate", "seconds"})
_USE = """## Intended use

Videos of a portrait that speaks a given voice, of people who have agreed to that, marked as AI-generated. Not for
impersonation, for deceiving anyone about what a person said or did, or for identifying people."""
_LIMITS = """## Limits

The networks show what the data shows: people, head poses, languages, light and backgrounds that are not in it come out
worse. Faces seen from the side, hands in front of the face and several people are not covered by the preparation of the
data. Nothing in the weights marks a video as generated; the program writes that into the metadata of its files only."""


def model_card(run: Path, checkpoint: Path) -> str:
    """The card of a checkpoint of a run as Markdown. Raises InputError, OptionError, WeightsError."""
    settings, data, state = read_run_settings(run), read_data(run), read_state(checkpoint)
    step = int(state["step"])
    log = [record for record in read_log(run) if int(record.get("step", 0)) <= step]
    parts = (
        _title(settings, data, step),
        _USE,
        "\n".join(_data_lines(data)),
        "\n".join(_training_lines(settings, data, log, state)),
        "\n".join(_figure_lines(log)),
        _LIMITS,
        "## Settings\n\n```toml\n" + format_settings(without_places(settings)).strip() + "\n```",
    )
    return "\n\n".join(parts) + "\n"


def _title(settings: TrainSettings, data: DataRecord, step: int) -> str:
    preset = export_preset(settings).name
    if settings.model.lora_rank and settings.distil.kind == "off":
        what = f"A LoRA of rank {settings.model.lora_rank} for preset {preset}" + (
            f" that shows {data.subject}." if data.subject else "."
        )
    elif settings.distil.kind != "off":
        what = f"Weights of preset {preset}-acc, distilled into {settings.distil.steps} steps ({settings.distil.kind})."
    else:
        what = f"Weights of preset {preset}."
    about = "Trained with `echomimic train run`; this card is made from the run's folder."
    return f"# Model card: {preset}, step {step}\n\n{what} {about}"


def _data_lines(data: DataRecord) -> Iterator[str]:
    yield "## Data and rights\n"
    yield f"{data.clips} clips, {_duration(data.hours)}, {data.subjects} people."
    yield f"Languages: {', '.join(data.languages)}.\n" if data.languages else "Languages are not stated.\n"
    yield "| licence | consent of the people shown | length |\n|---|---|---|"
    for entry in data.rights:
        yield f"| {_cell(entry.licence)} | {entry.consent} | {_duration(entry.hours)} |"
    if data.subject:
        yield f"\nThe person shown, {data.subject}: consent {data.subject_consent}."
    unstated = sum(entry.hours for entry in data.rights if entry.consent == "none-stated")
    if unstated:
        yield f"\n**The consent of the people in {_duration(unstated)} is not stated.** Whoever trained stated"
        yield "the right to use them."


def _training_lines(
    settings: TrainSettings, data: DataRecord, log: Sequence[dict[str, Any]], state: dict[str, Any]
) -> Iterator[str]:
    seconds = sum(float(record.get("seconds") or 0) for record in log)
    yield "## Training\n"
    samples = f"{settings.optimizer.batch} samples of {settings.data.frames} frames at {settings.data.size} pixels"
    yield f"- {state['step']} steps of {samples}, seed {settings.run.seed}"
    yield f"- {_duration(seconds / 3600)} in steps"
    yield f"- averaged weights (decay {settings.optimizer.ema:g})"
    for line in data.origin:
        yield f"- start: {_without_folders(line)}"
    versions = {name: state[name] for name in ("echomimic", "torch") if name in state}
    yield f"- versions: {', '.join(f'{name} {version}' for name, version in versions.items())}"


def _figure_lines(log: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The training loss, and the last of each figure of validation; the mean over the clips of the last step."""
    yield "## Figures\n"
    losses = [float(record["loss"]) for record in log if record.get("loss") is not None][-_LAST:]
    if losses:
        yield f"Training loss, mean of the last {len(losses)} steps: {statistics.fmean(losses):.4f}. It depends on the"
        yield "settings and does not compare models.\n"
    rows = list(_validation(log))
    if not rows:
        yield "Validation was not run: no figures."
        return
    yield "| figure of validation | step | value |\n|---|---|---|"
    for name, step, value, clips in rows:
        yield f"| {_cell(name)}{f', mean of {clips} clips' if clips else ''} | {step} | {value:.4g} |"


def _validation(log: Sequence[dict[str, Any]]) -> Iterator[tuple[str, int, float, int]]:
    """Name, step, value and number of clips (0: not by clip) of the last figures."""
    last: dict[str, list[dict[str, Any]]] = {}
    for record in log:
        for name, value in record.items():
            if name in _STEP_FIELDS or "loss" in record or isinstance(value, (str, bool)) or value is None:
                continue
            found = last.setdefault(name, [])
            if found and found[0]["step"] != record["step"]:
                found.clear()
            found.append(record)
    for name, records in last.items():
        values = [float(record[name]) for record in records]
        yield name, int(records[0]["step"]), statistics.fmean(values), len(records) if "clip" in records[0] else 0


def _duration(hours: float) -> str:
    """A length of time in hours, minutes or seconds."""
    if hours >= 1:
        return f"{hours:.1f} hours"
    return f"{hours * 60:.1f} minutes" if hours * 60 >= 1 else f"{hours * 3600:.1f} seconds"


def _cell(text: str) -> str:
    """Text with the characters escaped that would end a table cell."""
    return " ".join(text.replace("|", "/").split())


def _without_folders(line: str) -> str:
    """A line such as `vae: FOLDER/FILE` without the folders of this machine."""
    name, colon, path = line.partition(": ")
    return f"{name}{colon}{Path(path).name}" if colon and "/" in path and ";" not in path else line


_MOTION = ".motion_modules."
_NETWORKS = ("denoising", "motion", "reference", "condition")
Shapes = Mapping[str, tuple[int, ...]]


def export_run(
    run: Path, folder: Path, *, merge: bool = False, step: int | None = None, dtype: str = "bfloat16"
) -> list[Path]:
    """Write the averaged weights of a run and its model card into a new or empty `folder`; return the files.

    `step` is a checkpoint other than the newest. A LoRA becomes one file, or with `merge` files of its preset. Raises
    InputError, OptionError, WeightsError and OutputError, each in one line.
    """
    settings = read_run_settings(run)
    checkpoint = find_checkpoint(run, step, settings)
    check_target(folder)
    _check_merge(settings, merge)
    if settings.model.lora_rank and settings.distil.kind == "off":
        require_written_consent([read_data(run).consent_of_subject], "a LoRA of one person")
    average, card = read_average(checkpoint), model_card(run, checkpoint)
    if settings.model.lora_rank and not merge:
        return _export_lora(run, settings, average, folder, card)
    start = load_start(_with_motion(settings))
    put_average(start.trainee, settings, average, checkpoint)
    return _export_start(start, exported_preset(settings), folder, getattr(torch, dtype), card)


def card_of_run(run: Path, step: int | None = None) -> str:
    """The model card of a run's newest checkpoint, or of that of a step."""
    return model_card(run, find_checkpoint(run, step, read_run_settings(run)))


def _check_merge(settings: TrainSettings, merge: bool) -> None:
    if merge and not settings.model.lora_rank:
        raise OptionError("the run trains no LoRA, so there is nothing to merge; expected no --merge")
    if settings.model.lora_rank and settings.distil.kind != "off" and not merge:
        raise OptionError("a few-step LoRA changes the weights of 30 steps; expected --merge: whole files of 6 steps")


def exported_preset(settings: TrainSettings) -> Preset:
    """The preset whose files a run makes: the accelerated one for a distilled model."""
    preset = export_preset(settings)
    return preset if settings.distil.kind == "off" else find_preset(f"{preset.name}-acc")


def find_checkpoint(run: Path, step: int | None, settings: TrainSettings) -> Path:
    """The newest checkpoint of a run, or that of a step. Raises OptionError, also if it has other settings."""
    found = list_checkpoints(run)
    if not found:
        raise OptionError(f"{run} holds no whole checkpoint; expected a folder of `train run` that has reached one")
    path = found[-1] if step is None else run / "steps" / f"{step:08d}"
    if path not in found:
        steps = ", ".join(str(int(each.name)) for each in found)
        raise OptionError(f"{run} has no checkpoint of step {step}; expected one of {steps}")
    if read_state(path).get("settings") != settings.digest():
        raise OptionError(f"{path} was made with other settings than those of {run}; expected the settings of the run")
    return path


def read_average(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint. Raises WeightsError."""
    try:
        return load_file(checkpoint / "ema.safetensors")
    except (OSError, SafetensorError):
        raise WeightsError(
            f"{checkpoint} cannot be read; expected a whole checkpoint: give another with --step"
        ) from None


def _with_motion(settings: TrainSettings) -> TrainSettings:
    """The settings of a LoRA run, with which its start has motion modules even if the run used single frames."""
    return replace(settings, model=replace(settings.model, trained="all")) if settings.model.lora_rank else settings


def put_average(trainee: Trainee, settings: TrainSettings, average: Mapping[str, Tensor], source: object) -> None:
    """Put averaged weights into a trainee with its start values; a LoRA is merged. Raises WeightsError."""
    parameters = trainable_parameters(trainee, settings)
    require_same(shapes_of(parameters), shapes_of(average), str(source), "expected a checkpoint of this run")
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(average[name])
    merge_layers(trainee)


def check_target(folder: Path) -> None:
    """Raise OutputError unless `folder` is new or empty, in a folder that can be written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} exists and is not empty; expected a new folder: give another one with -o")
    check_place(folder)


def export_networks(
    trainee: Trainee,
    average: Mapping[str, Tensor],
    preset: Preset,
    folder: Path,
    *,
    geometry: Geometry | None = None,
    others: Mapping[str, nn.Module] | None = None,
    dtype: torch.dtype = torch.bfloat16,
    card: str = "",
) -> list[Path]:
    """Write the files of `preset` as the whole content of `folder` and return their paths.

    `average` are the averaged weights by parameter name of `trainee`; all other tensors are the trainee's own. `others`
    are further networks by their part of the preset (vae, speech). Networks of other than the published sizes need
    their `geometry`, which goes beside them. There is no file of motion modules if the networks have none. Raises
    OutputError, and MismatchError if the tensors are not those that the preset loads.
    """
    tensors = exported_tensors(trainee, average)
    check_tensors(tensors, preset, geometry)
    for part, network in (others or {}).items():
        tensors[part] = dict(network.state_dict())
    names = {part: f"{FILES[preset.files[part]].name}.safetensors" for part in tensors}
    with whole_folder(folder) as place:
        for part, values in tensors.items():
            _write(place / names[part], values, part, dtype)
        if geometry is not None:
            write_geometry((place / names["denoising"]).parent, _geometry_of(preset, geometry))
        if card:
            (place / CARD).write_text(card, encoding="utf-8")
    return [folder / name for name in names.values()]


def exported_tensors(trainee: Trainee, average: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each file, by part: the denoising network is split into its picture part and its motion part."""
    files: dict[str, dict[str, Tensor]] = {part: {} for part in _NETWORKS}
    for network, module in trainee.networks().items():
        for name, tensor in module.state_dict().items():
            part = "motion" if network == "denoising" and _MOTION in f".{name}" else network
            files[part][name] = average.get(f"{network}.{name}", tensor).detach().cpu()
    return {part: values for part, values in files.items() if values}


def check_tensors(
    tensors: Mapping[str, Mapping[str, Tensor]], preset: Preset, geometry: Geometry | None = None
) -> None:
    """Raise MismatchError unless each part has exactly the names and shapes that the preset loads."""
    expected = expected_parts(preset, geometry)
    for part, values in tensors.items():
        require_same(expected[part], shapes_of(values), f"the exported {part}", "expected the networks of the preset")


def expected_parts(preset: Preset, geometry: Geometry | None = None) -> dict[str, Shapes]:
    """Names and shapes of the tensors of a preset's networks by part."""
    networks = on_meta(lambda: empty_networks(condition_channels(preset), geometry))
    denoising = shapes_of(networks.denoising.state_dict())
    return {
        "denoising": {name: shape for name, shape in denoising.items() if _MOTION not in f".{name}"},
        "motion": {name: shape for name, shape in denoising.items() if _MOTION in f".{name}"},
        "reference": shapes_of(networks.reference.state_dict()),
        "condition": shapes_of(networks.condition.state_dict()),
    }


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` if the block succeeds. Raises OutputError if it cannot be written."""
    try:
        with atomic_path(folder) as part:
            part.mkdir(parents=True)
            yield part
            for path in part.rglob("*"):
                if path.is_file():
                    sync_file(path)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OutputError(f"{folder} cannot be written ({why}); free some space or choose another place") from None


def _export_start(start: Start, preset: Preset, folder: Path, dtype: torch.dtype, card: str) -> list[Path]:
    """Export the networks of a run; small ones with their own autoencoder and speech network, in float32."""
    geometry, others = start.geometry, {"vae": start.vae, "speech": start.speech} if start.geometry else {}
    dtype = torch.float32 if geometry else dtype
    return export_networks(start.trainee, {}, preset, folder, geometry=geometry, others=others, dtype=dtype, card=card)


def _export_lora(
    run: Path, settings: TrainSettings, average: Mapping[str, Tensor], folder: Path, card: str
) -> list[Path]:
    """Write a LoRA file and the card."""
    data = read_data(run)
    lora = lora_of(average, exported_preset(settings).name, settings.model, data.subject, data.subject_consent)
    name = re.sub(r"[^\w.-]+", "-", data.subject).strip(".-") or "lora"
    with whole_folder(folder) as place:
        write_lora(place / f"{name}.safetensors", lora)
        (place / CARD).write_text(card, encoding="utf-8")
    return [folder / f"{name}.safetensors"]


def _geometry_of(preset: Preset, geometry: Geometry) -> Geometry:
    """The geometry with the steps and the guidance of an accelerated preset."""
    if not preset.name.endswith("-acc"):
        return geometry
    return replace(geometry, defaults=replace(geometry.defaults, steps=6, guidance_scale=1.0))


def _write(path: Path, tensors: Mapping[str, Tensor], part: str, dtype: torch.dtype) -> None:
    """Write one file; autoencoder and speech network keep float32."""
    wanted = dtype if part in _NETWORKS else torch.float32
    prefix = "encoder." if part == "speech" else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {prefix + name: tensor.to(wanted).contiguous() for name, tensor in tensors.items()}
    save_file(values, path, metadata={"format": "pt", "made_by": "echomimic train"})

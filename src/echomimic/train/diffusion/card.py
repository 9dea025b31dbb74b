"""The model card of a run: data, rights, settings, versions and figures, from what is in the run folder alone."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from echomimic.train.diffusion.checkpoints import read_state
from echomimic.train.diffusion.run_folder import DataRecord, read_data, read_run_settings, without_places
from echomimic.train.diffusion.run_log import read_log
from echomimic.train.diffusion.settings import TrainSettings, format_settings
from echomimic.train.diffusion.starts import export_preset

FILE_NAME = "card.md"
_LAST = 100
"""Steps over which the training loss is averaged."""
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
    """Text that keeps to its cell of a table."""
    return " ".join(text.replace("|", "/").split())


def _without_folders(line: str) -> str:
    """A line such as `vae: FOLDER/FILE` without the folders of this machine."""
    name, colon, path = line.partition(": ")
    return f"{name}{colon}{Path(path).name}" if colon and "/" in path and ";" not in path else line

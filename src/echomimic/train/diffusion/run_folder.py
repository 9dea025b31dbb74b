"""The files of a run: `settings.toml`, `data.json` with the rights of the data, and the log `log.jsonl`."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from echomimic.errors import InputError, SetupError
from echomimic.media import make_folder, write_file, writing
from echomimic.train.diffusion.manifest import Row, hours_by_rights, subjects
from echomimic.train.diffusion.rights import Consent, Rights
from echomimic.train.diffusion.settings import TrainSettings, format_settings, read_settings

SETTINGS, DATA = "settings.toml", "data.json"
ACCEPTED = "a folder that `echomimic train run` wrote"
_PLACES = (
    *("data.path", "data.headshots", "model.start", "model.stable_diffusion", "model.motion_module"),
    "phase_loss.reader",
)
"""Settings that are paths."""
_CONFIG = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_CONFIG)
class RightsHours:
    """Hours of clips with one licence and consent."""

    licence: str
    consent: Consent
    hours: float


@dataclass(frozen=True, config=_CONFIG)
class DataRecord:
    """The data of a run: clips, hours by rights, number of people, languages, and the start values of the networks.

    Of a LoRA, `subject` is the person shown, and `subject_consent` that person's consent.
    """

    clips: int
    hours: float
    rights: tuple[RightsHours, ...]
    subjects: int
    languages: tuple[str, ...] = ()
    origin: tuple[str, ...] = ()
    subject: str = ""
    subject_consent: Consent = "none-stated"

    @property
    def consent_of_subject(self) -> Rights:
        """The consent of the person whom a LoRA shows."""
        return Rights("as stated", self.subject_consent, self.subject)


_RECORD: TypeAdapter[DataRecord] = TypeAdapter(DataRecord)


def describe_data(rows: Sequence[Row], settings: TrainSettings, origin: Sequence[str] = ()) -> DataRecord:
    """The record of the clips of a run."""
    people = list(subjects(rows))
    shown = people_shown(rows, settings)
    agreed = bool(shown) and all(row.rights.consent == "written" for row in shown)
    return DataRecord(
        clips=len(rows),
        hours=sum(row.seconds for row in rows) / 3600,
        rights=tuple(RightsHours(*key, hours) for key, hours in hours_by_rights(rows).items()),  # type: ignore[arg-type]
        subjects=len(people),
        languages=tuple(sorted({row.language for row in rows if row.language})),
        origin=tuple(origin),
        subject=settings.model.subject or (people[0] if len(people) == 1 else ""),
        subject_consent="written" if agreed else "none-stated",
    )


def people_shown(rows: Sequence[Row], settings: TrainSettings) -> list[Row]:
    """The clips of the person whom a LoRA shows: of `model.subject`, or all."""
    subject = settings.model.subject
    return [row for row in rows if not subject or row.rights.subject == subject]


def write_run(folder: Path, settings: TrainSettings, data: DataRecord) -> None:
    """Write the settings and the data record of a run."""
    write_file(folder / SETTINGS, format_settings(settings))
    write_file(folder / DATA, _RECORD.dump_json(data, indent=1) + b"\n")


def read_run_settings(run: Path) -> TrainSettings:
    """The settings of a run. Raises InputError if `run` is not a run folder, OptionError if they are broken."""
    if not (run / SETTINGS).is_file():
        what = "is not there" if not run.exists() else f"has no {SETTINGS}"
        raise InputError(f"{run} {what}; expected {ACCEPTED}")
    return read_settings(run / SETTINGS)


def read_data(run: Path) -> DataRecord:
    """The data of a run. Raises InputError."""
    path = run / DATA
    try:
        return _RECORD.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); expected {ACCEPTED}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "record"
        raise InputError(f"{path}: {place}: {first['msg']}; expected {ACCEPTED}") from None


def without_places(settings: TrainSettings) -> TrainSettings:
    """The settings for publication, with the names of folders instead of their paths."""
    for place in _PLACES:
        group, name = place.split(".")
        fields = getattr(settings, group)
        settings = replace(settings, **{group: replace(fields, **{name: Path(getattr(fields, name)).name})})
    return settings


NAME = "log.jsonl"
_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "trackio": ("trackio",)}


def write_log(folder: Path, record: dict[str, Any]) -> None:
    """Append a record as one line, in a folder that may be new; numbers that are not finite become null."""
    make_folder(folder)
    with writing(), (folder / NAME).open("a", encoding="utf-8") as file:
        file.write(json.dumps({name: _finite(value) for name, value in record.items()}) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the log of a run; a last line that a killed run left incomplete is skipped."""
    path = folder / NAME
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def cut_log(folder: Path, step: int) -> None:
    """Remove the log records after `step`, which a resumed run writes again."""
    if not (folder / NAME).is_file():
        return
    kept = [record for record in read_log(folder) if record.get("step", 0) <= step]
    write_file(folder / NAME, "".join(json.dumps(record) + "\n" for record in kept))


def check_trackers(names: Sequence[str]) -> None:
    """Raise SetupError for a tracker whose package is missing."""
    for name in names:
        if not any(find_spec(package) for package in _PACKAGES[name]):
            raise SetupError(f"run.trackers has {name}, which is not installed; expected: pip install {name}")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

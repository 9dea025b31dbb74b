"""What a run folder says about its run: `settings.toml`, and `data.json` with the rights of the data."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from echomimic.errors import InputError
from echomimic.media import atomic_path
from echomimic.media.output import writing
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
    """The data of a run: clips, hours by rights, number of people, languages, where the networks started.

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
    """Write what a run is made of."""
    texts = {SETTINGS: format_settings(settings), DATA: _RECORD.dump_json(data, indent=1).decode() + "\n"}
    with writing():
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with atomic_path(folder / name) as part:
                part.write_text(text, encoding="utf-8")


def read_run_settings(run: Path) -> TrainSettings:
    """The settings of a run. Raises InputError if `run` is no run folder, OptionError if they are broken."""
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
    """The settings with the names of folders instead of their paths, to be published."""
    for place in _PLACES:
        group, name = place.split(".")
        fields = getattr(settings, group)
        settings = replace(settings, **{group: replace(fields, **{name: Path(getattr(fields, name)).name})})
    return settings

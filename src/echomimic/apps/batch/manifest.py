"""Read the manifest of a batch: a row a clip, with its inputs, its output and its options."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from echomimic.checkpoints import LoraFile
from echomimic.errors import EchoMimicError, InputError
from echomimic.media import check_output
from echomimic.options import OPTION_NAMES, RENAMED, make_options
from echomimic.parallel import read_rows
from echomimic.presets import find_preset

INPUTS = ("portrait", "speech", "motion", "lora")
"""Columns of files, relative to the folder of the manifest."""
COLUMNS = (*INPUTS, "lora_strength", "preset", "output", "save_motion")
"""Columns besides those of the options."""
ACCEPTED = "a .csv with a header or a .jsonl file, with portrait and speech in each row"
_SHOWN = 20
"""Faulty rows that are listed."""


@dataclass(frozen=True)
class BatchRow:
    """A clip: number of its row, paths of its inputs, paths of its outputs in the batch's folder, and options."""

    number: int
    portrait: str
    speech: str
    output: str
    motion: str | None = None
    lora: str | None = None
    lora_strength: float = 1.0
    preset: str = "auto"
    save_motion: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def lora_file(self) -> LoraFile | None:
        """The LoRA with its strength."""
        return None if self.lora is None else LoraFile(Path(self.lora), self.lora_strength)

    def group(self) -> tuple[object, ...]:
        """What rows have in common that a worker should make one after the other, in order of cost."""
        shared = (self.preset, self.lora or "", self.lora_strength, self.portrait)
        return (*shared, repr(sorted(self.options.items())), self.speech, self.number)

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def read_batch(
    manifest: Path, folder: Path, common: Mapping[str, Any], say: Callable[[str], None] = lambda _: None
) -> list[BatchRow]:
    """The rows of a manifest whose outputs go into `folder`; `common` are values for all rows that give none.

    Raises InputError if a row cannot be rendered: of an unknown column, a missing file, a value out of range, or an
    output that another row has too. `say` gets a line for each further fault. OptionError if a common value is invalid.
    """
    make_options({name: value for name, value in common.items() if name not in COLUMNS})
    rows, faults = [], []
    for number, values in read_rows(manifest, ACCEPTED):
        try:
            rows.append(_row(number, values, manifest.parent, common))
        except EchoMimicError as error:
            faults.append((number, str(error)))
    if not rows and not faults:
        raise InputError(f"{manifest} names no clips; expected {ACCEPTED}")
    faults += _clashes(rows, folder)
    if faults:
        _refuse(sorted(faults), manifest, say)
    return rows


def _refuse(faults: Sequence[tuple[int, str]], manifest: Path, say: Callable[[str], None]) -> None:
    """Raise the first fault, after a line for each of the others."""
    (number, first), *others = faults
    for other, text in others[: _SHOWN - 1]:
        say(f"row {other}: {text}")
    more = f" (and {len(others)} more faults)" if others else ""
    raise InputError(f"row {number} of {manifest}: {first}{more}; nothing was rendered")


def _row(number: int, given: Mapping[str, object], home: Path, common: Mapping[str, Any]) -> BatchRow:
    values = {name: value for name, value in _cells(given).items() if value not in (None, "")}
    unknown = [name for name in values if name not in (*COLUMNS, *OPTION_NAMES, *RENAMED)]
    if unknown:
        raise InputError(
            f"unknown column {unknown[0]!r}; expected one of {', '.join(COLUMNS)}, or an option of animate"
        )
    values = {**common, **values}
    files = {name: _file(name, values.pop(name, None), home) for name in INPUTS}
    portrait, speech = files.pop("portrait"), files.pop("speech")
    if portrait is None or speech is None:
        raise InputError(f"no {'portrait' if portrait is None else 'speech'}; expected the name of a file")
    texts = {name: str(values.pop(name)) for name in ("preset", "output", "save_motion") if name in values}
    output = texts.pop("output", f"{Path(portrait).stem}-{Path(speech).stem}.mp4")
    strength = _strength(values.pop("lora_strength", 1.0))
    row = BatchRow(number, portrait, speech, output, lora_strength=strength, options=values, **files, **texts)  # type: ignore[arg-type]
    _check_options(row)
    return row


def _cells(given: Mapping[str, object]) -> dict[str, Any]:
    """The cells of a row by column; texts without surrounding spaces."""
    if None in given:
        raise InputError("more cells than columns; expected a cell for each column: quote cells that hold commas")
    return {str(name).strip(): value.strip() if isinstance(value, str) else value for name, value in given.items()}


def _file(name: str, value: object, home: Path) -> str | None:
    """The absolute path of an input, if the row has it."""
    if value is None:
        return None
    path = home.resolve() / str(value)
    if not (path.exists() if name == "motion" else path.is_file()):
        raise InputError(f"{name} {str(value)!r} is not there; expected a file, relative to the manifest's folder")
    return str(path)


def _strength(value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"lora_strength is {value!r}; expected a number from 0 to 2") from None
    return LoraFile(Path(), number).strength  # which checks it


def _check_options(row: BatchRow) -> None:
    """Raise the error of an unknown preset, or of an option out of its range."""
    defaults = {} if row.preset == "auto" else find_preset(row.preset).defaults
    make_options(row.options, defaults)


def _clashes(rows: Sequence[BatchRow], folder: Path) -> list[tuple[int, str]]:
    """Faults of outputs: outside of the folder, of an unknown format, over an input, or over another output."""
    inputs = {Path(path).resolve() for row in rows for path in (row.portrait, row.speech, row.motion, row.lora) if path}
    taken: dict[Path, int] = {}
    faults = []
    for row in rows:
        for name, check in _outputs(row):
            path = (folder / name).resolve()
            fault = _fault_of_output(name, path, folder.resolve(), check)
            other = taken.setdefault(Path(os.path.normcase(path)), row.number)
            if fault is None and path in inputs:
                fault = f"output {name!r} is also an input; expected another name"
            if fault is None and other != row.number:
                fault = f"output {name!r} is also that of row {other}; expected names that differ: give a column output"
            if fault is not None:
                faults.append((row.number, fault))
    return faults + _nested(taken)


def _outputs(row: BatchRow) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """The outputs of a row with the functions that check them."""
    from echomimic.motion import check_motion_path

    yield row.output, check_output
    if row.save_motion is not None:
        yield row.save_motion, check_motion_path


def _fault_of_output(name: str, path: Path, folder: Path, check: Callable[[Path], object]) -> str | None:
    if folder not in path.parents:
        return f"output {name!r} lies outside of {folder}; expected a name in it"
    try:
        check(path if path.parent.is_dir() else folder / path.name)  # folders in between are made later
    except EchoMimicError as error:
        return str(error)
    return None


def _nested(taken: Mapping[Path, int]) -> list[tuple[int, str]]:
    """Faults of outputs inside of the folder of pictures that another row writes."""
    found = []
    for path, number in taken.items():
        above = next((parent for parent in path.parents if parent in taken), None)
        if above is not None:
            found.append((number, f"its output lies in that of row {taken[above]}; expected another folder"))
    return found

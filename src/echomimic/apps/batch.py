"""Many clips from a manifest: read it, make the clips in workers, write a report of every row."""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from echomimic.apps.jobs.runner import EngineCache, JobRequest, preset_name, run_job
from echomimic.checkpoints import LoraFile
from echomimic.errors import EchoMimicError, InputError
from echomimic.inputs import InputCache
from echomimic.media import check_output, make_folder, write_file
from echomimic.options import OPTION_NAMES, RENAMED, make_options
from echomimic.parallel import Runner, Worker, available_cores, parse_shard, read_rows
from echomimic.presets import PRESETS, Preset, accelerators, file_checksums, find_preset, resolve_preset
from echomimic.provenance import digest, new_record, read_record

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

    def group(self) -> tuple[object, ...]:
        """What rows have in common that a worker should make one after the other, in order of cost."""
        shared = (self.preset, self.lora or "", self.lora_strength, self.portrait)
        return (*shared, repr(sorted(self.options.items())), self.speech, self.number)


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
    make_options(values, {} if row.preset == "auto" else find_preset(row.preset).defaults)  # raises if one is invalid
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
        return f"output {name!r} is outside {folder}; expected a name in it"
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
            found.append((number, f"its output is inside that of row {taken[above]}; expected another folder"))
    return found


@dataclass(frozen=True)
class RowResult:
    """The result of a row: `status` is made, known (it existed already) or failed.

    `frames` and `seconds` are the length of the clip, `took` is seconds of work.
    """

    number: int
    output: str
    status: str
    error: str = ""
    code: str = ""
    preset: str = ""
    frames: int = 0
    seconds: float = 0.0
    took: float = 0.0
    notes: tuple[str, ...] = ()


class BatchWorker(Worker):
    """Makes clips in `folder`, with checkpoints of `weights`, signed with the files `sign`.

    A clip whose output exists already, made from the same inputs and options, is not made again.
    """

    items_per_process: ClassVar[int] = 500

    def __init__(self, folder: Path, weights: Path | None = None, sign: tuple[Path, Path] | None = None) -> None:
        self._folder, self._weights, self._sign = folder, weights, sign
        self._engines, self._inputs = EngineCache(), InputCache()

    def run(self, text: str) -> str:
        """Make the clip of a row given as JSON; return its result as JSON. Every failure is a result."""
        row, began = BatchRow(**json.loads(text)), time.monotonic()
        try:
            result = self.make(row)
        except EchoMimicError as error:
            result = RowResult(row.number, row.output, "failed", str(error), error.code)
        except Exception as error:  # of any library: one bad row must not stop the others
            why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            result = RowResult(row.number, row.output, "failed", why, EchoMimicError.code)
        return json.dumps(asdict(replace(result, took=round(time.monotonic() - began, 3))))

    def crashed(self, text: str) -> str:
        """The result of a row that has killed its process."""
        row = BatchRow(**json.loads(text))
        why = "the process that made it died, twice; expected enough memory: lower `size`, or use fewer workers"
        return json.dumps(asdict(RowResult(row.number, row.output, "failed", why, EchoMimicError.code)))

    def make(self, row: BatchRow) -> RowResult:
        """Make the clip of a row, unless it is there. Raises EchoMimicError."""
        request = self._request(row)
        preset, _ = resolve_preset(preset_name(request), weights=self._weights)
        if self._is_there(request, preset):
            return RowResult(row.number, row.output, "known", preset=preset.name)
        for path in (request.output, request.save_motion):
            if path is not None:
                make_folder(path.parent)
        options = {**self._machine_options(preset), **row.options}
        request = replace(request, preset=preset.name, options=options)
        clip = run_job(request, engines=self._engines, inputs=self._inputs)
        facts = {"preset": clip.preset, "frames": clip.frames, "seconds": clip.seconds, "notes": clip.notes}
        return RowResult(row.number, row.output, "made", **facts)  # type: ignore[arg-type]

    def _request(self, row: BatchRow) -> JobRequest:
        return JobRequest(
            self._folder / row.output,
            portrait=Path(row.portrait),
            speech=Path(row.speech),
            motion=None if row.motion is None else Path(row.motion),
            preset=row.preset,
            options=row.options,
            save_motion=None if row.save_motion is None else self._folder / row.save_motion,
            weights=self._weights,
            lora=None if row.lora is None else LoraFile(Path(row.lora), row.lora_strength),
            sign=self._sign,
        )

    def _machine_options(self, preset: Preset) -> dict[str, Any]:
        """The share of this machine that the worker uses: some threads, and one of several GPUs."""
        found = accelerators() if preset.engine == "diffusion" else []
        device = {"device": found[self.number % len(found)]} if len(found) > 1 else {}
        return {"workers": min(64, self.threads), **device}

    def _is_there(self, request: JobRequest, preset: Preset) -> bool:
        """Whether the output was made from the same inputs, options and weights."""
        paths = [path for path in (request.output, request.save_motion) if path is not None]
        if not all(path.exists() for path in paths):
            return False
        try:
            made = read_record(request.output)
        except EchoMimicError:
            return False
        inputs = {"portrait": request.portrait, "speech": request.speech, "motion": request.motion}
        wanted = new_record(
            preset.name,
            make_options(request.options, preset.defaults),
            (0, 0),
            0,
            0.0,
            weights=file_checksums(preset, request.weights, request.lora),
            **{name: None if value is None else digest(value) for name, value in inputs.items()},
        )
        return made is not None and made.key() == wanted.key()


OnResult = Callable[[RowResult, "BatchStatus"], None]
"""Receives each result as it comes, and where the batch stands then."""


@dataclass(frozen=True)
class BatchStatus:
    """Where a batch stands: rows by their results, seconds of video made, and seconds since the start."""

    total: int
    made: int = 0
    known: int = 0
    failed: int = 0
    frames: int = 0
    video_seconds: float = 0.0
    elapsed: float = 0.0

    @property
    def done(self) -> int:
        """Rows that are finished: made, kept or failed."""
        return self.made + self.known + self.failed

    @property
    def clips_per_second(self) -> float:
        """Clips made a second, since the start."""
        return self.made / max(self.elapsed, 1e-6)

    @property
    def frames_per_second(self) -> float:
        """Frames made a second, since the start."""
        return self.frames / max(self.elapsed, 1e-6)

    @property
    def left(self) -> float:
        """Seconds that the other rows will take at this rate; 0 while it is unknown."""
        return (self.total - self.done) / self.clips_per_second if self.made else 0.0

    def after(self, result: RowResult, elapsed: float) -> "BatchStatus":
        """The status with one more row finished."""
        counted: dict[str, Any] = {result.status: getattr(self, result.status) + 1}
        frames, seconds = self.frames + result.frames, self.video_seconds + result.seconds
        return replace(self, **counted, frames=frames, video_seconds=seconds, elapsed=elapsed)


def pick_block(rows: Sequence[BatchRow], shard: str | None) -> list[BatchRow]:
    """The rows of a shard "i/n", or all: neighbours in the order in which they share what is prepared."""
    ordered = sorted(rows, key=BatchRow.group)
    number, count = (1, 1) if shard is None else parse_shard(shard)
    return ordered[len(ordered) * (number - 1) // count : len(ordered) * number // count]


def report_path(folder: Path, shard: str | None) -> Path:
    """The file of the report: each shard has its own."""
    return folder / ("report.jsonl" if shard is None else "report-{}-of-{}.jsonl".format(*parse_shard(shard)))


def gpus_of(row: BatchRow) -> int:
    """GPUs that a row needs: one for a preset with published networks, unless its options name another device."""
    preset = PRESETS.get(row.preset)
    wants = preset is not None and preset.engine == "diffusion" and bool(preset.files)
    return int(wants and not str(row.options.get("device", "auto")).startswith(("cpu", "mps")))


def default_workers(rows: Iterable[BatchRow]) -> int:
    """One process for each GPU if a row needs one and the machine has some, else one for each core."""
    found = accelerators() if any(gpus_of(row) for row in rows) else []
    return len(found) or available_cores()


def run_batch(
    rows: Sequence[BatchRow],
    folder: Path,
    runner: Runner,
    report: Path,
    *,
    weights: Path | None = None,
    sign: tuple[Path, Path] | None = None,
    on_result: OnResult | None = None,
    worker: type[BatchWorker] = BatchWorker,
) -> BatchStatus:
    """Make the clips of `rows` in `folder` and write a line for each into `report`, in the order of the manifest.

    A row that fails is a line with its error. If the run is stopped, the report holds what is finished.
    """
    arguments = (folder.resolve(), weights, sign)
    results: list[RowResult] = []
    status, began = BatchStatus(len(rows)), time.monotonic()
    try:
        for gpus in sorted({gpus_of(row) for row in rows}):
            items = [json.dumps(asdict(row)) for row in rows if gpus_of(row) == gpus]
            for text in replace(runner, gpus=gpus)(worker, arguments, items, folder):
                results.append(RowResult(**json.loads(text)))
                status = status.after(results[-1], time.monotonic() - began)
                if on_result:
                    on_result(results[-1], status)
    finally:
        _write_report(report, results)
    return status


def _write_report(path: Path, results: Iterable[RowResult]) -> None:
    """Write a line for each result: its fields that say something."""
    rows = (asdict(result) for result in sorted(results, key=lambda result: result.number))
    said = ({name: value for name, value in row.items() if value not in ("", (), [], 0)} for row in rows)
    write_file(path, "".join(f"{json.dumps(row)}\n" for row in said))

"""Run a batch: its rows in groups that share what is prepared, a report of every row, and the rates so far."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from echomimic.apps.batch.manifest import BatchRow
from echomimic.apps.batch.worker import BatchWorker, RowResult, decode_result
from echomimic.media import atomic_path, writing
from echomimic.parallel import Runner, available_cores, parse_shard
from echomimic.presets import PRESETS, accelerators

OnResult = Callable[[RowResult, "BatchStatus"], None]
"""Receives each result as it comes, and where the batch stands then."""


@dataclass(frozen=True)
class BatchStatus:
    """Where a batch stands: rows by what became of them, seconds of video made, and seconds since the start."""

    total: int
    made: int = 0
    known: int = 0
    failed: int = 0
    frames: int = 0
    video_seconds: float = 0.0
    elapsed: float = 0.0

    @property
    def done(self) -> int:
        """Rows that are finished, in whatever way."""
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
        counted = replace(self, **{result.status: getattr(self, result.status) + 1})
        if result.status != "made":
            return replace(counted, elapsed=elapsed)
        seconds = self.video_seconds + result.seconds
        return replace(counted, frames=self.frames + result.frames, video_seconds=seconds, elapsed=elapsed)


def pick_block(rows: Sequence[BatchRow], shard: str | None) -> list[BatchRow]:
    """The rows of a shard "i/n", or all: neighbours in the order in which they share what is prepared."""
    ordered = sorted(rows, key=BatchRow.group)
    number, count = (1, 1) if shard is None else parse_shard(shard)
    return ordered[len(ordered) * (number - 1) // count : len(ordered) * number // count]


def report_path(folder: Path, shard: str | None) -> Path:
    """The file of the report: each shard has its own."""
    number, count = (1, 1) if shard is None else parse_shard(shard)
    return folder / ("report.jsonl" if shard is None else f"report-{number}-of-{count}.jsonl")


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
    paths = (None if weights is None else str(weights), None if sign is None else (str(sign[0]), str(sign[1])))
    arguments = (str(folder.resolve()), *paths)
    results: list[RowResult] = []
    status, began = BatchStatus(len(rows)), time.monotonic()
    try:
        for gpus in sorted({gpus_of(row) for row in rows}):
            items = [json.dumps(row.as_dict()) for row in rows if gpus_of(row) == gpus]
            for text in replace(runner, gpus=gpus)(worker, arguments, items, folder):
                results.append(decode_result(text))
                status = status.after(results[-1], time.monotonic() - began)
                if on_result:
                    on_result(results[-1], status)
    finally:
        _write_report(report, results)
    return status


def _write_report(path: Path, results: Iterable[RowResult]) -> None:
    lines = (json.dumps(_fields(result)) + "\n" for result in sorted(results, key=lambda result: result.number))
    with writing(), atomic_path(path) as part:
        part.write_text("".join(lines), encoding="utf-8")


def _fields(result: RowResult) -> dict[str, Any]:
    """The fields of a result that say something."""
    return {name: value for name, value in asdict(result).items() if value not in ("", (), [], 0)}

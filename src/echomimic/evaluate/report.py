"""The report of a run: report.json, table.csv and index.html, the same from one shard or from many."""

import csv
import io
import json
from pathlib import Path

import numpy as np

from echomimic.errors import InputError
from echomimic.evaluate.catalogue import metrics
from echomimic.evaluate.html import page
from echomimic.evaluate.measure import round_digits, set_distance
from echomimic.evaluate.provenance import make_card
from echomimic.evaluate.run import Known, Record, Run, finished, load_clouds
from echomimic.media import atomic_path

Report = dict[str, object]


def write_report(run: Run, jobs: list[Known]) -> Report | None:
    """Write the report of all jobs; None, and nothing is written, while some have no record."""
    done = finished(run)
    if any(known.key not in done for known in jobs):
        return None
    records = [done[known.key] for known in jobs]
    report = make_report(run, records)
    _put(run.folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _put(run.folder / "table.csv", _table(records))
    _put(run.folder / "index.html", page(report, [str(record["key"]) for record in records]))
    return report


def make_report(run: Run, records: list[Record]) -> Report:
    """The card, every clip's figures, their means, and the distances between sets."""
    clips = [_some(record, "path", "metrics", "notes", "error") for record in records]
    return {
        "card": make_card(run.settings, run.networks, [_some(record, "path", "sha256", "codec") for record in records]),
        "summary": summary(clips),
        "sets": _sets(run, records),
        "clips": clips,
    }


def summary(clips: list[dict[str, object]]) -> dict[str, dict[str, float | None]]:
    """Mean, spread, least and most of each metric over the clips that have it."""
    found: dict[str, dict[str, float | None]] = {}
    for name in metrics():
        values = np.array([value for clip in clips if (value := value_of(clip, name)) is not None])
        if len(values):
            kinds = {"mean": values.mean(), "spread": values.std(), "least": values.min(), "most": values.max()}
            found[name] = {"clips": float(len(values)), **{kind: round_digits(float(v)) for kind, v in kinds.items()}}
    return found


def value_of(clip: dict[str, object], name: str) -> float | None:
    """One figure of a clip; None where it has none."""
    figures = clip.get("metrics")
    value = figures.get(name) if isinstance(figures, dict) else None
    return float(value) if isinstance(value, (int, float)) else None


def read_report(path: Path) -> Report:
    """A report.json, or the folder it lies in; InputError for anything else."""
    place = path / "report.json" if path.is_dir() else path
    try:
        report = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        report = None
    if not isinstance(report, dict) or not isinstance(report.get("clips"), list):
        raise InputError(f"{path} holds no report; expected a folder or a report.json that 'echomimic evaluate' wrote")
    return report


def _some(record: Record, *names: str) -> Record:
    return {name: record[name] for name in names if name in record}


def _sets(run: Run, records: list[Record]) -> dict[str, float | None]:
    clouds = [load_clouds(run, str(record["key"])) for record in records]
    names = sorted({name for cloud in clouds for name in cloud})
    return {name: set_distance([cloud[name] for cloud in clouds if name in cloud]) for name in names}


def _table(records: list[Record]) -> str:
    """A line for each clip, a column for each metric."""
    names = [name for name in metrics() if any(value_of(record, name) is not None for record in records)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *names])
    for record in records:
        values = [value_of(record, name) for name in names]
        writer.writerow([record["path"], *("" if value is None else f"{value:.6g}" for value in values)])
    return text.getvalue()


def _put(path: Path, text: str) -> None:
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")

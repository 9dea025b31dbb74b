"""The report of a run: report.json, table.csv and index.html, the same from one shard or from many."""

import csv
import io
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from echomimic import __version__
from echomimic.errors import InputError
from echomimic.evaluate import learned_metrics, picture, syncnet
from echomimic.evaluate.catalogue import EvaluationSettings, metrics
from echomimic.evaluate.measure import DIGITS, round_digits, set_distance
from echomimic.evaluate.networks import MetricNetworks
from echomimic.evaluate.report_page import can_draw, render_report
from echomimic.media import atomic_path

Report = dict[str, Any]
Record = dict[str, Any]
_PACKAGES = (
    "ai-edge-litert",
    "av",
    "numpy",
    "opencv-python-headless",
    "scikit-image",
    "torch",
    "torchmetrics",
)


def write_report(folder: Path, report: Report, records: list[Record]) -> None:
    """Write report.json, table.csv and, if jinja2 and matplotlib are installed, index.html into `folder`."""
    _write(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    _write(folder / "table.csv", _table(records))
    if can_draw():
        _write(folder / "index.html", render_report(report, [str(record["key"]) for record in records]))


def make_report(
    settings: EvaluationSettings,
    networks: MetricNetworks,
    records: list[Record],
    feature_sets: list[dict[str, Any]],
) -> Report:
    """The run card, every clip's figures, their means, and the distances between sets of features."""
    clips = [_select(record, "path", "metrics", "notes", "error") for record in records]
    names = sorted({name for found in feature_sets for name in found})
    return {
        "card": make_card(settings, networks, [_select(record, "path", "sha256", "codec") for record in records]),
        "summary": summarize(clips),
        "sets": {name: set_distance([found[name] for found in feature_sets if name in found]) for name in names},
        "clips": clips,
    }


def summarize(clips: list[Record]) -> dict[str, dict[str, float | None]]:
    """Mean, spread, least and most of each metric over the clips that have it."""
    found: dict[str, dict[str, float | None]] = {}
    for name in metrics():
        values = np.array([value for clip in clips if (value := value_of(clip, name)) is not None])
        if len(values):
            kinds = {"mean": values.mean(), "spread": values.std(), "least": values.min(), "most": values.max()}
            found[name] = {"clips": float(len(values)), **{kind: round_digits(float(v)) for kind, v in kinds.items()}}
    return found


def value_of(clip: Record, name: str) -> float | None:
    """One figure of a clip; None if the clip does not have it."""
    figures = clip.get("metrics")
    value = figures.get(name) if isinstance(figures, dict) else None
    return float(value) if isinstance(value, (int, float)) else None


def read_report(path: Path) -> Report:
    """Read a report.json, or the one in a folder; InputError for anything else."""
    file = path / "report.json" if path.is_dir() else path
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        report = None
    if not isinstance(report, dict) or not isinstance(report.get("clips"), list):
        raise InputError(f"{path} holds no report; expected a folder or a report.json that 'echomimic evaluate' wrote")
    return report


def package_versions() -> dict[str, str]:
    """The versions of the packages on which figures depend; those that are not installed are left out."""
    found = {"echomimic": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def make_card(settings: EvaluationSettings, networks: MetricNetworks, clips: list[Record]) -> Record:
    """The run card: all that is needed to get the same figures again; `clips` hold path, sha256 and codec."""
    chosen = [metric for metric in metrics().values() if metric.group in settings.groups]
    return {
        "packages": package_versions(),
        "metrics": {metric.name: metric.version for metric in chosen},
        "options": settings.as_dict(),
        "weights": dict(networks.digests),
        "digits": DIGITS,
        "fps": "each clip's own; SyncNet 25",
        "crop": {
            "picture": f"whole frame, longer side at most {picture.SIDE} px",
            "face": f"five points to {learned_metrics.FACE_SIDE} px (csim) and "
            f"{learned_metrics.EXPRESSION_SIDE} px (efid)",
            "syncnet": f"box of 468 landmarks and {syncnet.MARGIN:g} of it, {syncnet.SIDE} px, JPEG {syncnet.JPEG}",
            "fid, lpips, psnr, ssim": "whole frame",
            "fvd": f"whole frame to {learned_metrics.WINDOW_SIDE} px, {learned_metrics.WINDOW} frames",
        },
        "clips": clips,
    }


def _select(record: Record, *names: str) -> Record:
    return {name: record[name] for name in names if name in record}


def _table(records: list[Record]) -> str:
    """CSV with a line for each clip and a column for each metric."""
    names = [name for name in metrics() if any(value_of(record, name) is not None for record in records)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *names])
    for record in records:
        values = [value_of(record, name) for name in names]
        writer.writerow([record["path"], *("" if value is None else f"{value:.6g}" for value in values)])
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")

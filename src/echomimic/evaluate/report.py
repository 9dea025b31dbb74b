"""The report of a run (report.json, table.csv, a page with plots), and the comparison of two reports."""

import csv
import io
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from echomimic import __version__
from echomimic.errors import InputError
from echomimic.evaluate import learned_metrics, picture, sync
from echomimic.evaluate.catalogue import EvaluationSettings, metrics
from echomimic.evaluate.measure import DIGITS, Measured, round_digits, set_distance
from echomimic.evaluate.networks import MetricNetworks
from echomimic.media import atomic_path, write_file
from echomimic.notes import note
from echomimic.types import Floats, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    write_file(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_file(folder / "table.csv", _table(records))
    if can_draw():
        write_file(folder / "index.html", render_report(report, [str(record["key"]) for record in records]))


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
    """Mean, spread, minimum and maximum of each metric over the clips that have it."""
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
            "syncnet": f"box of 468 landmarks and {sync.MARGIN:g} of it, {sync.SIDE} px, JPEG {sync.JPEG}",
            "fid, lpips, psnr, ssim": "whole frame",
            "fvd": f"whole frame to {learned_metrics.WINDOW_SIDE} px, {learned_metrics.WINDOW} frames",
        },
        "clips": clips,
    }


def _select(record: Record, *names: str) -> Record:
    return {name: record[name] for name in names if name in record}


def _table(records: list[Record]) -> str:
    names = [name for name in metrics() if any(value_of(record, name) is not None for record in records)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", *names])
    for record in records:
        values = [value_of(record, name) for name in names]
        writer.writerow([record["path"], *("" if value is None else f"{value:.6g}" for value in values)])
    return text.getvalue()


_PANELS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("opening of the mouth: seen, and expected from the sound", ("mouth seen", "mouth expected"), "seconds"),
    ("correlation by lag; positive: the sound is late", ("correlation by lag",), "frames"),
    ("yaw, degrees", ("yaw",), "seconds"),
    ("flicker, grey values", ("flicker",), "seconds"),
    ("sharpness of the face, log2", ("sharpness",), "seconds"),
)
_COLUMNS = 6
"""Thumbnails in a row of a contact sheet."""


def can_draw() -> bool:
    """Return True if jinja2 and matplotlib are installed; otherwise leave a note that pages are left out."""
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        note(
            "report_page_left_out",
            "the report has no page and no plots: {package} is not installed; the extra evaluate brings it",
            package=missing[0],
        )
    return not missing


def render_report(report: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Render a report as one HTML page; `keys` name the clips' pictures in the folder `clips`."""
    catalogue = metrics()
    clips = [
        {
            **clip,
            "key": key,
            "rows": [
                (name, value, catalogue[name].unit) for name, value in clip["metrics"].items() if name in catalogue
            ],
        }
        for clip, key in zip(report["clips"], keys, strict=True)
    ]
    summary = [
        (
            name,
            *(row[kind] for kind in ("mean", "spread", "least", "most")),
            catalogue[name].unit,
            catalogue[name].better,
        )
        for name, row in report["summary"].items()
    ]
    card = json.dumps(report["card"], indent=1, ensure_ascii=False)
    pictures = (("frames", ".jpg"), ("curves", ".svg"))
    return _render("report.html", clips=clips, summary=summary, sets=report["sets"], card=card, pictures=pictures)


def _render(template: str, **values: object) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("echomimic.evaluate"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["figure"] = lambda cell: cell is None or isinstance(cell, (int, float))
    environment.filters["cell"] = lambda cell: cell if isinstance(cell, str) else "–" if cell is None else f"{cell:.4g}"
    return environment.get_template(template).render(values)


def save_pictures(folder: Path, key: str, found: Measured) -> None:
    """Write `KEY.svg` with the curves of a clip and, if it has thumbnails, `KEY.jpg`."""
    if find_spec("matplotlib") is not None:
        with atomic_path(folder / f"{key}.svg") as part:
            save_plots(part, found)
    if found.sheet:
        encoded = cv2.imencode(".jpg", cv2.cvtColor(contact_sheet(found.sheet), cv2.COLOR_RGB2BGR))[1]
        write_file(folder / f"{key}.jpg", encoded.tobytes())


def contact_sheet(thumbnails: Sequence[Picture]) -> Picture:
    """Thumbnails of one size in rows of six, left to right, top to bottom."""
    rows = [list(thumbnails[start : start + _COLUMNS]) for start in range(0, len(thumbnails), _COLUMNS)]
    rows[-1] += [np.full_like(thumbnails[0], 255)] * (min(_COLUMNS, len(thumbnails)) - len(rows[-1]))
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def save_plots(path: Path, found: Measured) -> None:
    """Write the curves of a clip as one SVG, the same bytes for the same curves."""
    import matplotlib
    from matplotlib.figure import Figure

    panels = [panel for panel in _PANELS if panel[1][0] in found.series]
    with matplotlib.rc_context({"svg.hashsalt": "echomimic", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(7.5, 1.3 * max(1, len(panels))), layout="constrained")
        axes = figure.subplots(max(1, len(panels)), squeeze=False)[:, 0]
        for axis, (title, names, unit) in zip(axes, panels, strict=False):
            _draw_panel(axis, [found.series[name] for name in names if name in found.series], unit, found.container.fps)
            axis.set_title(title, loc="left")
        if not panels:
            axes[0].set_axis_off()
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_panel(axis: "Axes", curves: Sequence[Floats], unit: str, fps: float) -> None:
    """Draw curves over time or lag; several are scaled to a common height, for only their timing matters."""
    for curve in curves:
        if not np.isfinite(curve).any():  # a video of one frame has no changes to draw
            continue
        x = np.arange(len(curve)) - len(curve) // 2 if unit == "frames" else np.arange(len(curve)) / fps
        low, high = float(np.nanmin(curve)), float(np.nanmax(curve))
        axis.plot(x, (curve - low) / max(high - low, 1e-9) if len(curves) > 1 else curve, linewidth=0.9)
    axis.set_xlabel(unit)
    axis.margins(x=0)
    if len(curves) > 1:
        axis.set_yticks([])


RESAMPLES = 2000
_INTERVAL = (2.5, 97.5)
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """B minus A of one metric: means, and the 95 % interval of the difference. `paired`: clip by clip, by name."""

    metric: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None
    clips: int
    paired: bool
    better: str


def compare(a: Report, b: Report, seed: int = 0) -> list[Difference]:
    """Compare every metric that both reports have, in the catalogue's order. Raises InputError if there is none."""
    found = [row for name in metrics() if (row := _difference(name, a, b, seed)) is not None]
    if not found:
        raise InputError("the two reports have no metric in common; expected two runs of the same metrics")
    return found


def _difference(name: str, a: Report, b: Report, seed: int) -> Difference | None:
    ours, theirs = _values(a, name), _values(b, name)
    if not ours or not theirs:
        return None
    paired = ours.keys() == theirs.keys()
    one = np.array([ours[path] for path in sorted(ours)])
    other = np.array([theirs[path] for path in sorted(theirs)])
    low, high = bootstrap(one, other, paired, seed)
    return Difference(
        metric=name,
        a=round_digits(float(one.mean())),
        b=round_digits(float(other.mean())),
        difference=round_digits(float(other.mean() - one.mean())),
        low=round_digits(low),
        high=round_digits(high),
        clips=len(other),
        paired=paired,
        better=_verdict(metrics()[name].better, low, high),
    )


def bootstrap(one: Doubles, other: Doubles, paired: bool, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval (Efron 1979) of the difference of means; paired clips are drawn together."""
    random = np.random.default_rng(seed)
    if paired:
        change = other - one
        means = change[random.integers(0, len(change), (RESAMPLES, len(change)))].mean(axis=1)
    else:
        drawn = [
            values[random.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1) for values in (one, other)
        ]
        means = drawn[1] - drawn[0]
    low, high = np.percentile(means, _INTERVAL)
    return float(low), float(high)


def write_comparison(folder: Path, rows: list[Difference], names: tuple[str, str]) -> None:
    """Write compare.json and compare.html into a folder, which is made."""
    whole = {"a": names[0], "b": names[1], "metrics": [asdict(row) for row in rows]}
    write_file(folder / "compare.json", json.dumps(whole, indent=1) + "\n")
    if can_draw():
        cells = [
            (
                row.metric,
                row.a,
                row.b,
                row.difference,
                f"{row.low:.4g} … {row.high:.4g}",
                row.clips,
                "by clip" if row.paired else "no",
                row.better,
            )
            for row in rows
        ]
        write_file(folder / "compare.html", _render("comparison.html", names=names, rows=cells))


def _values(report: Report, name: str) -> dict[str, float]:
    return {str(clip["path"]): value for clip in report["clips"] if (value := value_of(clip, name)) is not None}


def _verdict(better: str, low: float, high: float) -> str:
    if better not in ("higher", "lower") or low <= 0 <= high:
        return "–"
    return "B" if (low > 0) == (better == "higher") else "A"

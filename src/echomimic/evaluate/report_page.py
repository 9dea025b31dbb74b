"""The pages, plots and contact sheets of a report: jinja2 templates and matplotlib figures, which open from disk."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from echomimic.evaluate.catalogue import metrics
from echomimic.evaluate.measure import Measured
from echomimic.media import atomic_path
from echomimic.notes import note
from echomimic.types import Floats, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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


def render_comparison(names: tuple[str, str], rows: Sequence[Sequence[object]]) -> str:
    """Render the table of a comparison as one HTML page."""
    return _render("comparison.html", names=names, rows=rows)


def format_number(value: object) -> str:
    """Format a figure with four digits; an en dash for None."""
    return f"{value:.4g}" if isinstance(value, (int, float)) else "–"


def _render(template: str, **values: object) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("echomimic.evaluate"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["figure"] = lambda cell: cell is None or isinstance(cell, (int, float))
    environment.filters["cell"] = lambda cell: cell if isinstance(cell, str) else format_number(cell)
    return environment.get_template(template).render(values)


def save_pictures(folder: Path, key: str, found: Measured) -> None:
    """Write `KEY.svg` with the curves of a clip and, if it has thumbnails, `KEY.jpg`."""
    if find_spec("matplotlib") is not None:
        with atomic_path(folder / f"{key}.svg") as part:
            save_plots(part, found)
    if found.sheet:
        encoded = cv2.imencode(".jpg", cv2.cvtColor(contact_sheet(found.sheet), cv2.COLOR_RGB2BGR))[1]
        with atomic_path(folder / f"{key}.jpg") as part:
            part.write_bytes(encoded.tobytes())


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

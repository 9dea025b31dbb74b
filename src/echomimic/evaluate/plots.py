"""Plots and contact sheets of a clip: an .svg and a .jpg beside the report, made without a plotting library."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from echomimic.evaluate.measure import Measured
from echomimic.media import atomic_path
from echomimic.types import Floats, Picture

WIDTH, HEIGHT, LEFT, TOP = 720, 84, 52, 18
_COLOURS = ("#1f77b4", "#d95f02")
_PANELS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("mouth: seen, and called for by the sound, each from least to most", ("mouth seen", "mouth called for"), "s"),
    ("correlation by lag, in frames: right of the middle the sound is late", ("correlation by lag",), "lag"),
    ("yaw, degrees", ("yaw",), "s"),
    ("flicker, grey values", ("flicker",), "s"),
    ("sharpness of the face, log2", ("sharpness",), "s"),
)  # fmt: skip
_ACROSS = 6


def save_pictures(folder: Path, key: str, found: Measured) -> None:
    """Write `KEY.svg` and, where there are thumbnails, `KEY.jpg` into a folder."""
    with atomic_path(folder / f"{key}.svg") as part:
        part.write_text(draw_plots(found), encoding="utf-8")
    if found.sheet:
        coded = cv2.imencode(".jpg", cv2.cvtColor(contact_sheet(found.sheet), cv2.COLOR_RGB2BGR))[1]
        with atomic_path(folder / f"{key}.jpg") as part:
            part.write_bytes(coded.tobytes())


def contact_sheet(thumbs: Sequence[Picture]) -> Picture:
    """Thumbnails of one size in rows of six, left to right, top to bottom."""
    rows = [list(thumbs[start : start + _ACROSS]) for start in range(0, len(thumbs), _ACROSS)]
    rows[-1] += [np.full_like(thumbs[0], 255)] * (min(_ACROSS, len(thumbs)) - len(rows[-1]))
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def draw_plots(found: Measured) -> str:
    """All curves of a clip as one SVG."""
    panels = [panel for panel in _PANELS if panel[1][0] in found.series]
    height = max(1, len(panels)) * (HEIGHT + TOP + 12)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="11">'
    ]
    for place, (title, names, axis) in enumerate(panels):
        curves = [found.series[name] for name in names if name in found.series]
        parts.append(f'<g transform="translate(0 {place * (HEIGHT + TOP + 12)})">')
        parts += _panel(title, curves, axis, found.container.fps)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, curves: Sequence[Floats], axis: str, fps: float) -> list[str]:
    last = len(curves[0]) - 1
    ends = (f"{-last // 2:d}", f"{last // 2:+d}") if axis == "lag" else ("0", f"{last / fps:.1f} s")
    bottom = TOP + HEIGHT
    lines = [
        f'<text x="{LEFT}" y="{TOP - 5}" fill="#333">{escape(title)}</text>',
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - 4}" height="{HEIGHT}" fill="none" stroke="#ccc"/>',
        f'<text x="{LEFT}" y="{bottom + 11}" fill="#777">{ends[0]}</text>',
        f'<text x="{WIDTH - 4}" y="{bottom + 11}" fill="#777" text-anchor="end">{ends[1]}</text>',
    ]
    if len(curves) == 1:
        low, high = _ends(curves[0])
        lines += [
            f'<text x="{LEFT - 4}" y="{TOP + 10}" fill="#777" text-anchor="end">{high:.3g}</text>',
            f'<text x="{LEFT - 4}" y="{bottom}" fill="#777" text-anchor="end">{low:.3g}</text>',
        ]
    return lines + [_line(curve, _COLOURS[place]) for place, curve in enumerate(curves)]


def _ends(curve: Floats) -> tuple[float, float]:
    known = curve[np.isfinite(curve)]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)


def _line(curve: Floats, colour: str) -> str:
    low, high = _ends(curve)
    x = LEFT + (WIDTH - LEFT - 4) * np.arange(len(curve)) / max(1, len(curve) - 1)
    y = TOP + HEIGHT - 4 - (HEIGHT - 8) * (curve - low) / max(high - low, 1e-9)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.2"/>'

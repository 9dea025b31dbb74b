"""Handles of a face: points that are dragged in the picture, and the curves that follow."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from echomimic.landmarks.topology import BROW_MIDDLES, LOWER_LIP_MIDDLE, MOUTH_CORNERS
from echomimic.types import CURVE_NAMES, CURVES, Floats

_CHIN, _NOSE, _UPPER_LIP = 152, 4, 0
_STEP = 0.05
"""Fraction of a curve's range by which it is moved to see how far its point goes."""
_LEAST = 1e-3
"""Fraction of the picture, for the whole range of a curve, below which a point does not follow it."""
_HANDLES: tuple[tuple[str, tuple[int, ...], str, str], ...] = (
    ("right_corner", (MOUTH_CORNERS[0],), "spread", "smile"),
    ("left_corner", (MOUTH_CORNERS[1],), "spread", "smile"),
    ("upper_lip", (_UPPER_LIP,), "", "upper_lip"),
    ("lower_lip", LOWER_LIP_MIDDLE[1:2], "", "jaw"),
    ("chin", (_CHIN,), "", "jaw"),
    ("right_brow", BROW_MIDDLES[:2], "", "brow"),
    ("left_brow", BROW_MIDDLES[2:], "", "brow"),
    ("nose", (_NOSE,), "yaw", "pitch"),
)
"""Name, point of the face mesh, and the curves that a drag to the right and down changes."""


@dataclass(frozen=True)
class Handle:
    """A place (x, y) in fractions of the picture; `across` and `down` are a curve and how far it goes per fraction."""

    name: str
    x: float
    y: float
    across: tuple[str, float] | None
    down: tuple[str, float] | None


def find_handles(landmarks: Callable[[Floats], Floats], row: Floats, view: tuple[int, int, int, int]) -> list[Handle]:
    """The handles of a face under a row of curves, those that move a curve.

    `landmarks` gives the points (478, 3) of a row in pixels. `view` is the left, top, right and bottom of the picture
    that is shown.
    """
    left, top, right, bottom = view
    size = np.array([right - left, bottom - top])

    def places(curves: Floats) -> Floats:
        points = landmarks(curves)[:, :2]
        return np.asarray((points - (left, top)) / size, np.float32)

    here = places(row)
    moved = {name: _moved(places, row, name) for name in {each for *_, a, b in _HANDLES for each in (a, b) if each}}
    found = []
    for name, points, across, down in _HANDLES:
        x, y = here[list(points)].mean(axis=0)
        ways = _follows(across, moved, here, points[0], 0), _follows(down, moved, here, points[0], 1)
        if any(ways):
            found.append(Handle(name, round(float(x), 4), round(float(y), 4), *ways))
    return found


def _moved(places: Callable[[Floats], Floats], row: Floats, name: str) -> tuple[Floats, float]:
    """The places after a curve has moved a little towards the farther end of its range, and by how much."""
    index = CURVE_NAMES.index(name)
    curve = CURVES[index]
    step = _STEP * (curve.high - curve.low) * (1 if row[index] < (curve.low + curve.high) / 2 else -1)
    after = row.copy()
    after[index] += step
    return places(after), step


def _follows(
    name: str, moved: dict[str, tuple[Floats, float]], here: Floats, point: int, axis: int
) -> tuple[str, float] | None:
    if not name:
        return None
    after, step = moved[name]
    far = float(after[point, axis] - here[point, axis]) / step
    curve = CURVES[CURVE_NAMES.index(name)]
    return (name, round(1 / far, 4)) if abs(far) * (curve.high - curve.low) > _LEAST else None

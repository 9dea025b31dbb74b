"""Where each control takes the points that it holds: lips, cheeks and brows, in mouth widths or face widths.

Axes are the head's own: x right, y down, z away. Points that a control does not name follow harmonically (`rig.py`).
"""

import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh

Array = npt.NDArray[np.float64]
Known = dict[int, tuple[float, float, float]]

COLUMNS = (np.arange(9) - 4) / 5.0
"""Where the nine columns of a lip lie between the corners, -1..1."""
_MIDDLE = 1 - COLUMNS**2
_ZERO = (0.0, 0.0, 0.0)


def _row(ring: tuple[int, ...], x: Array, y: Array, z: Array) -> Known:
    return {p: (float(a), float(b), float(c)) for p, a, b, c in zip(ring, x, y, z, strict=True)}


def _lips(x: Array, upper: Array, lower: Array, z: Array, corner: tuple[float, float, float]) -> Known:
    """Lips moved as wholes: `x`, `z` and the y of `upper` and `lower` by column; the right corner by `corner`."""
    known: Known = {}
    for rings, y in ((mesh.UPPER_RINGS, upper), (mesh.LOWER_RINGS, lower)):
        for ring in rings:
            known |= _row(ring, x, y, z)
    for left, right in mesh.CORNERS:
        known |= {left: (-corner[0], corner[1], corner[2]), right: corner}
    return known


def _thicken(known: Known, upper: float, lower: float) -> Known:
    """The outer rim of the upper and the lower lip moved up and down by that much, the rings between in proportion."""
    for rings, way in ((mesh.UPPER_RINGS, -upper), (mesh.LOWER_RINGS, lower)):
        for ring, share in zip(rings, (0.0, 0.3, 0.65, 1.0), strict=True):
            for p, column in zip(ring, _MIDDLE, strict=True):
                x, y, z = known[p]
                known[p] = (x, y + float(way * share * column), z)
    return known


def jaw_narrows() -> Known:
    """The corners come in a little as the jaw drops."""
    zero = 0 * COLUMNS
    return _lips(-0.045 * COLUMNS, zero, zero, zero, (-0.045, 0.0, 0.01))


def spread() -> Known:
    """Corners out as in "ee": the lips thin and lie against the teeth."""
    bend = 0.012 * COLUMNS**2
    known = _lips(0.12 * COLUMNS, -0.008 - bend, 0.004 - bend, 0.02 + 0 * COLUMNS, (0.12, -0.02, 0.05))
    return _thicken(known, -0.016, -0.02) | _cheeks(0.02, -0.01)


def rounded() -> Known:
    """Corners in and lips out as in "oo"."""
    known = _lips(-0.17 * COLUMNS, -0.01 * _MIDDLE, 0.01 * _MIDDLE, -0.1 * _MIDDLE, (-0.17, 0.0, -0.02))
    return _thicken(known, 0.035, 0.03) | _cheeks(-0.02, 0.0)


def upper_lip() -> Known:
    """The upper lip raised off the teeth."""
    known = _lips(0 * COLUMNS, -0.1 * _MIDDLE**0.7, 0 * COLUMNS, -0.01 * _MIDDLE, (0.0, -0.012, 0.0))
    return _thicken(known, -0.02, 0.0)


def tuck() -> Known:
    """The lower lip rolled in under the upper teeth; the rig lifts it there."""
    known = _lips(0 * COLUMNS, -0.035 * _MIDDLE, -0.03 * _MIDDLE, 0.05 * _MIDDLE, _ZERO)
    return _thicken(known, 0.0, -0.06)


def press() -> Known:
    """Lips pressed together: they thin a little."""
    known = _lips(0 * COLUMNS, 0 * COLUMNS, 0 * COLUMNS, 0.02 * _MIDDLE, (0.01, 0.0, 0.0))
    return _thicken(known, -0.03, -0.045)


def smile(way: float) -> Known:
    """Corners up and out (`way` +1) or down (-1); the lips follow in one bow, without hooks."""
    bow = np.abs(COLUMNS) ** 1.5
    if way < 0:
        return _lips(0.01 * COLUMNS, 0.095 * bow - 0.012, 0.09 * bow - 0.012, 0 * COLUMNS, (0.01, 0.1, 0.01))
    lips = _lips(0.1 * COLUMNS, 0.028 - 0.14 * bow, 0.026 - 0.14 * bow, 0.02 + 0 * COLUMNS, (0.1, -0.125, 0.05))
    return _thicken(lips, -0.018, -0.018) | _cheeks(0.026, -0.055)


def _cheeks(out: float, down: float) -> Known:
    half = len(mesh.CHEEKS) // 2
    left, right = mesh.CHEEKS[:half], mesh.CHEEKS[half:]
    fade = (1.0, 1.0, 0.8, 0.4, 0.3)
    known = {p: (-out * f, down * f, 0.0) for p, f in zip(left, fade, strict=True)}
    return known | {p: (out * f, down * f, 0.0) for p, f in zip(right, fade, strict=True)}


def brow() -> Known:
    """Brows raised, in face widths; the forehead follows, lids and bridge of the nose hold."""
    known: Known = {}
    for eye, points in zip(mesh.EYES, mesh.BROWS, strict=True):
        known |= dict.fromkeys((*eye.upper_curve, *eye.lower_curve, *eye.cheek_side), _ZERO)
        known |= dict.fromkeys(eye.crease, (0.0, -0.003, 0.0))
        known |= dict.fromkeys(points[:5], (0.0, -0.042, 0.0)) | dict.fromkeys(points[5:], (0.0, -0.042, 0.0))
    top = (10, 338, 297, 332, 284, 251, 109, 67, 103, 54, 21)
    return known | dict.fromkeys(top, (0.0, -0.006, 0.0)) | dict.fromkeys((6, 197, 127, 356, 234, 454), _ZERO)

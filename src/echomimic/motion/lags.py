"""Lag between two curves of a mouth, such as the opening seen in the picture and the one predicted from the sound."""

from dataclasses import dataclass

import numpy as np

from echomimic.landmarks.topology import LOWER_LIP_MIDDLE, UPPER_LIP_MIDDLE
from echomimic.types import Floats

_DRIFT = 1.0
"""Seconds of the moving average that is removed: slow changes, such as a smile, say nothing about the lag."""
STILL_MOUTH, _MUTE = 5e-3, 1e-3
"""Spread under which a mouth that is seen does not move (outer-eye distances; twice the landmarker's noise on stills),
and under which nothing is said (fractions of the jaw)."""


@dataclass(frozen=True)
class Sync:
    """The result of a scan: `scan` (2 lag + 1,) correlations, from the sound early by `lag` frames to late by `lag`."""

    scan: Floats
    fps: float

    @property
    def lag(self) -> int:
        """The largest lag of the scan, in frames."""
        return len(self.scan) // 2

    @property
    def offset(self) -> int:
        """Frames by which the sound is late; negative if it is early. Of equal peaks the one nearest to 0 counts."""
        lags = np.arange(-self.lag, self.lag + 1)
        best = np.flatnonzero(self.scan == self.scan.max())
        return int(lags[best[np.argmin(np.abs(lags[best]))]])

    @property
    def seconds(self) -> float:
        """The same in seconds, between frames too: the top of a parabola through the peak and its neighbours."""
        at = self.offset + self.lag
        bend = 0.0
        if 0 < at < len(self.scan) - 1:
            before, peak, after = (float(value) for value in self.scan[at - 1 : at + 2])
            curve = before - 2 * peak + after
            bend = 0.5 * (before - after) / curve if curve < 0 else 0.0
        return (self.offset + bend) / self.fps


def scan_lags(seen: Floats, expected: Floats, fps: float, lag: int) -> Sync | None:
    """Pearson's r between two curves (T,) for every lag over the overlapping frames; None if one is constant.

    Both are high-passed at one second first. Lags with less than half of the frames overlapping are skipped.
    """
    count = min(len(seen), len(expected))
    ours, theirs = (without_drift(curve[:count], fps) for curve in (seen, expected))
    if count < 4 or ours.std() < STILL_MOUTH or theirs.std() < _MUTE:
        return None
    most = min(lag, count // 2)
    scan = [pearson(*_overlap(ours, theirs, late)) for late in range(-most, most + 1)]
    return Sync(np.array(scan), fps)


def without_drift(values: Floats, fps: float) -> Floats:
    """A curve (T,) minus its moving average over a second."""
    width = 2 * int(_DRIFT * fps / 2) + 1
    padded = np.pad(np.asarray(values, np.float64), width // 2, mode="edge")
    return values - np.convolve(padded, np.full(width, 1 / width), "valid")


def lip_gap(still: Floats) -> Floats:
    """Gap between the inner lips (T,), at least 0, of landmarks (T, 478, 3) with the head's pose removed."""
    gap: Floats = (still[:, LOWER_LIP_MIDDLE, 1] - still[:, UPPER_LIP_MIDDLE, 1]).mean(axis=1)
    return np.maximum(gap, 0)


def _overlap(ours: Floats, theirs: Floats, late: int) -> tuple[Floats, Floats]:
    """The overlapping parts of two curves of the same length if `theirs` is late by `late` frames."""
    if late >= 0:
        return ours[: len(ours) - late], theirs[late:]
    return ours[-late:], theirs[:late]


def pearson(a: Floats, b: Floats) -> float:
    """Pearson's r of two curves of the same length; 0 if one of them is almost constant."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / size) if size > 1e-12 else 0.0

"""Lip sync: correlation by lag of the mouth opening in the picture with the one expected from the sound."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.evaluate.container import Values
from echomimic.media import sound_blocks
from echomimic.mesh.speech_to_face import (
    FEATURE_RATE,
    SAMPLE_RATE,
    analyze_speech,
    labials,
    lip_opening,
    shape_mouth,
    with_mouth,
)
from echomimic.types import Curves, Floats, Speech

_DRIFT = 1.0
"""Seconds: what is slower (a smile, a tired face) says nothing about lag and is taken out."""
_STILL, _MUTE = 5e-3, 1e-3
"""Spread under which a mouth that is seen does not move (outer-eye distances; twice the landmarker's noise on stills),
and under which nothing is said (fractions of the jaw)."""
_SHUT = 0.2
"""Lips count as shut in the lowest fifth of the way from their closest to their usual widest."""
_NEAR = 0.05
"""Seconds round a closure in which the lips may shut."""


@dataclass(frozen=True)
class ExpectedMouth:
    """Expected mouth: `opening` (T,) at the video's rate, `closures` (start, stop) in seconds of p, b, m."""

    opening: Floats
    closures: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Sync:
    """The result of a scan: `scan` (2 lag + 1,) correlations, from the sound early by `lag` frames to late by `lag`."""

    scan: Floats
    fps: float

    @property
    def lag(self) -> int:
        return len(self.scan) // 2

    @property
    def offset(self) -> int:
        """Frames by which the sound is late; negative if it is early. Of equal peaks the one nearest to 0."""
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


def expected_mouth(speech: Speech, frames: int, fps: float, start: float = 0.0) -> ExpectedMouth:
    """Predict the mouth from the sound with the mesh engine's speech network.

    Times are relative to the first picture, which is shown `start` seconds after the file begins.
    """
    features = analyze_speech(sound_blocks(speech, SAMPLE_RATE))
    count = frames + math.ceil(start * fps)
    gap = lip_opening(with_mouth(Curves.rest(count, fps), shape_mouth(features, count, fps)))
    at = np.arange(frames) + start * fps
    closures = tuple((first / FEATURE_RATE - start, last / FEATURE_RATE - start) for first, last in labials(features))
    return ExpectedMouth(np.interp(at, np.arange(count), gap).astype(np.float32), closures)


def scan_lags(seen: Floats, expected: Floats, fps: float, lag: int) -> Sync | None:
    """Pearson's r between two curves (T,) for every lag over the overlapping frames; None if one is constant.

    Both are high-passed at one second first. Lags with less than half of the frames overlapping are skipped.
    """
    count = min(len(seen), len(expected))
    ours, theirs = (without_drift(curve[:count], fps) for curve in (seen, expected))
    if count < 4 or ours.std() < _STILL or theirs.std() < _MUTE:
        return None
    most = min(lag, count // 2)
    scan = [_r(*_overlap(ours, theirs, late)) for late in range(-most, most + 1)]
    return Sync(np.array(scan), fps)


def without_drift(values: Floats, fps: float) -> Floats:
    """A curve (T,) minus its moving average over a second."""
    width = 2 * int(_DRIFT * fps / 2) + 1
    padded = np.pad(np.asarray(values, np.float64), width // 2, mode="edge")
    return values - np.convolve(padded, np.full(width, 1 / width), "valid")


def sync_metrics(sync: Sync | None) -> Values:
    """Offset and correlation (see the catalogue); all None if nothing moves or nothing is heard."""
    if sync is None:
        names = ("offset_frames", "offset_seconds", "correlation", "correlation_as_played", "confidence")
        return {f"sync_{name}": None for name in names}
    peak = float(sync.scan.max())
    return {
        "sync_offset_frames": float(sync.offset),
        "sync_offset_seconds": sync.seconds,
        "sync_correlation": peak,
        "sync_correlation_as_played": float(sync.scan[sync.lag]),
        "sync_confidence": peak - float(np.median(sync.scan)),
    }


def closure_metrics(seen: Floats, expected: ExpectedMouth, fps: float, late: float) -> Values:
    """Fraction of p, b and m at which the lips shut, with the sound's lateness `late` (seconds) taken out.

    `closure_chance` is the fraction of instants at which a closure would have been counted anyway.
    """
    low, high = (float(np.percentile(seen, fraction)) for fraction in (2, 95)) if len(seen) else (0.0, 0.0)
    if high - low < _STILL:
        return {"closure_hits": None, "closure_chance": None, "closure_count": float(len(expected.closures))}
    shut = seen <= low + _SHUT * (high - low)
    hits = [
        hit for start, stop in expected.closures if (hit := _shuts(shut, start - late, stop - late, fps)) is not None
    ]
    usual = float(np.mean([stop - start for start, stop in expected.closures])) if hits else 0.0
    times = np.arange(len(seen)) / fps
    chance = [hit for time in times if (hit := _shuts(shut, time, time + usual, fps)) is not None]
    return {
        "closure_hits": float(np.mean(hits)) if hits else None,
        "closure_chance": float(np.mean(chance)) if hits else None,
        "closure_count": float(len(hits)),
    }


def _shuts(shut: npt.NDArray[np.bool_], start: float, stop: float, fps: float) -> bool | None:
    """Return True if the lips shut within a time span; None outside the video. Frames count at their middle."""
    first, last = int(np.ceil((start - _NEAR) * fps - 0.5)), int(np.floor((stop + _NEAR) * fps - 0.5))
    if first < 0 or last >= len(shut) or last < first:
        return None
    return bool(shut[first : last + 1].any())


def _overlap(ours: Floats, theirs: Floats, late: int) -> tuple[Floats, Floats]:
    """The overlapping parts of two curves of one length if `theirs` is late by `late` frames."""
    if late >= 0:
        return ours[: len(ours) - late], theirs[late:]
    return ours[-late:], theirs[:late]


def _r(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / size) if size > 0 else 0.0

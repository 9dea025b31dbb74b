"""Metrics of lip sync: offset, correlation and closures of the lips."""

import numpy as np
import numpy.typing as npt

from echomimic.evaluate.container import Values
from echomimic.mesh.expected_mouth import ExpectedMouth
from echomimic.motion.lags import STILL_MOUTH, Sync
from echomimic.types import Floats

_SHUT = 0.2
"""Lips count as shut in the lowest fifth of the way from their closest to their usual widest."""
_NEAR = 0.05
"""Seconds round a closure in which the lips may shut."""


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
    if high - low < STILL_MOUTH:
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

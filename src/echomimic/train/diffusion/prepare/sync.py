"""Measure by how many frames the sound of a video is late, and how well the mouth follows it."""

from collections.abc import Sequence

import numpy as np

from echomimic.mesh.speech_to_face import FEATURE_RATE, SpeechFeatures, speech_flags
from echomimic.motion.lags import Sync, scan_lags
from echomimic.train.diffusion.manifest import SyncScore
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.train.diffusion.prepare.video import DroppedError
from echomimic.types import Floats

_AGREES = 0.1
"""A piece takes the offset of its video if its own best correlation is no more than this above the one there."""


def scan_piece(gap: Floats, expected: Floats, settings: PrepareSettings) -> Sync | None:
    """Correlations by lag between the lips that are seen (T,) and those that the sound asks for (T,)."""
    return scan_lags(gap, expected, settings.fps, settings.lag)


def common_offset(scans: Sequence[Sync | None], lengths: Sequence[int]) -> int | None:
    """The offset of a whole video: the peak of the mean scan of its pieces, weighted by length; None without any."""
    known = [(sync, length) for sync, length in zip(scans, lengths, strict=True) if sync is not None]
    widest = max((sync.lag for sync, _ in known), default=0)
    full = [(sync, length) for sync, length in known if sync.lag == widest]
    if not full:
        return None
    mean = np.average(np.stack([sync.scan for sync, _ in full]), axis=0, weights=[length for _, length in full])
    return Sync(mean, full[0][0].fps).offset


def score_sync(sync: Sync, common: int | None) -> SyncScore:
    """Offset, correlation there and its distance to the median over all lags; the video's offset where it fits."""
    offset = sync.offset
    if common is not None and abs(common) <= sync.lag and sync.scan.max() - sync.scan[common + sync.lag] <= _AGREES:
        offset = common
    r = float(sync.scan[offset + sync.lag])
    return SyncScore(offset, round(r, 4), round(r - float(np.median(sync.scan)), 4))


def check_sync(score: SyncScore | None, settings: PrepareSettings) -> None:
    """Raise DroppedError if the mouth does not follow the sound."""
    if score is None:
        raise DroppedError("sync_weak", "the mouth does not move")
    if score.r < settings.least_sync or score.confidence < settings.least_confidence:
        raise DroppedError("sync_weak", f"correlation {score.r:.2f}, {score.confidence:.2f} above the median")
    if abs(score.offset) > settings.most_offset:
        raise DroppedError("sync_offset", f"{score.offset:+d} frames")


def speech_fraction(features: SpeechFeatures, start: float, seconds: float) -> float:
    """Fraction of a part of the sound in which somebody speaks."""
    flags = speech_flags(features)[
        max(0, round(start * FEATURE_RATE)) : max(0, round((start + seconds) * FEATURE_RATE))
    ]
    return float(flags.mean()) if len(flags) else 0.0

"""Measure by how many frames the sound of a video is late, and how well the mouth follows it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from echomimic.mesh.speech_to_face import FEATURE_RATE, SpeechFeatures, speech_flags
from echomimic.motion.lags import Sync, scan_lags
from echomimic.train.diffusion.manifest import SyncScore
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.train.diffusion.prepare.video import DroppedError
from echomimic.types import Floats

SECONDS = 10.0
"""Length for which the settings state the least correlation."""
_AGREES = 0.1
"""A piece takes the offset of its video if its own best correlation is no more than this above the one there."""


def scan_piece(gap: Floats, expected: Floats, settings: PrepareSettings) -> Sync | None:
    """Correlations by lag between the lips that are seen (T,) and those that the sound asks for (T,)."""
    return scan_lags(gap, expected, settings.fps, settings.lag)


@dataclass(frozen=True)
class VideoSync:
    """The lag of a video's sound in frames, by all of its pieces; `certain` if they show that the mouth follows it."""

    offset: int
    certain: bool


def sync_of_video(scans: Sequence[Sync | None], lengths: Sequence[int], settings: PrepareSettings) -> VideoSync | None:
    """The peak of the mean scan of a video's pieces, weighted by their lengths in frames; None without any."""
    known = [(sync, length) for sync, length in zip(scans, lengths, strict=True) if sync is not None]
    widest = max((sync.lag for sync, _ in known), default=0)
    full = [(sync, length) for sync, length in known if sync.lag == widest]
    if not full:
        return None
    weights = [length for _, length in full]
    mean = Sync(np.average(np.stack([sync.scan for sync, _ in full]), axis=0, weights=weights), settings.fps)
    score = score_sync(mean, None)
    return VideoSync(score.offset, _is_enough(score, sum(weights) / settings.fps, settings))


def _is_enough(score: SyncScore, seconds: float, settings: PrepareSettings) -> bool:
    """Whether a mouth follows a sound; by chance the correlation of `seconds` reaches less the longer they are."""
    short = math.sqrt(SECONDS / seconds)
    return score.r >= settings.least_sync * short and score.confidence >= settings.least_confidence * short


def score_sync(sync: Sync, common: VideoSync | None) -> SyncScore:
    """Offset, correlation there and its distance to the median over all lags; the video's offset where it fits."""
    offset = sync.offset
    if common is not None and abs(common.offset) <= sync.lag:
        offset = common.offset if sync.scan.max() - sync.scan[common.offset + sync.lag] <= _AGREES else offset
    r = float(sync.scan[offset + sync.lag])
    return SyncScore(offset, round(r, 4), round(r - float(np.median(sync.scan)), 4))


def check_sync(score: SyncScore | None, seconds: float, video: VideoSync | None, settings: PrepareSettings) -> None:
    """Raise DroppedError if the mouth does not follow the sound.

    A piece that agrees with a video whose sync is certain needs `in_sync_video` of the correlation only.
    """
    if score is None:
        raise DroppedError("sync_weak", "the mouth does not move")
    agrees = video is not None and video.certain and score.offset == video.offset
    least = settings.in_sync_video * settings.least_sync * math.sqrt(SECONDS / seconds)
    if not (agrees and score.r >= least) and not _is_enough(score, seconds, settings):
        raise DroppedError("sync_weak", f"correlation {score.r:.2f}, {score.confidence:.2f} above the median")
    if abs(score.offset) > settings.most_offset:
        raise DroppedError("sync_offset", f"{score.offset:+d} frames")


def speech_fraction(features: SpeechFeatures, start: float, seconds: float) -> float:
    """Fraction of a part of the sound in which somebody speaks."""
    flags = speech_flags(features)[
        max(0, round(start * FEATURE_RATE)) : max(0, round((start + seconds) * FEATURE_RATE))
    ]
    return float(flags.mean()) if len(flags) else 0.0

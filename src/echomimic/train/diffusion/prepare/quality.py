"""Measures of a piece: sharpness and exposure of the face, text, motion of the camera, lip sync, and a fingerprint."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks.face import shrink
from echomimic.mesh.speech_to_face import FEATURE_RATE, SpeechFeatures, mel_blocks, speech_flags
from echomimic.motion.lags import Sync, scan_lags
from echomimic.train.diffusion.manifest import SyncScore
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.train.diffusion.prepare.video import DroppedError
from echomimic.types import Floats, Picture

PLACES = (1 / 6, 1 / 2, 5 / 6)
"""Places of the hashed frames in a clip, in fractions of its length."""
_TIMES, _BANDS = 16, 4
_PICTURE_BITS, _SOUND_BITS = 64 * len(PLACES), _TIMES * _BANDS
_PICTURES_DIFFER, _SOUND_DIFFERS = 24, 6
"""Number of bits in which the fingerprints of two encodings of one recording may differ."""
_KEYS = 4
"""Number of parts of the sound's bits that serve as keys to look up candidates."""


def picture_bits(pixels: Picture) -> npt.NDArray[np.bool_]:
    """64 bits: signs of the low frequencies of a picture's luma against their median (pHash)."""
    small = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = np.asarray(cv2.dct(small.astype(np.float32)), np.float32)[:8, :8].ravel()
    bits: npt.NDArray[np.bool_] = low > np.median(low[1:])
    return bits


def sound_bits(samples: Floats) -> npt.NDArray[np.bool_]:
    """64 bits of 16 kHz sound: signs of changes over time and frequency (Haitsma and Kalker, 2002)."""
    power = np.concatenate([np.zeros((0, 40), np.float32), *mel_blocks([samples])])
    parts = np.array_split(power, _TIMES + 1)
    bands = np.stack([part.reshape(len(part), _BANDS + 1, -1).sum(axis=(0, 2)) for part in parts])
    levels = np.log(bands.astype(np.float64) + 1e-3)
    bits: npt.NDArray[np.bool_] = (np.diff(np.diff(levels, axis=1), axis=0) > 0).ravel()
    return bits


def fingerprint(pictures: Sequence[Picture], samples: Floats) -> str:
    """Hex fingerprint of a clip from its frames at `PLACES` and its sound."""
    bits = np.concatenate([*map(picture_bits, pictures), sound_bits(samples)])
    return np.packbits(bits).tobytes().hex()


def duplicates(fingerprints: Iterable[tuple[str, str]]) -> dict[str, str]:
    """From (id, fingerprint) in order: each id that duplicates an earlier one, with the id of the earlier one."""
    found: dict[str, str] = {}
    kept: dict[tuple[int, bytes], list[tuple[str, npt.NDArray[np.bool_]]]] = {}
    for name, text in fingerprints:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).astype(np.bool_)
        keys = [(k, part.tobytes()) for k, part in enumerate(np.split(bits[_PICTURE_BITS:], _KEYS))]
        near = (other for key in keys for other in kept.get(key, ()) if _is_same(bits, other[1]))
        same = next(near, None)
        if same is not None:
            found[name] = same[0]
            continue
        for key in keys:
            kept.setdefault(key, []).append((name, bits))
    return found


def _is_same(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> bool:
    differ = a != b
    return bool(differ[:_PICTURE_BITS].sum() <= _PICTURES_DIFFER and differ[_PICTURE_BITS:].sum() <= _SOUND_DIFFERS)


_EVERY = 12
"""Interval in frames of the measured frames, each of which is compared with the one before."""
_SIDE = 512
"""Longer side at which pictures are measured."""
_TEXT_SIDE = 256
"""Longer side at which text is looked for."""
_STROKE, _CONTRAST = 5, 48.0
"""Largest width of a stroke of text in pixels at this size, and its smallest contrast to the surroundings in luma."""
_STROKES = 8
"""Number of strokes that a row of pixels must cross to be part of a line of text."""
_ALWAYS = 0.8
"""Fraction of the measured frames in which a static edge must be present."""
_BORDER, _CORNERS = 0.12, 80
"""Width of the border as a fraction of the picture, and the largest number of points that are followed in it."""


@dataclass(frozen=True)
class Quality:
    """`sharpness` (log2 of the Laplacian's variance in the face), `exposure` (mean luma of the face, 0..255), `text`
    (fraction of the lower fifth that is strokes of static text), `camera` (pixels a frame at 512)."""

    sharpness: float
    exposure: float
    text: float
    camera: float


class QualityMeter:
    """Measures frames of a crop as they pass."""

    def __init__(self) -> None:
        self._count = 0
        self._before: Picture | None = None
        self._sharpness: list[float] = []
        self._exposure: list[float] = []
        self._motion: list[float] = []
        self._strokes: npt.NDArray[np.float32] | None = None

    def add(self, pixels: Picture, box: Floats) -> None:
        """Add the next frame (H, W, 3) and the box of its face: left, top, right, bottom."""
        measured, before_measured = self._count % _EVERY == 0, (self._count + 1) % _EVERY == 0
        self._count += 1
        if not measured and not before_measured:
            return
        luma, scale = shrink(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8), _SIDE)
        if measured:
            self._measure(luma, box * scale)
        self._before = luma

    def _measure(self, luma: npt.NDArray[np.uint8], box: Floats) -> None:
        left, top, right, bottom = (max(0, int(side)) for side in box)
        face = luma[top:bottom, left:right]
        if min(face.shape) >= 8:
            detail = np.asarray(cv2.Laplacian(face, cv2.CV_32F), np.float64)
            self._sharpness.append(float(np.log2(1 + detail.var())))
            self._exposure.append(float(face.mean()))
        small, _ = shrink(luma, _TEXT_SIDE)
        strokes = thin_strokes(small[small.shape[0] * 4 // 5 :]).astype(np.float32)
        self._strokes = strokes if self._strokes is None else self._strokes + strokes
        if self._before is not None:
            self._motion.append(border_motion(self._before, luma) * _SIDE / max(luma.shape))

    def result(self) -> Quality:
        count = -(-self._count // _EVERY)
        text = 0.0 if self._strokes is None else text_fraction(self._strokes >= _ALWAYS * count)
        camera = float(np.median(self._motion)) if self._motion else 0.0
        return Quality(_mean(self._sharpness), _mean(self._exposure), text, camera)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def thin_strokes(luma: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Pixels (H, W) of thin strokes that are much brighter or darker than their surroundings."""
    kernel = np.ones((_STROKE, _STROKE), np.uint8)
    strokes = [cv2.morphologyEx(luma, kind, kernel) for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)]
    return np.asarray(np.maximum(*strokes) > _CONTRAST)


def text_fraction(strokes: npt.NDArray[np.bool_]) -> float:
    """Fraction of the pixels (H, W) that belong to strokes, in rows that cross many strokes, as lines of text do."""
    crossed = (np.diff(strokes.astype(np.int8), axis=1) > 0).sum(axis=1)
    return float(strokes[crossed >= _STROKES].sum() / strokes.size)


def border_motion(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> float:
    """Median motion in pixels of points in the upper border; 0 if it has no texture to follow."""
    height, width = before.shape
    edge = max(4, round(_BORDER * max(height, width)))
    mask = np.zeros((height, width), np.uint8)
    mask[:edge] = mask[: height * 3 // 5, :edge] = mask[: height * 3 // 5, -edge:] = 255
    points = cv2.goodFeaturesToTrack(before, _CORNERS, 0.05, 6, mask=mask)
    if points is None or len(points) < 8:
        return 0.0
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, np.zeros_like(points))
    steps = np.linalg.norm((moved - points).reshape(-1, 2), axis=1)[found.ravel() == 1]
    return float(np.median(steps)) if len(steps) >= 8 else 0.0


def check_quality(quality: Quality, settings: PrepareSettings) -> None:
    """Raise DroppedError with the first reason to drop a clip."""
    if not settings.darkest <= quality.exposure <= settings.brightest:
        raise DroppedError("exposure", f"mean luma {quality.exposure:.0f} of 255")
    if quality.text > settings.most_text:
        raise DroppedError("text", f"{quality.text:.1%} of the lower fifth")
    if quality.camera > settings.most_camera:
        raise DroppedError("camera", f"{quality.camera:.1f} pixels a frame")


SECONDS = 10.0
"""Length of a piece in seconds for which the settings state the smallest correlation."""
_AGREES = 0.1
"""A piece uses the offset of its video if its own best correlation exceeds the one at that offset by at most this."""


def scan_piece(gap: Floats, expected: Floats, settings: PrepareSettings) -> Sync | None:
    """Correlations by lag between the lip gap in the picture (T,) and the one predicted from the sound (T,)."""
    return scan_lags(gap, expected, settings.fps, settings.lag)


@dataclass(frozen=True)
class VideoSync:
    """The lag of a video's sound in frames, by all of its pieces; `certain` if they show that the mouth follows it."""

    offset: int
    certain: bool


def sync_of_video(scans: Sequence[Sync | None], lengths: Sequence[int], settings: PrepareSettings) -> VideoSync | None:
    """The peak of the mean scan of a video's pieces, weighted by their lengths in frames; None without pieces."""
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
    """Whether a mouth follows a sound; the longer the piece in `seconds`, the lower is the correlation by chance."""
    short = math.sqrt(SECONDS / seconds)
    return score.r >= settings.least_sync * short and score.confidence >= settings.least_confidence * short


def score_sync(sync: Sync, common: VideoSync | None) -> SyncScore:
    """Offset, correlation at it, and its distance to the median over all lags; uses the video's offset if it fits."""
    offset = sync.offset
    if common is not None and abs(common.offset) <= sync.lag:
        offset = common.offset if sync.scan.max() - sync.scan[common.offset + sync.lag] <= _AGREES else offset
    r = float(sync.scan[offset + sync.lag])
    return SyncScore(offset, round(r, 4), round(r - float(np.median(sync.scan)), 4))


def check_sync(score: SyncScore | None, seconds: float, video: VideoSync | None, settings: PrepareSettings) -> None:
    """Raise DroppedError if the mouth does not follow the sound.

    A piece that agrees with a video whose sync is certain needs only `in_sync_video` times the correlation.
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

"""Hand metrics: key point confidence (HKC) and variance (HKV), and the fraction of frames with hands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from echomimic.evaluate.container import Values
from echomimic.evaluate.picture import SIDE
from echomimic.landmarks.detectors import HandLandmarks, hand_landmarker
from echomimic.types import Floats, Picture

_USUAL = 0.5
"""A hand that is found in this fraction of the frames belongs to the clip; in the others it counts as lost."""
_CONFIDENCE = 0.5


@dataclass(frozen=True)
class HandDetections:
    """Hands in N frames: `points` (N, 2, 21, 2) in pixels of the evaluated picture, left and right by the detector's
    label, NaN if not found; `scores` (N, 2), 0 if not found."""

    points: Floats
    scores: Floats


class HandDetector:
    """Detects up to two hands in each frame independently."""

    def __init__(self, find: Callable[[Picture], list[HandLandmarks]]) -> None:
        self._find = find
        self._points: list[Floats] = []
        self._scores: list[Floats] = []

    def add(self, pixels: Picture) -> None:
        """Detect hands in one frame (H, W, 3)."""
        import cv2

        scale = min(1.0, SIDE / max(pixels.shape[:2]))
        if scale < 1:
            pixels = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        points, scores = np.full((2, 21, 2), np.nan, np.float32), np.zeros(2, np.float32)
        size = np.array([pixels.shape[1], pixels.shape[0]], np.float32)
        for hand in sorted(self._find(pixels), key=lambda hand: -hand.score):
            slot = hand.side if scores[hand.side] == 0 else 1 - hand.side
            points[slot], scores[slot] = hand.points[:, :2] * size, hand.score
        self._points.append(points)
        self._scores.append(scores)

    def result(self) -> HandDetections:
        return HandDetections(np.array(self._points, np.float32), np.array(self._scores, np.float32))


@contextmanager
def open_hand_detector() -> Iterator[HandDetector]:
    """Open a detector; its model is closed at the end."""
    with hand_landmarker(most=2, confidence=_CONFIDENCE) as find:
        yield HandDetector(find)


def hand_metrics(hands: HandDetections) -> Values:
    """HKC, HKV, detection rate and lost hands (see the catalogue); None if no hand was ever found."""
    seen = hands.scores > 0
    if not seen.any():
        found = 0.0 if len(seen) else None
        return {"hands_found": found, "hands_lost": None, "hkc": None, "hkc_missing_as_zero": None, "hkv": None}
    usual = seen.mean(axis=0) >= _USUAL
    return {
        "hands_found": float(seen.any(axis=1).mean()),
        "hands_lost": float(1 - seen[:, usual].mean()) if usual.any() else None,
        "hkc": float(hands.scores[seen].mean(dtype=np.float64)),
        "hkc_missing_as_zero": float(hands.scores[:, usual].mean(dtype=np.float64)) if usual.any() else None,
        "hkv": hand_variance(hands),
    }


def hand_variance(hands: HandDetections) -> float | None:
    """Variance over time of each key point's x plus y in hand lengths squared, averaged over points, then hands.

    A hand's length is the median distance from its wrist to the knuckle of its middle finger. Hands found less than
    twice are skipped.
    """
    values = []
    for slot in range(2):
        points = hands.points[hands.scores[:, slot] > 0, slot].astype(np.float64)
        if len(points) > 1:
            length = max(1e-6, float(np.median(np.linalg.norm(points[:, 9] - points[:, 0], axis=1))))
            values.append(float((points / length).var(axis=0).sum(axis=1).mean()))
    return float(np.mean(values)) if values else None

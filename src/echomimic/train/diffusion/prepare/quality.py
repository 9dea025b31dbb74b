"""Measure the pictures of a crop: sharpness and exposure of the face, static text, motion of the camera."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks.face import shrink
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.train.diffusion.prepare.video import DroppedError
from echomimic.types import Floats, Picture

_EVERY = 12
"""Every so many frames are measured, each against the one before."""
_SIDE = 512
"""Longer side at which pictures are measured."""
_TEXT_SIDE = 256
"""Longer side at which text is looked for."""
_STROKE, _CONTRAST = 5, 48.0
"""Widest stroke of text in pixels then, and its least contrast to the surroundings in luma."""
_STROKES = 8
"""Strokes that a row of pixels must cross to be part of a line of text."""
_ALWAYS = 0.8
"""Fraction of the measured frames in which a static edge is there."""
_BORDER, _CORNERS = 0.12, 80
"""Width of the border in fractions of the picture, and the most points that are followed in it."""


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
    """(H, W) pixels of thin parts that are much brighter or darker than what is around them."""
    kernel = np.ones((_STROKE, _STROKE), np.uint8)
    strokes = [cv2.morphologyEx(luma, kind, kernel) for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)]
    return np.asarray(np.maximum(*strokes) > _CONTRAST)


def text_fraction(strokes: npt.NDArray[np.bool_]) -> float:
    """Fraction of the pixels (H, W) that are strokes in rows that cross many of them, as lines of text do."""
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
    """Raise DroppedError with the first reason against a clip."""
    if not settings.darkest <= quality.exposure <= settings.brightest:
        raise DroppedError("exposure", f"mean luma {quality.exposure:.0f} of 255")
    if quality.text > settings.most_text:
        raise DroppedError("text", f"{quality.text:.1%} of the lower fifth")
    if quality.camera > settings.most_camera:
        raise DroppedError("camera", f"{quality.camera:.1f} pixels a frame")

"""Remove what is not lip from the lips of a portrait: teeth, tongue and the dark of an open mouth.

A landmark detector misses the rims of open lips by a few pixels. What it misses would move with the lips: white lines
on shut lips, lower teeth that hang on the upper lip. So lip pixels near the opening whose colour is not the lip's are
inpainted before the portrait is rigged.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.openings import Pixels, fill_opening
from echomimic.mesh.warp import Box, Grid, Rim, bounds, sample
from echomimic.types import Floats

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

REACH = 0.06
"""Distance from the opening, in mouth widths, in which lip pixels are tested."""
OUTLIER = 3.5
"""Deviations (median absolute) of lightness or redness from the lip's median at which a pixel is not lip."""
CORNER = 0.2
"""Distance from a corner of the mouth, in mouth widths, in which shadows stay."""
_LEAST_SPREAD = (3.0, 2.0)
"""Smallest deviation of lightness and of redness, in 8-bit Lab: lips have creases and gloss."""
_RIDGE = 12.0
"""Lightness by which teeth are brighter than the dark lines above and below them."""
_PALE = 0.65
"""Chroma of teeth, as a fraction of the lips' chroma."""
_TEETH_COLUMNS, _TEETH_RUN = 48, 5
"""Columns across the mouth that are tested for teeth, and the neighbours that must agree."""
_SEAM, _SEAM_DEPTH = 0.013, 0.42
"""Width in mouth widths, and darkness, of the line that is drawn between lips that were open in the portrait."""


@dataclass(frozen=True)
class _Lips:
    """The crop round the lips: `lab` (h, w, 3), masks of the `inner` opening and of each lip (upper, lower)."""

    box: Box
    lab: Floats
    inner: Mask
    lips: tuple[Mask, Mask]
    reach: int

    @classmethod
    def of(cls, picture: Pixels, landmarks: Array, width: float) -> "_Lips":
        box = bounds(landmarks[list(mesh.LIPS)], (0.15 * width,) * 4, (picture.shape[1], picture.shape[0]))
        crop = np.ascontiguousarray(picture[box[1] : box[3], box[0] : box[2]])
        lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB).astype(np.float32)
        inner = _filled(landmarks, mesh.INNER_LIPS, box)
        upper = (*mesh.UPPER_RINGS[-1], mesh.MOUTH_CORNERS[1], mesh.MOUTH_RIGHT, *reversed(mesh.UPPER_LIP))
        lower = (*mesh.LOWER_RINGS[-1], mesh.MOUTH_CORNERS[1], mesh.MOUTH_RIGHT, *reversed(mesh.LOWER_LIP))
        ends = (mesh.MOUTH_LEFT, mesh.MOUTH_CORNERS[0])
        lips = tuple(_filled(landmarks, (*lip, *ends), box) & ~inner for lip in (upper, lower))
        return cls(box, lab, inner, (lips[0], lips[1]), max(1, round(REACH * width)))


def clean_lips(picture: Pixels, landmarks: Array, width: float, is_open: bool) -> Pixels:
    """The picture (H, W, 3) without teeth on the lips, and with the opening filled if the lips `is_open`.

    `landmarks` are (478, 3) pixels, `width` is the mouth's. Closed lips without teeth are returned as they are.
    """
    lips = _Lips.of(picture, landmarks, width)
    if lips.inner.size == 0:
        return picture
    if is_open:
        wrong = _not_lip(lips) & ~_corner_shadows(lips, landmarks, width)
    else:
        wrong = _teeth_in_closed_lips(lips, landmarks, width)
    if not is_open and not wrong.any():
        return picture
    wrong = cv2.dilate(wrong.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    filled = _inpainted(picture, lips, wrong | lips.inner, max(2.0, 0.04 * width))
    if is_open:
        filled = fill_opening(filled, landmarks, (mesh.UPPER_CURVE, mesh.LOWER_CURVE))
    return _with_seam(filled, landmarks, lips.box, width)


def _not_lip(lips: _Lips) -> Mask:
    """Pixels of both lips, near the opening, whose lightness or redness is not the lip's."""
    shape = np.ones((2 * lips.reach + 1,) * 2, np.uint8)
    near = cv2.dilate(lips.inner.astype(np.uint8), shape).astype(bool)
    wrong = np.zeros_like(near)
    for lip in lips.lips:
        core = cv2.erode(lip.astype(np.uint8), np.ones((max(3, lips.reach // 2),) * 2, np.uint8)).astype(bool)
        core = core if core.sum() >= 30 else lip
        if not core.any():
            continue
        for channel, least in zip((0, 1), _LEAST_SPREAD, strict=True):
            values = lips.lab[..., channel]
            middle = np.median(values[core])
            spread = np.median(np.abs(values[core] - middle)) + least
            wrong |= lip & near & (np.abs(values - middle) > OUTLIER * spread)
    return wrong


def _corner_shadows(lips: _Lips, landmarks: Array, width: float) -> Mask:
    """Dark pixels at the corners of the mouth: their shadow continues into the skin, so it must stay whole."""
    place = Grid(lips.box[0], lips.box[1], 1, lips.inner.shape[1], lips.inner.shape[0]).points()
    ends = landmarks[[mesh.MOUTH_LEFT, mesh.MOUTH_RIGHT], :2]
    away = np.linalg.norm(place[:, :, None] - ends, axis=3).min(2)
    both = lips.lips[0] | lips.lips[1]
    dark = lips.lab[..., 0] < np.median(lips.lab[both, 0]) if both.any() else both
    return np.asarray((away < CORNER * width) & dark)


def _teeth_in_closed_lips(lips: _Lips, landmarks: Array, width: float) -> Mask:
    """Pixels of a pale bright stripe between two dark lines along the mouth: teeth in lips that count as closed."""
    nothing = np.zeros_like(lips.inner)
    rim = Rim.of(mesh.UPPER_CURVE, landmarks)
    core = lips.lips[0] | lips.lips[1]
    if core.sum() < 30:
        return nothing
    chroma = float(np.median(_chroma(lips.lab[core])))
    along = np.linspace(0.15, 0.85, _TEETH_COLUMNS) * rim.t[-1]
    steps = np.linspace(-0.1, 0.1, 33) * width
    at = rim.origin + along[None, :, None] * rim.across
    at = at + (np.interp(along, rim.t, rim.v)[None] + steps[:, None])[..., None] * rim.down
    seen = sample(lips.lab, (at - lips.box[:2]).astype(np.float32))
    middle = np.abs(steps) <= REACH * width
    inside = np.flatnonzero(middle)
    peak = inside[seen[inside, :, 0].argmax(0)]
    columns = np.arange(_TEETH_COLUMNS)
    top = np.array([seen[: p + 1, k, 0].min() for k, p in enumerate(peak)])
    bottom = np.array([seen[p:, k, 0].min() for k, p in enumerate(peak)])
    bright, pale = seen[peak, columns, 0], _chroma(seen[peak, columns])
    teeth = (bright - np.maximum(top, bottom) > _RIDGE) & (pale < _PALE * chroma)
    steady = np.convolve(teeth.astype(int), np.ones(_TEETH_RUN, int), "same") >= _TEETH_RUN - 1
    if not (teeth & steady).any():
        return nothing
    stripe = np.zeros(nothing.shape, np.uint8)
    reach = max(1, round(0.04 * width))
    for k in np.flatnonzero(teeth & steady):
        x, y = np.round(at[peak[k], k] - lips.box[:2]).astype(int)
        cv2.circle(stripe, (int(x), int(y)), reach, (1,), -1)
    return (stripe > 0) & (_chroma(lips.lab) < 0.8 * chroma)


def _chroma(lab: Floats) -> Floats:
    return np.hypot(lab[..., 1] - 128, lab[..., 2] - 128)


def _inpainted(picture: Pixels, lips: _Lips, wrong: Mask, radius: float) -> Pixels:
    left, top, right, bottom = lips.box
    crop = np.ascontiguousarray(picture[top:bottom, left:right])
    filled = picture.copy()
    filled[top:bottom, left:right] = cv2.inpaint(crop, wrong.astype(np.uint8), radius, cv2.INPAINT_TELEA)
    return filled


def _with_seam(picture: Pixels, landmarks: Array, box: Box, width: float) -> Pixels:
    """The picture with both rims of the opening darkened: shut lips have a line of shadow between them."""
    points = Grid(box[0], box[1], 1, box[2] - box[0], box[3] - box[1]).points()
    flat = points.reshape(-1, 2).astype(np.float64)
    shadow = np.zeros(len(flat))
    for curve in (mesh.UPPER_CURVE, mesh.LOWER_CURVE):
        rim = Rim.of(curve, landmarks)
        t, below = rim.project(flat)
        end = np.clip(np.minimum(t, rim.t[-1] - t) / (0.12 * width) + 0.3, 0, 1)
        shadow = np.maximum(shadow, end * np.exp(-((below / (_SEAM * width)) ** 2)))
    darker = (1 - _SEAM_DEPTH * shadow).reshape(points.shape[:2])[..., None]
    filled = picture.copy()
    there = filled[box[1] : box[3], box[0] : box[2]]
    there[:] = np.clip(there * darker + 0.5, 0, 255).astype(np.uint8)
    return filled


def _filled(landmarks: Array, outline: tuple[int, ...], box: Box) -> Mask:
    shape = np.zeros((box[3] - box[1], box[2] - box[0]), np.uint8)
    if shape.size:
        cv2.fillPoly(shape, [np.round(landmarks[list(outline), :2] - box[:2]).astype(np.int32)], (1,))
    return shape > 0

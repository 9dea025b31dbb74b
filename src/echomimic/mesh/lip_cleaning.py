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
"""Deviations (median absolute) of lightness or colour from the lip's median at which a pixel is not lip."""
CORNER = 0.2
"""Distance from a corner of the mouth, in mouth widths, in which shadows stay."""
_LEAST_SPREAD = (3.0, 2.0, 2.0)
"""Smallest deviations of lightness, chroma and hue, in 8-bit Lab: lips have creases and gloss."""
_RIDGE = 12.0
"""Lightness by which teeth are brighter than the dark lines above and below them."""
_PALE = 0.65
"""Chroma of teeth, as a fraction of the lips' chroma."""
_COLUMNS, _AROUND = 64, 9
"""Columns across a lip, and the neighbours of each, on either side, whose lip has the same colour."""
_DEEP, _RUN = 25, 4
"""Steps from the rim of a lip to its outer edge, and those in a row that must have its colour."""
_TEETH_COLUMNS, _TEETH_RUN = 48, 5
"""Columns across the mouth that are tested for teeth, and the neighbours that must agree."""
_SEAM, _SEAM_DEPTH, _SEAM_COLOUR = 0.013, 0.36, 0.4
"""Width in mouth widths, darkness and gain of saturation of the line that is drawn between lips that were open."""


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
        lab = (cv2.cvtColor(crop, cv2.COLOR_RGB2LAB) if crop.size else crop).astype(np.float32)
        inner = _filled(landmarks, mesh.INNER_LIPS, box)
        upper = (*mesh.UPPER_RINGS[-1], mesh.MOUTH_CORNERS[1], mesh.MOUTH_RIGHT, *reversed(mesh.UPPER_LIP))
        lower = (*mesh.LOWER_RINGS[-1], mesh.MOUTH_CORNERS[1], mesh.MOUTH_RIGHT, *reversed(mesh.LOWER_LIP))
        ends = (mesh.MOUTH_LEFT, mesh.MOUTH_CORNERS[0])
        lips = tuple(_filled(landmarks, (*lip, *ends), box) & ~inner for lip in (upper, lower))
        return cls(box, lab, inner, (lips[0], lips[1]), max(1, round(REACH * width)))


def clean_lips(picture: Pixels, landmarks: Array, width: float, is_open: bool, softness: float = 0.5) -> Pixels:
    """The picture (H, W, 3) without teeth on the lips, and with the opening filled if the lips `is_open`.

    `landmarks` are (478, 3) pixels, `width` is the mouth's, `softness` the sigma of the picture's blur in pixels.
    Closed lips without teeth are returned as they are.
    """
    lips = _Lips.of(picture, landmarks, width)
    if lips.inner.size == 0:
        return picture
    if is_open:
        wrong = _not_lip(lips, landmarks, width) & ~_corner_shadows(lips, landmarks, width)
    else:
        wrong = _teeth_in_closed_lips(lips, landmarks, width)
    if not is_open and not wrong.any():
        return picture
    wrong = cv2.dilate(wrong.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    filled = _inpainted(picture, lips, wrong | lips.inner, max(2.0, 0.04 * width))
    if is_open:
        filled = fill_opening(filled, landmarks, (mesh.UPPER_CURVE, mesh.LOWER_CURVE))
    return _with_seam(filled, landmarks, lips.box, width, softness)


def _not_lip(lips: _Lips, landmarks: Array, width: float) -> Mask:
    """Pixels of both lips between the opening and the first pixel that has the colour of the lip there.

    Each column across the mouth is followed from the rim into the lip, and compared with the lip's own middle there.
    """
    place = Grid(lips.box[0], lips.box[1], 1, lips.inner.shape[1], lips.inner.shape[0]).points()
    flat = place.reshape(-1, 2).astype(np.float64)
    wrong = np.zeros(lips.inner.size, bool)
    for curve, outer, direction in (
        (mesh.UPPER_CURVE, mesh.UPPER_RINGS[-1], -1),
        (mesh.LOWER_CURVE, mesh.LOWER_RINGS[-1], 1),
    ):
        rim = Rim.of(curve, landmarks)
        along = np.linspace(0.02, 0.98, _COLUMNS) * rim.t[-1]
        depth = _foreign_depth(lips, rim, along, _thickness(rim, outer, landmarks, along), direction, width)
        t, below = rim.project(flat)
        wrong |= (direction * below > -1) & (direction * below < np.interp(t, along, depth)) & (t > 0) & (t < rim.t[-1])
    return wrong.reshape(lips.inner.shape) & (lips.lips[0] | lips.lips[1])


def _thickness(rim: Rim, outer: tuple[int, ...], landmarks: Array, along: Array) -> Array:
    """(n,) distance in pixels from the rim to the lip's outer edge at the positions `along` it."""
    t, away = rim.project(landmarks[[mesh.MOUTH_CORNERS[0], *outer, mesh.MOUTH_CORNERS[1]], :2])
    order = np.argsort(t)
    return np.maximum(np.interp(along, t[order], np.abs(away)[order]), 1.0)


def _foreign_depth(lips: _Lips, rim: Rim, along: Array, thick: Array, direction: int, width: float) -> Array:
    """(n,) distance from the rim, in pixels, up to which columns at `along` differ in colour from the lip.

    `direction` is the side of the rim on which the lip lies: -1 above it, 1 below it.
    """
    steps = np.linspace(0, 1, _DEEP)[:, None] * thick
    at = rim.origin + along[None, :, None] * rim.across
    at = at + (np.interp(along, rim.t, rim.v)[None] + direction * steps)[..., None] * rim.down
    seen = sample(lips.lab, (at - lips.box[:2]).astype(np.float32)).astype(np.float64)
    own = np.median(seen[_DEEP // 3 : _DEEP * 4 // 5], 0)
    own = np.stack([_running_median(own[:, k]) for k in range(3)], 1)
    foreign = np.lib.stride_tricks.sliding_window_view(_is_foreign(seen, own), _RUN, axis=0).any(2)
    first = np.where(foreign.all(0), _DEEP - 1, np.argmin(foreign, 0))
    depth = np.minimum(steps[first, np.arange(len(along))], REACH * width)
    return np.maximum(depth, _running_median(depth))


def _is_foreign(seen: Array, own: Array) -> Mask:
    """(n, columns): which pixels (n, columns, 3) in Lab differ from the lip (columns, 3); redder ones are lip, too."""
    hue = own[:, 1:] - 128
    hue = hue / np.maximum(np.linalg.norm(hue, axis=1, keepdims=True), 1e-6)
    off = seen - own
    light, vivid = off[..., 0], (off[..., 1:] * hue).sum(2)
    other = off[..., 1] * hue[:, 1] - off[..., 2] * hue[:, 0]
    middle = np.s_[_DEEP // 3 : _DEEP * 4 // 5]
    spreads = [np.median(np.abs(x[middle])) + y for x, y in zip((light, vivid, other), _LEAST_SPREAD, strict=True)]
    light, vivid, other = (x / (OUTLIER * spread) for x, spread in zip((light, vivid, other), spreads, strict=True))
    return np.asarray((light > 1) | (vivid < -1) | (np.abs(other) > 1) | ((light < -1) & (vivid < 0.5)))


def _running_median(values: Array) -> Array:
    """The median over each value of a series and `_AROUND` on either side; the ends are repeated."""
    padded = np.pad(values, _AROUND, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _AROUND + 1), 1))


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


def _with_seam(picture: Pixels, landmarks: Array, box: Box, width: float, softness: float) -> Pixels:
    """The picture with both rims of the opening darkened: shut lips have a line of shadow between them.

    The line has the picture's blur. Shadows on coloured skin are more saturated than the skin.
    """
    points = Grid(box[0], box[1], 1, box[2] - box[0], box[3] - box[1]).points()
    flat = points.reshape(-1, 2).astype(np.float64)
    shadow, rims = np.zeros(len(flat)), np.zeros(len(flat))
    sharp = _SEAM * width
    reach = float(np.hypot(sharp, np.sqrt(2) * softness))
    for curve in (mesh.UPPER_CURVE, mesh.LOWER_CURVE):
        rim = Rim.of(curve, landmarks)
        t, below = rim.project(flat)
        end = np.clip(np.minimum(t, rim.t[-1] - t) / (0.12 * width) + 0.3, 0, 1)
        shadow = np.maximum(shadow, end * np.exp(-((below / reach) ** 2)))
        rims = np.maximum(rims, np.exp(-(below**2)) * ((t > 0) & (t < rim.t[-1])))
    shadow = (np.sqrt(sharp / reach) * shadow).reshape(points.shape[:2])[..., None]
    filled = picture.copy()
    there = filled[box[1] : box[3], box[0] : box[2]].astype(np.float64)
    # a step at the edge of the filled opening would be torn into a comb where the lips are stretched
    there += rims.reshape(points.shape[:2])[..., None] * (cv2.GaussianBlur(there, (0, 0), 1.0) - there)
    hue = there / np.maximum(there.max(2, keepdims=True), 1)
    darker = there * (1 - _SEAM_DEPTH * shadow) * np.maximum(hue, 0.1) ** (_SEAM_COLOUR * shadow)
    filled[box[1] : box[3], box[0] : box[2]] = np.clip(darker + 0.5, 0, 255).astype(np.uint8)
    return filled


def _filled(landmarks: Array, outline: tuple[int, ...], box: Box) -> Mask:
    shape = np.zeros((box[3] - box[1], box[2] - box[0]), np.uint8)
    if shape.size:
        cv2.fillPoly(shape, [np.round(landmarks[list(outline), :2] - box[:2]).astype(np.int32)], (1,))
    return shape > 0

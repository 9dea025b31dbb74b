"""The inside of the mouth: a dark cavity, a tongue, upper teeth fixed to the skull, lower teeth fixed to the jaw.

Textures are drawn once per portrait; a frame only moves, shades and masks them.
"""

from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.openings import Opening, Pixels, blend, cover, put, smooth_curve
from echomimic.mesh.rig import Rig
from echomimic.mesh.upper_body import Surroundings, smoothstep
from echomimic.mesh.warp import Box, Grid, Pose
from echomimic.types import CURVE_NAMES, Floats

Array = npt.NDArray[np.float64]

OWN_TEETH = 0.13
"""Lip distance, in mouth widths, above which the portrait's own teeth may be used."""
_CLOSED = 0.008
_TONGUE = CURVE_NAMES.index("tongue")
_TOOTH_WIDTHS = np.array([0.098, 0.078, 0.084, 0.074, 0.068, 0.06])
_TOOTH_LENGTHS = np.array([1.0, 0.93, 0.99, 0.9, 0.83, 0.76])


class MouthRenderer:
    """Draws the mouth of one portrait."""

    def __init__(self, picture: Pixels, rig: Rig, around: Surroundings) -> None:
        self.rig = rig
        points = rig.landmarks
        self.width = rig.frame.mouth_width
        self._flat = points[:, :2]
        rims = (mesh.UPPER_CURVE, mesh.LOWER_CURVE)
        cell = max(1, round(self.width / 28))
        self.opening = Opening(points, around, rims, list(mesh.LIP_RINGS), 0.2 * self.width, cell, 0.02 * self.width)
        self._smooth = smooth_curve(len(mesh.UPPER_CURVE))
        self.middle = 0.5 * (rig.rest[mesh.UPPER_LIP[4]] + rig.rest[mesh.LOWER_LIP[4]])
        self.colours = _Colours(picture, points)
        self._fine = int(np.clip(1.6 * self.width, 48, 480))
        self._upper = _teeth(self._fine, self.colours.teeth, self.colours.gum, 1.0)
        self._lower = _teeth(self._fine, self.colours.teeth * 0.8, self.colours.gum, 0.72)[::-1].copy()
        self._tongue = _tongue(self._fine, self.colours.tongue)
        self._own = _own_teeth(picture, points, self.width, self.colours) if rig.opening > OWN_TEETH else None

    def paint(self, frame: Pixels, portrait: Pixels, pose: Pose) -> None:
        """Draw the lips and the inside of the mouth into `frame` (H, W, 3 or 4); `portrait` is enlarged by `FINER`."""
        box = self.opening.box(pose.points)
        if box[2] - box[0] < 3 or box[3] - box[1] < 3:
            return
        upper = self._smooth @ pose.points[list(mesh.UPPER_CURVE), :2].astype(np.float64)
        lower = self._smooth @ pose.points[list(mesh.LOWER_CURVE), :2].astype(np.float64)
        patch = self.opening.skin(portrait, pose, box, 0.5 * (upper + lower))
        gap = float(np.linalg.norm(lower - upper, axis=1).max()) / self.width
        if gap > _CLOSED:
            coverage = cover(np.concatenate([upper, lower[::-1]]), box)
            inside = self._inside(pose, box, coverage, gap)
            if frame.shape[2] == 4:
                inside = np.dstack([inside, np.full(inside.shape[:2], 255, np.uint8)])
            patch = blend(patch, inside, coverage * np.float32(_ramp(gap, _CLOSED, 0.035)))
        put(frame, patch, box, 0.5 * self.opening.margin)

    def _inside(self, pose: Pose, box: Box, coverage: Floats, gap: float) -> Pixels:
        """(h, w, 3): cavity, tongue, teeth and shading in `box`."""
        jaw = self.rig.jaw_displacement(pose.row)
        drop = float(jaw @ self.rig.frame.axes[1]) / self.width
        raised = float(np.clip(pose.row[_TONGUE], 0, 1))
        tip = 0.36 * drop + 0.02 - raised * (0.36 * drop + 0.12)
        colour = np.empty((box[3] - box[1], box[2] - box[0], 3), np.float32)
        colour[:] = self.colours.cavity
        for texture, left, top, tall, base in (
            (self._tongue, -0.4, tip, 0.62, 0.2 * jaw),
            (self._lower, -0.36, -0.09, 0.36, jaw),
            (self._upper, -0.5, -0.335, 0.5, 0 * jaw),
        ):
            self._composite(colour, texture, self._place(base, (left, top, -2 * left, tall), texture, pose, box))
        if self._own is not None:
            self._composite(colour, self._own[0], self._own_teeth_place(self._own[1], pose, box))
        self._shade(colour, coverage, pose.points, box, gap)
        return np.asarray(np.clip(colour, 0, 255), np.uint8)

    def _place(
        self, base: Array, at: tuple[float, float, float, float], texture: Floats, pose: Pose, box: Box
    ) -> Array:
        """(2, 3) affine map from texture to `box` pixels.

        The texture lies at (left, top, width, height) in mouth widths, displaced by `base` (3,) pixels.
        """
        left, top, wide, tall = at
        across, down = self.rig.frame.axes[0] * self.width, self.rig.frame.axes[1] * self.width
        rows, columns = texture.shape[:2]
        start = pose.carry(self.middle + base + left * across + top * down) - box[:2]
        return np.column_stack([pose.direct(across) * wide / columns, pose.direct(down) * tall / rows, start])

    def _own_teeth_place(self, corner: tuple[int, int], pose: Pose, box: Box) -> Array:
        """(2, 3) affine map from the portrait's own teeth to `box` pixels; they are fixed to the skull."""
        start = pose.carry(np.array([*corner, self.middle[2]], np.float64)) - box[:2]
        return np.column_stack([pose.turn[:2, 0], pose.turn[:2, 1], start])

    def _composite(self, colour: Floats, texture: Floats, affine: Array) -> None:
        """Composite a texture with premultiplied alpha over the colours, in place."""
        size = (colour.shape[1], colour.shape[0])
        warped = cv2.warpAffine(texture, affine, size, flags=cv2.INTER_LINEAR)
        colour *= 1 - warped[..., 3:]
        colour += warped[..., :3]

    def _shade(self, colour: Floats, coverage: Floats, points: Floats, box: Box, gap: float) -> None:
        """Darken towards the lips, the corners and the shadow of the upper lip, in place."""
        place = Grid(box[0], box[1], 1, box[2] - box[0], box[3] - box[1]).points()
        left, right = points[mesh.MOUTH_LEFT, :2], points[mesh.MOUTH_RIGHT, :2]
        across = (right - left).astype(np.float32)
        length = max(float(np.linalg.norm(across)), 1.0)
        u = np.abs((place - 0.5 * (left + right)) @ (across / length)) / (0.5 * length)
        inside = (coverage > 0.5).astype(np.uint8)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3) / length
        near = 0.5 + 0.5 * smoothstep(cast(Array, depth), 0.0, min(0.09, 0.5 * gap + 0.02))
        # little light enters a narrow gap: bright teeth in it would look like a seam
        shade = near * (1 - 0.55 * smoothstep(u, 0.45, 1.0)) * (0.4 + 0.6 * _ramp(gap, 0.0, 0.14))
        shade = shade[..., None].astype(np.float32)
        colour *= shade
        colour += (1 - shade) * (0.55 * self.colours.cavity)


def _ramp(x: float, low: float, high: float) -> float:
    return float(smoothstep(np.array(x), low, high))


class _Colours:
    """Colours of the inside of the mouth for this face: RGB float32."""

    def __init__(self, picture: Pixels, points: Array) -> None:
        spots = np.array([_around(picture, points[p]) for p in (50, 280, 205, 425, mesh.NOSE_TIP, 9, 151)])
        self.skin = np.median(spots, 0)
        light = float(np.percentile(spots.mean(1), 70))
        self.light = float(np.clip(light / 175, 0.3, 1.1))
        lips = np.median([_around(picture, points[p]) for p in (17, 16, 85, 315, 0, 72, 302)], 0)
        hue = self.skin / max(float(self.skin.mean()), 1.0)
        # under coloured light nothing is white: the redder the skin, the more of its hue the teeth get
        cast = float(np.clip(0.22 + 1.2 * (0.75 - hue.min()), 0.2, 0.5))
        white = np.array([1.02, 1.0, 0.95]) * (1 - cast) + hue * cast
        self.teeth = (white / white.mean() * np.clip(light * 1.08 + 16, 60, 228)).astype(np.float32)
        warm = self.light * (1 + cast * (hue / hue.mean() - 1))
        self.cavity = (np.array([52.0, 23.0, 22.0]) * warm).astype(np.float32)
        flesh = np.array([168.0, 84.0, 84.0]) * warm
        self.tongue = (0.72 * flesh + 0.28 * lips).astype(np.float32) * np.float32(0.95)
        self.gum = (0.6 * np.array([150.0, 72.0, 74.0]) * warm + 0.4 * lips).astype(np.float32) * np.float32(0.8)


def _around(picture: Pixels, point: Array) -> Array:
    """The mean colour of a few pixels around a point."""
    x, y = np.round(point[:2]).astype(int)
    reach = max(1, picture.shape[0] // 200)
    rows = slice(max(0, min(y, picture.shape[0] - 1) - reach), max(1, y + reach + 1))
    columns = slice(max(0, min(x, picture.shape[1] - 1) - reach), max(1, x + reach + 1))
    return np.asarray(picture[rows, columns].reshape(-1, 3).mean(0))


def _teeth(fine: int, colour: Floats, gum: Floats, size: float) -> Floats:
    """(rows, columns, 4) premultiplied: a row of teeth, biting edge down, 1 mouth width wide and 0.5 tall.

    It is one band with a scalloped edge and faint seams, which suits the size of a face in a video, and drawings.
    """
    rows, columns = fine // 2, fine
    x: Array = (np.arange(columns, dtype=np.float64) + 0.5) / columns - 0.5
    y: Array = ((np.arange(rows, dtype=np.float64) + 0.5) / rows * 0.5)[:, None]
    edges: Array = np.cumsum(_TOOTH_WIDTHS * size)
    k = np.minimum(np.searchsorted(edges, np.abs(x)), len(edges) - 1)
    start = np.concatenate([[0], edges])[k]
    inner: Array = np.clip((np.abs(x) - start) / (_TOOTH_WIDTHS[k] * size) * 2 - 1, -1, 1)
    end = 0.385 * (1 - 0.06 * (1 - _TOOTH_LENGTHS[k] * size) - 0.03 * np.abs(inner) ** 5)
    soft = 1.6 / fine
    band = smoothstep(end[None] - y, -soft, soft) * (1 - smoothstep(np.abs(x), edges[-1] - 0.03, edges[-1]))[None]
    seam = 1 - 0.11 * np.exp(-(((1 - np.abs(inner)) * _TOOTH_WIDTHS[k] * size * fine / 1.3) ** 2))
    round_ = 1 - 0.07 * inner**2
    side = 1 - 0.5 * smoothstep(np.abs(x), 0.12, 0.46)
    rise = 0.8 + 0.2 * smoothstep(y, 0.2, 0.33)
    # shaded teeth take on the red of their surroundings instead of turning grey
    light = (seam * round_ * side)[None, :, None] * rise[..., None]
    rgb = colour * light + 0.55 * gum * (1 - light)
    root = smoothstep(y, 0.165, 0.185)[..., None] * np.ones((1, columns, 1))
    rgb = rgb * root + gum * (1 - root) * side[None, :, None]
    texture = np.concatenate([rgb * band[..., None], band[..., None]], 2).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(texture, (0, 0), max(0.5, fine / 200)), np.float32)


def _tongue(fine: int, colour: Floats) -> Floats:
    """(rows, columns, 4) premultiplied: a soft mound with a faint furrow, tip upwards."""
    side = fine // 2
    x: Array = ((np.arange(side, dtype=np.float64) + 0.5) / side * 2 - 1)[None]
    y: Array = ((np.arange(side, dtype=np.float64) + 0.5) / side)[:, None]
    above: Array = np.maximum((0.55 - y) / 0.55, 0.0)
    reach: Array = np.hypot(x / 0.92, above)
    body = smoothstep(1 - reach, 0.0, 0.28)
    light = 0.72 + 0.28 * smoothstep(y, 0.0, 0.35) - 0.14 * np.exp(-((x / 0.1) ** 2)) * smoothstep(y, 0.1, 0.4)
    light = light * (1 - 0.3 * x**2)
    return np.asarray(np.concatenate([colour * (light * body)[..., None], body[..., None]], 2), np.float32)


def _own_teeth(
    picture: Pixels, points: Array, width: float, colours: _Colours
) -> tuple[Floats, tuple[int, int]] | None:
    """The teeth visible in the portrait, premultiplied, and their corner; None if there are none."""
    rim = points[[*mesh.UPPER_CURVE, *mesh.LOWER_CURVE[::-1]], :2]
    low, high = np.floor(rim.min(0)).astype(int) - 2, np.ceil(rim.max(0)).astype(int) + 3
    low = np.maximum(low, 0)
    crop = picture[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    inside = cover(rim, (int(low[0]), int(low[1]), int(low[0]) + crop.shape[1], int(low[1]) + crop.shape[0]))
    core = crop[inside > 0.99]
    if len(core) < 12 or np.percentile(core.mean(1), 75) < 0.62 * colours.skin.mean():
        return None
    reach = max(1, round(0.02 * width))
    shape = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    alpha = cv2.GaussianBlur(cv2.erode(inside, shape), (0, 0), 0.6 * reach + 0.4)
    side: Array = np.abs(np.linspace(-1, 1, crop.shape[1]))
    alpha = (alpha * (1 - smoothstep(side, 0.55, 0.85))[None])[..., None]
    return np.concatenate([crop * alpha, alpha], 2).astype(np.float32), (int(low[0]), int(low[1]))

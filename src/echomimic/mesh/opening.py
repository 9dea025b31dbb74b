"""An opening of the face, mouth or eye: skin above it, skin below it, and what shows in between."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.mesh.torso import Surroundings
from echomimic.mesh.warp import (
    Box,
    Field,
    Grid,
    Pose,
    Rim,
    backward,
    bounds,
    build_field,
    continue_rim,
    enlarge,
    sample,
)
from echomimic.types import Floats

Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

FINER = 2
"""The portrait is enlarged this much before it is read: linear reading of it is then as sharp as cubic."""
_FINE_EDGE = 4


@cache
def smooth_curve(count: int, per_span: int = 4) -> Array:
    """(samples, count) matrix that draws a Catmull-Rom curve through `count` points."""
    rows = []
    for k in range(count - 1):
        for t in np.arange(per_span) / per_span:
            row = np.zeros(count)
            weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
            for place, weight in zip((k - 1, k, k + 1, k + 2), weights, strict=True):
                # beyond its ends the curve goes on straight
                if place < 0:
                    row[0] += weight
                    row[0] += weight
                    row[1] -= weight
                elif place >= count:
                    row[-1] += 2 * weight
                    row[-2] -= weight
                else:
                    row[place] += weight
            rows.append(row / 2)
    rows.append(np.eye(count)[-1])
    return np.stack(rows)


def cover(polygon: Array, box: Box) -> Floats:
    """(h, w) float32: which share of each pixel of `box` lies in the polygon (n, 2)."""
    width, height = box[2] - box[0], box[3] - box[1]
    fine = np.zeros((height * _FINE_EDGE, width * _FINE_EDGE), np.uint8)
    corners = ((polygon - (box[0] - 0.5, box[1] - 0.5)) * _FINE_EDGE - 0.5) * 16
    cv2.fillPoly(fine, [np.round(corners).astype(np.int32)], (255,), cv2.LINE_8, 4)
    return np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA), np.float32) * np.float32(1 / 255)


def below(curve: Array, box: Box) -> Floats:
    """(h, w) float32: which share of each pixel lies below a curve that is continued level to both sides."""
    along = curve[-1] - curve[0]
    along = along / max(float(np.linalg.norm(along)), 1e-6)
    reach = 2.0 * (box[2] - box[0] + box[3] - box[1])
    down = np.array([-along[1], along[0]]) * reach
    left, right = curve[0] - along * reach, curve[-1] + along * reach
    return cover(np.concatenate([[left], curve, [right, right + down, left + down]]), box)


def blend(under: Pixels, over: Pixels, share: Floats) -> Pixels:
    """`over` laid upon `under` by `share` (h, w) in 0..1."""
    return np.asarray(cv2.blendLinear(over, under, share, 1 - share), np.uint8)


class Opening:
    """The skin round one opening: two fields, one for each side of it."""

    def __init__(
        self,
        landmarks: Array,
        around: Surroundings,
        rims: tuple[Sequence[int], Sequence[int]],
        region: Sequence[int],
        margin: float,
        cell: int,
    ) -> None:
        self.size, self.cell, self.margin = around.size, cell, margin
        self.region = np.array(region)
        box = bounds(landmarks[self.region], (2 * margin,) * 4, around.size)
        field = build_field(Grid.over(box, cell), landmarks, around)
        self.fields: tuple[Field, Field] = (
            continue_rim(field, Rim.of(rims[0], landmarks), 1),
            continue_rim(field, Rim.of(rims[1], landmarks), -1),
        )

    def box(self, points: Floats) -> Box:
        """The pixels of the frame that this opening draws, once the mesh is at `points`."""
        return bounds(points[self.region], (self.margin,) * 4, self.size)

    def skin(self, portrait: Pixels, pose: Pose, box: Box, split: Array) -> Pixels:
        """(h, w, C): the skin in `box`, above and below the curve `split`; `portrait` is enlarged by `FINER`."""
        target = Grid.over(box, self.cell)
        sides = []
        for field in self.fields:
            found = backward(field.motion(pose.moved, pose.drives), field.grid, target, 4, FINER)
            sides.append(np.asarray(sample(portrait, enlarge(found, target, box)), np.uint8))
        return blend(sides[0], sides[1], below(split, box))


def fill_opening(picture: Pixels, landmarks: Array, rims: tuple[Sequence[int], Sequence[int]]) -> Pixels:
    """The picture with an opening painted over from its rims, so that nothing of it clings to them as they close."""
    upper, lower = (Rim.of(rim, landmarks) for rim in rims)
    box = bounds(landmarks[[*rims[0], *rims[1]]], (3, 3, 3, 3), (picture.shape[1], picture.shape[0]))
    points = Grid(box[0], box[1], 1, box[2] - box[0], box[3] - box[1]).points()
    flat = points.reshape(-1, 2).astype(np.float64)
    t, under = upper.lay(flat)
    over = -lower.lay(flat)[1]
    inside = (t > upper.t[0]) & (t < upper.t[-1]) & (under > -1) & (over > -1)
    away = np.where(under < over, -(under + 1.2), over + 1.2) * inside
    at = (flat + away[:, None] * upper.down).reshape(points.shape).astype(np.float32)
    filled = picture.copy()
    filled[box[1] : box[3], box[0] : box[2]] = sample(picture, at)
    return filled

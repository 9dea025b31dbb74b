"""An opening of the face (mouth or eye): the skin above and below it, and blending of what is inside."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.mesh.upper_body import Surroundings
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
"""Enlargement of the portrait before it is sampled: linear sampling is then as sharp as cubic."""
_FINE_EDGE = 4
_STEPS = 2
"""Newton steps of all points before those that are still off get more."""


@cache
def smooth_curve(count: int, per_span: int = 4) -> Array:
    """(samples, count) matrix that samples a Catmull-Rom curve through `count` points."""
    rows = []
    for k in range(count - 1):
        for t in np.arange(per_span) / per_span:
            row = np.zeros(count)
            weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
            for place, weight in zip((k - 1, k, k + 1, k + 2), weights, strict=True):
                # the curve is extended linearly beyond its ends
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
    """(h, w) float32: coverage of each pixel of `box` by the polygon (n, 2)."""
    width, height = box[2] - box[0], box[3] - box[1]
    if not width or not height:
        return np.zeros((height, width), np.float32)
    fine = np.zeros((height * _FINE_EDGE, width * _FINE_EDGE), np.uint8)
    corners = ((polygon - (box[0] - 0.5, box[1] - 0.5)) * _FINE_EDGE - 0.5) * 16
    cv2.fillPoly(fine, [np.round(corners).astype(np.int32)], (255,), cv2.LINE_8, 4)
    return np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA), np.float32) * np.float32(1 / 255)


def below(curve: Array, box: Box) -> Floats:
    """(h, w) float32: fraction of each pixel below a curve, which is extended to both sides."""
    along = curve[-1] - curve[0]
    along = along / max(float(np.linalg.norm(along)), 1e-6)
    reach = 2.0 * (box[2] - box[0] + box[3] - box[1])
    down = np.array([-along[1], along[0]]) * reach
    left, right = curve[0] - along * reach, curve[-1] + along * reach
    return cover(np.concatenate([[left], curve, [right, right + down, left + down]]), box)


def blend(under: Pixels, over: Pixels, alpha: Floats) -> Pixels:
    """Blend `over` onto `under` by `alpha` (h, w) in 0..1."""
    return np.asarray(cv2.blendLinear(over, under, alpha, 1 - alpha), np.uint8)


class Opening:
    """The skin around one opening: two displacement fields, one for each side.

    The displacement is smoothed over `even` pixels; otherwise lines in the skin would bend at every edge of the mesh.
    """

    def __init__(
        self,
        landmarks: Array,
        around: Surroundings,
        rims: tuple[Sequence[int], Sequence[int]],
        region: Sequence[int],
        margin: float,
        cell: int,
        even: float,
    ) -> None:
        self.size, self.cell, self.margin = around.size, cell, margin
        self._even = even / cell
        self.region = np.array(region)
        box = bounds(landmarks[self.region], (2.2 * margin,) * 4, around.size)
        grid = Grid.over(box, cell)
        self.fields: list[Field] = []
        # triangles of the other side share pixels with this rim and must not distort it
        for rim, other, way in ((rims[0], rims[1], 1), (rims[1], rims[0], -1)):
            field = build_field(grid, landmarks, around, other[1:-1])
            self.fields.append(continue_rim(field, Rim.of(rim, landmarks), way))

    def box(self, points: Floats) -> Box:
        """The pixels of the frame that this opening covers if the mesh is at `points`."""
        return bounds(points[self.region], (self.margin,) * 4, self.size)

    def skin(self, portrait: Pixels, pose: Pose, box: Box, split: Array) -> Pixels:
        """(h, w, C): the skin in `box` above and below the curve `split`; `portrait` is enlarged by `FINER`."""
        middle = bounds(split, (0, 2, 0, 2), self.size)
        high = max(box[1], min(middle[1], box[3]))
        low = max(high, min(middle[3], box[3]))
        if high == low:  # the curve lies outside the picture
            return self._side(0 if high > box[1] else 1, portrait, pose, box)
        # rows of the grid begin where they would begin for the whole box
        first = box[1] + (high - box[1]) // self.cell * self.cell
        upper = self._side(0, portrait, pose, (box[0], box[1], box[2], low))
        lower = self._side(1, portrait, pose, (box[0], first, box[2], box[3]))
        both = blend(
            upper[high - box[1] :], lower[high - first : low - first], below(split, (box[0], high, box[2], low))
        )
        return np.concatenate([upper[: high - box[1]], both, lower[low - first :]])

    def _side(self, side: int, portrait: Pixels, pose: Pose, box: Box) -> Pixels:
        """The skin in `box` as the field of one side moves it."""
        field, target = self.fields[side], Grid.over(box, self.cell)
        motion = field.motion(pose.moved, pose.drives)
        motion = np.asarray(cv2.GaussianBlur(motion, (0, 0), self._even), np.float32)
        found = backward(motion, field.grid, target, _STEPS, FINER, steep=True)
        return np.asarray(sample(portrait, enlarge(found, target, box)), np.uint8)


def put(frame: Pixels, patch: Pixels, box: Box, edge: float) -> None:
    """Blend `patch` into `frame` at `box`, in place; it fades out over the last `edge` pixels."""
    sides = []
    for low, high in ((box[1], box[3]), (box[0], box[2])):
        steps = np.arange(0.5, high - low)
        sides.append(np.clip(np.minimum(steps, steps[::-1]) / edge, 0, 1).astype(np.float32))
    there = frame[box[1] : box[3], box[0] : box[2]]
    there[:] = blend(np.ascontiguousarray(there), patch, np.minimum(sides[0][:, None], sides[1][None]))


def fill_opening(picture: Pixels, landmarks: Array, rims: tuple[Sequence[int], Sequence[int]]) -> Pixels:
    """Inpaint an opening from its rims, so that none of its pixels move with them when they close.

    The upper half gets the darkest colours along the upper rim (lashes, the shadow of a lip), the lower half those just
    below the lower rim; both are smoothed along the rim.
    """
    upper, lower = (Rim.of(rim, landmarks) for rim in rims)
    length = upper.t[-1]
    box = bounds(landmarks[[*rims[0], *rims[1]]], (3, 3, 3, 3), (picture.shape[1], picture.shape[0]))
    points = Grid(box[0], box[1], 1, box[2] - box[0], box[3] - box[1]).points()
    flat = points.reshape(-1, 2).astype(np.float64)
    t, under = upper.project(flat)
    over = -lower.project(flat)[1]
    inside = (t > 0) & (t < length) & (under > 0) & (over > 0)
    along = np.linspace(0, length, max(8, int(2 * length)))
    top = _rim_colours(picture, upper, along, np.linspace(-0.07, -0.005, 6) * length, 20)
    bottom = _rim_colours(picture, lower, along, np.linspace(0.01, 0.05, 4) * length, 50)
    place = np.clip(t / length * (len(along) - 1), 0, len(along) - 1).astype(int)
    colours = np.where((under < over)[:, None], top[place], bottom[place])
    crop = picture[box[1] : box[3], box[0] : box[2]].reshape(-1, 3)
    filled = picture.copy()
    painted = np.where(inside[:, None], colours, crop).reshape(*points.shape[:2], 3)
    filled[box[1] : box[3], box[0] : box[2]] = np.clip(painted + 0.5, 0, 255).astype(np.uint8)
    return filled


def _rim_colours(picture: Pixels, rim: Rim, along: Array, beside: Array, darkest: float) -> Array:
    """(len(along), 3): colours along a rim, each of a given brightness percentile over the offsets `beside` it."""
    at = rim.origin + along[None, :, None] * rim.across
    at = at + (np.interp(along, rim.t, rim.v)[None] + beside[:, None])[..., None] * rim.down
    seen = sample(picture, at.astype(np.float32)).astype(np.float64)
    rank = np.argsort(seen.mean(2), 0)[int(darkest / 100 * (len(beside) - 1))]
    chosen = np.take_along_axis(seen, rank[None, :, None], 0)[0]
    return np.asarray(
        cv2.GaussianBlur(chosen[None], (0, 0), max(1.0, 0.05 * len(along)), borderType=cv2.BORDER_REPLICATE)[0]
    )

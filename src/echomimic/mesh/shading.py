"""Light on skin that moves: folds where it is pushed together, and light that stays while the head turns.

Both are one factor per pixel, computed on the grid of the face.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.mouth_colours import FaceLight, vertex_normals
from echomimic.mesh.openings import Pixels
from echomimic.mesh.rig import Rig
from echomimic.mesh.upper_body import Surroundings, smoothstep
from echomimic.mesh.warp import DRIVES, Box, Field, Grid, Pose, enlarge, sample
from echomimic.types import Floats

Array = npt.NDArray[np.float64]

DEEPEST = 0.12
"""Darkest fold: the fraction of light that it loses."""
_FOLD_GAIN = 0.5
"""Darkness of a fold per unit of compression."""
_FOLD_WIDTH = 0.16
"""Distance from the line of the fold in which skin darkens, in mouth widths."""
_MOST = 0.12
"""Largest change of light by a turn of the head."""
_VISIBLE = 1 / 200
_UNIT = 128
"""A factor of 1 in 8 bits."""


@dataclass(frozen=True)
class Shade:
    """Light on a face: `light` (h, w) uint8 factors in units of 1 / 128, for the pixels of `box`."""

    light: Pixels
    box: Box

    def apply(self, frame: Pixels) -> None:
        """Shade `frame` (H, W, 3 or 4), in place; alpha stays."""
        planes = [self.light] * 3 + [np.full_like(self.light, _UNIT)] * (frame.shape[2] - 3)
        there = frame[self.box[1] : self.box[3], self.box[0] : self.box[2]]
        there[:] = cv2.multiply(np.ascontiguousarray(there), cv2.merge(planes), scale=1 / _UNIT)


class SkinShading:
    """Brightness of the moved skin of one portrait, on the grid of its face's `field`."""

    def __init__(self, rig: Rig, around: Surroundings, field: Field, light: FaceLight) -> None:
        self._rig, self._field, self._light = rig, field, light
        self._normals = vertex_normals(rig.landmarks)
        self._before = light.level + self._normals @ light.slope
        points = field.grid.points().reshape(-1, 2).astype(np.float64)
        near = 1 - smoothstep(around.outside(points).far, 0.0, 0.1)
        self._near = near.reshape(field.grid.rows, field.grid.columns).astype(np.float32)
        self._fold = self._near * self._nasolabial(points).reshape(self._near.shape).astype(np.float32)
        self._still = np.zeros((DRIVES, 2), np.float32)

    def _nasolabial(self, points: Array) -> Array:
        """(N,) 1 on the folds from the wings of the nose to the corners of the mouth, 0 away from them."""
        away = np.full(len(points), np.inf)
        for line in mesh.NASOLABIAL_FOLDS:
            corners = self._rig.landmarks[list(line), :2]
            for a, b in pairwise(corners):
                along = np.clip(((points - a) @ (b - a)) / max(float((b - a) @ (b - a)), 1e-9), 0, 1)
                away = np.minimum(away, np.linalg.norm(points - a - along[:, None] * (b - a), axis=1))
        return np.exp(-((away / (_FOLD_WIDTH * self._rig.frame.mouth_width)) ** 2))

    def shade(self, pose: Pose, found: Floats, grid: Grid, box: Box) -> Shade | None:
        """The light on the face in `box`, None if it is as in the portrait; `found` are the sources of `grid`."""
        factors = self._factors(pose)
        if factors is None:
            return None
        at = np.empty_like(found)
        for axis, origin in enumerate((self._field.grid.left, self._field.grid.top)):
            at[..., axis] = (found[..., axis] - np.float32(origin)) * np.float32(1 / self._field.grid.cell)
        light = enlarge(np.asarray(sample(factors, at) * np.float32(_UNIT), np.float32), grid, box)
        return Shade(np.asarray(light + np.float32(0.5), np.uint8), box)

    def _factors(self, pose: Pose) -> Floats | None:
        """(rows, columns) brightness relative to the portrait; None if the difference cannot be seen."""
        after = self._light.level + self._normals @ (pose.turn.T @ self._light.slope)
        turned = np.clip(after / np.maximum(self._before, 1.0) - 1, -_MOST, _MOST).astype(np.float32)
        moved = ((pose.points - pose.shift) @ pose.turn - self._rig.rest)[:, :2].astype(np.float32)
        motion = self._field.motion(moved, self._still)
        parts = turned[self._field.mesh] * self._field.weights
        light = (parts[:, 0] + parts[:, 1] + parts[:, 2]).reshape(self._near.shape) * self._near
        pushed = np.maximum(-_divergence(motion, self._field.grid.cell), 0)
        light -= np.minimum(_FOLD_GAIN * pushed, DEEPEST) * self._fold
        if float(np.abs(light).max()) < _VISIBLE:
            return None
        return np.asarray(cv2.GaussianBlur(1 + light, (0, 0), 1.2), np.float32)


def _divergence(motion: Floats, cell: int) -> Floats:
    """(rows, columns): how much the displacement (rows, columns, 2) spreads skin; negative where it is compressed."""
    spread = np.zeros(motion.shape[:2], np.float32)
    spread[:, 1:-1] += (motion[:, 2:, 0] - motion[:, :-2, 0]) * np.float32(0.5 / cell)
    spread[1:-1] += (motion[2:, :, 1] - motion[:-2, :, 1]) * np.float32(0.5 / cell)
    return spread

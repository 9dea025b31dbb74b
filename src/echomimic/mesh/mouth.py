"""The inside of the mouth: a dark cavity, a tongue, upper teeth fixed to the skull, lower teeth fixed to the jaw.

Textures are drawn once per portrait; a frame only moves, shades and masks them, at twice the size of the frame.
"""

import zlib
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.landmarks.head_pose import align, face_template
from echomimic.mesh.mouth_colours import fit_light, mouth_colours
from echomimic.mesh.openings import Opening, Pixels, cover, put, smooth_curve
from echomimic.mesh.rig import Rig, measure
from echomimic.mesh.teeth import tooth_row
from echomimic.mesh.upper_body import Surroundings, ramp, smoothstep
from echomimic.mesh.warp import Box, Pose, bounds
from echomimic.types import CURVE_NAMES, Floats

Array = npt.NDArray[np.float64]

TWICE = 2
"""The inside is drawn at this many times the size of the frame."""
_CLOSED = 0.008
_TONGUE, _SPREAD, _JAW = (CURVE_NAMES.index(name) for name in ("tongue", "spread", "jaw"))
_BEHIND = 0.05
"""Depth of the front teeth behind the rims of the lips, in mouth widths."""
_UPPER_EDGE = 0.085
"""Distance of the upper teeth's edge below the line of the closed lips, in mouth widths."""
_LOWER_EDGE, _LOWER_SPREAD, _LOWER_WIDE = -0.008, 0.045, 0.035
"""The lower teeth's edge above the lower lip: at rest, and how much more at full spread and at a wide jaw."""


class MouthRenderer:
    """Draws the mouth of one portrait."""

    def __init__(self, picture: Pixels, rig: Rig, around: Surroundings, softness: float) -> None:
        """`softness` is the sigma of the picture's blur in pixels."""
        self.rig, self._soft = rig, softness
        points = rig.landmarks
        self.width = rig.frame.mouth_width
        rims = (mesh.UPPER_CURVE, mesh.LOWER_CURVE)
        cell = max(1, round(self.width / 28))
        self.opening = Opening(points, around, rims, list(mesh.LIP_RINGS), 0.2 * self.width, cell, 0.02 * self.width)
        self._smooth = smooth_curve(len(mesh.UPPER_CURVE))
        self.middle = 0.5 * (rig.rest[mesh.UPPER_LIP[4]] + rig.rest[mesh.LOWER_LIP[4]])
        self.colours = mouth_colours(picture, points, rig.open)
        self._axes, self._tooth_width = _tooth_axes(points), measure(points).mouth_width
        self._light = fit_light(picture, points)
        fine = float(np.clip(TWICE * self.width, 48, 480))
        draw = np.random.default_rng(zlib.crc32(picture[::16, ::16].tobytes()))
        self._upper = tooth_row(True, fine, self.colours.teeth, self.colours.gum, draw)
        self._lower = tooth_row(False, fine, self.colours.teeth * np.float32(0.9), self.colours.gum, draw)
        self._tongue = _tongue(int(fine), self.colours.tongue)

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
            self._open(patch, box, np.concatenate([upper, lower[::-1]]), pose, gap)
        put(frame, patch, box, 0.5 * self.opening.margin)

    def _open(self, patch: Pixels, box: Box, rim: Array, pose: Pose, gap: float) -> None:
        """Draw the inside of the mouth, the polygon `rim`, into the lips' `patch` at `box`, in place."""
        margin = 3 * self._soft + 1
        found = bounds(rim, (margin,) * 4, (box[2], box[3]))
        low = max(found[0], box[0]), max(found[1], box[1])
        hole = (*low, max(found[2], low[0] + 1), max(found[3], low[1] + 1))
        coverage = cover(rim, hole)
        inside = self._inside(pose, hole, coverage, gap)
        soft = np.asarray(cv2.GaussianBlur(coverage, (0, 0), max(0.3, 0.8 * self._soft)), np.float32)
        alpha = (np.maximum(soft, coverage * coverage) * np.float32(ramp(gap, _CLOSED, 0.035)))[..., None]
        there = patch[hole[1] - box[1] : hole[3] - box[1], hole[0] - box[0] : hole[2] - box[0]]
        if there.shape[2] == 4:
            inside = np.dstack([inside, np.full(inside.shape[:2], 255, np.float32)])
        there[:] = there + alpha * (inside - there) + np.float32(0.5)

    def _inside(self, pose: Pose, box: Box, coverage: Floats, gap: float) -> Floats:
        """(h, w, 3): cavity, tongue, teeth and shading in `box`."""
        jaw = self.rig.jaw_displacement(pose.row)
        axes, width = self.rig.frame.axes, self.width
        drop = float(jaw @ axes[1]) / width
        colour = np.empty(((box[3] - box[1]) * TWICE, (box[2] - box[0]) * TWICE, 3), np.float32)
        colour[:] = self.colours.cavity
        raised = float(np.clip(pose.row[_TONGUE], 0, 1))
        tip = 0.24 * drop + 0.03 - raised * (0.24 * drop + 0.11)
        self._draw_tongue(colour, 0.2 * jaw, tip, pose, box)
        self._draw_teeth(colour, jaw, drop, pose, np.array(box[:2], np.float64))
        colour = np.asarray(cv2.resize(colour, (box[2] - box[0], box[3] - box[1]), interpolation=cv2.INTER_AREA))
        if self._soft > 0.5:
            colour = np.asarray(cv2.GaussianBlur(colour, (0, 0), 0.9 * self._soft), np.float32)
        self._shade(colour, coverage, pose.points, box, gap)
        return np.clip(colour, 0, 255, out=colour)

    def _draw_teeth(self, colour: Floats, jaw: Array, drop: float, pose: Pose, corner: Array) -> None:
        """Composite the lower teeth, if the lip shows them, and the upper teeth, in place."""
        axes, width = self._axes, self._tooth_width
        behind, down = self.middle + _BEHIND * width * axes[2], width * axes[1]
        shown = _LOWER_SPREAD * max(float(pose.row[_SPREAD]), 0.0) + _LOWER_WIDE * ramp(drop, 0.2, 0.42) + _LOWER_EDGE
        if shown > 0:
            lower = behind + jaw + 0.02 * width * axes[2] + (self._lower.ahead - shown) * down
            self._lower.project(pose, axes, lower, -1.0, width, self._light).draw(colour, corner, TWICE)
        upper = behind + (_UPPER_EDGE - self._upper.ahead) * down
        self._upper.project(pose, axes, upper, 1.0, width, self._light).draw(colour, corner, TWICE)

    def _draw_tongue(self, colour: Floats, base: Array, tip: float, pose: Pose, box: Box) -> None:
        """Composite the tongue, its tip `tip` mouth widths below the lips' line, in place."""
        across, down = self.rig.frame.axes[0] * self.width, self.rig.frame.axes[1] * self.width
        rows, columns = self._tongue.shape[:2]
        start = pose.carry(self.middle + base - 0.4 * across + tip * down) - box[:2]
        affine = TWICE * np.column_stack([pose.direct(across) * 0.8 / columns, pose.direct(down) * 0.62 / rows, start])
        corners = np.array([[0, columns, 0, columns], [0, 0, rows, rows], [1, 1, 1, 1]])
        left, top, right, bottom = bounds((affine @ corners).T, (1,) * 4, (colour.shape[1], colour.shape[0]))
        if right <= left or bottom <= top:
            return
        affine[:, 2] -= left, top
        warped = cv2.warpAffine(self._tongue, affine, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
        there = colour[top:bottom, left:right]
        there *= 1 - warped[..., 3:]
        there += warped[..., :3]

    def _shade(self, colour: Floats, coverage: Floats, points: Floats, box: Box, gap: float) -> None:
        """Darken towards the lips, the corners and the shadow of the upper lip, in place."""
        left, right = points[mesh.MOUTH_LEFT, :2], points[mesh.MOUTH_RIGHT, :2]
        across = (right - left).astype(np.float64)
        length = max(float(np.linalg.norm(across)), 1.0)
        unit, middle = across / length, 0.5 * (left + right)
        x = (np.arange(box[0], box[2]) - middle[0]) * unit[0]
        y = (np.arange(box[1], box[3]) - middle[1]) * unit[1]
        u = np.abs(x[None] + y[:, None]) / (0.5 * length)
        inside = (coverage > 0.5).astype(np.uint8)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3) / length
        near = 0.7 + 0.3 * smoothstep(cast(Array, depth), 0.0, min(0.07, 0.5 * gap + 0.02))
        # little light enters a narrow gap: bright teeth in it would look like a seam
        shade = near * (1 - 0.55 * smoothstep(u, 0.45, 1.0)) * (0.35 + 0.65 * ramp(gap, 0.0, 0.13))
        shade = shade[..., None].astype(np.float32)
        colour *= shade
        colour += (1 - shade) * (0.55 * self.colours.cavity)


def _tooth_axes(landmarks: Array) -> Array:
    """(3, 3): axes (right, down, away) of the teeth: those of the head, with the first along the line of the mouth.

    The rig's own axes are those of a flattened head; teeth on them would not turn with a turned head.
    """
    right, down, away = align(face_template(), landmarks).rotation.T
    line = landmarks[mesh.MOUTH_RIGHT] - landmarks[mesh.MOUTH_LEFT]
    angle = np.arctan2(line @ down, line @ right)
    sine, cosine = np.sin(angle), np.cos(angle)
    return np.stack([cosine * right + sine * down, cosine * down - sine * right, away])


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

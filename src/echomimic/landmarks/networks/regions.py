"""Rotated regions of interest: how the input of a network is cut out, and how points are mapped back.

The rules are those of mediapipe's calculators (DetectionsToRects, AlignmentPointsToRects, RectTransformation,
ImageToTensor, LandmarkProjection, Association, RoiTracking), in pixels instead of fractions of the picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from echomimic.types import Floats, Picture

_MATCH = 0.5
"""Two regions that overlap by more than this (intersection over union) are taken for the same object."""


@dataclass(frozen=True)
class Region:
    """A rectangle: centre x, y, width and height in pixels; `angle` in radians, clockwise in the picture."""

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0

    def squared(self, scale: float, shift: float = 0.0) -> "Region":
        """A square of the longer side times `scale`, moved first by `shift` heights along the region's own y axis."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        side = max(self.width, self.height) * scale
        step = self.height * shift
        return Region(self.x - step * sin, self.y + step * cos, side, side, self.angle)

    def crop(self, pixels: Picture, size: int, low: float = 0.0, *, zeros: bool = False) -> Floats:
        """The region as network input (1, size, size, 3), 0..255 mapped to `low`..1.

        Outside the picture the edge is repeated, or black with `zeros`. As in mediapipe, the corner of the region is
        the centre of the crop's first pixel.
        """
        import cv2

        cos, sin = math.cos(self.angle), math.sin(self.angle)
        x = (np.arange(size) / size - 0.5).astype(np.float32) * np.float32(self.width)
        y = (np.arange(size) / size - 0.5).astype(np.float32)[:, None] * np.float32(self.height)
        # fixed-point maps, in 1/32 pixel, read the same samples with every release of OpenCV
        first, second = cv2.convertMaps(
            (x * np.float32(cos) + np.float32(self.x)) - y * np.float32(sin),
            (x * np.float32(sin) + np.float32(self.y)) + y * np.float32(cos),
            cv2.CV_16SC2,
        )
        border = cv2.BORDER_CONSTANT if zeros else cv2.BORDER_REPLICATE
        view = cv2.remap(pixels, first, second, cv2.INTER_LINEAR, borderMode=border)
        tensor = np.multiply(view, np.float32((1 - low) / 255), dtype=np.float32)
        return (tensor + np.float32(low) if low else tensor)[None]

    def to_picture(self, points: Floats) -> Floats:
        """Points (N, 2 or more) in fractions of the region as pixels of the picture; z is scaled by the width."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        x, y = (points[:, 0] - 0.5) * self.width, (points[:, 1] - 0.5) * self.height
        mapped = points.astype(np.float32)
        mapped[:, 0], mapped[:, 1] = self.x + x * cos - y * sin, self.y + x * sin + y * cos
        if points.shape[1] > 2:
            mapped[:, 2] *= self.width
        return mapped


def whole(pixels: Picture) -> Region:
    """The smallest square about the picture's centre that holds all of it."""
    height, width = pixels.shape[:2]
    side = max(width, height)
    return Region(width / 2, height / 2, side, side)


def from_points(points: Floats, start: int, end: int, degrees: float = 0.0) -> Region:
    """The upright box of `points` (N, 2+), turned so that the line from `start` to `end` lies at `degrees`."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return from_box((low[0], low[1], high[0] - low[0], high[1] - low[1]), points, start, end, degrees)


def from_box(box: Sequence[float], points: Floats, start: int, end: int, degrees: float = 0.0) -> Region:
    """A box x, y, width, height, turned so that the line between two of `points` lies at `degrees`."""
    x, y, width, height = (float(side) for side in box)
    return Region(x + width / 2, y + height / 2, width, height, angle_of(points[start], points[end], degrees))


def from_alignment(points: Floats, degrees: float) -> Region:
    """A square about points[0] that reaches to points[1], which lies at `degrees` from it."""
    side = 2 * float(np.hypot(*(points[1, :2] - points[0, :2])))
    return Region(float(points[0, 0]), float(points[0, 1]), side, side, angle_of(points[0], points[1], degrees))


def angle_of(start: Floats, end: Floats, degrees: float) -> float:
    """The angle, -pi to pi, of a region in which the line from `start` to `end` lies at `degrees` (90: upwards)."""
    dx, dy = float(end[0] - start[0]), float(end[1] - start[1])
    return (math.radians(degrees) + math.atan2(dy, dx) + math.pi) % (2 * math.pi) - math.pi


def merged(found: Sequence[Region], followed: Sequence[Region]) -> list[Region]:
    """Regions of new detections and of objects that are followed already; if two overlap, the latter are kept."""
    kept: list[Region] = []
    for region in (*found, *followed):
        kept = [other for other in kept if _overlap(region, other) <= _MATCH]
        kept.append(region)
    return kept


def _overlap(a: Region, b: Region) -> float:
    """Intersection over union, the angles ignored."""
    width = min(a.x + a.width / 2, b.x + b.width / 2) - max(a.x - a.width / 2, b.x - b.width / 2)
    height = min(a.y + a.height / 2, b.y + b.height / 2) - max(a.y - a.height / 2, b.y - b.height / 2)
    shared = max(0.0, width) * max(0.0, height)
    return shared / max(1e-9, a.width * a.height + b.width * b.height - shared)


@dataclass(frozen=True)
class Following:
    """How far a region of the frame before may differ from the newly proposed one and still be used."""

    degrees: float
    shift: float
    scale: float
    margin: float

    def choose(self, proposed: Region, points: Floats | None, before: Region | None) -> Region:
        """`before`, the region of the landmarks `points` of the last frame, if it fits `proposed`; else `proposed`."""
        if points is None or before is None:
            return proposed
        cos, sin = math.cos(-proposed.angle), math.sin(-proposed.angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        centre = turn @ (proposed.x, proposed.y)
        moved = np.abs(turn @ (before.x, before.y) - centre)
        turned = abs((math.degrees(before.angle - proposed.angle) + 180) % 360 - 180)
        grown = max(abs(before.width - proposed.width), abs(before.height - proposed.height))
        inside = np.abs(points[:, :2] @ turn.T - centre).max() < proposed.width * (1 + self.margin) / 2
        fits = (
            turned <= self.degrees
            and moved.max() <= proposed.width * self.shift
            and grown <= proposed.width * self.scale
            and inside
        )
        return before if fits else proposed

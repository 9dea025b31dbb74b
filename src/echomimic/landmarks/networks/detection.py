"""Single-shot detectors of faces, palms and bodies: anchors, decoding of boxes, suppression; and the selfie mask."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from echomimic.landmarks.networks.regions import Region, whole
from echomimic.landmarks.networks.runtime import network, sigmoid
from echomimic.types import Floats, Picture

Box = tuple[float, float, float, float]

_OVERLAP = 0.3
"""Detections that overlap the best one by more than this are averaged with it."""


@dataclass(frozen=True)
class Detection:
    """A detected object: `box` x, y, width, height in pixels, `score` 0..1, `keypoints` (K, 2) in pixels."""

    box: Box
    score: float
    keypoints: Floats


@dataclass(frozen=True)
class Detector:
    """A detector's network, its input's side and lowest value, and its layers of anchors: (stride, anchors a cell)."""

    name: str
    size: int
    low: float
    layers: tuple[tuple[int, int], ...]

    def __call__(self, pixels: Picture, confidence: float, region: Region | None = None) -> list[Detection]:
        """Objects in the picture, or in a square region of it, the surest first."""
        region = region or whole(pixels)
        values, logits = network(self.name)(region.crop(pixels, self.size, self.low, zeros=True))
        scores = sigmoid(logits[0, :, 0])
        sure = np.flatnonzero(scores >= confidence)
        boxes, keypoints = decode(values[0, sure], anchors(self.size, self.layers)[sure], self.size)
        return [
            _in_picture(box, score, points, region)
            for box, score, points in suppress_duplicates(boxes, scores[sure], keypoints)
        ]


FACE_SHORT_RANGE = Detector("face_short_range", 128, -1.0, ((8, 2), (16, 6)))
FACE_FULL_RANGE = Detector("face_full_range", 192, -1.0, ((4, 1),))
PALM = Detector("palm", 192, 0.0, ((8, 2), (16, 6)))
POSE = Detector("pose", 224, -1.0, ((8, 2), (16, 2), (32, 6)))


@cache
def anchors(size: int, layers: tuple[tuple[int, int], ...]) -> Floats:
    """Centres (N, 2) of the anchors in fractions of the input, row by row, layer by layer; their size counts as 1."""
    centres = []
    for stride, count in layers:
        cells = -(-size // stride)
        rows, columns = np.mgrid[:cells, :cells]
        grid = (np.stack([columns, rows], axis=-1).reshape(-1, 2) + 0.5) / cells
        centres.append(np.repeat(grid, count, axis=0))
    return np.concatenate(centres).astype(np.float32)


def decode(values: Floats, centres: Floats, size: int) -> tuple[Floats, Floats]:
    """Boxes (N, 4) as left, top, right, bottom and key points (N, K, 2) in fractions of the input.

    `values` (N, 4 + 2 K) are the box's centre, width and height and the points, in pixels from the anchor's centre.
    """
    scaled = values / np.float32(size)
    middle, half = scaled[:, :2] + centres, scaled[:, 2:4] / 2
    points = scaled[:, 4:].reshape(len(values), values.shape[1] // 2 - 2, 2) + centres[:, None]
    return np.concatenate([middle - half, middle + half], axis=1), points


def suppress_duplicates(boxes: Floats, scores: Floats, points: Floats) -> list[tuple[Floats, float, Floats]]:
    """Weighted non-maximum suppression: each detection is the mean, weighted by score, of those that overlap it.

    The score is that of the best one (Bazarevsky et al., BlazeFace, 2019).
    """
    valid = np.asarray((boxes[:, 2:] >= boxes[:, :2]).all(axis=1))
    left = [i for i in np.argsort(-scores, kind="stable") if valid[i]]
    kept = []
    while left:
        overlaps = _overlaps(boxes[left[0]], boxes[left])
        same = [i for i, overlap in zip(left, overlaps, strict=True) if overlap > _OVERLAP] or left[:1]
        weights = scores[same] / scores[same].sum()
        mean_points = np.tensordot(weights, points[same], axes=1)
        kept.append((weights @ boxes[same], float(scores[left[0]]), mean_points.astype(np.float32)))
        left = [i for i in left if i not in same]
    return kept


def _overlaps(box: Floats, boxes: Floats) -> Floats:
    """Intersection over union of one box with others."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - shared
    return np.asarray(shared / np.maximum(union, 1e-12), np.float32)


def _in_picture(box: Floats, score: float, points: Floats, region: Region) -> Detection:
    corners = region.to_picture(box[[[0, 1], [2, 1], [2, 3], [0, 3]]])
    low, high = corners.min(axis=0), corners.max(axis=0)
    sides = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
    return Detection(sides, score, region.to_picture(points))


_SIZE = 256


def selfie_mask(pixels: Picture) -> Floats:
    """Probability that a pixel shows a person: (H, W) float32 0..1."""
    import cv2

    height, width = pixels.shape[:2]
    region = Region(width / 2, height / 2, width, height)
    (mask,) = network("selfie")(region.crop(pixels, _SIZE, zeros=True))
    return np.asarray(cv2.resize(mask[0, :, :, 0], (width, height)), np.float32)

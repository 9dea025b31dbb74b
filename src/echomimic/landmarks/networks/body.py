"""33 body landmarks, smoothed over frames, and the hands and the face that belong to them."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from echomimic.landmarks.networks.detection import FACE_SHORT_RANGE, POSE
from echomimic.landmarks.networks.face_mesh import find_landmarks, region_of_landmarks
from echomimic.landmarks.networks.files import read_file
from echomimic.landmarks.networks.hands import find_hand, region_of_hand
from echomimic.landmarks.networks.regions import Following, Region, from_alignment, from_points
from echomimic.landmarks.networks.runtime import Network, network, network_outputs, sigmoid
from echomimic.types import Floats, Picture

_SIZE, _RECROP_SIZE = 256, 256
_POINTS, _HELPERS = 33, 2
"""The two points after the landmarks span the body's region: its centre and its reach."""
_LANDMARKS, _PRESENCE, _HEATMAP = 0, 1, 3
_KERNEL, _SURE = 9, 0.5
_FRAME = 0.033333
"""Seconds between frames that the filters reckon with, whatever the video's rate."""
_FACE = slice(0, 11)
_EYES = (5, 2)
_HANDS = ((15, 17, 19), (16, 18, 20))
"""Wrist, little finger and index finger of the left and the right hand."""
_WRIST_VISIBLE = 0.1
_FOLLOW_HAND = Following(degrees=40, shift=0.2, scale=0.4, margin=-0.1)
_FOLLOW_FACE = Following(degrees=15, shift=0.1, scale=0.3, margin=-0.2)


@dataclass
class OneEuro:
    """The One Euro filter (Casiez et al., CHI 2012): a low-pass whose cutoff rises with speed, here in object sizes."""

    cutoff: float
    beta: float
    _last: Floats | None = None
    _smooth: Floats | None = None
    _speed: Floats | None = None

    def __call__(self, values: Floats, scale: float) -> Floats:
        """The next values, smoothed; `scale` is the object's size in their unit."""
        if self._last is None or self._smooth is None or self._speed is None:
            self._smooth, self._speed = values, np.zeros_like(values)
        else:
            weight = _new_weight(1.0)
            self._speed = weight * (values - self._last) / (scale * _FRAME) + (1 - weight) * self._speed
            weight = _new_weight(self.cutoff + self.beta * np.abs(self._speed))
            self._smooth = weight * values + (1 - weight) * self._smooth
        self._last = values
        return self._smooth


def _new_weight(cutoff: float | Floats) -> Floats:
    """The weight of a new value in a low-pass filter of this cutoff in hertz."""
    return np.asarray(1 / (1 + 1 / (2 * np.pi * cutoff * _FRAME)))


@dataclass
class LowPass:
    """Exponential smoothing with a fixed weight of the new value."""

    weight: float
    _smooth: Floats | None = None

    def __call__(self, values: Floats) -> Floats:
        """The next values, smoothed."""
        self._smooth = values if self._smooth is None else self.weight * values + (1 - self.weight) * self._smooth
        return self._smooth


def refine(points: Floats, heatmaps: Floats) -> Floats:
    """Points (N, 2) in fractions, each moved to the centre of mass of its heat map (H, W, N) within 9 x 9 cells of it.

    Points whose map is nowhere surer than a half there, or which lie outside, stay.
    """
    height, width, count = heatmaps.shape
    moved = points.copy()
    reach = np.arange(_KERNEL) - _KERNEL // 2
    cells = np.trunc(points * (width, height)).astype(int)
    inside = (cells >= 0).all(axis=1) & (cells[:, 0] < width) & (cells[:, 1] < height)
    columns, rows = cells[:, :1] + reach, cells[:, 1:] + reach
    known = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    maps = heatmaps[
        rows.clip(0, height - 1)[:, :, None], columns.clip(0, width - 1)[:, None], np.arange(count)[:, None, None]
    ]
    weights = sigmoid(maps) * known
    sums = weights.sum(axis=(1, 2))
    sure = inside & (weights.max(axis=(1, 2)) >= _SURE)
    x = (weights.sum(axis=1) * columns).sum(axis=1) / np.maximum(sums, 1e-9) / width
    y = (weights.sum(axis=2) * rows).sum(axis=1) / np.maximum(sums, 1e-9) / height
    moved[sure] = np.stack([x, y], axis=1)[sure]
    return moved


class PoseTracker:
    """Finds the body of one person; with `video` it follows it from picture to picture and smooths its landmarks."""

    def __init__(self, *, video: bool = False, confidence: float = 0.5) -> None:
        self.video, self.confidence = video, confidence
        self._forget()

    def _forget(self) -> None:
        self._region: Region | None = None
        self._smooth_points, self._smooth_visibility = OneEuro(0.05, 80.0), LowPass(0.1)
        self._smooth_helpers = OneEuro(0.01, 10.0)

    def __call__(self, pixels: Picture) -> Floats | None:
        """Landmarks (33, 4): x, y, z in pixels and visibility 0..1; None if no body is found."""
        region = self._region or self._detect(pixels)
        found = None if region is None else find_pose(pixels, region, self.confidence)
        if found is None or not self.video:
            self._forget()
            return None if found is None else found[:_POINTS]
        points, helpers = found[:_POINTS], found[_POINTS:, :2]
        size = from_alignment(helpers, 90).width
        places, visibility = self._smooth_points(points[:, :3], size), self._smooth_visibility(points[:, 3:])
        self._region = from_alignment(self._smooth_helpers(helpers, size), 90).squared(1.25)
        return np.concatenate([places, visibility], axis=1).astype(np.float32)

    def _detect(self, pixels: Picture) -> Region | None:
        found = POSE(pixels, self.confidence)
        return from_alignment(found[0].keypoints, 90).squared(1.25) if found else None


def find_pose(pixels: Picture, region: Region, confidence: float) -> Floats | None:
    """Landmarks (35, 4) of the body in a region, x, y, z in pixels and visibility; None if there is none."""
    values, presence, heatmaps = _pose_network()(region.crop(pixels, _SIZE))
    if presence[0, 0] <= confidence:
        return None
    values = values.reshape(-1, 5)[: _POINTS + _HELPERS]
    points = values[:, :3] / np.float32(_SIZE)
    points[:, :2] = refine(points[:, :2], heatmaps[0, :, :, : len(points)])
    return np.concatenate([region.to_picture(points), sigmoid(values[:, 3:4])], axis=1)


@cache
def _pose_network() -> Network:
    """The network without its mask and its points in metres, which are not used."""
    outputs = network_outputs(read_file("pose_landmarks"))
    return Network("pose_landmarks", outputs=[outputs[i] for i in (_LANDMARKS, _PRESENCE, _HEATMAP)])


@dataclass(frozen=True)
class BodyLandmarks:
    """A person: `pose` (33, 4) x, y, z, visibility; left and right hand (21, 3); `face` (478, 3); None: not seen."""

    pose: Floats
    hands: tuple[Floats | None, Floats | None]
    face: Floats | None


class Holistic:
    """Finds one person's body and, if visible, the hands and the face; with `video` from frame to frame."""

    def __init__(self, *, video: bool = False) -> None:
        self._pose = PoseTracker(video=video)
        self._hands: list[Floats | None] = [None, None]
        self._face: Floats | None = None

    def __call__(self, pixels: Picture) -> BodyLandmarks | None:
        """The person in a picture; None if no body is found."""
        pose = self._pose(pixels)
        if pose is None:
            self._hands, self._face = [None, None], None
            return None
        self._hands = [self._hand(pixels, pose, side) for side in (0, 1)]
        self._face = self._find_face(pixels, pose)
        return BodyLandmarks(pose, (self._hands[0], self._hands[1]), self._face)

    def _hand(self, pixels: Picture, pose: Floats, side: int) -> Floats | None:
        if pose[_HANDS[side][0], 3] <= _WRIST_VISIBLE:
            return None
        wrist, little, index = pose[list(_HANDS[side]), :2]
        middle = (2 * index + little) / 3
        rough = from_alignment(np.stack([middle, 2 * middle - wrist]), 90).squared(2.7, -0.1)
        (found,) = network("hand_recrop")(rough.crop(pixels, _RECROP_SIZE))
        points = rough.to_picture(found.reshape(2, 2) / np.float32(_RECROP_SIZE))
        proposed = from_alignment(points, -90).squared(1.0, -0.1)
        before = self._hands[side]
        region = _FOLLOW_HAND.choose(proposed, before, None if before is None else region_of_hand(before))
        hand = find_hand(pixels, region)
        return None if hand is None else hand.points

    def _find_face(self, pixels: Picture, pose: Floats) -> Floats | None:
        faces = FACE_SHORT_RANGE(pixels, 0.5, from_points(pose[_FACE], *_EYES).squared(3.0))
        if not faces:
            return None
        proposed = from_points(faces[0].keypoints, 0, 1).squared(2.0, -0.1)
        before = self._face
        region = _FOLLOW_FACE.choose(proposed, before, None if before is None else region_of_landmarks(before))
        return find_landmarks(pixels, region, 0.5)

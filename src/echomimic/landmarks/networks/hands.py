"""21 hand landmarks with handedness, and up to a number of hands in a picture."""

from dataclasses import dataclass

import numpy as np

from echomimic.landmarks.networks.detection import PALM
from echomimic.landmarks.networks.regions import Region, angle_of, from_box, merged
from echomimic.landmarks.networks.runtime import network
from echomimic.types import Floats, Picture

_SIZE = 224
_DEPTH = 0.4
"""The network's depths are this fraction of the scale of its x and y."""
_PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
"""The landmarks that move little when fingers bend; a hand's region is made of them."""
_WRIST, _INDEX, _MIDDLE, _RING = 0, 5, 9, 13


@dataclass(frozen=True)
class HandLandmarks:
    """A hand: `points` (21, 3); `side` 0 if it is labelled left, 1 if right (as in a mirror); `score` of the label."""

    points: Floats
    side: int
    score: float


def find_hand(pixels: Picture, region: Region, confidence: float = 0.5) -> HandLandmarks | None:
    """The hand in a region of the picture; None if there is none."""
    points, presence, label, _ = network("hand_landmarks")(region.crop(pixels, _SIZE))
    if presence[0, 0] <= confidence:
        return None
    size = np.array([_SIZE, _SIZE, _SIZE * _DEPTH], np.float32)
    fractions = np.asarray(points.reshape(21, 3) / size, np.float32)
    left = float(label[0, 0])
    side = int(left < 0.5)
    return HandLandmarks(region.to_picture(fractions), side, 1 - left if side else left)


def region_of_hand(points: Floats) -> Region:
    """The region in which to search for a hand with landmarks (21, 3) in the next frame: its palm, fingers upwards."""
    knuckles = ((points[_INDEX] + points[_RING]) / 2 + points[_MIDDLE]) / 2
    angle = angle_of(points[_WRIST], knuckles, 90)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = points[list(_PALM), :2] @ rotation
    low, high = upright.min(axis=0), upright.max(axis=0)
    x, y = rotation @ ((low + high) / 2)
    return Region(float(x), float(y), float(high[0] - low[0]), float(high[1] - low[1]), angle).squared(2.0, -0.1)


def find_hands(pixels: Picture, most: int, confidence: float) -> list[HandLandmarks]:
    """Up to `most` hands in a picture."""
    palms = PALM(pixels, confidence)[:most]
    regions = [from_box(palm.box, palm.keypoints, 0, 2, 90).squared(2.6, -0.5) for palm in palms]
    hands = (find_hand(pixels, region) for region in merged(regions, []))
    return [hand for hand in hands if hand is not None]

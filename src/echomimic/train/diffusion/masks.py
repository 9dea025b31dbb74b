"""Audio masks of V2's training: where the voice acts: nowhere, at the lips, at the head, everywhere, or a blend of two.

Masks are maps of latent cells (h, w) float32 in 0..1. Points are fractions of the picture, (n, 2).
"""

import cv2
import numpy as np

from echomimic.diffusion.vae import FACTOR
from echomimic.landmarks.topology import FACE_68, LIPS_68
from echomimic.train.diffusion.settings import Hearing
from echomimic.types import Floats, LandmarkTrack, PoseTrack

LIPS_GROWN, HEAD_GROWN, HEAD_GROWN_UP = 1.3, 1.4, 1.6
"""Scale factors of the hull of the lips and of the box of the face, about their middles; the box grows more upwards."""


def face_points(track: PoseTrack | LandmarkTrack, frame: int) -> tuple[Floats, Floats] | None:
    """OpenPose's 68 points of the face, and the lips among them, as fractions of the picture; None if not found."""
    if isinstance(track, LandmarkTrack):
        face = (track.points[frame, list(FACE_68), :2] / track.image_size).astype(np.float32)
        return (face, face[list(LIPS_68)]) if track.valid[frame] else None
    face = track.face[frame, :, :2]
    return (face, face[list(LIPS_68)]) if track.face[frame, :, 2].min() > 0 else None


def lips_mask(lips: Floats, size: tuple[int, int]) -> Floats:
    """The convex hull of the lips, grown by 1.3 about its middle; `size` is (h, w) in cells."""
    hull = cv2.convexHull(np.asarray(lips, np.float32))[:, 0]
    middle = (hull.min(0) + hull.max(0)) / 2
    return _filled(middle + (hull - middle) * LIPS_GROWN, size)


def head_mask(face: Floats, size: tuple[int, int]) -> Floats:
    """The box of the face, grown by 1.4 about its middle and by 1.6 upwards; `size` is (h, w) in cells."""
    low, high = np.asarray(face).min(0), np.asarray(face).max(0)
    middle, half = (low + high) / 2, (high - low) / 2
    left, right = middle[0] - HEAD_GROWN * half[0], middle[0] + HEAD_GROWN * half[0]
    top, bottom = middle[1] - HEAD_GROWN_UP * half[1], middle[1] + HEAD_GROWN * half[1]
    return _filled(np.array([(left, top), (right, top), (right, bottom), (left, bottom)]), size)


def area_mask(area: Hearing, points: tuple[Floats, Floats] | None, size: tuple[int, int]) -> Floats:
    """The mask of one area; without a face (`face_points`) lips and head give 1 everywhere, as in inference."""
    if area == "off":
        return np.zeros(size, np.float32)
    if area == "all" or points is None:
        return np.ones(size, np.float32)
    face, lips = points
    return lips_mask(lips, size) if area == "lips" else head_mask(face, size)


def blended_mask(
    small: Hearing, large: Hearing, mix: float, points: tuple[Floats, Floats] | None, size: tuple[int, int]
) -> Floats:
    """(1 - mix) of the mask of `small` and mix of that of `large`."""
    if mix == 0 or small == large:
        return area_mask(small, points, size)
    mask: Floats = (1 - mix) * area_mask(small, points, size) + mix * area_mask(large, points, size)
    return mask.astype(np.float32)


def _filled(corners: Floats, size: tuple[int, int]) -> Floats:
    """The fraction of each cell inside a convex polygon, to a pixel."""
    height, width = size[0] * FACTOR, size[1] * FACTOR
    picture = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(picture, np.round(corners * (width, height)).astype(np.int32), (255,))
    cells: Floats = picture.reshape(size[0], FACTOR, size[1], FACTOR).mean(axis=(1, 3), dtype=np.float32) / 255
    return cells

"""Tell the person from what is behind, so that the head can move before a still background."""

import cv2
import numpy as np

from echomimic.landmarks.detectors import selfie_mask
from echomimic.landmarks.topology import SKIN
from echomimic.types import Floats, Picture

COVERS = (0.06, 0.92)
"""Shares of the picture that a believable person covers."""
HOLDS = 0.9
"""Share of the face's landmarks that a believable person holds."""
EDGE = 9 / 512
"""Radius of the edge refinement in shares of the longer side."""


def person_matte(pixels: Picture, landmarks: Floats) -> Floats | None:
    """The person in `pixels` as (H, W) float32 0..1; None where the segmentation is not to be believed.

    mediapipe's selfie segmentation, its edge snapped to the picture's by a guided filter (He et al., 2010).
    """
    rough = np.clip((selfie_mask(pixels) - 0.25) / 0.5, 0, 1).astype(np.float32)
    matte = _snap_to_edges(rough, pixels)
    return matte if _believable(matte, landmarks) else None


def _snap_to_edges(rough: Floats, pixels: Picture) -> Floats:
    """Guided filter of a rough matte by the picture's brightness."""
    guide = pixels.astype(np.float32).mean(2) / 255
    radius = max(2, round(max(rough.shape) * EDGE))
    window = (2 * radius + 1, 2 * radius + 1)

    def blur(values: Floats) -> Floats:
        return np.asarray(cv2.boxFilter(values, -1, window), np.float32)

    mean_guide, mean_rough = blur(guide), blur(rough)
    covariance = blur(guide * rough) - mean_guide * mean_rough
    slope = covariance / (blur(guide * guide) - mean_guide**2 + 1e-4)
    offset = mean_rough - slope * mean_guide
    return np.asarray(np.clip(blur(slope) * guide + blur(offset), 0, 1), np.float32)


def _believable(matte: Floats, landmarks: Floats) -> bool:
    height, width = matte.shape
    x = np.clip(landmarks[:SKIN, 0].astype(int), 0, width - 1)
    y = np.clip(landmarks[:SKIN, 1].astype(int), 0, height - 1)
    return COVERS[0] < float(matte.mean()) < COVERS[1] and float(matte[y, x].mean()) > HOLDS

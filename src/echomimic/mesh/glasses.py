"""Detection of glasses, or a fringe, over the bridge of the nose; the rig keeps the region of the eyes rigid there."""

import cv2
import numpy as np

from echomimic.landmarks import topology as mesh
from echomimic.types import Floats, Picture

COVERED = 0.3
"""Darkness of a line across the bridge, as a fraction of the skin's brightness, from which something lies over it."""
_ACROSS, _ALONG = (0.3, 0.7), (-0.45, 0.6)
"""Ranges between the inner corners of the eyes, and above and below them, in their distance."""
_THICK = 0.28
"""Thickness below which a dark line counts, in the same unit."""
_STEPS = 85


def covers_bridge(picture: Picture, landmarks: Floats) -> bool:
    """Whether a dark line goes across the bridge of the nose in a portrait (H, W, 3) with landmarks (478, 3)."""
    start, end = landmarks[mesh.EYES[0].right, :2], landmarks[mesh.EYES[1].left, :2]
    across = end - start
    down = np.array([-across[1], across[0]])
    x, y = np.linspace(*_ACROSS, 9), np.linspace(*_ALONG, _STEPS)
    at = start + x[None, :, None] * across + y[:, None, None] * down
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    soft = cv2.GaussianBlur(grey, (0, 0), max(0.5, 0.01 * float(np.linalg.norm(across))))
    seen = cv2.remap(soft, at.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    light = np.asarray(seen, np.float32)
    tall = round(_THICK / (y[1] - y[0])) | 1
    dark = cv2.morphologyEx(light, cv2.MORPH_CLOSE, np.ones((tall, 1), np.uint8)) - light
    return float(dark.mean(1).max()) > COVERED * max(float(light.mean()), 8.0)

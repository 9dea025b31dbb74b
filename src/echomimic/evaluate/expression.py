"""Expression features off mediapipe landmarks, for a Fréchet distance that needs no weights. It is not E-FID."""

import numpy as np

from echomimic.evaluate.landmarks import Faces
from echomimic.types import CURVES, Floats

FEATURES = ("jaw", "spread", "smile", "blink", "brow", "gaze_x", "gaze_y")


def expression_features(faces: Faces) -> Floats:
    """(n, 7) float32 of the frames where the face was seen: curves against the clip's own rest, in shares of their
    range."""
    ranges = {curve.name: max(abs(curve.low), abs(curve.high)) for curve in CURVES}
    columns = [faces.curves[name] / np.float32(ranges[name]) for name in FEATURES]
    features: Floats = np.stack(columns, axis=1)[faces.valid].astype(np.float32)
    return features

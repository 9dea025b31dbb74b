"""A face to move: the demo portrait's mesh, and a row of curves by name."""

from functools import cache

import numpy as np
from PIL import Image

from echomimic.data import demo_portrait
from echomimic.landmarks.face import find_faces
from echomimic.types import CURVE_NAMES, Floats, Picture


@cache
def portrait() -> tuple[Picture, Floats]:
    """The demo's portrait (512, 512, 3), a smile that shows teeth, and its landmarks."""
    pixels = np.asarray(Image.open(demo_portrait()).convert("RGB"))
    return pixels, find_faces(pixels)[0].landmarks


def row(**curves: float) -> Floats:
    """One row of curves, all at rest except those named."""
    values = np.zeros(len(CURVE_NAMES), np.float32)
    for name, value in curves.items():
        values[CURVE_NAMES.index(name)] = value
    return values

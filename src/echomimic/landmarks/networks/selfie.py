"""The mask of the person in a picture."""

import numpy as np

from echomimic.landmarks.networks.regions import Region
from echomimic.landmarks.networks.runtime import network
from echomimic.types import Floats, Picture

_SIZE = 256


def selfie_mask(pixels: Picture) -> Floats:
    """Probability that a pixel shows a person: (H, W) float32 0..1."""
    import cv2

    height, width = pixels.shape[:2]
    region = Region(width / 2, height / 2, width, height)
    (mask,) = network("selfie")(region.crop(pixels, _SIZE, zeros=True))
    return np.asarray(cv2.resize(mask[0, :, :, 0], (width, height)), np.float32)

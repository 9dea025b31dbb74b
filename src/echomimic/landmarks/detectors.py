"""The networks that detect faces, bodies, hands and the person in a picture, behind five functions.

This is the only module that depends on the runtime (`landmarks.networks`, on ai-edge-litert):

    detect_faces(pixels, full_range, confidence)       -> list[Detection]
    face_landmarker(video, most, confidence)           -> find(pixels) -> list of (478, 3) pixels
    body_landmarker(video)                             -> find(pixels) -> BodyLandmarks or None
    hand_landmarker(most, confidence)                  -> find(pixels) -> list[HandLandmarks]
    selfie_mask(pixels)                                -> (H, W) float32

`pixels` is (H, W, 3) uint8 RGB of any size. The landmarkers return a function; with `video=True` it tracks from one
call to the next, otherwise each call stands alone. Coordinates are fractions of the picture's width and height (z: of
its width), but faces are in pixels. A network is loaded at its first use and kept until `release_networks`; SetupError
if its file is missing.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from echomimic.landmarks.networks.body import BodyLandmarks as BodyLandmarks
from echomimic.landmarks.networks.body import Holistic
from echomimic.landmarks.networks.detection import FACE_FULL_RANGE, FACE_SHORT_RANGE
from echomimic.landmarks.networks.detection import Box as Box
from echomimic.landmarks.networks.detection import Detection as Detection
from echomimic.landmarks.networks.detection import selfie_mask as selfie_mask
from echomimic.landmarks.networks.face_mesh import FaceMesh
from echomimic.landmarks.networks.hands import HandLandmarks as HandLandmarks
from echomimic.landmarks.networks.hands import find_hands
from echomimic.landmarks.networks.runtime import release_networks as release_networks
from echomimic.types import Floats, Picture


def detect_faces(pixels: Picture, *, full_range: bool = False, confidence: float = 0.5) -> list[Detection]:
    """Faces of a picture; `full_range` finds smaller ones (down to about a thirtieth of the longer side)."""
    return (FACE_FULL_RANGE if full_range else FACE_SHORT_RANGE)(pixels, confidence)


def face_landmarker(
    *, video: bool = False, most: int = 1, confidence: float = 0.4
) -> Callable[[Picture], list[Floats]]:
    """A function that finds up to `most` faces: landmarks (478, 3) with irises, in pixels."""
    return FaceMesh(video=video, most=most, confidence=confidence)


def body_landmarker(*, video: bool = False) -> Callable[[Picture], BodyLandmarks | None]:
    """A function that finds one person's body, hands and face."""
    model = Holistic(video=video)

    def find(pixels: Picture) -> BodyLandmarks | None:
        found = model(pixels)
        if found is None:
            return None
        left, right, face = (None if part is None else _fractions(part, pixels) for part in (*found.hands, found.face))
        return BodyLandmarks(_fractions(found.pose, pixels), (left, right), face)

    return find


def hand_landmarker(*, most: int = 2, confidence: float = 0.5) -> Callable[[Picture], list[HandLandmarks]]:
    """A function that finds up to `most` hands."""
    return lambda pixels: [
        replace(hand, points=_fractions(hand.points, pixels)) for hand in find_hands(pixels, most, confidence)
    ]


def _fractions(points: Floats, pixels: Picture) -> Floats:
    """Points in pixels as fractions of the picture; z as a fraction of its width, further columns unchanged."""
    height, width = pixels.shape[:2]
    size = np.ones(points.shape[1], np.float32)
    size[:3] = width, height, width
    return points / size

"""The parts of a face: which landmarks and which curves belong to each, and what mirrors what."""

from functools import cache

import numpy as np
import numpy.typing as npt

from echomimic.landmarks.head_pose import face_template
from echomimic.types import CURVE_NAMES, Curves

LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
)
RIGHT_EYE = (7, 33, 133, 144, 145, 153, 154, 155, 157, 158, 159, 160, 161, 163, 173, 246)
LEFT_EYE = (249, 263, 362, 373, 374, 380, 381, 382, 384, 385, 386, 387, 388, 390, 398, 466)
RIGHT_BROW = (46, 52, 53, 55, 63, 65, 66, 70, 105, 107)
LEFT_BROW = (276, 282, 283, 285, 293, 295, 296, 300, 334, 336)
NOSE = (1, 4, 5, 44, 45, 51, 220, 274, 275, 281, 440)
IRISES = tuple(range(468, 478))
LANDMARKS_OF: dict[str, tuple[int, ...]] = {
    "eyes": RIGHT_EYE + LEFT_EYE,
    "brows": RIGHT_BROW + LEFT_BROW,
    "mouth": LIPS,
    "pupils": IRISES,
    "nose": NOSE,
}
"""Left and right are the person's own. `head` has no landmarks: it is how all of them move together."""
CURVES_OF: dict[str, tuple[str, ...]] = {
    "eyes": ("blink",),
    "brows": ("brow",),
    "mouth": ("jaw", "spread", "upper_lip", "tuck", "closure", "tongue", "smile"),
    "pupils": ("gaze_x", "gaze_y"),
    "nose": (),
    "head": ("yaw", "pitch", "roll", "shift_x", "shift_y"),
}
SIGNED = ("gaze_x", "yaw", "roll", "shift_x", "sway")
"""Curves that change their sign in a mirror."""
MIRRORED_BODY = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
MIRRORED_FACE_68 = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
)


def columns_of(parts: tuple[str, ...]) -> list[int]:
    """The columns of a curve row that belong to some parts of the face."""
    return [CURVE_NAMES.index(name) for part in parts for name in CURVES_OF[part]]


def combine_curves(voice: Curves, motion: Curves, parts: tuple[str, ...]) -> Curves:
    """The voice's curves with those of `parts` taken from a motion of the same length and rate."""
    values = voice.values.copy()
    chosen = columns_of(parts)
    values[:, chosen] = motion.values[:, chosen]
    return Curves(values, voice.fps)


@cache
def mirrored_landmarks() -> npt.NDArray[np.intp]:
    """Which landmark stands where each one stands in a mirror, read off the symmetric face template."""
    template = face_template().astype(np.float64)
    flipped = template * (-1, 1, 1)
    far = np.linalg.norm(flipped[:, None] - template[None], axis=2)
    return np.asarray(far.argmin(axis=1), np.intp)

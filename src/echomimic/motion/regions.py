"""The regions of a face: which curves belong to each, and what changes in a mirror."""

from functools import cache

import numpy as np
import numpy.typing as npt

from echomimic.landmarks.head_pose import face_template
from echomimic.types import CURVE_NAMES, Curves

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
    """For each landmark the one on the other side, found on the symmetric face template."""
    template = face_template().astype(np.float64)
    flipped = template * (-1, 1, 1)
    far = np.linalg.norm(flipped[:, None] - template[None], axis=2)
    return np.asarray(far.argmin(axis=1), np.intp)

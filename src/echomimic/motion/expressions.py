"""Expressions of a face as short clips: offsets of several curves over time, made by hand."""

from collections.abc import Mapping

from echomimic.errors import MotionError
from echomimic.motion.curve_edits import FaceOf, Key, shift_curve
from echomimic.types import LandmarkTrack

_IN_OUT = ((0.0, 0.0), (0.3, 1.0), (0.65, 1.0), (1.0, 0.0))
_FALL = ((0.0, 0.0), (0.18, 1.0), (0.4, 0.7), (1.0, 0.0))


def _scaled(keys: tuple[Key, ...], amount: float) -> tuple[Key, ...]:
    return tuple((at, amount * value) for at, value in keys)


EXPRESSIONS: Mapping[str, Mapping[str, tuple[Key, ...]]] = {
    "smile": {"smile": _scaled(_IN_OUT, 0.7), "spread": _scaled(_IN_OUT, 0.2), "brow": _scaled(_IN_OUT, 0.12)},
    "doubt": {
        "brow": _scaled(_IN_OUT, -0.55),
        "smile": _scaled(_IN_OUT, -0.35),
        "roll": _scaled(_IN_OUT, 4.0),
        "gaze_x": _scaled(_IN_OUT, 6.0),
    },
    "surprise": {
        "brow": _scaled(_FALL, 0.9),
        "jaw": _scaled(_FALL, 0.3),
        "blink": _scaled(_FALL, -0.3),
        "pitch": _scaled(_FALL, -3.0),
    },
    "glance": {"gaze_x": _scaled(_IN_OUT, 14.0), "yaw": _scaled(_IN_OUT, 3.0)},
    "nod": {"pitch": ((0.0, 0.0), (0.3, 8.0), (0.65, -2.0), (1.0, 0.0))},
    "shake": {"yaw": ((0.0, 0.0), (0.2, 7.0), (0.45, -7.0), (0.7, 4.0), (1.0, 0.0))},
    "blink": {"blink": ((0.0, 0.0), (0.3, 1.0), (0.45, 1.0), (1.0, 0.0))},
}
"""Offsets of curves, in their units, at fractions of an expression's time, for strength 1."""


def express(
    track: LandmarkTrack,
    expression: str,
    start: float,
    seconds: float = 1.0,
    strength: float = 1.0,
    face_of: FaceOf | None = None,
) -> LandmarkTrack:
    """The track with an expression (`EXPRESSIONS`) added from second `start`, for `seconds`.

    A negative `strength` looks, turns or bends the other way. `face_of` as in `set_curve`. MotionError for an unknown
    name or a track of hands.
    """
    if expression not in EXPRESSIONS:
        raise MotionError(f"unknown expression {expression[:40]!r}; expected one of {', '.join(EXPRESSIONS)}")
    for curve, keys in EXPRESSIONS[expression].items():
        placed = [(start + at * seconds, strength * value) for at, value in keys]
        track = shift_curve(track, curve, placed, face_of=face_of)
    return track

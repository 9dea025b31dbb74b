"""Edits of one curve: set by keyframes, drawn or shifted in a range, or scaled; and expressions that combine them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.motion.bezier_keys import Handles, between_keys, bezier_between, bezier_parameter
from echomimic.motion.hands import POSE_CURVES, pose_curves, with_pose_curve
from echomimic.motion.time_edits import Times, Track
from echomimic.types import CURVES, Curve, Floats, LandmarkTrack, Motion

Key = tuple[float, float]
"""A keyframe: second and value."""
FaceOf = Callable[[Floats], Floats]
"""Gives the landmarks (478, 3) of a row of curves."""
_EASE = 0.08
"""Seconds over which a scaled range blends into the curve next to it."""
TOLERANCE = 0.05
"""Distance that a curve may have from its keyframes, as a fraction of its range of movement."""
EASES: dict[str, tuple[float, float, float, float] | None] = {
    "smooth": None,
    "linear": (0.0, 0.0, 1.0, 1.0),
    "in": (0.42, 0.0, 1.0, 1.0),
    "out": (0.0, 0.0, 0.58, 1.0),
    "hold": None,
}
"""Easings between keyframes: `smooth` (smoothstep), `hold` (a step at the next one), or as in CSS the handles x1, y1,
x2, y2 of a cubic Bezier curve in the unit square.
"""
_LEAST = 0.004
"""The tolerance of a curve that hardly moves, as a fraction of the curve's range."""


def find_curve(motion: Motion, name: str) -> Curve:
    """Find the curve called `name` of this kind of motion. MotionError that lists the curves if there is none."""
    table = CURVES if isinstance(motion, LandmarkTrack) else POSE_CURVES
    for curve in table:
        if curve.name == name:
            return curve
    raise MotionError(f"unknown curve {name!r}; expected one of {', '.join(curve.name for curve in table)}")


def read_curve(motion: Motion, name: str) -> Floats:
    """The values (T,) of one curve: those that a face track holds, or those computed from the points of hands."""
    find_curve(motion, name)
    if not isinstance(motion, LandmarkTrack):
        return pose_curves(motion)[name]
    if motion.curves is None:
        raise MotionError(
            "the track has no curves to set; expected one with curves: make it from a voice, or read them"
        )
    return motion.curves[name]


def _with_curve(motion: Track, name: str, values: Floats, face_of: FaceOf | None) -> Track:
    """The motion with one curve replaced, clipped to its range; with `face_of` the points of a face move with it."""
    curve = find_curve(motion, name)
    values = np.clip(values, curve.low, curve.high).astype(np.float32)
    if not isinstance(motion, LandmarkTrack):
        return with_pose_curve(motion, name, values)
    assert motion.curves is not None
    after = motion.curves.replace(**{name: values})
    changed = np.flatnonzero((after.values != motion.curves.values).any(axis=1))
    if face_of is None or not len(changed):
        return replace(motion, curves=after)
    points = motion.points.copy()
    for i in changed:
        points[i] += face_of(after.values[i]) - face_of(motion.curves.values[i])
    return replace(motion, points=points, curves=after)


def set_curve(
    track: Track, curve: str, keys: Sequence[Key], ease: str = "smooth", face_of: FaceOf | None = None
) -> Track:
    """Set one whole curve by keyframes (second, value), eased between them and held before and after them.

    A face must have curves; if `face_of`, which gives the landmarks (478, 3) of a row of curves, is given, the points
    follow. Hands (`hands.POSE_CURVES`) always follow. `ease` is a name of `EASES`, or four handles such as
    '0.4,0,0.2,1'. MotionError for a value outside the curve's range.
    """
    read_curve(track, curve)
    table = _table(find_curve(track, curve), keys)
    return _with_curve(track, curve, _eased(np.arange(len(track)) / track.fps, table, ease), face_of)


def _table(curve: Curve, keys: Sequence[Key]) -> Times:
    """Keyframes (N, 2) in order of time, checked."""
    table = np.asarray(sorted(keys), np.float64).reshape(-1, 2)
    if len(table) == 0 or not np.isfinite(table).all() or (np.diff(table[:, 0]) <= 0).any():
        shown = f"{list(keys[:3])}{' …' if len(keys) > 3 else ''}"
        raise MotionError(f"keyframes {shown} of {curve.name}; expected (second, value), each second once")
    beyond = [value for value in table[:, 1] if not curve.low <= value <= curve.high]
    if beyond:
        raise MotionError(
            f"{curve.name} was set to {beyond[0]:g}; expected {curve.low:g} to {curve.high:g} {curve.unit}"
        )
    return table


def read_ease(ease: str) -> str | tuple[float, float, float, float]:
    """`smooth`, `hold`, or the handles of a Bezier curve. MotionError if `ease` is none of these."""
    if ease in EASES:
        return EASES[ease] or ease
    try:
        x1, y1, x2, y2 = (float(number) for number in ease.split(","))
    except ValueError:
        x1 = y1 = x2 = y2 = np.nan
    if not (0 <= x1 <= 1 and 0 <= x2 <= 1 and abs(y1) <= 3 and abs(y2) <= 3):
        raise MotionError(
            f"ease is {ease[:40]!r}; expected one of {', '.join(EASES)}, or four handles such as 0.4,0,0.2,1 "
            "(x within 0 and 1)"
        )
    return x1, y1, x2, y2


def _progress(fraction: Times, ease: str) -> Times:
    """The progress (0..1) of a curve from one keyframe to the next at a fraction (0..1) of the time between them."""
    way = read_ease(ease)
    if way == "smooth":
        return fraction * fraction * (3 - 2 * fraction)
    if way == "hold":
        return np.floor(fraction)
    assert not isinstance(way, str)
    x1, y1, x2, y2 = way
    return bezier_between(bezier_parameter(fraction, x1, x2), y1, y2)


def _eased(seconds: Times, table: Times, ease: str = "smooth") -> Floats:
    """Values between keyframes; `smooth` has zero slope at each."""
    last = len(table) - 1
    left = np.clip(np.searchsorted(table[:, 0], seconds, side="right") - 1, 0, max(last - 1, 0))
    right = np.minimum(left + 1, last)
    span = np.maximum(table[right, 0] - table[left, 0], 1e-9)
    fraction = np.clip((seconds - table[left, 0]) / span, 0, 1)
    fraction = _progress(fraction, ease)
    return np.asarray(table[left, 1] + fraction * (table[right, 1] - table[left, 1]), np.float32)


def draw_curve(
    track: Track,
    curve: str,
    keys: Sequence[Key],
    ease: str = "smooth",
    handles: Sequence[Handles] = (),
    face_of: FaceOf | None = None,
) -> Track:
    """Draw one curve between its first and its last keyframe (second, value); outside of them it is not changed.

    `handles` of each keyframe make Bezier segments between them, in place of `ease`: seconds and value of the handle
    before it and of that after it, relative to the keyframe. `ease`, `face_of` and errors as in `set_curve`.
    """
    before = read_curve(track, curve)
    table = _table(find_curve(track, curve), keys)
    frame, half = np.arange(len(track)) / track.fps, 0.5 / track.fps
    inside = (frame >= table[0, 0] - half) & (frame <= table[-1, 0] + half)
    if len(handles) not in (0, len(keys)):
        raise MotionError(f"{len(keys)} keyframes with handles of {len(handles)}; expected handles of each, or none")
    order = sorted(range(len(handles)), key=lambda number: keys[number][0])
    bent = np.array([handles[number] for number in order], np.float64).reshape(-1, 4)
    drawn = between_keys(frame, table, bent) if len(bent) else _eased(frame, table, ease)
    return _with_curve(track, curve, np.where(inside, drawn, before), face_of)


def shift_curve(
    track: Track, curve: str, keys: Sequence[Key], ease: str = "smooth", face_of: FaceOf | None = None
) -> Track:
    """Add offsets (second, amount) to one curve between the first and the last of them; elsewhere it is not changed.

    The result is clipped to the curve's range. `ease` and `face_of` as in `set_curve`.
    """
    before, line = read_curve(track, curve), find_curve(track, curve)
    whole = line.high - line.low
    table = _table(Curve(line.name, line.unit, -whole, whole, line.help), keys)
    frame = np.arange(len(track)) / track.fps
    inside = (frame >= table[0, 0]) & (frame <= table[-1, 0])
    return _with_curve(track, curve, before + np.where(inside, _eased(frame, table, ease), 0), face_of)


def scale_curve(
    track: Track,
    curve: str,
    gain: float,
    start: float = 0.0,
    end: float | None = None,
    face_of: FaceOf | None = None,
) -> Track:
    """Move one curve `gain` times as far from its rest value between two seconds; 0 mutes it.

    The rest value is that of the curve for a face, and the median of the whole curve for hands. The ends ease into the
    curve beside them, unless they are the ends of the track. `face_of` as in `set_curve`.
    """
    before = read_curve(track, curve)
    if not np.isfinite(gain):
        raise MotionError(f"{curve} cannot be scaled by {gain}; expected a number")
    rest = find_curve(track, curve).rest if isinstance(track, LandmarkTrack) else float(np.median(before))
    frame = np.arange(len(track)) / track.fps
    last = len(track) / track.fps if end is None else end
    if not start < last:
        raise MotionError(f"{curve} was scaled from {start:g} to {last:g} s; expected start before end")
    rise = (frame - start) / _EASE if start > 0 else np.ones(len(track))
    fall = (last - frame) / _EASE if end is not None else np.ones(len(track))
    weight = np.clip(np.minimum(rise, fall), 0, 1)
    return _with_curve(track, curve, np.asarray(before + weight * (gain - 1) * (before - rest), np.float32), face_of)


def follow_curves(track: LandmarkTrack, face_of: FaceOf) -> LandmarkTrack:
    """Compute the landmarks of a track from its curves; `face_of` gives the landmarks (478, 3) of a row of curves."""
    if track.curves is None:
        return track
    points = np.stack([face_of(row) for row in track.curves.values]).astype(np.float32)
    return replace(track, points=points, valid=np.ones(len(points), bool))


def curve_keys(values: Floats, curve: Curve, fps: float, tolerance: float = TOLERANCE) -> list[Key]:
    """Keyframes (second, value) between which straight lines follow the curve (T,) within `tolerance` times its range.

    The curve is split where it is farthest from its chord (Ramer, 1972; Douglas and Peucker, 1973).
    """
    kept = np.zeros(len(values), bool)
    kept[[0, -1]] = True
    limit = max(tolerance * float(values.max() - values.min()), _LEAST * (curve.high - curve.low))
    spans = [(0, len(values) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first > 1 and (middle := _farthest(values, first, last, limit)) is not None:
            kept[middle] = True
            spans += [(first, middle), (middle, last)]
    return [(float(i / fps), float(values[i])) for i in np.flatnonzero(kept)]


def _farthest(values: Floats, first: int, last: int, limit: float) -> int | None:
    """The frame between two others that is farthest from their chord; None if no frame is farther than `limit`."""
    inside = np.arange(first + 1, last)
    chord: npt.NDArray[np.float64] = np.interp(inside, [first, last], [values[first], values[last]])
    far = np.abs(values[first + 1 : last] - chord)
    worst = int(far.argmax())
    return int(inside[worst]) if far[worst] > limit else None


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
    """Add an expression (`EXPRESSIONS`) to the track, from second `start`, for `seconds`.

    A negative `strength` looks, turns or bends the other way. `face_of` as in `set_curve`. MotionError for an unknown
    name or a track of hands.
    """
    if expression not in EXPRESSIONS:
        raise MotionError(f"unknown expression {expression[:40]!r}; expected one of {', '.join(EXPRESSIONS)}")
    for curve, keys in EXPRESSIONS[expression].items():
        placed = [(start + at * seconds, strength * value) for at, value in keys]
        track = shift_curve(track, curve, placed, face_of=face_of)
    return track

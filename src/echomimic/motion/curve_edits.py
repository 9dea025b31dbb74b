"""Changing one curve by hand: drawn anew, a stretch of it redrawn, or made larger or smaller; the rest stays."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.motion.hands import POSE_CURVES, pose_curves, with_pose_curve
from echomimic.motion.time_edits import Times, Track
from echomimic.types import CURVES, Curve, Curves, Floats, LandmarkTrack, Motion

Key = tuple[float, float]
Pose = Callable[[Floats], Floats]
"""Gives the landmarks (478, 3) of a curve row."""
_EDGE = 0.08
"""Seconds over which a scaled stretch goes over into what is beside it."""
TOLERANCE = 0.05
"""How far a curve may run from its keyframes, as a share of how far it moves."""
_LEAST = 0.004
"""What counts as no motion at all, as a share of the curve's range."""


def find_curve(motion: Motion, name: str) -> Curve:
    """The curve called `name` of this kind of motion; MotionError that lists them where there is none."""
    lines = CURVES if isinstance(motion, LandmarkTrack) else POSE_CURVES
    for line in lines:
        if line.name == name:
            return line
    raise MotionError(f"unknown curve {name!r}; expected one of {', '.join(line.name for line in lines)}")


def read_curve(motion: Motion, name: str) -> Floats:
    """The values (T,) of one curve: of a face those that its track holds, of hands what their points say."""
    find_curve(motion, name)
    if not isinstance(motion, LandmarkTrack):
        return pose_curves(motion)[name]
    if motion.curves is None:
        raise MotionError(
            "the track has no curves to set; expected one with curves: make it from a voice, or read them"
        )
    return motion.curves[name]


def _with_curve(motion: Track, name: str, values: Floats) -> Track:
    """The motion with one curve replaced, held inside its range."""
    line = find_curve(motion, name)
    values = np.clip(values, line.low, line.high).astype(np.float32)
    if not isinstance(motion, LandmarkTrack):
        return with_pose_curve(motion, name, values)
    assert motion.curves is not None
    return replace(motion, curves=motion.curves.replace(**{name: values}))


def set_curve(track: Track, name: str, keys: Sequence[Key], face_of: Pose | None = None) -> Track:
    """One curve drawn between keyframes (second, value), smoothly; before the first and after the last it stays.

    A face must have curves; `face_of` gives the landmarks (478, 3) of a curve row: with it the points follow too.
    Hands follow their curves (`hands.POSE_CURVES`) always. A value outside the curve's range is a MotionError.
    """
    read_curve(track, name)
    table = _table(find_curve(track, name), keys)
    changed = _with_curve(track, name, _eased(np.arange(len(track)) / track.fps, table))
    if face_of is None or not isinstance(track, LandmarkTrack) or not isinstance(changed, LandmarkTrack):
        return changed
    assert track.curves is not None
    assert changed.curves is not None
    return replace(changed, points=_followed(track.points, track.curves, changed.curves, face_of))


def _table(line: Curve, keys: Sequence[Key]) -> Times:
    """Keyframes (N, 2) in order of time, checked."""
    table = np.asarray(sorted(keys), np.float64).reshape(-1, 2)
    if len(table) == 0 or not np.isfinite(table).all() or (np.diff(table[:, 0]) <= 0).any():
        raise MotionError(f"keyframes {list(keys)} of {line.name}; expected (second, value), each second once")
    beyond = [value for value in table[:, 1] if not line.low <= value <= line.high]
    if beyond:
        raise MotionError(f"{line.name} was set to {beyond[0]:g}; expected {line.low:g} to {line.high:g} {line.unit}")
    return table


def _eased(seconds: Times, table: Times) -> Floats:
    """Values between keyframes, leaving and arriving at rest (a smooth step)."""
    last = len(table) - 1
    left = np.clip(np.searchsorted(table[:, 0], seconds, side="right") - 1, 0, max(last - 1, 0))
    right = np.minimum(left + 1, last)
    span = np.maximum(table[right, 0] - table[left, 0], 1e-9)
    share = np.clip((seconds - table[left, 0]) / span, 0, 1)
    share = share * share * (3 - 2 * share)
    return np.asarray(table[left, 1] + share * (table[right, 1] - table[left, 1]), np.float32)


def _followed(points: Floats, before: Curves, after: Curves, face_of: Pose) -> Floats:
    """Points moved by what the change of curves moves them."""
    moved = [face_of(new) - face_of(old) for new, old in zip(after.values, before.values, strict=True)]
    return points + np.asarray(moved, np.float32)


def draw_curve(track: Track, name: str, keys: Sequence[Key]) -> Track:
    """One curve drawn smoothly between keyframes (second, value); before the first and after the last it is as before.

    A face's landmarks follow with `follow_curves`. MotionError as from `set_curve`.
    """
    before = read_curve(track, name)
    table = _table(find_curve(track, name), keys)
    frame, half = np.arange(len(track)) / track.fps, 0.5 / track.fps
    inside = (frame >= table[0, 0] - half) & (frame <= table[-1, 0] + half)
    return _with_curve(track, name, np.where(inside, _eased(frame, table), before))


def scale_curve(track: Track, name: str, gain: float, start: float = 0.0, end: float | None = None) -> Track:
    """One curve moved `gain` times as far from its rest between two seconds; 0 mutes it.

    Rest is that of the curve for a face, and the median of the whole curve for hands. The ends ease into what is beside
    them, unless they are the ends of the track. A face's landmarks follow with `follow_curves`.
    """
    before = read_curve(track, name)
    if not np.isfinite(gain):
        raise MotionError(f"{name} cannot be scaled by {gain}; expected a number")
    rest = find_curve(track, name).rest if isinstance(track, LandmarkTrack) else float(np.median(before))
    frame = np.arange(len(track)) / track.fps
    last = len(track) / track.fps if end is None else end
    if not start < last:
        raise MotionError(f"{name} was scaled from {start:g} to {last:g} s; expected start before end")
    rise = (frame - start) / _EDGE if start > 0 else np.ones(len(track))
    fall = (last - frame) / _EDGE if end is not None else np.ones(len(track))
    share = np.clip(np.minimum(rise, fall), 0, 1)
    return _with_curve(track, name, np.asarray(before + share * (gain - 1) * (before - rest), np.float32))


def follow_curves(track: LandmarkTrack, face_of: Callable[[Floats], Floats]) -> LandmarkTrack:
    """The track with landmarks that are where its curves put them; `face_of` gives those (478, 3) of a curve row."""
    if track.curves is None:
        return track
    points = np.stack([face_of(row) for row in track.curves.values]).astype(np.float32)
    return replace(track, points=points, valid=np.ones(len(points), bool))


def curve_keys(values: Floats, line: Curve, fps: float, tolerance: float = TOLERANCE) -> list[Key]:
    """Keyframes (second, value): straight lines between them follow the curve (T,) to `tolerance` of how far it moves.

    Found by Ramer's and Douglas and Peucker's method of splitting where the curve is farthest from its chord.
    """
    kept = np.zeros(len(values), bool)
    kept[[0, -1]] = True
    limit = max(tolerance * float(values.max() - values.min()), _LEAST * (line.high - line.low))
    spans = [(0, len(values) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first > 1 and (middle := _farthest(values, first, last, limit)) is not None:
            kept[middle] = True
            spans += [(first, middle), (middle, last)]
    return [(float(i / fps), float(values[i])) for i in np.flatnonzero(kept)]


def _farthest(values: Floats, first: int, last: int, limit: float) -> int | None:
    """The frame between two others that is farthest from their chord; None where none is farther than `limit`."""
    inside = np.arange(first + 1, last)
    chord: npt.NDArray[np.float64] = np.interp(inside, [first, last], [values[first], values[last]])
    far = np.abs(values[first + 1 : last] - chord)
    worst = int(far.argmax())
    return int(inside[worst]) if far[worst] > limit else None

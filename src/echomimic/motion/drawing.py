"""Changing one curve of a face by hand: a stretch of it redrawn, or made larger or smaller; the rest stays."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.motion.shaping import set_curve
from echomimic.types import CURVES, Curve, Floats, LandmarkTrack

Key = tuple[float, float]
_EDGE = 0.08
"""Seconds over which a scaled stretch goes over into what is beside it."""
TOLERANCE = 0.05
"""How far a curve may run from its keyframes, as a share of how far it moves."""
_LEAST = 0.004
"""What counts as no motion at all, as a share of the curve's range."""


def draw_curve(track: LandmarkTrack, name: str, keys: Sequence[Key]) -> LandmarkTrack:
    """One curve drawn smoothly between keyframes (second, value); before the first and after the last it is as before.

    The landmarks follow with `follow_curves`. MotionError as from `set_curve`.
    """
    drawn = set_curve(track, name, keys)
    assert track.curves is not None
    assert drawn.curves is not None
    frame = np.arange(len(track)) / track.fps
    ends = [second for second, _ in keys]
    half = 0.5 / track.fps
    inside = (frame >= min(ends) - half) & (frame <= max(ends) + half)
    values = np.where(inside, drawn.curves[name], track.curves[name])
    return replace(track, curves=track.curves.replace(**{name: values}))


def scale_curve(
    track: LandmarkTrack, name: str, gain: float, start: float = 0.0, end: float | None = None
) -> LandmarkTrack:
    """One curve moved `gain` times as far from its rest between two seconds; 0 mutes it.

    The ends ease into what is beside them, unless they are the ends of the track. The landmarks follow with
    `follow_curves`.
    """
    line = find_curve(name)
    if track.curves is None or not np.isfinite(gain):
        raise MotionError(f"{name} cannot be scaled by {gain}; expected a track with curves and a number")
    frame = np.arange(len(track)) / track.fps
    last = len(track) / track.fps if end is None else end
    if not start < last:
        raise MotionError(f"{name} was scaled from {start:g} to {last:g} s; expected start before end")
    rise = (frame - start) / _EDGE if start > 0 else np.ones(len(track))
    fall = (last - frame) / _EDGE if end is not None else np.ones(len(track))
    share = np.clip(np.minimum(rise, fall), 0, 1)
    values = track.curves[name]
    return replace(track, curves=track.curves.replace(**{name: values + share * (gain - 1) * (values - line.rest)}))


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


def find_curve(name: str) -> Curve:
    """The curve called `name`; MotionError that lists them where there is none."""
    for line in CURVES:
        if line.name == name:
            return line
    raise MotionError(f"unknown curve {name!r}; expected one of {', '.join(line.name for line in CURVES)}")

"""Edits in time, and fitting to a clip: each computes at which frames of the old motion the new one is sampled."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.topology import EAR_LEFT, EAR_RIGHT
from echomimic.motion.schema import check_fps, kind_of
from echomimic.notes import note
from echomimic.options import Options
from echomimic.signals import sample_at
from echomimic.types import Curves, Floats, LandmarkTrack, Motion, PoseTrack, Speech

Track = TypeVar("Track", LandmarkTrack, PoseTrack, Motion)
Times = npt.NDArray[np.float64]
_FEWEST, _MAX_FRAMES = 1, 1_000_000
"""Limits of the number of frames of an edit's result: at most eleven hours at 25 a second, or 6 GB of landmarks."""
_FEW, _BLOCK = 32, 64
"""Weights on either side up to which a convolution is summed directly, and columns that are convolved together."""


def frames_at(motion: Track, when: Times, fps: float | None = None) -> Track:
    """Sample the motion at fractional frame numbers `when` (N,), held at both ends, at `fps` (by default its own).

    Values are interpolated in time; a frame is valid if both of its neighbours are. A key point that is not visible
    (score 0) in one of them is taken from the other.
    """
    rate = motion.fps if fps is None else check_fps(fps, "the wanted motion")
    when = np.clip(np.asarray(when, np.float64), 0, len(motion) - 1)
    if isinstance(motion, LandmarkTrack):
        low, high = np.floor(when).astype(int), np.ceil(when).astype(int)
        curves = motion.curves
        return replace(
            motion,
            points=sample_at(motion.points, when),
            fps=rate,
            valid=motion.valid[low] & motion.valid[high],
            curves=None if curves is None else Curves(sample_at(curves.values, when), rate),
        )
    return replace(each_part(motion, lambda part: _seen_between(part, when)), fps=rate)


def each_part(track: PoseTrack, change: Callable[[Floats], Floats]) -> PoseTrack:
    """Apply one change to the body, hands and face (T, ..., 3) of a track."""
    return replace(track, body=change(track.body), hands=change(track.hands), face=change(track.face))


def _seen_between(values: Floats, when: Times) -> Floats:
    """As `sample_at`, for points whose last number is a score."""
    low = np.floor(when).astype(int)
    return _with_lone(sample_at(values, when), values[low], values[np.minimum(low + 1, len(values) - 1)])


def _with_lone(mixed: Floats, a: Floats, b: Floats) -> Floats:
    """Points mixed from `a` and `b`, with the position of the other if one is not visible (score 0)."""
    for one, other in ((a, b), (b, a)):
        lone = (one[..., 2] <= 0) & (other[..., 2] > 0)
        mixed[lone, :2] = other[lone, :2]
    return mixed


def resample(motion: Track, fps: float) -> Track:
    """Resample the motion at another frame rate; its length in seconds stays the same to half a frame."""
    check_fps(fps, "the wanted motion")
    count = _count(max(len(motion) / motion.fps, _FEWEST / fps), fps)
    return frames_at(motion, np.arange(count, dtype=np.float64) * (motion.fps / fps), fps)


def trim(motion: Track, start: float = 0.0, end: float | None = None) -> Track:
    """Keep the frames from `start` to `end` in seconds; a negative time counts from the end."""
    length = len(motion) / motion.fps
    _check_finite(start=start, end=end or 0.0)
    both = (start, length if end is None else end)
    first, last = (min(max(second + length if second < 0 else second, 0.0), length) for second in both)
    low, high = round(first * motion.fps), round(last * motion.fps)
    if high - low < _FEWEST:
        raise MotionError(f"trim from {start:g} to {end} s leaves nothing of {length:.2f} s; expected start before end")
    return frames_at(motion, np.arange(low, min(high, len(motion)), dtype=np.float64))


def loop(motion: Track, seconds: float, seam: float | None = None) -> Track:
    """Repeat the motion to `seconds`: back and forth, or from the start again with a crossfade of `seam` seconds.

    Back and forth (`seam` None) never jumps. A seam blends the end of each round into the start of the next,
    for motions that look wrong backwards, such as blinks and speech.
    """
    count = _count(seconds, motion.fps)
    last = len(motion) - 1
    if last == 0:
        return frames_at(motion, np.zeros(count))
    when = np.arange(count, dtype=np.float64)
    if seam is None:
        return frames_at(motion, last - np.abs(when % (2 * last) - last))
    _check_finite(seam=seam)
    lap = min(max(0, round(seam * motion.fps)), len(motion) // 2)
    period = len(motion) - lap
    place = when % period
    share = np.clip((place + 1) / (lap + 1), 0, 1)
    share[when < period] = 1.0
    return mix(frames_at(motion, place + period), frames_at(motion, place), share)


def _count(seconds: float, fps: float) -> int:
    """Number of frames of a motion of this length. MotionError if it is 0, or too large."""
    count = round(seconds * fps) if np.isfinite(seconds) else 0
    if not _FEWEST <= count <= _MAX_FRAMES:
        raise MotionError(
            f"a motion of {seconds:g} s was asked for; expected at least a frame, {1 / fps:.3f} s, and at most "
            f"{_MAX_FRAMES} frames, {_MAX_FRAMES / fps:.0f} s"
        )
    return count


def _check_finite(**values: float) -> None:
    for name, value in values.items():
        if not np.isfinite(value):
            raise MotionError(f"{name} is {value}; expected a number")


def stretch(motion: Track, seconds: float) -> Track:
    """Change the speed of the whole motion so that it lasts `seconds`."""
    count = _count(seconds, motion.fps)
    return frames_at(motion, np.linspace(0, len(motion) - 1, count))


def retime(motion: Track, marks: Sequence[tuple[float, float]]) -> Track:
    """Move moments by marks (old second, new second); the time between marks is stretched evenly.

    Before the first and after the last mark the motion keeps its speed. Both columns must rise.
    """
    table = np.asarray(sorted(marks), np.float64).reshape(-1, 2)
    if len(table) == 0 or (np.diff(table, axis=0) <= 0).any() or not np.isfinite(table).all():
        raise MotionError(f"retime marks {list(marks)} do not rise; expected (old second, new second), each later")
    old, new = table[:, 0], table[:, 1]
    length = len(motion) / motion.fps
    count = _count(new[-1] + max(length - old[-1], 0.0), motion.fps)
    seconds = np.arange(count) / motion.fps
    moved = np.interp(seconds, new, old)
    moved += np.minimum(seconds - new[0], 0) + np.maximum(seconds - new[-1], 0)
    return frames_at(motion, moved * motion.fps)


def offset(motion: Track, seconds: float = 0.0, x: float = 0.0, y: float = 0.0) -> Track:
    """Shift the motion by `seconds` (later if positive), with its length kept by holding an end, and by `x`, `y`.

    `x` and `y` are pixels of the image for faces and fractions of the picture for poses. The curves of a face for the
    position of the head change with it.
    """
    _check_finite(seconds=seconds, x=x, y=y)
    late = frames_at(motion, np.arange(len(motion), dtype=np.float64) - seconds * motion.fps) if seconds else motion
    if not (x or y):
        return late
    shift = np.array((x, y, 0), np.float32)
    if isinstance(late, LandmarkTrack):
        curves = late.curves
        if curves is not None:
            across, down = x / face_width(late), y / face_width(late)
            curves = curves.replace(shift_x=curves["shift_x"] + across, shift_y=curves["shift_y"] + down)
        return replace(late, points=late.points + shift, curves=curves)
    return each_part(late, lambda part: np.where(part[..., 2:] > 0, part + shift, part))


def face_width(track: LandmarkTrack) -> float:
    """The usual distance from ear to ear in pixels. MotionError for a track without landmarks."""
    if not track.points.shape[1]:
        raise MotionError("the track holds curves only; expected one with landmarks: save it first")
    seen = track.points[track.valid] if track.valid.any() else track.points
    return max(1.0, float(np.median(np.linalg.norm(seen[:, EAR_RIGHT] - seen[:, EAR_LEFT], axis=-1))))


def smooth(motion: Track, seconds: float = 0.12) -> Track:
    """Average values over time with a Gaussian of standard deviation `seconds`; frames that are not valid do not count.

    The computation time does not grow with `seconds`. Short events are flattened: with more than 0.05 s lips, with more
    than 0.1 s lids may no longer close.
    """
    _check_finite(seconds=seconds)
    sigma = seconds * motion.fps
    if sigma <= 0:
        return motion
    if isinstance(motion, LandmarkTrack):
        seen = motion.valid if motion.valid.any() else np.ones(len(motion), bool)
        curves = motion.curves
        return replace(
            motion,
            points=_averaged(motion.points, sigma, seen[:, None, None]),
            curves=None if curves is None else Curves(_averaged(curves.values, sigma, seen[:, None]), curves.fps),
        )

    def averaged(part: Floats) -> Floats:
        places = _averaged(part[..., :2], sigma, part[..., 2:] > 0)
        return np.concatenate([places, part[..., 2:]], axis=-1)

    return each_part(motion, averaged)


def _averaged(values: Floats, sigma: float, seen: npt.NDArray[np.bool_]) -> Floats:
    """The Gaussian mean over the frames (T, ...) that were seen; the value itself if none was.

    The ends are held, so that all steps beyond the length of the motion read an end value: their weights are added up.
    """
    most = len(values)
    sigma = float(np.clip(sigma, 1e-3, 1e6))
    steps = np.arange(int(np.ceil(3 * sigma)) + 1)
    half = np.exp(-0.5 * (steps / sigma) ** 2)
    half = half if len(half) <= most + 1 else np.append(half[:most], half[most:].sum())
    weights = np.concatenate([half[:0:-1], half])
    total = _convolved(np.where(seen, values, 0).reshape(most, -1), weights).reshape(values.shape)
    weight = _convolved(seen.reshape(most, -1), weights).reshape(seen.shape)
    return np.where(weight > 1e-9, total / np.maximum(weight, 1e-9), values).astype(np.float32)


def _convolved(columns: npt.NDArray[Any], weights: Times) -> Times:
    """Columns (T, N), their ends held, convolved with symmetric weights: by FFT if there are many weights."""
    count, reach = len(columns), len(weights) // 2
    result = np.empty(columns.shape, np.float64)
    size = 1 << (count + 2 * reach - 1).bit_length()
    for first in range(0, columns.shape[1], _BLOCK):
        block = np.s_[:, first : first + _BLOCK]
        padded = np.pad(columns[block].astype(np.float64), ((reach, reach), (0, 0)), mode="edge")
        if reach <= _FEW:
            result[block] = sum(weight * padded[k : k + count] for k, weight in enumerate(weights))
        else:
            spectrum = np.fft.rfft(padded, size, axis=0) * np.fft.rfft(weights, size)[:, None]
            result[block] = np.fft.irfft(spectrum, size, axis=0)[2 * reach : 2 * reach + count]
    return result


def mix(a: Track, b: Track, share: npt.ArrayLike) -> Track:
    """Linear mix of two motions of the same length: (1 - share) of `a` and `share` of `b`, a number or (T,)."""
    part = np.broadcast_to(np.asarray(share, np.float32), len(a))
    _check_finite(share=float(part.sum()))

    def mixed(one: Floats, other: Floats) -> Floats:
        weight = part.reshape(-1, *[1] * (one.ndim - 1))
        return np.asarray(one * (1 - weight) + other * weight, np.float32)

    if isinstance(a, LandmarkTrack) and isinstance(b, LandmarkTrack):
        curves = None
        if a.curves is not None and b.curves is not None:
            curves = Curves(mixed(a.curves.values, b.curves.values), a.fps)
        seen: npt.NDArray[np.bool_] = ((part >= 1) | a.valid) & ((part <= 0) | b.valid)
        return replace(a, points=mixed(a.points, b.points), valid=seen, curves=curves)
    if isinstance(a, PoseTrack) and isinstance(b, PoseTrack):
        body, hands, face = (
            _with_lone(mixed(one, other), one, other)
            for one, other in ((a.body, b.body), (a.hands, b.hands), (a.face, b.face))
        )
        return replace(a, body=body, hands=hands, face=face)
    raise MotionError(f"motions of the kinds {kind_of(a)} and {kind_of(b)} cannot be mixed; expected two of one kind")


def concat(motions: Sequence[Track], seam: float = 0.2) -> Track:
    """Join motions at the frame rate and image size of the first, with crossfades of `seam` seconds."""
    if not motions:
        raise MotionError("there is nothing to join; expected at least one motion")
    joined = motions[0]
    for motion in motions[1:]:
        joined = _joined(joined, at_image_size(resample(motion, joined.fps), joined.image_size), seam)
    return joined


def _joined(a: Track, b: Track, seam: float) -> Track:
    _check_finite(seam=seam)
    lap = min(max(0, round(seam * a.fps)), len(a) - 1, len(b) - 1)
    total = _count((len(a) + len(b) - lap) / a.fps, a.fps)
    when = np.arange(total, dtype=np.float64)
    share = np.clip((when - (len(a) - lap) + 1) / (lap + 1), 0, 1)
    share[when >= len(a)] = 1.0
    return mix(frames_at(a, when), frames_at(b, when - (len(a) - lap)), share)


def at_image_size(motion: Track, image_size: tuple[int, int]) -> Track:
    """Scale the motion to an image size of the same aspect ratio. MotionError if the ratio differs: align instead."""
    if tuple(motion.image_size) == tuple(image_size):
        return motion
    across, down = (new / old for new, old in zip(image_size, motion.image_size, strict=True))
    if abs(across / down - 1) > 0.01:
        raise MotionError(
            f"the motion is for an image of {motion.image_size[0]}x{motion.image_size[1]} and "
            f"{image_size[0]}x{image_size[1]} is wanted; expected the same shape: align it to the portrait first"
        )
    if isinstance(motion, LandmarkTrack):
        scale = np.array((across, down, across), np.float32)
        return replace(motion, points=motion.points * scale, image_size=image_size)
    return replace(motion, image_size=image_size)


_ENDS = {"loop": "run back and forth", "hold": "held at its last frame", "stop": "where the clip ends"}


def clip_length(speech: Speech, motion: Motion | None, options: Options) -> int:
    """Frames of the clip: `options.frames`, or the whole voice; a note says how a shorter motion is continued."""
    frames = options.frames or speech.frames(options.fps)
    have = frames if motion is None else max(1, round(len(motion) / motion.fps * options.fps))
    if have >= frames:
        return frames
    note(
        "motion_shorter",
        "the motion lasts {motion:.1f} s and the clip {clip:.1f} s: it is {end}",
        motion=have / options.fps,
        clip=frames / options.fps,
        end=_ENDS[options.motion_end],
    )
    return have if options.motion_end == "stop" else frames


def clip_times(motion: Motion, frames: int, options: Options) -> npt.NDArray[np.float64]:
    """Fractional frame numbers (frames,) of the motion, which runs back and forth, or is held, if it is shorter."""
    when = np.arange(frames) * (motion.fps / options.fps)
    last = len(motion) - 1
    if options.motion_end == "loop" and last > 0:
        return np.asarray(last - np.abs(when % (2 * last) - last))
    return np.minimum(when, last)


def fit_to_clip(motion: Track, frames: int, options: Options) -> Track:
    """Sample the motion at each of the `frames` of the clip, at the clip's rate."""
    return frames_at(motion, clip_times(motion, frames, options), options.fps)

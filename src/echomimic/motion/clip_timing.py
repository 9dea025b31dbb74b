"""Fitting a motion to a clip: the length of the clip, and the frame of the motion that each of its frames shows."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from echomimic.motion.time_edits import frames_at
from echomimic.notes import note
from echomimic.options import Options
from echomimic.types import LandmarkTrack, Motion, PoseTrack, Speech

Track = TypeVar("Track", LandmarkTrack, PoseTrack, Motion)

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
    """(frames,) fractional frame numbers of the motion; run back and forth, or held, if it is shorter."""
    when = np.arange(frames) * (motion.fps / options.fps)
    last = len(motion) - 1
    if options.motion_end == "loop" and last > 0:
        return np.asarray(last - np.abs(when % (2 * last) - last))
    return np.minimum(when, last)


def fit_to_clip(motion: Track, frames: int, options: Options) -> Track:
    """The motion with one entry for each of the `frames` of the clip, at the clip's rate."""
    return frames_at(motion, clip_times(motion, frames, options), options.fps)

"""Where a motion comes from, and how it is brought to the portrait."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from echomimic.apps.comfy import host
from echomimic.apps.comfy.values import landmarks_of
from echomimic.apps.comfy.watch import Watch
from echomimic.errors import EchoMimicError, MotionError
from echomimic.presets import Preset
from echomimic.types import LandmarkTrack, Motion, PoseTrack

FOLLOWED = {"mask": LandmarkTrack, "landmarks": LandmarkTrack, "hands": PoseTrack}
"""The kind of track that a preset for a network follows, by what drives it."""
_KINDS = {LandmarkTrack: "a face", PoseTrack: "hands and body"}
_PARTS = {LandmarkTrack: "face", PoseTrack: "body"}


@dataclass(frozen=True)
class Driver:
    """A motion to follow; `align` fits its movements to the portrait's own face or body.

    With `mouth` a network that follows landmarks is shown the driver's mouth too.
    """

    motion: Motion
    align: bool = True
    mouth: bool = False


def motion_of(folder: str, body: bool, fps: float, sources: Mapping[str, Any]) -> Motion | None:
    """The one motion that was given: a folder's, a VIDEO's, POSE_KEYPOINT's or FACE_LANDMARKS'; None without any."""
    from echomimic import motion as tracks

    given = {name: value for name, value in sources.items() if value is not None}
    if folder:
        given["folder"] = folder
    if len(given) > 1:
        raise MotionError(f"{' and '.join(sorted(given))} came in; expected one source of motion: unlink the others")
    if "folder" in given:
        return tracks.load_motion(host.input_path(*Path(folder).parts), fps=fps)
    if "video" in given:
        return tracked(lambda path: given["video"].save_to(str(path)), body)
    if "face_landmarks" in given:
        return landmarks_of(given["face_landmarks"], fps)
    return _keypoints(given["pose_keypoints"], fps) if "pose_keypoints" in given else None


def tracked(save: Callable[[Path], object], body: bool) -> Motion:
    """The motion in the video that `save` writes to the path it is given; the host's stop button is looked at."""
    from echomimic.motion import track_video

    with host.scratch(".mp4") as path, _called(path, "the video"):
        save(path)
        return track_video(path, body, progress=Watch())


@contextmanager
def _called(path: Path, name: str) -> Iterator[None]:
    """Errors of the block name a temporary file by what it holds."""
    try:
        yield
    except EchoMimicError as error:
        raise type(error)(str(error).replace(str(path), name)) from error


def _keypoints(found: Any, fps: float) -> Motion:
    """The host's POSE_KEYPOINT, which is OpenPose's JSON."""
    from echomimic import motion as tracks

    with host.scratch(".json") as path, _called(path, "POSE_KEYPOINT"):
        path.write_text(json.dumps(found, default=float), encoding="utf-8")
        return tracks.load_motion(path, fps=fps)


def describe(motion: Motion | None) -> str:
    """A motion in one line."""
    if motion is None:
        return "generated from the voice"
    return f"{_KINDS[type(motion)]}: {len(motion)} frames, {len(motion) / motion.fps:.2f} s at {motion.fps:g} fps"


def driving_motion(driver: Driver, preset: Preset) -> Motion:
    """The driver's motion. Raises MotionError if the preset's network follows motions of the other kind."""
    motion, wanted = driver.motion, FOLLOWED.get(preset.conditioning)
    if wanted is None:
        return motion
    if not isinstance(motion, wanted):
        raise MotionError(
            f"a motion of {_KINDS[type(motion)]} came in; expected {_KINDS[wanted]}, which preset {preset.name} "
            f"follows: take such a motion, or EchoMimic Motion with part {_PARTS[wanted]}, or another version"
        )
    if driver.mouth and isinstance(motion, LandmarkTrack):
        from echomimic.diffusion.condition_images import PARTS

        return replace(motion, parts=PARTS)
    return motion

"""Where a motion comes from, and how it is brought to the portrait."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echomimic.apps.comfy import host
from echomimic.apps.comfy.values import file_of, landmarks_of
from echomimic.errors import MotionError
from echomimic.options import Options
from echomimic.presets import Preset
from echomimic.types import LandmarkTrack, Motion, Portrait, PoseTrack

FOLLOWED = {"mask": LandmarkTrack, "landmarks": LandmarkTrack, "hands": PoseTrack}
"""The kind of track that a preset for a network follows, by what drives it."""


@dataclass(frozen=True)
class Driver:
    """A motion to follow; with `align` its movements are put on the portrait's own face or body first."""

    motion: Motion
    align: bool = True


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
        return _tracked(given["video"], body)
    if "face_landmarks" in given:
        return landmarks_of(given["face_landmarks"], fps)
    return _keypoints(given["pose_keypoints"], fps) if "pose_keypoints" in given else None


def _tracked(video: Any, body: bool) -> Motion:
    from echomimic import motion as tracks

    path = file_of(video)
    try:
        return tracks.load_motion(path, pose=body)
    finally:
        path.unlink(missing_ok=True)


def _keypoints(found: Any, fps: float) -> Motion:
    """The host's POSE_KEYPOINT, which is OpenPose's JSON."""
    from echomimic import motion as tracks

    path = host.temporary(".json")
    path.write_text(json.dumps(found, default=float), encoding="utf-8")
    try:
        return tracks.load_motion(path, fps=fps)
    finally:
        path.unlink()


def describe(motion: Motion | None) -> str:
    """A motion in one line."""
    if motion is None:
        return "generated from the voice"
    kind = "hands and body" if isinstance(motion, PoseTrack) else "a face"
    return f"{kind}: {len(motion)} frames, {len(motion) / motion.fps:.2f} s at {motion.fps:g} fps"


def aligned(driver: Driver, portrait: Portrait, settings: Options, preset: Preset) -> Motion:
    """The motion, on the portrait's own face or body where that is asked for and a network is to follow it.

    The mesh engine puts every motion on the portrait's face by itself. MotionError where a body shows no shoulders.
    """
    wanted = FOLLOWED.get(preset.drive)
    if not driver.align or wanted is None or not isinstance(driver.motion, wanted):
        return driver.motion
    from echomimic.diffusion.shot import aligned_to_shot

    return aligned_to_shot(driver.motion, portrait, preset, settings)

"""Motion as data: face and hand tracks to read, make, change, align and look at."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echomimic.motion.body_retarget import align_pose
    from echomimic.motion.curve_edits import (
        curve_keys,
        draw_curve,
        find_curve,
        follow_curves,
        read_curve,
        scale_curve,
        set_curve,
    )
    from echomimic.motion.face_retarget import align_motion
    from echomimic.motion.files import check_motion_path, load_edits, load_motion, save_motion
    from echomimic.motion.gestures import gesture_track
    from echomimic.motion.half_body import HalfBodyFraming, frame_half_body, propose_framing
    from echomimic.motion.hands import POSE_CURVES, pose_curves
    from echomimic.motion.preview import preview_frames, preview_sheet, write_preview
    from echomimic.motion.regions import combine_curves
    from echomimic.motion.replaying import replay, write_edit
    from echomimic.motion.spatial_edits import amplify, blend, mirror, select
    from echomimic.motion.sync import MetricFaces, sync_exactly
    from echomimic.motion.time_edits import concat, loop, offset, resample, retime, smooth, stretch, trim
    from echomimic.motion.tracking import track_video
    from echomimic.motion.validate import preflight, read_lines

_HOMES = {
    "face_retarget": ("align_motion",),
    "curve_edits": (
        "curve_keys",
        "draw_curve",
        "find_curve",
        "follow_curves",
        "read_curve",
        "scale_curve",
        "set_curve",
    ),
    "files": ("check_motion_path", "load_edits", "load_motion", "save_motion"),
    "gestures": ("gesture_track",),
    "hands": ("POSE_CURVES", "pose_curves"),
    "half_body": ("HalfBodyFraming", "frame_half_body", "propose_framing"),
    "regions": ("combine_curves",),
    "validate": ("preflight", "read_lines"),
    "preview": ("preview_frames", "preview_sheet", "write_preview"),
    "replaying": ("replay", "write_edit"),
    "body_retarget": ("align_pose",),
    "spatial_edits": ("amplify", "blend", "mirror", "select"),
    "sync": ("MetricFaces", "sync_exactly"),
    "time_edits": ("concat", "loop", "offset", "resample", "retime", "smooth", "stretch", "trim"),
    "tracking": ("track_video",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "POSE_CURVES",
    "HalfBodyFraming",
    "MetricFaces",
    "align_motion",
    "align_pose",
    "amplify",
    "blend",
    "check_motion_path",
    "combine_curves",
    "concat",
    "curve_keys",
    "draw_curve",
    "find_curve",
    "follow_curves",
    "frame_half_body",
    "gesture_track",
    "load_edits",
    "load_motion",
    "loop",
    "mirror",
    "offset",
    "pose_curves",
    "preflight",
    "preview_frames",
    "preview_sheet",
    "propose_framing",
    "read_curve",
    "read_lines",
    "replay",
    "resample",
    "retime",
    "save_motion",
    "scale_curve",
    "select",
    "set_curve",
    "smooth",
    "stretch",
    "sync_exactly",
    "track_video",
    "trim",
    "write_edit",
    "write_preview",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: saving a track needs no landmarker."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

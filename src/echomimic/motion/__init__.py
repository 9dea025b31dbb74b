"""Motion as data: face and hand tracks to read, make, edit, align and preview."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echomimic.motion.body_retarget import align_pose as align_pose
    from echomimic.motion.curve_edits import curve_keys as curve_keys
    from echomimic.motion.curve_edits import draw_curve as draw_curve
    from echomimic.motion.curve_edits import find_curve as find_curve
    from echomimic.motion.curve_edits import follow_curves as follow_curves
    from echomimic.motion.curve_edits import read_curve as read_curve
    from echomimic.motion.curve_edits import scale_curve as scale_curve
    from echomimic.motion.curve_edits import set_curve as set_curve
    from echomimic.motion.edits import EDITS as EDITS
    from echomimic.motion.edits import Comment as Comment
    from echomimic.motion.edits import Edit as Edit
    from echomimic.motion.edits import EditContext as EditContext
    from echomimic.motion.edits import apply_edits as apply_edits
    from echomimic.motion.edits import read_edit as read_edit
    from echomimic.motion.edits import read_edits as read_edits
    from echomimic.motion.face_retarget import align_motion as align_motion
    from echomimic.motion.files import check_motion_path as check_motion_path
    from echomimic.motion.files import is_video as is_video
    from echomimic.motion.files import load_edits as load_edits
    from echomimic.motion.files import load_motion as load_motion
    from echomimic.motion.files import load_with_edits as load_with_edits
    from echomimic.motion.files import save_motion as save_motion
    from echomimic.motion.gestures import gesture_track as gesture_track
    from echomimic.motion.half_body import propose_crop as propose_crop
    from echomimic.motion.hands import POSE_CURVES as POSE_CURVES
    from echomimic.motion.hands import pose_curves as pose_curves
    from echomimic.motion.preview import preview_frames as preview_frames
    from echomimic.motion.preview import preview_sheet as preview_sheet
    from echomimic.motion.preview import write_preview as write_preview
    from echomimic.motion.regions import combine_curves as combine_curves
    from echomimic.motion.spatial_edits import amplify as amplify
    from echomimic.motion.spatial_edits import blend as blend
    from echomimic.motion.spatial_edits import mirror as mirror
    from echomimic.motion.spatial_edits import select as select
    from echomimic.motion.time_edits import concat as concat
    from echomimic.motion.time_edits import loop as loop
    from echomimic.motion.time_edits import offset as offset
    from echomimic.motion.time_edits import resample as resample
    from echomimic.motion.time_edits import retime as retime
    from echomimic.motion.time_edits import smooth as smooth
    from echomimic.motion.time_edits import stretch as stretch
    from echomimic.motion.time_edits import trim as trim
    from echomimic.motion.tracking import track_video as track_video
    from echomimic.motion.validate import measure_motion as measure_motion
    from echomimic.motion.validate import preflight as preflight

_MODULES = {
    "body_retarget": "align_pose",
    "curve_edits": "curve_keys draw_curve find_curve follow_curves read_curve scale_curve set_curve",
    "edits": "EDITS Edit EditContext Comment apply_edits read_edit read_edits",
    "face_retarget": "align_motion",
    "files": "check_motion_path is_video load_edits load_motion load_with_edits save_motion",
    "gestures": "gesture_track",
    "half_body": "propose_crop",
    "hands": "POSE_CURVES pose_curves",
    "preview": "preview_frames preview_sheet write_preview",
    "regions": "combine_curves",
    "spatial_edits": "amplify blend mirror select",
    "time_edits": "concat loop offset resample retime smooth stretch trim",
    "tracking": "track_video",
    "validate": "preflight measure_motion",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: saving a track needs no face detector."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_MODULE_OF)

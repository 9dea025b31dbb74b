"""Motion as data: face and hand tracks to read, make, change, align and look at."""

from echomimic.motion.align import align_motion
from echomimic.motion.files import load_edits, load_motion, save_motion
from echomimic.motion.gestures import gesture_track
from echomimic.motion.halfbody import HalfBodyFraming, frame_half_body, propose_framing
from echomimic.motion.parts import combine_curves
from echomimic.motion.preflight import preflight, read_lines
from echomimic.motion.preview import preview_frames, preview_sheet, write_preview
from echomimic.motion.retarget import align_pose
from echomimic.motion.shaping import amplify, blend, mirror, select, set_curve
from echomimic.motion.timing import concat, loop, offset, resample, retime, smooth, stretch, trim
from echomimic.motion.tracking import track_video

__all__ = [
    "HalfBodyFraming",
    "align_motion",
    "align_pose",
    "amplify",
    "blend",
    "combine_curves",
    "concat",
    "frame_half_body",
    "gesture_track",
    "load_edits",
    "load_motion",
    "loop",
    "mirror",
    "offset",
    "preflight",
    "preview_frames",
    "preview_sheet",
    "propose_framing",
    "read_lines",
    "resample",
    "retime",
    "save_motion",
    "select",
    "set_curve",
    "smooth",
    "stretch",
    "track_video",
    "trim",
    "write_preview",
]

from .bezier_keys import drawn_segments as drawn_segments
from .bezier_keys import fit_keys as fit_keys
from .blendshapes import arkit_weights as arkit_weights
from .blendshapes import export_blendshapes as export_blendshapes
from .blendshapes import vrm_weights as vrm_weights
from .body_retarget import align_pose as align_pose
from .body_retarget import propose_crop as propose_crop
from .curve_edits import EXPRESSIONS as EXPRESSIONS
from .curve_edits import (
    curve_keys as curve_keys,
)
from .curve_edits import (
    draw_curve as draw_curve,
)
from .curve_edits import express as express
from .curve_edits import (
    find_curve as find_curve,
)
from .curve_edits import (
    follow_curves as follow_curves,
)
from .curve_edits import (
    read_curve as read_curve,
)
from .curve_edits import (
    scale_curve as scale_curve,
)
from .curve_edits import (
    set_curve as set_curve,
)
from .curve_edits import (
    shift_curve as shift_curve,
)
from .edits import (
    EDITS as EDITS,
)
from .edits import (
    Comment as Comment,
)
from .edits import (
    Edit as Edit,
)
from .edits import (
    EditContext as EditContext,
)
from .edits import (
    active_edits as active_edits,
)
from .edits import (
    apply_edits as apply_edits,
)
from .edits import (
    count_edits as count_edits,
)
from .edits import (
    read_edit as read_edit,
)
from .edits import (
    read_edits as read_edits,
)
from .face_retarget import align_motion as align_motion
from .files import (
    check_motion_path as check_motion_path,
)
from .files import (
    is_video as is_video,
)
from .files import (
    kind_of_file as kind_of_file,
)
from .files import (
    load_edits as load_edits,
)
from .files import (
    load_motion as load_motion,
)
from .files import (
    load_with_edits as load_with_edits,
)
from .files import (
    save_motion as save_motion,
)
from .gestures import gesture_track as gesture_track
from .hands import POSE_CURVES as POSE_CURVES
from .hands import pose_curves as pose_curves
from .layers import layer as layer
from .preview import (
    preview_frames as preview_frames,
)
from .preview import (
    preview_sheet as preview_sheet,
)
from .preview import (
    write_preview as write_preview,
)
from .schema import FACE_PARTS as FACE_PARTS
from .schema import check_motion as check_motion
from .spatial_edits import CURVES_OF as CURVES_OF
from .spatial_edits import (
    amplify as amplify,
)
from .spatial_edits import (
    blend as blend,
)
from .spatial_edits import combine_curves as combine_curves
from .spatial_edits import (
    mirror as mirror,
)
from .spatial_edits import (
    select as select,
)
from .time_edits import (
    concat as concat,
)
from .time_edits import (
    loop as loop,
)
from .time_edits import (
    offset as offset,
)
from .time_edits import (
    resample as resample,
)
from .time_edits import (
    retime as retime,
)
from .time_edits import (
    smooth as smooth,
)
from .time_edits import (
    stretch as stretch,
)
from .time_edits import (
    trim as trim,
)
from .tracking import track_video as track_video
from .validate import measure_motion as measure_motion
from .validate import preflight as preflight

"""What a motion must be before it is saved, edited or rendered: shapes, units, ranges, in one place."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.topology import POINTS
from echomimic.notes import note
from echomimic.signals import fill_gaps
from echomimic.types import CURVES, Curves, Floats, LandmarkTrack, Motion, PoseTrack

FORMAT = "echomimic-motion"
VERSION = 1
UNITS = {
    "landmarks": "points: x, y, z in pixels of the canvas, x right, y down, z away from the viewer",
    "pose": "body, hands, face: x and y in shares of the picture's width and height, then a score 0..1",
}
FACE_PARTS = ("eyes", "brows", "mouth", "pupils", "nose", "head")
MAX_FRAMES = 10_000_000
MAX_FPS = 1000.0
MAX_SIDE = 100_000


@dataclass(frozen=True)
class Fields:
    """What a file held, still unchecked: arrays by name, and the few words beside them."""

    kind: str
    fps: float
    image_size: tuple[int, int]
    arrays: dict[str, npt.NDArray[np.generic]]
    curve_names: tuple[str, ...] = ()
    curves_fps: float | None = None
    version: int = VERSION
    edits: tuple[str, ...] = ()
    parts: tuple[str, ...] | None = None


def kind_of(motion: Motion) -> str:
    """The word that names a motion's kind in files: `landmarks` or `pose`."""
    return "landmarks" if isinstance(motion, LandmarkTrack) else "pose"


def check_motion(motion: Motion, where: str = "the motion") -> Motion:
    """The motion itself where it is sound; MotionError in one line where it is not."""
    if len(motion) == 0:
        raise MotionError(f"{where} has no frames; expected at least one")
    if len(motion) > MAX_FRAMES:
        raise MotionError(f"{where} has {len(motion)} frames; expected at most {MAX_FRAMES}: cut it")
    check_fps(motion.fps, where)
    check_canvas(motion.image_size, where)
    return _check_landmarks(motion, where) if isinstance(motion, LandmarkTrack) else _check_pose(motion, where)


def check_fps(fps: float, where: str) -> float:
    """`fps` where it is a usable frame rate, else MotionError."""
    if not (np.isfinite(fps) and 0 < fps <= MAX_FPS):
        raise MotionError(f"{where} has {fps:g} frames a second; expected more than 0 and at most {MAX_FPS:g}")
    return float(fps)


def check_canvas(image_size: tuple[int, int], where: str) -> tuple[int, int]:
    """`image_size` (width, height) where it is usable, else MotionError."""
    if len(image_size) != 2 or not all(0 < side <= MAX_SIDE for side in image_size):
        raise MotionError(
            f"{where} has the canvas {tuple(image_size)}; expected (width, height) in pixels, both above 0"
        )
    return image_size


def _check_landmarks(track: LandmarkTrack, where: str) -> LandmarkTrack:
    _check_shape(track.points, (len(track), POINTS, 3), f"{where}: points")
    _check_shape(track.valid, (len(track),), f"{where}: valid")
    _check_finite(track.points, track.valid, where)
    check_parts(track.parts or (), where)
    if track.curves is not None:
        _check_finite(track.curves.values, np.ones(len(track.curves), bool), f"{where}: curves")
        if len(track.curves) != len(track):
            raise MotionError(f"{where} has {len(track)} frames but {len(track.curves)} rows of curves; expected equal")
    return track


def check_parts(parts: tuple[str, ...], where: str) -> tuple[str, ...]:
    """`parts` where all are known, else MotionError."""
    unknown = [part for part in parts if part not in FACE_PARTS]
    if unknown:
        raise MotionError(f"{where}: unknown part {unknown[0]!r}; expected some of {', '.join(FACE_PARTS)}")
    return parts


def _check_pose(track: PoseTrack, where: str) -> PoseTrack:
    frames = len(track)
    for name, shape in pose_shapes(frames).items():
        values = getattr(track, name)
        _check_shape(values, shape, f"{where}: {name}")
        _check_finite(values, np.ones(frames, bool), f"{where}: {name}")
    return track


def pose_shapes(frames: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a pose track's arrays."""
    return {"body": (frames, 18, 3), "hands": (frames, 2, 21, 3), "face": (frames, 68, 3)}


def _check_shape(values: npt.NDArray[np.generic], shape: tuple[int, ...], what: str) -> None:
    if values.shape != shape:
        raise MotionError(f"{what} has the shape {values.shape}; expected {shape}")


def _check_finite(values: Floats, valid: npt.NDArray[np.bool_], what: str) -> None:
    """Frames that count must hold numbers; what an invalid frame holds is nobody's business."""
    rows = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    bad = np.flatnonzero(valid & ~rows)
    if len(bad):
        raise MotionError(
            f"{what}: frame {bad[0]} holds a value that is not a number ({len(bad)} such frames); mark such frames "
            "as not valid or leave them out"
        )


def without_nan(track: LandmarkTrack) -> LandmarkTrack:
    """The track with numbers in its invalid frames too: interpolated between the valid frames around them."""
    rows = np.isfinite(track.points.reshape(len(track), -1)).all(axis=1)
    if rows.all() or not rows.any():
        return track
    points = fill_gaps(track.points, rows)
    return replace(track, points=points, valid=track.valid & rows)


def motion_from_fields(fields: Fields, where: str) -> Motion:
    """A checked motion from what a file held."""
    if fields.version > VERSION:
        raise MotionError(f"{where} is of version {fields.version}; this program reads up to {VERSION}: update it")
    if fields.kind == "landmarks":
        return check_motion(_landmarks_from(fields, where), where)
    if fields.kind == "pose":
        arrays = [numbers(_array(fields, name, where), f"{where}: {name}") for name in ("body", "hands", "face")]
        return check_motion(PoseTrack(arrays[0], arrays[1], arrays[2], fields.fps, fields.image_size), where)
    raise MotionError(f"{where} holds motion of the kind {fields.kind!r}; expected 'landmarks' or 'pose'")


def _landmarks_from(fields: Fields, where: str) -> LandmarkTrack:
    points = numbers(_array(fields, "points", where), f"{where}: points")
    curves = fields.arrays.get("curves")
    lines = None if curves is None else _curves_from(fields, numbers(curves, f"{where}: curves"), where)
    return LandmarkTrack(points, fields.image_size, fields.fps, _flags(fields, len(points), where), lines, fields.parts)


def _flags(fields: Fields, frames: int, where: str) -> npt.NDArray[np.bool_]:
    """Which frames count: what the file says, in true and false or 1 and 0; all of them where it says nothing."""
    if "valid" not in fields.arrays:
        return np.ones(frames, bool)
    valid = fields.arrays["valid"]
    if valid.dtype.kind not in "biu":
        raise MotionError(f"{where}: valid is {valid.dtype}; expected true or false for each frame")
    return valid.astype(np.bool_)


def _array(fields: Fields, name: str, where: str) -> npt.NDArray[np.generic]:
    if name not in fields.arrays:
        raise MotionError(f"{where} has no '{name}'; expected it in motion of the kind {fields.kind!r}")
    return fields.arrays[name]


def numbers(values: npt.NDArray[np.generic], what: str) -> Floats:
    """`values` as float32; MotionError where they are no numbers."""
    if values.dtype.kind not in "fiu":
        raise MotionError(f"{what} is of the type {values.dtype}; expected numbers")
    return np.asarray(values, np.float32)


def _curves_from(fields: Fields, values: Floats, where: str) -> Curves:
    """Curves by their stored names, so that files from before or after a change of columns can be read."""
    names = fields.curve_names
    if values.ndim != 2 or values.shape[1] != len(names):
        raise MotionError(f"{where}: curves of shape {values.shape} with {len(names)} names; expected a name a column")
    own = {curve.name for curve in CURVES}
    unknown, absent = [n for n in names if n not in own], sorted(own - set(names))
    if unknown:
        note(
            "curves_unknown",
            "{where}: curves that this version does not know were left out: {curves}",
            where=where,
            curves=", ".join(unknown),
        )
    if absent:
        note(
            "curves_missing",
            "{where}: curves that it lacks stay at rest: {curves}",
            where=where,
            curves=", ".join(absent),
        )
    rest = Curves.rest(len(values), check_fps(fields.curves_fps or fields.fps, where))
    for column, name in enumerate(names):
        if name in own:
            rest[name][:] = values[:, column]  # as stored, not held to its range: a file comes back as it was saved
    return rest

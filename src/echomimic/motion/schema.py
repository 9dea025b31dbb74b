"""The header of motion files, and the checks of shapes, units and ranges that every motion passes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from echomimic.errors import MotionError
from echomimic.landmarks.topology import POINTS
from echomimic.motion.edits import Edit, read_saved_edits
from echomimic.notes import note
from echomimic.signals import fill_gaps
from echomimic.types import CURVE_NAMES, Curves, Floats, LandmarkTrack, Motion, PoseTrack

Arrays = dict[str, npt.NDArray[np.generic]]

FORMAT: Literal["echomimic-motion"] = "echomimic-motion"
VERSION = 1
UNITS = {
    "landmarks": "points: x, y, z in pixels of the image, x right, y down, z away from the viewer",
    "pose": "body, hands, face: x and y in fractions of the picture's width and height, then a score 0..1",
}
FACE_PARTS = ("eyes", "brows", "mouth", "pupils", "nose", "head")
MAX_FRAMES = 10_000_000
MAX_FPS = 1000.0
MAX_SIDE = 100_000


class MotionHeader(BaseModel):
    """The fields of a motion file beside its arrays, the same in `.npz`, `.json` and `.csv`."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    format: Literal["echomimic-motion"] = FORMAT
    version: int = VERSION
    kind: str
    units: str = ""
    fps: float
    image_size: tuple[int, int] = Field(alias="canvas")
    edits: tuple[Edit, ...] = ()
    curve_names: tuple[str, ...] | None = None
    curves_fps: float | None = None
    parts: tuple[str, ...] | None = None

    @field_validator("edits", mode="before")
    @classmethod
    def _read_edits(cls, values: Any, info: ValidationInfo) -> Any:
        listed = values if isinstance(values, (list, tuple)) else [values]
        return read_saved_edits(listed, (info.context or {}).get("where", "this motion"))

    @classmethod
    def of(cls, motion: Motion, edits: Sequence[Edit] = ()) -> "MotionHeader":
        """The header of a motion that is to be saved."""
        curves = motion.curves if isinstance(motion, LandmarkTrack) else None
        return cls(
            kind=kind_of(motion),
            units=UNITS[kind_of(motion)],
            fps=motion.fps,
            canvas=(int(motion.image_size[0]), int(motion.image_size[1])),
            edits=tuple(edits),
            curve_names=None if curves is None else CURVE_NAMES,
            curves_fps=None if curves is None else curves.fps,
            parts=motion.parts if isinstance(motion, LandmarkTrack) else None,
        )

    @classmethod
    def read(cls, values: Mapping[str, Any], where: str) -> "MotionHeader":
        """The header from the fields of a file. MotionError if one is missing or of the wrong type."""
        version = values.get("version")
        if isinstance(version, int) and version > VERSION:
            raise MotionError(f"{where} is of version {version}; this program reads up to {VERSION}: update it")
        try:
            return cls.model_validate(values, context={"where": where})
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            if name not in values:
                raise MotionError(f"{where} has no '{name}'; expected a motion file of this program") from None
            raise MotionError(f"{where}: {name} is {str(first['input'])[:60]!r}; expected numbers") from None

    def as_dict(self) -> dict[str, Any]:
        """The header as plain data, with each edit as its record."""
        values = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"edits"})
        return {**values, "edits": [edit.record() for edit in self.edits]}


def kind_of(motion: Motion) -> str:
    """The name of a motion's kind in files: `landmarks` or `pose`."""
    return "landmarks" if isinstance(motion, LandmarkTrack) else "pose"


def check_motion(motion: Motion, where: str = "the motion") -> Motion:
    """Return the motion. MotionError in one line if its shapes, units or values are not valid."""
    if len(motion) == 0:
        raise MotionError(f"{where} has no frames; expected at least one")
    if len(motion) > MAX_FRAMES:
        raise MotionError(f"{where} has {len(motion)} frames; expected at most {MAX_FRAMES}: cut it")
    check_fps(motion.fps, where)
    check_image_size(motion.image_size, where)
    return _check_landmarks(motion, where) if isinstance(motion, LandmarkTrack) else _check_pose(motion, where)


def check_fps(fps: float, where: str) -> float:
    """Return `fps`. MotionError if it is not a usable frame rate."""
    if not (np.isfinite(fps) and 0 < fps <= MAX_FPS):
        raise MotionError(f"{where} has {fps:g} frames a second; expected more than 0 and at most {MAX_FPS:g}")
    return float(fps)


def check_image_size(image_size: tuple[int, int], where: str) -> tuple[int, int]:
    """Return `image_size` (width, height). MotionError if it is not usable."""
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
    """Return `parts`. MotionError if one is unknown."""
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
    """Valid frames must hold finite numbers; invalid frames are not checked."""
    rows = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    bad = np.flatnonzero(valid & ~rows)
    if len(bad):
        raise MotionError(
            f"{what}: frame {bad[0]} holds a value that is not a number ({len(bad)} such frames); mark such frames "
            "as not valid or leave them out"
        )


def without_nan(track: LandmarkTrack) -> LandmarkTrack:
    """The track with finite numbers in its invalid frames too, interpolated between their neighbours."""
    rows = np.asarray(np.isfinite(track.points.reshape(len(track), -1)).all(axis=1))
    if rows.all() or not rows.any():
        return track
    points = fill_gaps(track.points, rows)
    return replace(track, points=points, valid=track.valid & rows)


def motion_from(header: MotionHeader, arrays: Arrays, where: str) -> Motion:
    """A checked motion from the header and the arrays of a file."""
    if header.kind == "landmarks":
        return check_motion(_landmarks_from(header, arrays, where), where)
    if header.kind == "pose":
        parts = [numbers(_array(header, arrays, name, where), f"{where}: {name}") for name in ("body", "hands", "face")]
        return check_motion(PoseTrack(parts[0], parts[1], parts[2], header.fps, header.image_size), where)
    raise MotionError(f"{where} holds motion of the kind {header.kind!r}; expected 'landmarks' or 'pose'")


def _landmarks_from(header: MotionHeader, arrays: Arrays, where: str) -> LandmarkTrack:
    points = numbers(_array(header, arrays, "points", where), f"{where}: points")
    values = arrays.get("curves")
    curves = None if values is None else _curves_from(header, numbers(values, f"{where}: curves"), where)
    valid = arrays.get("valid", np.ones(len(points), bool))
    if valid.dtype.kind not in "biu":
        raise MotionError(f"{where}: valid is {valid.dtype}; expected true or false for each frame")
    return LandmarkTrack(points, header.image_size, header.fps, valid.astype(np.bool_), curves, header.parts)


def _array(header: MotionHeader, arrays: Arrays, name: str, where: str) -> npt.NDArray[np.generic]:
    if name not in arrays:
        raise MotionError(f"{where} has no '{name}'; expected it in motion of the kind {header.kind!r}")
    return arrays[name]


def numbers(values: npt.NDArray[np.generic], what: str) -> Floats:
    """`values` as float32. MotionError if they are not numbers."""
    if values.dtype.kind not in "fiu":
        raise MotionError(f"{what} is of the type {values.dtype}; expected numbers")
    return np.asarray(values, np.float32)


def _curves_from(header: MotionHeader, values: Floats, where: str) -> Curves:
    """Curves by their stored names, so that files from before or after a change of columns can be read."""
    names = header.curve_names or ()
    if values.ndim != 2 or values.shape[1] != len(names):
        raise MotionError(f"{where}: curves of shape {values.shape} with {len(names)} names; expected a name a column")
    unknown, absent = [n for n in names if n not in CURVE_NAMES], sorted(set(CURVE_NAMES) - set(names))
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
    rest = Curves.rest(len(values), check_fps(header.curves_fps or header.fps, where))
    for column, name in enumerate(names):
        if name in CURVE_NAMES:
            rest[name][:] = values[:, column]  # not clipped to the range: a file comes back as it was saved
    return rest

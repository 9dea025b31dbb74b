"""Retargeting of a driving face to a portrait: its movements, applied to the portrait's own face, head and position.

This replaces V1's motion sync and removes its faults: the track keeps its own time, the projection is correct, the
inputs are not changed, the driver at rest (lips together, eyes and head as usual) is the portrait at rest, and lips and
lids cannot cross.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.head_pose import Similarity, align, angles, face_template
from echomimic.landmarks.topology import (
    LID_PAIRS,
    LIP_PAIRS,
    LOWER_LIP,
    LOWER_RINGS,
    POINTS,
    REGIONS,
    UPPER_LIP,
    UPPER_RINGS,
)
from echomimic.motion.schema import check_image_size, check_motion
from echomimic.motion.time_edits import smooth
from echomimic.notes import note
from echomimic.types import Floats, LandmarkTrack

Array = npt.NDArray[np.float64]

HALF_VIEW = np.radians(31.5)
"""Half of the vertical field of view that mediapipe, and so V1, assumes of a camera."""
_CALM = 0.05
"""Standard deviation in seconds of the smoothing of the head, against jitter; lips and lids are not smoothed."""
_TURNED = 30.0
"""Degrees from the front beyond which landmarks are too inaccurate to be retargeted."""


@dataclass(frozen=True)
class _Head:
    """A face in the coordinates of its head; `fit` takes orthographic pixels to these coordinates."""

    shape: Array
    fit: Similarity


@dataclass(frozen=True)
class _RestPose:
    """A driver at rest: its shape in the coordinates of its head, and the pose of the head."""

    shape: Array
    rotation: Array
    origin: Array
    scale: float


def align_motion(track: LandmarkTrack, landmarks: Floats, size: tuple[int, int]) -> LandmarkTrack:
    """The track's motion on the face of a portrait, in pixels of the portrait, at the track's own frame rate.

    `landmarks` (478, 3) are the portrait's, in pixels of its `size` (width, height). Where the driver is at rest, the
    result is the portrait's own face with closed lips. Curves are kept. MotionError if the track or the landmarks
    cannot be used.
    """
    check_image_size(size, "the portrait")
    if landmarks.shape != (POINTS, 3) or not np.isfinite(landmarks).all():
        raise MotionError(f"the portrait's landmarks have the shape {landmarks.shape}; expected (478, 3) numbers")
    check_motion(track)
    calm = [_in_head(points, track.image_size).fit for points in smooth(track, _CALM).points]
    quick = [_in_head(points, track.image_size).shape for points in track.points]
    heads = [_Head(shape, fit) for shape, fit in zip(quick, calm, strict=True)]
    rest = _rest_of(heads, track.valid)
    portrait = _in_head(landmarks, size)
    _warn_of_turns(heads, portrait)
    shapes = _moved_shapes(np.stack([head.shape for head in heads]), rest.shape, portrait.shape)
    posed = [_pose_head(head, rest, portrait) for head in heads]
    flat = np.stack([fit.undo(shape.astype(np.float32)) for fit, shape in zip(posed, shapes, strict=True)])
    points = _perspective(flat.astype(np.float64), size).astype(np.float32)
    return replace(track, points=points, image_size=size)


def _in_head(points: Floats, image_size: tuple[int, int]) -> _Head:
    flat = _orthographic(np.asarray(points, np.float64), image_size).astype(np.float32)
    fit = align(flat, face_template())
    return _Head(fit.apply(flat).astype(np.float64), fit)


def _distance(image_size: tuple[int, int]) -> float:
    """Distance of the camera from the image plane, in pixels."""
    return image_size[1] / 2 / float(np.tan(HALF_VIEW))


def _orthographic(points: Array, image_size: tuple[int, int]) -> Array:
    """Orthographic points from points in perspective."""
    middle, far = np.array(image_size) / 2, _distance(image_size)
    space = points.copy()
    space[..., :2] = middle + (points[..., :2] - middle) * (far + points[..., 2:]) / far
    return space


def _perspective(points: Array, image_size: tuple[int, int]) -> Array:
    """The inverse of `_orthographic`."""
    middle, far = np.array(image_size) / 2, _distance(image_size)
    picture = points.copy()
    picture[..., :2] = middle + (points[..., :2] - middle) * far / np.maximum(far + points[..., 2:], far / 10)
    return picture


def _origin(fit: Similarity) -> Array:
    """The template's origin, between the eyes, in pixels."""
    return -fit.rotation.T @ fit.shift / fit.scale


def _rest_of(heads: list[_Head], valid: npt.NDArray[np.bool_]) -> _RestPose:
    """The driver at rest: its median shape, but with lips at their closest and lids at their usual opening."""
    seen = [head for head, good in zip(heads, valid, strict=True) if good] or heads
    shapes = np.stack([head.shape for head in seen])
    shape = np.median(shapes, axis=0)
    gaps = (shapes[:, 14, 1] - shapes[:, 13, 1]).clip(0)
    closed = shapes[gaps <= np.percentile(gaps, 10) + 1e-6].mean(axis=0)
    lips = list(REGIONS["mouth"])
    shape[lips] = closed[lips]
    lids = np.mean([shapes[:, low, 1] - shapes[:, up, 1] for up, low in LID_PAIRS], axis=0)
    usual = shapes[np.abs(lids - np.percentile(lids, 70)) <= np.ptp(lids) * 0.1 + 1e-6].mean(axis=0)
    eyes = list(REGIONS["eyes"])
    shape[eyes] = usual[eyes]
    turns = np.median([angles(head.fit.rotation.T) for head in seen], axis=0)
    nearest = int(np.argmin([np.abs(np.array(angles(head.fit.rotation.T)) - turns).sum() for head in seen]))
    origin = np.median([_origin(head.fit) for head in seen], axis=0)
    scale = float(np.median([head.fit.scale for head in seen]))
    return _RestPose(shape, seen[nearest].fit.rotation.T, origin, scale)


def _moved_shapes(shapes: Array, rest: Array, portrait: Array) -> Array:
    """The portrait's shape with the driver's movements; each region is scaled by the ratio of widths.

    Heights are not used, since they depend on how far the portrait's mouth happens to be open.
    """
    moves = shapes - rest
    for indices in (list(indices) for indices in REGIONS.values()):
        own, other = (float(np.ptp(shape[indices, 0])) for shape in (portrait, rest))
        moves[:, indices] *= np.clip(own / max(other, 1e-6), 0.7, 1.4)
    start = _lips_together(portrait)
    moved = np.asarray(start + moves, np.float64)
    keep_apart(moved, start, LIP_PAIRS)
    keep_apart(moved, start, LID_PAIRS)
    return moved


def _lips_together(shape: Array) -> Array:
    """The shape with its lips closed, mostly by the lower lip."""
    closed = shape.copy()
    gaps = np.maximum(shape[list(LOWER_LIP), 1] - shape[list(UPPER_LIP), 1], 0)
    for upper, lower in ((UPPER_LIP, LOWER_LIP), (UPPER_RINGS[-1], LOWER_RINGS[-1])):
        closed[list(upper), 1] += 0.35 * gaps
        closed[list(lower), 1] -= 0.65 * gaps
    return closed


def keep_apart(shapes: npt.NDArray[Any], start: npt.NDArray[Any], pairs: tuple[tuple[int, int], ...]) -> None:
    """Move pairs of (upper, lower) points that have crossed to their midpoint, in place, in `shapes` (T, 478, 3)."""
    for up, low in pairs:
        least = min(0.0, float(start[low, 1] - start[up, 1]))
        over = np.maximum(least - (shapes[:, low, 1] - shapes[:, up, 1]), 0) / 2
        shapes[:, up, 1] -= over
        shapes[:, low, 1] += over


def _pose_head(head: _Head, rest: _RestPose, portrait: _Head) -> Similarity:
    """The pose of the portrait's head, rotated and moved as much as the driver's head is from its rest pose."""
    turn = head.fit.rotation.T @ rest.rotation.T
    rotation = (turn @ portrait.fit.rotation.T).T
    closer = rest.scale / head.fit.scale
    scale = portrait.fit.scale / float(np.clip(closer, 0.7, 1.4))
    step = (_origin(head.fit) - rest.origin) * rest.scale / portrait.fit.scale
    return Similarity(scale, rotation, -scale * rotation @ (_origin(portrait.fit) + step))


def _warn_of_turns(heads: list[_Head], portrait: _Head) -> None:
    far = np.mean([abs(angles(head.fit.rotation.T)[0]) > _TURNED for head in heads])
    if far > 0.05:
        note(
            "driving_head_turned",
            "the driving head is turned by more than {degrees:.0f} degrees in {fraction:.0%} of frames: expect faults",
            degrees=_TURNED,
            fraction=float(far),
        )
    own = angles(portrait.fit.rotation.T)[0]
    if abs(own) > _TURNED:
        note(
            "portrait_head_turned",
            "the portrait's head is turned by {degrees:.0f} degrees: expect faults where it turns further",
            degrees=float(own),
        )

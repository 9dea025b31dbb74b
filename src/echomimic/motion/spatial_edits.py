"""Edits in space: which regions of a face the motion drives, how far they move, and mixing of two motions."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.head_pose import Similarity, align, angles, face_template, rotation_matrix
from echomimic.landmarks.topology import LID_PAIRS, LIP_PAIRS, MIRRORED_BODY, MIRRORED_FACE_68, REGIONS
from echomimic.motion.face_retarget import keep_apart
from echomimic.motion.schema import FACE_PARTS, check_parts, kind_of
from echomimic.motion.time_edits import Track, at_image_size, each_part, frames_at, mix, resample
from echomimic.types import CURVE_NAMES, CURVES, Curves, Floats, LandmarkTrack, PoseTrack

POSE_PARTS = ("body", "hands", "face")


def select(track: LandmarkTrack, parts: Sequence[str]) -> LandmarkTrack:
    """Let the track drive only some parts (eyes, brows, mouth, pupils, nose, head); the voice drives the rest.

    This is V1's "audio + selected landmarks": other parts are not drawn for the network.
    """
    if not isinstance(track, LandmarkTrack):
        raise MotionError("select cannot be applied to a pose track; expected face landmarks: V2 draws hands only")
    chosen = check_parts(tuple(parts), "select")
    return replace(track, parts=tuple(part for part in FACE_PARTS if part in chosen))


def amplify(motion: Track, gain: float, parts: Sequence[str] = ()) -> Track:
    """Multiply every deviation from the motion's own median position by `gain`; 0 holds still.

    The median is taken over the valid frames, of landmarks as well as of curves. `parts` of a face: eyes, brows, mouth,
    pupils, nose, head; of a pose: body, hands, face; all of them if empty. Hands move further but keep their shape;
    lips and lids do not cross.
    """
    if not np.isfinite(gain):
        raise MotionError(f"amplify by {gain}; expected a number")
    if isinstance(motion, LandmarkTrack):
        chosen = check_parts(tuple(parts) or FACE_PARTS, "amplify")
        seen = motion.valid if motion.valid.any() else np.ones(len(motion), bool)
        points = _amplified_points(motion.points, seen, gain, chosen) if motion.points.shape[1] else motion.points
        curves = None if motion.curves is None else _amplified_curves(motion.curves, seen, gain, chosen)
        return replace(motion, points=points, curves=curves)
    return _amplified_pose(motion, gain, check_pose_parts(parts, "amplify"))


def check_pose_parts(parts: Sequence[str], where: str) -> tuple[str, ...]:
    """The parts of a pose, all of them if none is given. MotionError if one is unknown."""
    unknown = [part for part in parts if part not in POSE_PARTS]
    if unknown:
        raise MotionError(f"{where}: unknown part {unknown[0]!r}; expected some of {', '.join(POSE_PARTS)}")
    return tuple(parts) or POSE_PARTS


def _amplified_points(points: Floats, seen: npt.NDArray[np.bool_], gain: float, parts: tuple[str, ...]) -> Floats:
    """Landmarks (T, 478, 3): regions are amplified in the frame of the head, and the head in the image."""
    template = face_template()
    fits = [align(face, template) for face in points]
    faces = np.stack([fit.apply(face) for fit, face in zip(fits, points, strict=True)])
    usual = np.median(faces[seen], axis=0)
    chosen = sorted({index for part in parts for index in REGIONS.get(part, ())})
    faces[:, chosen] = usual[chosen] + gain * (faces[:, chosen] - usual[chosen])
    for part, pairs in (("mouth", LIP_PAIRS), ("eyes", LID_PAIRS)):
        if part in parts:
            keep_apart(faces, usual, pairs)
    if "head" in parts:
        fits = _amplified_heads(fits, seen, gain)
    return np.stack([fit.undo(face) for fit, face in zip(fits, faces, strict=True)])


def _amplified_heads(fits: list[Similarity], seen: npt.NDArray[np.bool_], gain: float) -> list[Similarity]:
    """Move poses away from the median pose. A fit maps a frame to the template: the head's rotation is its inverse."""
    turned = np.array([angles(fit.rotation.T) for fit in fits])
    origin = np.array([-fit.rotation.T @ fit.shift / fit.scale for fit in fits])
    rest, place = np.median(turned[seen], axis=0), np.median(origin[seen], axis=0)
    moved = []
    for fit, turn, where in zip(fits, turned, origin, strict=True):
        rotation = rotation_matrix(*(rest + gain * (turn - rest))).T
        shift = -fit.scale * rotation @ (place + gain * (where - place))
        moved.append(Similarity(fit.scale, rotation, shift))
    return moved


def _amplified_curves(curves: Curves, seen: npt.NDArray[np.bool_], gain: float, parts: tuple[str, ...]) -> Curves:
    values = curves.values.copy()
    usual = np.median(values[seen], axis=0)
    for column in columns_of(parts):
        curve = CURVES[column]
        moved = usual[column] + gain * (values[:, column] - usual[column])
        values[:, column] = np.clip(moved, curve.low, curve.high)
    return Curves(values, curves.fps)


def _amplified_pose(track: PoseTrack, gain: float, parts: tuple[str, ...]) -> PoseTrack:
    hands = track.hands
    if "hands" in parts:
        wrists = hands[:, :, :1, :2]
        move = (gain - 1) * (wrists - np.median(wrists, axis=0))
        hands = np.concatenate([hands[..., :2] + move, hands[..., 2:]], axis=-1).astype(np.float32)
    body = _further(track.body, gain) if "body" in parts else track.body
    face = _further(track.face, gain) if "face" in parts else track.face
    return replace(track, body=body, hands=hands, face=face)


def _further(points: Floats, gain: float) -> Floats:
    usual = np.median(points[..., :2], axis=0)
    places = usual + gain * (points[..., :2] - usual)
    return np.asarray(np.concatenate([places, points[..., 2:]], axis=-1), np.float32)


def blend(a: Track, b: Track, share: float = 0.5, parts: Sequence[str] = ()) -> Track:
    """Mix (1 - share) of `a` with share of `b`, as long as the shorter; with `parts`, only these come from `b`.

    `b` is brought to the frame rate and image size of `a`. Parts of a face are taken in the coordinates of the head.
    """
    if kind_of(a) != kind_of(b):
        raise MotionError(f"a motion of {kind_of(a)} cannot be blended with one of {kind_of(b)}; expected one kind")
    other = at_image_size(resample(b, a.fps), a.image_size)
    when = np.arange(min(len(a), len(other)), dtype=np.float64)
    one, two = frames_at(a, when), frames_at(other, when)
    if not parts:
        return mix(one, two, share)
    if isinstance(one, LandmarkTrack) and isinstance(two, LandmarkTrack):
        return _blended_parts(one, two, share, check_parts(tuple(parts), "blend"))
    if isinstance(one, PoseTrack) and isinstance(two, PoseTrack):
        mixed, chosen = mix(one, two, share), check_pose_parts(parts, "blend")
        return replace(one, **{part: getattr(mixed, part) for part in chosen})
    return one


def _blended_parts(a: LandmarkTrack, b: LandmarkTrack, share: float, parts: tuple[str, ...]) -> LandmarkTrack:
    template = face_template()
    chosen = sorted({index for part in parts for index in REGIONS.get(part, ())})
    points = np.empty_like(a.points)
    for i, (own, other) in enumerate(zip(a.points, b.points, strict=True)):
        home, away = align(own, template), align(other, template)
        face, guest = home.apply(own), away.apply(other)
        face[chosen] += share * (guest[chosen] - face[chosen])
        points[i] = (_mid_pose(home, away, share) if "head" in parts else home).undo(face)
    return replace(a, points=points, valid=a.valid & b.valid, curves=_blended_curves(a, b, share, columns_of(parts)))


def _blended_curves(a: LandmarkTrack, b: LandmarkTrack, share: float, columns: list[int]) -> Curves | None:
    """The curves of a blend; None, so that they are read off the landmarks, if those of `b` are needed but unknown."""
    if a.curves is None or (columns and b.curves is None):
        return None
    values = a.curves.values.copy()
    if b.curves is not None:
        values[:, columns] += share * (b.curves.values[:, columns] - values[:, columns])
    return Curves(values, a.curves.fps)


def _mid_pose(a: Similarity, b: Similarity, share: float) -> Similarity:
    turn = (1 - share) * np.array(angles(a.rotation.T)) + share * np.array(angles(b.rotation.T))
    scale = a.scale ** (1 - share) * b.scale**share
    origin = [-fit.rotation.T @ fit.shift / fit.scale for fit in (a, b)]
    rotation = rotation_matrix(*turn).T
    return Similarity(scale, rotation, -scale * rotation @ ((1 - share) * origin[0] + share * origin[1]))


def mirror(motion: Track) -> Track:
    """Mirror the motion left to right."""
    if isinstance(motion, LandmarkTrack):
        points = motion.points
        if points.shape[1]:
            points = points[:, mirrored_landmarks()] * np.array((-1, 1, 1), np.float32)
            points[..., 0] += motion.image_size[0]
        curves = motion.curves
        signs = np.array([-1.0 if name in SIGNED else 1.0 for name in CURVE_NAMES], np.float32)
        return replace(
            motion, points=points, curves=None if curves is None else Curves(curves.values * signs, curves.fps)
        )
    body, face = motion.body[:, list(MIRRORED_BODY)], motion.face[:, list(MIRRORED_FACE_68)]
    return each_part(replace(motion, body=body, hands=motion.hands[:, ::-1], face=face), _flipped)


def _flipped(points: Floats) -> Floats:
    turned = points.copy()
    seen = points[..., 2] > 0
    turned[..., 0] = np.where(seen, 1 - points[..., 0], points[..., 0])
    return turned


CURVES_OF: dict[str, tuple[str, ...]] = {
    "eyes": ("blink",),
    "brows": ("brow",),
    "mouth": ("jaw", "spread", "upper_lip", "tuck", "closure", "tongue", "smile"),
    "pupils": ("gaze_x", "gaze_y"),
    "nose": (),
    "head": ("yaw", "pitch", "roll", "shift_x", "shift_y"),
}
SIGNED = ("gaze_x", "yaw", "roll", "shift_x", "sway")
"""Curves that change their sign in a mirror."""


def columns_of(parts: tuple[str, ...]) -> list[int]:
    """The columns of a curve row that belong to some parts of the face."""
    return [CURVE_NAMES.index(name) for part in parts for name in CURVES_OF[part]]


def combine_curves(voice: Curves, motion: Curves, parts: tuple[str, ...]) -> Curves:
    """The voice's curves, with those of `parts` replaced by those of a motion of the same length and rate."""
    values = voice.values.copy()
    chosen = columns_of(parts)
    values[:, chosen] = motion.values[:, chosen]
    return Curves(values, voice.fps)


@cache
def mirrored_landmarks() -> npt.NDArray[np.intp]:
    """For each landmark its mirror image, found on the symmetric face template."""
    template = face_template().astype(np.float64)
    flipped = template * (-1, 1, 1)
    far = np.linalg.norm(flipped[:, None] - template[None], axis=2)
    return np.asarray(far.argmin(axis=1), np.intp)

"""Track the person in a piece, and check that there is exactly one face: whole, large and steady."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from echomimic.errors import FaceError, InputError, MotionError
from echomimic.landmarks.crop import Crop, frame_crop
from echomimic.landmarks.detectors import detect_faces
from echomimic.landmarks.face import Face, shrink
from echomimic.landmarks.head_pose import align, angles, face_template, without_pose
from echomimic.landmarks.topology import SHOULDERS
from echomimic.motion.lags import lip_gap
from echomimic.motion.tracking import track_video
from echomimic.notes import collect_notes
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.train.diffusion.prepare.video import DroppedError, Piece
from echomimic.types import Floats, LandmarkTrack, Motion, PoseTrack

_EVERY = 12
"""Interval in frames of the search for a second face."""
_SEARCHED = 640
_OTHER_SCORE, _OTHER_SIZE = 0.6, 0.25
"""Smallest score of a second face, and its smallest size relative to the first: smaller ones are pictures on a wall."""
_HAIR, _HIPS = 0.7, 1.2
"""Room above a face in face heights, and the part of the body below the shoulders in shoulder widths ("half")."""
_UPPER_LIP_68, _LOWER_LIP_68, _OUTER_EYES_68, _NOSE_68, _JAW_68 = (61, 62, 63), (67, 66, 65), (36, 45), 30, (0, 16)


@dataclass(frozen=True)
class TrackedFace:
    """The face of a track: `boxes` (T, 4) left, top, right, bottom in pixels of the video, `yaw` (T,) in degrees,
    `gap` (T,) of the lips in outer-eye distances, `valid` (T,)."""

    boxes: Floats
    yaw: Floats
    gap: Floats
    valid: npt.NDArray[np.bool_]

    @property
    def sizes(self) -> Floats:
        """The longer side of each box (T,)."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1)


@dataclass(frozen=True)
class TrackedPiece:
    """A piece with the motion track of its person, the crop and the values that were measured."""

    piece: Piece
    track: Motion
    face: TrackedFace
    crop: Crop
    share: float
    hands: float | None

    def canvas_track(self) -> Motion:
        """The track on the canvas of the crop."""
        size = (self.crop.width, self.crop.height)
        if isinstance(self.track, LandmarkTrack):
            return replace(self.track, points=self.crop.points(self.track.points), image_size=size)
        parts = {name: self._on_canvas(getattr(self.track, name)) for name in ("body", "hands", "face")}
        return PoseTrack(**parts, fps=self.track.fps, image_size=size)

    def _on_canvas(self, points: Floats) -> Floats:
        """Convert points from fractions of the video's picture to fractions of the canvas."""
        size = np.array((self.piece.width, self.piece.height), np.float32)
        corner = np.array((self.crop.left, self.crop.top), np.float32)
        box = np.array((self.crop.source_width, self.crop.source_height), np.float32)
        return np.concatenate([(points[..., :2] * size - corner) / box, points[..., 2:]], axis=-1).astype(np.float32)

    def canvas_boxes(self) -> Floats:
        """The boxes of the face (T, 4) in pixels of the canvas."""
        scale = np.tile(np.array(self.crop.scale, np.float32), 2)
        return (self.face.boxes - np.array([self.crop.left, self.crop.top] * 2, np.float32)) * scale


def track_piece(piece: Piece, settings: PrepareSettings) -> TrackedPiece:
    """Track the person in a piece. Raises DroppedError with the first reason to drop the piece."""
    try:
        with collect_notes():
            track = track_video(piece, pose=settings.kind == "half")
    except (FaceError, MotionError) as error:
        raise DroppedError("no_face", str(error)) from None
    except InputError as error:
        raise DroppedError("unreadable", str(error)) from None
    face = face_of_landmarks(track) if isinstance(track, LandmarkTrack) else face_of_pose(track)
    _check_face(face, settings)
    _check_alone(piece, face, settings)
    hands = None if isinstance(track, LandmarkTrack) else hands_seen(track)
    crop = crop_face(piece, face, settings) if isinstance(track, LandmarkTrack) else crop_body(piece, track, settings)
    share = float(np.median(face.boxes[:, 3] - face.boxes[:, 1])) / crop.source_height
    if share < settings.least_share:
        raise DroppedError("small_share", f"{share:.0%} of the crop's height")
    outside = fraction_outside(crop, piece.width, piece.height)
    if outside > settings.most_outside:
        raise DroppedError("outside", f"{outside:.0%} of the crop")
    return TrackedPiece(piece, track, face, crop, share, hands)


def face_of_landmarks(track: LandmarkTrack) -> TrackedFace:
    """The face of a landmark track."""
    flat = track.points[..., :2]
    turned = [angles(align(face_template(), points).rotation)[0] for points in track.points]
    boxes = np.concatenate([flat.min(axis=1), flat.max(axis=1)], axis=1)
    return TrackedFace(boxes, np.array(turned, np.float32), lip_gap(without_pose(track.points)), track.valid)


def face_of_pose(track: PoseTrack) -> TrackedFace:
    """The face of a pose track; the yaw is estimated from the place of the nose between the ends of the jaw."""
    points = track.face[..., :2] * np.array(track.image_size, np.float32)
    valid = track.face[..., 2].min(axis=1) > 0
    eyes = np.linalg.norm(points[:, _OUTER_EYES_68[0]] - points[:, _OUTER_EYES_68[1]], axis=1)
    lips = points[:, list(_LOWER_LIP_68)] - points[:, list(_UPPER_LIP_68)]
    left, right = (np.linalg.norm(points[:, _NOSE_68] - points[:, end], axis=1) for end in _JAW_68)
    yaw = np.degrees(np.arcsin(np.clip((left - right) / np.maximum(left + right, 1e-6), -1, 1)))
    gap = np.linalg.norm(lips, axis=2).mean(axis=1) / np.maximum(eyes, 1e-6)
    boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    return TrackedFace(boxes, yaw.astype(np.float32), gap.astype(np.float32), valid)


def hands_seen(track: PoseTrack) -> float:
    """Fraction of the frames that show both hands."""
    return float((track.hands[..., 2].max(axis=2) > 0).all(axis=1).mean())


def _check_face(face: TrackedFace, settings: PrepareSettings) -> None:
    seen = float(face.valid.mean())
    if seen < settings.least_seen:
        raise DroppedError("face_lost", f"found in {seen:.0%} of the frames")
    size = float(np.median(face.sizes))
    if size < settings.least_face * settings.size:
        raise DroppedError("small_face", f"{size:.0f} pixels, at least {settings.least_face * settings.size:.0f}")
    yaw = float(np.abs(face.yaw[face.valid]).max())
    if yaw > settings.most_yaw:
        raise DroppedError("turned", f"{yaw:.0f} degrees")
    centres = (face.boxes[:, :2] + face.boxes[:, 2:]) / 2
    jump = float((np.linalg.norm(np.diff(centres, axis=0), axis=1) / face.sizes[1:]).max())
    if jump > settings.most_jump:
        raise DroppedError("jump", f"{jump:.2f} face sizes in a frame")


def _check_alone(piece: Piece, face: TrackedFace, settings: PrepareSettings) -> None:
    """Search every twelfth frame for a face beside the tracked one."""
    with_others, searched = 0, 0
    for number, (_, pixels) in enumerate(piece.frames()):
        if number % _EVERY:
            continue
        small, scale = shrink(pixels, _SEARCHED)
        searched += 1
        with_others += any(
            found.score >= _OTHER_SCORE and _is_other(np.array(found.box) / scale, face.boxes[number])
            for found in detect_faces(small, full_range=True)
        )
    if with_others > settings.most_others * searched:
        raise DroppedError("several_faces", f"in {with_others} of {searched} searched frames")


def _is_other(found: Floats, own: Floats) -> bool:
    """Whether a detected face (x, y, width, height) is not the one in the box `own` (left, top, right, bottom)."""
    centre, size = found[:2] + found[2:] / 2, float((own[2:] - own[:2]).max())
    inside = bool(((centre > own[:2]) & (centre < own[2:])).all())
    return not inside and float(found[2:].max()) > _OTHER_SIZE * size


def crop_face(piece: Piece, face: TrackedFace, settings: PrepareSettings) -> Crop:
    """One square for the whole piece around all places of the face, computed as in the engines."""
    low, high = face.boxes[:, :2].min(axis=0), face.boxes[:, 2:].max(axis=0)
    union = Face(np.array([[*low, 0], [*high, 0]], np.float32))
    return frame_crop(piece.width, piece.height, union, settings.crop_margin, settings.size)


def crop_body(piece: Piece, track: PoseTrack, settings: PrepareSettings) -> Crop:
    """One box for the whole piece around head, shoulders and hands; its sides become multiples of 64."""
    picture = np.array((piece.width, piece.height), np.float32)
    face = track.face[..., :2] * picture
    shoulders = track.body[:, list(SHOULDERS), :2] * picture
    hands = track.hands[track.hands[..., 2] > 0][:, :2] * picture
    width = float(np.median(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1)))
    top = face[..., 1].min() - _HAIR * float(np.median(np.ptp(face[..., 1], axis=1)))
    below = float(shoulders[..., 1].max()) + _HIPS * width
    points = np.concatenate([face.reshape(-1, 2), shoulders.reshape(-1, 2), hands])
    low = np.maximum(np.array([points[:, 0].min() - width / 4, top]), 0)
    high = np.minimum(np.array([points[:, 0].max() + width / 4, max(below, float(points[:, 1].max()))]), picture)
    return _to_cells(low, high, piece, settings.size)


def _to_cells(low: Floats, high: Floats, piece: Piece, size: int) -> Crop:
    """The box from `low` to `high`, grown to a ratio of multiples of 64: the smallest of those least outside."""
    sides = high - low
    exact = size * sides / sides.max() / 64
    pairs = product(*({int(np.clip(64 * turn(value), 64, size)) for turn in (np.floor, np.ceil)} for value in exact))
    crops = [_grown(low, high, cells, piece) for cells in pairs if max(cells) == size]

    def cost(crop: Crop) -> tuple[float, int]:
        outside = fraction_outside(crop, piece.width, piece.height)
        return round(outside, 3), crop.source_width * crop.source_height

    return min(crops, key=cost)


def _grown(low: Floats, high: Floats, cells: tuple[int, ...], piece: Piece) -> Crop:
    """The box grown around its middle to the ratio of `cells`, moved inside the picture if it fits."""
    scale = max(side / cell for side, cell in zip((high - low).tolist(), cells, strict=True))
    box = [round(cell * scale) for cell in cells]
    starts = [
        round((a + b - side) / 2) if side > limit else min(max(0, round((a + b - side) / 2)), limit - side)
        for a, b, side, limit in zip(low.tolist(), high.tolist(), box, (piece.width, piece.height), strict=True)
    ]
    return Crop(starts[0], starts[1], box[0], box[1], cells[0], cells[1])


def fraction_outside(crop: Crop, width: int, height: int) -> float:
    """Fraction of the crop's area beyond a picture of this size."""
    across = min(width, crop.left + crop.source_width) - max(0, crop.left)
    down = min(height, crop.top + crop.source_height) - max(0, crop.top)
    return 1 - max(0, across) * max(0, down) / (crop.source_width * crop.source_height)

"""The condition pictures: drawn landmarks and the face mask that steer V1, drawn hands that steer V2.

`draw_pose` draws the whole bodies that V2 sees in the first phases of its training.

They are drawn pixel for pixel as the networks saw them in training, odd colours included.
"""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.topology import (
    BODY_BONES,
    BODY_HEAD,
    DRAWN_BROWS,
    DRAWN_EYES,
    DRAWN_LIPS,
    HAND_BONES,
    IRIS_CENTRES,
    LIPS_68,
    NOSE_TIP,
    Edges,
)
from echomimic.types import Floats, LandmarkTrack, Picture, PoseTrack

Points = Floats | npt.NDArray[np.float64]
Colour = tuple[int, int, int]

PARTS: tuple[str, ...] = ("eyes", "brows", "mouth", "pupils", "nose")
SELECTED: tuple[str, ...] = ("eyes", "brows", "pupils", "nose")
"""The parts that V1's landmark networks were trained on; the mouth follows the voice."""
POSE_PARTS: tuple[str, ...] = ("body", "head", "lips", "hands")
"""The parts of a pose that training V2 draws; inference draws hands."""

_LANDMARK_SIDE = 512
_HAND_SIDE = 800
_BONE_LIGHT, _BONE_WIDTH = 0.6, 8
_LIP_COLOURS: tuple[Colour, ...] = (
    *((10, 180, 20), (20, 10, 180), (100, 100, 30), (100, 150, 50)),
    *((20, 80, 100), (80, 100, 20), (120, 100, 200), (150, 120, 100)),
)
# The order of the lines, which matters if they cross, is that of the original.
_LINES: dict[str, tuple[tuple[Edges, Colour], ...]] = {
    "eyes": ((DRAWN_EYES[1], (180, 200, 10)), (DRAWN_EYES[0], (10, 200, 180))),
    "brows": ((DRAWN_BROWS[1], (180, 220, 10)), (DRAWN_BROWS[0], (10, 220, 180))),
    "mouth": tuple(zip(DRAWN_LIPS, _LIP_COLOURS, strict=True)),
}
_SQUARES: dict[str, tuple[tuple[int, Colour], ...]] = {
    "pupils": ((IRIS_CENTRES[0], (10, 200, 250)), (IRIS_CENTRES[1], (250, 200, 10))),
    "nose": ((NOSE_TIP, (200, 200, 200)),),
}


def draw_landmarks(
    points: Points,
    image_size: tuple[int, int],
    size: tuple[int, int] | None = None,
    parts: tuple[str, ...] = SELECTED,
) -> Picture:
    """V1's condition picture of one frame: (H, W, 3) uint8 RGB, lines on black.

    `points` (478, 2 or 3) are pixels of `image_size` (width, height); `size` (width, height) is that of the result, by
    default the same. `parts` are any of `PARTS`. As in the original, all is drawn on a square of 512 and then
    resized, which stretches images that are not square; what lies outside the image is left out.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise MotionError(f"unknown part {unknown[0]!r}; expected some of {', '.join(PARTS)}")
    fractions = np.asarray(points, np.float64)[:, :2] / image_size
    inside = np.asarray(((fractions >= 0) & (fractions <= 1)).all(axis=1))
    scaled = np.floor(np.where(inside[:, None], fractions, 0) * _LANDMARK_SIDE)
    pixels = np.minimum(scaled, _LANDMARK_SIDE - 1).astype(int)
    picture = np.zeros((_LANDMARK_SIDE, _LANDMARK_SIDE, 3), np.uint8)
    for edges, colour in (line for part in PARTS if part in parts for line in _LINES.get(part, ())):
        for a, b in edges:
            if inside[a] and inside[b]:
                cv2.line(picture, pixels[a].tolist(), pixels[b].tolist(), colour, 2)
    for index, colour in (square for part in PARTS if part in parts for square in _SQUARES.get(part, ())):
        if inside[index]:
            x, y = pixels[index]
            picture[y - 3 : y + 3, x - 3 : x + 3] = colour
    return _resize(picture, size or image_size)


def draw_hands(
    hands: Points, scores: Points | None = None, size: tuple[int, int] = (768, 768), place: tuple[int, ...] = ()
) -> Picture:
    """V2's condition picture of one frame: (H, W, 3) uint8 RGB, both hands on black.

    `hands` (2, 21, 2) are fractions of the picture with `scores` (2, 21), or (2, 21, 3) with the score last; a low
    score darkens. `size` (width, height) is that of the result. `place` (top, bottom, left, right) is the part of it,
    in pixels, in which the hands are drawn, by default all of it.
    """
    values = np.asarray(hands, np.float64)
    marks = values[..., 2] if scores is None else np.asarray(scores, np.float64)
    top, bottom, left, right = place or (0, size[1], 0, size[0])
    picture: Picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[top:bottom, left:right] = _draw_hand_bones(values[..., :2], marks, (right - left, bottom - top))
    return picture


def _draw_hand_bones(hands: Points, scores: Points, size: tuple[int, int]) -> Picture:
    width, height = size
    scale = _HAND_SIDE / min(width, height)
    image = np.zeros((int(height * scale), int(width * scale), 3), np.uint8)
    pixels = (hands * (image.shape[1], image.shape[0])).astype(int)
    for joints, marks in zip(pixels, scores, strict=True):
        for bone, (a, b) in enumerate(HAND_BONES):
            if (joints[[a, b]] > 0).all():
                light = int(255 * marks[a] * marks[b])
                colour = [part * light for part in colorsys.hsv_to_rgb(bone / len(HAND_BONES), 1, 1)]
                cv2.line(image, joints[a].tolist(), joints[b].tolist(), colour, 2)
        for joint, mark in zip(joints, marks, strict=True):
            if (joint > 0).all():
                cv2.circle(image, joint.tolist(), 4, (0, 0, int(255 * mark)), -1)
    return _resize(image, size)[..., ::-1]


def draw_pose(
    track: PoseTrack, frame: int, size: tuple[int, int] = (768, 768), parts: Sequence[str] = POSE_PARTS
) -> Picture:
    """The condition picture of one frame in the phases of V2's training: (H, W, 3) uint8 RGB on black.

    `parts` are any of `POSE_PARTS`: "body" are the bones from the neck down, "head" those of the head and the points of
    the face, "lips" the points of the lips, "hands" what `draw_hands` draws, which lies on top. The convention is our
    own: bones are lines with a hue of their own at 0.6 of full brightness, points of the face are white dots; a low
    score darkens. Raises MotionError for an unknown part.
    """
    unknown = [part for part in parts if part not in POSE_PARTS]
    if unknown:
        raise MotionError(f"unknown part {unknown[0]!r}; expected some of {', '.join(POSE_PARTS)}")
    hands = draw_hands(track.hands[frame], size=size) if "hands" in parts else None
    if not set(parts) - {"hands"}:
        return np.zeros((size[1], size[0], 3), np.uint8) if hands is None else hands
    scale = _HAND_SIDE / min(size)
    image = np.zeros((int(size[1] * scale), int(size[0] * scale), 3), np.uint8)
    _draw_body_bones(image, track.body[frame], parts)
    _draw_face_dots(image, track.face[frame], parts)
    picture = _resize(image, size)
    return picture if hands is None else np.where(hands.any(axis=2, keepdims=True), hands, picture)


def _draw_body_bones(image: Picture, body: Points, parts: Sequence[str]) -> None:
    """Draw the bones of the parts "body" and "head"."""
    pixels = np.clip(body[:, :2] * (image.shape[1], image.shape[0]), -(2**14), 2**14).astype(int)
    for bone, (a, b) in enumerate(BODY_BONES):
        part = "head" if {a, b} & set(BODY_HEAD) else "body"
        if part in parts and min(body[a, 2], body[b, 2]) > 0:
            light = 255 * _BONE_LIGHT * body[a, 2] * body[b, 2]
            colour = [float(round(light * c)) for c in colorsys.hsv_to_rgb(bone / len(BODY_BONES), 1, 1)]
            cv2.line(image, pixels[a].tolist(), pixels[b].tolist(), colour, _BONE_WIDTH)


def _draw_face_dots(image: Picture, face: Points, parts: Sequence[str]) -> None:
    """Draw the points of the parts "head" and "lips"."""
    pixels = np.clip(face[:, :2] * (image.shape[1], image.shape[0]), -(2**14), 2**14).astype(int)
    for index, (point, score) in enumerate(zip(pixels, face[:, 2], strict=True)):
        if ("lips" if index in LIPS_68 else "head") in parts and score > 0:
            cv2.circle(image, point.tolist(), 2, [round(255 * float(score))] * 3, -1)


def face_mask(size: tuple[int, int], box: tuple[float, float, float, float], margin: float = 0.1) -> Picture:
    """V1's mask of the face: (H, W) uint8, 255 in the rectangle `box` grown by `margin` of its size on each side.

    `size` is (width, height), `box` is (left, top, right, bottom) in pixels. The original lost the mask of a face near
    the border; here the rectangle is cut at the border.
    """
    left, top, right, bottom = (round(side) for side in box)
    pad_x, pad_y = int(margin * (right - left)), int(margin * (bottom - top))
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[max(top - pad_y, 0) : max(bottom + pad_y, 0), max(left - pad_x, 0) : max(right + pad_x, 0)] = 255
    return mask


def draw_motion(
    motion: LandmarkTrack | PoseTrack, frame: int, size: tuple[int, int], parts: tuple[str, ...] | None = None
) -> Picture:
    """The condition picture of one frame of a track at `size` (width, height): landmarks or hands, as the track has.

    `parts` are those of a face that are drawn, by default those that the track says, else `SELECTED`.
    """
    if isinstance(motion, LandmarkTrack):
        chosen = parts if parts is not None else motion.parts if motion.parts is not None else SELECTED
        shown = tuple(part for part in chosen if part != "head")
        return draw_landmarks(motion.points[frame], motion.image_size, size, shown)
    return draw_hands(motion.hands[frame], size=size)


def _resize(picture: Picture, size: tuple[int, int]) -> Picture:
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    # below half the size, bilinear sampling would step over thin lines; the published sizes are not that small
    how = cv2.INTER_AREA if 2 * size[0] < picture.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)

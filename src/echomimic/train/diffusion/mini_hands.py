"""Data of the V2 mini: half bodies rendered by the mesh engine, with a painted hand whose path is known."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from echomimic.landmarks.crop import frame_crop
from echomimic.landmarks.face import locate_face
from echomimic.landmarks.topology import HAND_BONES
from echomimic.options import Options
from echomimic.train.diffusion.mini_data import FPS, SIDE, MiniClip
from echomimic.types import Floats, Picture, Portrait, PoseTrack

PRESET = "v2"
REST = (0.2, 0.8)
"""The wrist in the portrait, as fractions of the picture."""
_CROP_MARGIN, _PORTRAIT_SIDE = 0.45, 512
_PAINTED_SIDE = 512
_HAND_SIZE = 0.16
"""Length of the hand as a fraction of the picture."""
_SKIN, _SLEEVE = (214, 168, 142), (60, 70, 110)
_RANGE = ((0.1, 0.32), (0.55, 0.92))
"""The range of the wrist, beside the mouth: fractions of the width and of the height."""


def _open_hand() -> Floats:
    """An open hand (21, 2) that points upwards, its wrist at the origin, about one unit long."""
    angles = np.radians((-52, -22, -6, 10, 26))
    lengths = ((0.3, 0.45, 0.58, 0.7), *(((0.5, 0.7, 0.85, 1.0),) * 4))
    joints = [(0.0, 0.0)]
    for angle, steps in zip(angles, lengths, strict=True):
        joints += [(float(np.sin(angle) * step), float(-np.cos(angle) * step)) for step in steps]
    return np.array(joints, np.float32)


def half_body(portrait: Portrait) -> Portrait:
    """The portrait cropped so that it shows shoulders and space for a hand (512 x 512)."""
    found = locate_face(portrait, Options())
    upright = found.portrait
    crop = frame_crop(upright.width, upright.height, found.face, _CROP_MARGIN, _PORTRAIT_SIDE)
    return Portrait(crop.cut(upright.pixels))


def wrist_path(frames: int, draw: np.random.Generator) -> Floats:
    """A smooth path of the wrist (frames, 2) in fractions of the picture."""
    times = np.arange(frames) / FPS
    path = np.zeros((frames, 2))
    for rate in (0.3, 0.7, 1.1):
        path += np.sin(2 * np.pi * (rate * draw.uniform(0.8, 1.2, 2) * times[:, None] + draw.random(2))) / 3
    low, high = np.array(_RANGE).T
    return ((low + high) / 2 + path * (high - low) / 2).astype(np.float32)


def pose_of_path(path: Floats) -> PoseTrack:
    """The pose track of one open hand whose wrist follows `path` (T, 2); the other hand is not seen."""
    count = len(path)
    hands = np.zeros((count, 2, 21, 3), np.float32)
    hands[:, 0, :, :2] = path[:, None] + _HAND_SIZE * _open_hand()
    hands[:, 0, :, 2] = 1
    return PoseTrack(
        np.zeros((count, 18, 3), np.float32), hands, np.zeros((count, 68, 3), np.float32), FPS, (SIDE, SIDE)
    )


def paint_hand(picture: Picture, joints: Floats) -> Picture:
    """The picture (H, W, 3) with a forearm and a hand whose 21 joints are fractions of the picture."""
    side = _PAINTED_SIDE
    layer: Picture = np.zeros((side, side, 3), np.uint8)
    cover: Picture = np.zeros((side, side), np.uint8)
    points = np.round(joints[:, :2] * side).astype(int)
    elbow = (int(points[0, 0] - 0.1 * side), int(points[0, 1] + 0.6 * side))

    def paint(a: Sequence[int], b: Sequence[int], colour: tuple[int, int, int], width: int) -> None:
        cv2.line(layer, list(a), list(b), colour, width, cv2.LINE_AA)
        cv2.line(cover, list(a), list(b), (255,), width, cv2.LINE_AA)

    paint(points[0].tolist(), elbow, _SLEEVE, side // 9)
    for a, b in HAND_BONES:
        paint(points[a].tolist(), points[b].tolist(), _SKIN, side // 28)
    palm = np.asarray(cv2.convexHull(points[[0, 1, 5, 9, 13, 17]].astype(np.int32)), np.int32)
    cv2.fillConvexPoly(layer, palm, _SKIN, cv2.LINE_AA)
    cv2.fillConvexPoly(cover, palm, (255,), cv2.LINE_AA)
    size = (picture.shape[1], picture.shape[0])
    alpha = cv2.resize(cover, size, interpolation=cv2.INTER_AREA)[..., None].astype(np.float32) / 255
    colour = cv2.resize(layer.astype(np.float32) * (cover[..., None] > 0), size, interpolation=cv2.INTER_AREA)
    return np.clip(picture * (1 - alpha) + colour, 0, 255).round().astype(np.uint8)


def with_hand(clip: MiniClip, draw: np.random.Generator) -> MiniClip:
    """The clip with a hand painted into its frames that moves along a random path."""
    pose = pose_of_path(wrist_path(len(clip), draw))
    frames = np.stack([paint_hand(frame, hands[0]) for frame, hands in zip(clip.frames, pose.hands, strict=True)])
    return replace(clip, frames=frames, pose=pose)


def resting_portrait(portrait: Portrait) -> Portrait:
    """The portrait for V2's renders: a half body with the hand at rest."""
    joints = pose_of_path(np.array([REST], np.float32)).hands[0, 0]
    return Portrait(paint_hand(portrait.pixels, joints))

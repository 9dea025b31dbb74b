"""A half body made of key points: a person who stands upright, whose hands and lips move."""

import numpy as np
import numpy.typing as npt

from echomimic.types import PoseTrack

_BODY = (
    *((0.50, 0.25), (0.50, 0.42), (0.36, 0.43), (0.30, 0.62), (0.35, 0.75), (0.64, 0.43), (0.70, 0.62), (0.65, 0.75)),
    *((0.42, 0.85), (0.42, 1.10), (0.42, 1.30), (0.58, 0.85), (0.58, 1.10), (0.58, 1.30)),
    *((0.47, 0.22), (0.53, 0.22), (0.43, 0.23), (0.57, 0.23)),
)


def made_pose(frames: int, fps: float = 24.0) -> PoseTrack:
    """A pose track in fractions of a square picture: the face is 0.2 high, both hands go up and down."""
    times = np.arange(frames) / fps
    body = np.zeros((frames, 18, 3), np.float32)
    body[..., :2], body[..., 2] = _BODY, 0.9
    face = np.ones((frames, 68, 3), np.float32)
    face[..., :2] = _face()
    face[:, 48:, 1] += 0.01 * np.sin(40 * times[:, None])
    hands = np.full((frames, 2, 21, 3), 0.9, np.float32)
    fan = np.stack([np.repeat(np.arange(5), 4) - 2.0, np.tile(np.arange(1, 5), 5)], axis=1) * (0.012, -0.02)
    for side, wrist in enumerate((7, 4)):
        lift = 0.1 * np.sin(2 * times + side)[:, None]
        body[:, wrist, 1] += lift[:, 0].astype(np.float32)
        hands[:, side, 0, :2] = body[:, wrist, :2]
        hands[:, side, 1:, :2] = body[:, None, wrist, :2] + fan.astype(np.float32)
    return PoseTrack(body, hands, face, fps)


def _face() -> npt.NDArray[np.float32]:
    """68 points: jaw, brows, nose, eyes on an oval of 0.15 x 0.2, lips below."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    oval = np.stack([0.5 + 0.075 * np.cos(angles), 0.27 + 0.1 * np.sin(angles)], axis=1)
    turns = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    lips = np.stack([0.5 + 0.03 * np.cos(turns), 0.325 + 0.015 * np.sin(turns)], axis=1)
    return np.concatenate([oval, lips]).astype(np.float32)

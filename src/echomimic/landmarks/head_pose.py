"""Position and rotation of a head: alignment to the face template, angles to rotation matrices and back."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from echomimic.data import data_path
from echomimic.landmarks.topology import STABLE
from echomimic.types import Floats

Indices = tuple[int, ...]


@dataclass(frozen=True)
class Similarity:
    """`apply(p) = scale * rotation @ p + shift` for points (..., 3)."""

    scale: float
    rotation: npt.NDArray[np.float64]
    shift: npt.NDArray[np.float64]

    def apply(self, points: Floats) -> Floats:
        """The transformed points."""
        return (self.scale * points @ self.rotation.T + self.shift).astype(np.float32)

    def undo(self, points: Floats) -> Floats:
        """The inverse of `apply`."""
        return ((points - self.shift) @ self.rotation / self.scale).astype(np.float32)


def align(points: Floats, target: Floats, on: Indices = STABLE) -> Similarity:
    """The similarity that takes `points` (478, 3) closest to `target` on some landmarks (Umeyama, 1991)."""
    chosen = list(on)
    source, goal = points[chosen].astype(np.float64), target[chosen].astype(np.float64)
    source_mean, goal_mean = source.mean(0), goal.mean(0)
    source, goal = source - source_mean, goal - goal_mean
    left, strength, right = np.linalg.svd(goal.T @ source)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * flip) @ right
    scale = float((strength * flip).sum() / (source**2).sum())
    return Similarity(scale, rotation, goal_mean - scale * rotation @ source_mean)


@cache
def face_template() -> Floats:
    """The symmetric mean face (478, 3): outer-eye distance 1, origin between the eyes, x right, y down, z away."""
    return load(data_path("face_template.safetensors").read_bytes())["points"]


def without_pose(points: Floats) -> Floats:
    """Landmarks (T, 478, 3) with the pose and size of the head taken out: each frame aligned to the face template."""
    template = face_template()
    return np.stack([align(frame, template).apply(frame) for frame in points])


def rotation_matrix(yaw: float, pitch: float, roll: float) -> npt.NDArray[np.float64]:
    """Rotation of a head in degrees: the nose goes right with yaw and down with pitch; roll is clockwise."""
    y, p, r = np.radians((yaw, pitch, roll))
    turn = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(tilt @ nod @ turn, np.float64)


def angles(rotation: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of a rotation made by `rotation_matrix`."""
    yaw = np.arctan2(rotation[2, 0], rotation[2, 2])
    pitch = np.arcsin(np.clip(rotation[2, 1], -1, 1))
    roll = np.arctan2(-rotation[0, 1], rotation[1, 1])
    return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))

"""Motion outside the face: how hair, neck and shoulders follow the head, and how the body breathes and sways.

Every weight is a smooth function of the position relative to chin and neck, so the field joins the face without a step
and is zero at the feet.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.rig import BREATH, SWAY, Frame

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.float32]

JAW_REACH = 0.45
"""Distance below the chin, in face heights, up to which skin follows the jaw."""
_NECK = 0.52
"""Distance below the chin, in face heights, at which the neck ends: shoulders do not follow the head."""
_STILL = (0.5, 1.7)
"""Distances below the chin, in face heights, between which the body's motion ends: the waist is still."""
_RIM, _BODY_RIM = 0.3, 0.08
"""Largest widths over which the motion of the head and of the body fades at the borders, in face heights."""


def smoothstep(x: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def ramp(x: float, low: float, high: float) -> float:
    """`smoothstep` of one number, without the cost of arrays."""
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Outside:
    """Points outside the face relative to its outline.

    `along` (N, 2) are the two outline points nearest to the ray from the face centre, `weights` (N, 2) their weights,
    `far` (N,) the distance from the outline in face heights, `away` (N,) the depth that a head would have there.
    """

    along: npt.NDArray[np.int64]
    weights: Array
    far: Array
    away: Array


class Surroundings:
    """The picture around a face: weights with which it follows the head and the body."""

    def __init__(self, landmarks: Array, frame: Frame, size: tuple[int, int], matte: Mask | None) -> None:
        self.frame, self.size, self.layered = frame, size, matte is not None
        self.landmarks = landmarks
        oval = landmarks[list(mesh.OVAL)]
        self._middle = oval[:, :2].mean(0)
        angle = np.arctan2(*(oval[:, :2] - self._middle).T[::-1])
        order = np.argsort(angle)
        self._points, self._angle = np.array(mesh.OVAL)[order], angle[order]
        self._room = _room(oval, size, matte, frame)
        self._down = frame.axes[1, :2] / max(float(np.linalg.norm(frame.axes[1, :2])), 1e-6)

    def outside(self, points: Array) -> Outside:
        """Locate (N, 2) pixels relative to the outline of the face."""
        ray = points - self._middle
        reach = np.hypot(*ray.T)
        angle = np.arctan2(ray[:, 1], ray[:, 0])
        after = np.searchsorted(self._angle, angle) % len(self._angle)
        along = np.stack([self._points[after - 1], self._points[after]], 1)
        a, b = (self.landmarks[along[:, k], :2] - self._middle for k in (0, 1))
        unit = ray / np.maximum(reach, 1e-6)[:, None]
        cross_a, cross_b = cross(a, unit), cross(b, unit)
        fraction = np.clip(cross_a / np.where(np.abs(cross_a - cross_b) < 1e-9, 1e-9, cross_a - cross_b), 0, 1)
        rim = np.hypot(*(a + (b - a) * fraction[:, None]).T)
        far = np.maximum(reach - rim, 0) / self.frame.face_height
        depth = self.landmarks[along, 2]
        away = depth[:, 0] + (depth[:, 1] - depth[:, 0]) * fraction
        away = away + 0.25 * self.frame.face_width * np.minimum(1, 3 * far)
        return Outside(along, np.stack([1 - fraction, fraction], 1), far, away)

    def head(self, points: Array, outside: Outside) -> Array:
        """(N,) fraction of the head rotation that each pixel follows: 1 over the hair, 0 below the neck."""
        across, below = self._from_chin(points)
        low = below + np.maximum(0, np.abs(across) - 0.55)
        weight = 1 - smoothstep(low, 0.0, _NECK)
        if not self.layered:
            weight = weight * (1 - smoothstep(outside.far, 0.3, 1.25))
        return np.asarray(weight * self._inside(points, self._room))

    def skin(self, outside: Outside) -> Array:
        """(N,) fraction of the outline's own motion (mostly the jaw's) that each pixel follows."""
        return 1 - smoothstep(outside.far, 0.0, JAW_REACH)

    def body(self, points: Array, head: Array) -> Array:
        """(N, 3): displacement to the right at full sway, to the right at full breath, and down at full breath."""
        across, below = self._from_chin(points)
        width = self.frame.face_width
        mobile = 1 - smoothstep(below, *_STILL)
        chest = (0.5 + 0.5 * smoothstep(below, 0.1, 0.6)) * mobile
        hands = 0.75 * smoothstep(below, 0.5, 1.3)
        rooms = tuple(min(room, _BODY_RIM * self.frame.face_height) for room in self._room)
        near = (1 - smoothstep(np.abs(across) + hands, 1.6, 2.4)) * self._inside(points, rooms) * (1 - head)
        if not self.layered:
            near = near * (1 - smoothstep(outside_of_body(across, below), 0.0, 0.7))
        sway = SWAY * width * mobile * near
        wide = 0.35 * BREATH * width * np.clip(across, -1.2, 1.2) * smoothstep(below, 0.3, 1.0) * mobile * near
        return np.stack([sway, wide, -BREATH * width * chest * near], 1)

    def _from_chin(self, points: Array) -> tuple[Array, Array]:
        """Position in face widths from the middle and in face heights below the chin, for a level body."""
        chin = self.landmarks[mesh.CHIN, :2]
        middle = 0.5 * (chin[0] + self._middle[0])
        return (points[:, 0] - middle) / self.frame.face_width, (points[:, 1] - chin[1]) / self.frame.face_height

    def _inside(self, points: Array, rooms: tuple[float, ...]) -> Array:
        """(N,) 1 well inside the picture, falling to 0 over `rooms` at the borders that the person touches."""
        right, low = self.size[0] - 1, self.size[1] - 1
        gaps = (points[:, 0], points[:, 1], right - points[:, 0], low - points[:, 1])
        weight = np.ones(len(points))
        for gap, room in zip(gaps, rooms, strict=True):
            if room > 0:
                weight = weight * smoothstep(gap, 0.0, room)
        return weight


def outside_of_body(across: Array, below: Array) -> Array:
    """Distance of a pixel from an assumed body outline, in face widths, for pictures without a matte."""
    return np.asarray(np.maximum(0, np.abs(across) - (0.55 + 0.9 * smoothstep(below, 0.0, 0.6))))


def _room(oval: Array, size: tuple[int, int], matte: Mask | None, frame: Frame) -> tuple[float, ...]:
    """Widths in pixels over which motion fades at the left, upper, right and lower border; 0 for none."""
    gaps = (oval[:, 0].min(), oval[:, 1].min(), size[0] - 1 - oval[:, 0].max(), size[1] - 1 - oval[:, 1].max())
    rims: list[Mask | None] = [None] * 4
    if matte is not None:
        rims = [matte[:, 0], matte[0], matte[:, -1], matte[-1]]
    rooms = []
    for gap, rim in zip(gaps, rims, strict=True):
        touched = rim is None or bool((rim > 0.1).any())
        rooms.append(float(np.clip(0.9 * gap, 1, _RIM * frame.face_height)) if touched else 0.0)
    return tuple(rooms)


def cross(a: Array, b: Array) -> Array:
    """Cross products (n,) of vectors (n, 2)."""
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])

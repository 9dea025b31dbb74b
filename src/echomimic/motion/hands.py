"""The hands of a pose track as eight curves, which are computed from its points and can be written back to the points.

A hand keeps its shape: it is moved with its wrist, turned about it and scaled. So the curves always agree with the
points, and a track does not store them.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from echomimic.landmarks.topology import ELBOWS, WRISTS
from echomimic.signals import fill_gaps
from echomimic.types import Curve, Floats, PoseTrack

Array = npt.NDArray[np.float64]

SIDES = ("left", "right")
_KNUCKLE = 9
"""The knuckle of the middle finger; the line from the wrist to it is the direction of a hand."""
ELBOW_FOLLOW = 0.35
"""The fraction of a wrist's movement that its elbow makes."""
_KINDS = (
    ("x", "picture widths", (-0.25, 1.25), "wrist from the left of the picture"),
    ("y", "picture heights", (-0.25, 1.25), "wrist from the top of the picture"),
    ("turn", "degrees", (-180.0, 180.0), "0 pointing across the body, 90 up, -90 down"),
    ("size", "picture heights", (0.005, 0.5), "how far its points are from the wrist: larger is nearer"),
)
POSE_CURVES: tuple[Curve, ...] = tuple(
    Curve(f"{side}_{kind}", unit, low, high, f"{side} hand: {text}", rest=0.0 if kind == "turn" else (low + high) / 2)
    for side in SIDES
    for kind, unit, (low, high), text in _KINDS
)
"""Left is the person's own. A hand has no values in frames where its wrist or middle knuckle is not visible."""


@dataclass(frozen=True)
class _Hand:
    """One hand over time: points (T, 21, 2) in picture heights, visible points (T, 21), and frames that count (T,)."""

    points: Array
    shown: npt.NDArray[np.bool_]
    whole: npt.NDArray[np.bool_]
    across: float

    @property
    def arms(self) -> Array:
        """Points relative to the wrist (T, 21, 2)."""
        return np.asarray(self.points - self.points[:, :1])

    def turn(self) -> Array:
        """Degrees (T,), 0 for a hand that points across the body."""
        pointing = self.arms[:, _KNUCKLE]
        return np.asarray(np.degrees(np.arctan2(-pointing[:, 1], self.across * pointing[:, 0])))

    def size(self) -> Array:
        """Root mean square distance (T,) of the visible points from the wrist."""
        far = (self.arms**2).sum(axis=2) * self.shown
        return np.asarray(np.sqrt(far.sum(axis=1) / np.maximum(self.shown.sum(axis=1) - 1, 1)))


def _hand(track: PoseTrack, side: int) -> _Hand:
    wide = track.image_size[0] / track.image_size[1]
    hand = track.hands[:, side].astype(np.float64)
    shown = hand[..., 2] > 0
    points = hand[..., :2] * (wide, 1.0)
    whole = shown[:, 0] & shown[:, _KNUCKLE] & (points[:, 0] != points[:, _KNUCKLE]).any(axis=1)
    return _Hand(points, shown, whole, -1.0 if side == 0 else 1.0)


def pose_curves(track: PoseTrack) -> dict[str, Floats]:
    """Each of `POSE_CURVES` (T,), interpolated over frames in which a hand is not visible.

    The curves of a hand that is never visible are at rest.
    """
    curves: dict[str, Floats] = {}
    for side in (0, 1):
        hand, wrist = _hand(track, side), track.hands[:, side, 0].astype(np.float64)
        rows = (wrist[:, 0], wrist[:, 1], hand.turn(), hand.size())
        for curve, values in zip(POSE_CURVES[side * len(_KINDS) :], rows, strict=False):
            known = fill_gaps(values, hand.whole) if hand.whole.any() else np.full(len(values), curve.rest)
            curves[curve.name] = known.astype(np.float32)
    return curves


def with_pose_curve(track: PoseTrack, name: str, values: Floats) -> PoseTrack:
    """The track with its hands moved so that one curve has these values (T,); hands that are not visible stay so.

    The wrist of the body moves with its hand, and the elbow a part of the way.
    """
    side, kind = SIDES.index(name.split("_")[0]), name.split("_")[1]
    hand = _hand(track, side)
    ratio, wide = np.ones(len(track)), track.image_size[0] / track.image_size[1]
    spin, move = np.zeros(len(track)), np.zeros((len(track), 2))
    if kind == "turn":
        spin = -np.radians(values - hand.turn()) * hand.across
    elif kind == "size":
        ratio = values / np.maximum(hand.size(), 1e-9)
    else:
        axis = "xy".index(kind)
        move[:, axis] = (values - track.hands[:, side, 0, axis]) * (wide, 1.0)[axis]
    moved = _turned(hand.arms, spin) * ratio[:, None, None] + (hand.points[:, :1] + move[:, None])
    return _with_hand(track, side, moved / (wide, 1.0), hand)


def _turned(points: Array, angle: Array) -> Array:
    """Points (T, N, 2) turned about the origin by an angle (T,) in radians."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = points[..., 0], points[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def _with_hand(track: PoseTrack, side: int, places: Array, hand: _Hand) -> PoseTrack:
    hands, body = track.hands.copy(), track.body.copy()
    moving = hand.shown & hand.whole[:, None]
    hands[:, side, :, :2] = np.where(moving[..., None], places, track.hands[:, side, :, :2])
    move = hands[:, side, 0, :2] - track.hands[:, side, 0, :2]
    for joint, fraction in ((WRISTS[side], 1.0), (ELBOWS[side], ELBOW_FOLLOW)):
        body[:, joint, :2] += fraction * move * (body[:, joint, 2:] > 0)
    return replace(track, hands=hands, body=body)

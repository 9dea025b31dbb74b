"""Retargeting of a driving body to a half-body portrait: the driver's gestures with the portrait's arms and hands.

V2's own notebook only crops the portrait until it is framed like the driver. Here every bone gets the portrait's
length, wrists stay within reach of the arms, and hands stay inside the picture.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.body import Body
from echomimic.landmarks.topology import ELBOWS, HAND_BONES, NECK, SHOULDERS, WRISTS
from echomimic.motion.schema import check_image_size, check_motion
from echomimic.notes import note
from echomimic.types import Floats, PoseTrack

Array = npt.NDArray[np.float64]

UPPER_ARM, FOREARM, HAND = 0.86, 0.72, 0.52
"""Average lengths in shoulder widths (between the joints), after anthropometric tables. A foreshortened arm or hand is
taken to be at least nine tenths of this."""
MARGIN = 0.01
"""Distance that hands keep from the border, as a fraction of the picture."""
_USUAL = 0.9
_REACH = 0.98
_LONGEST = 98
"""Percentile of a bone's length over time that is taken for its unforeshortened length; above it is noise."""
HAND_FRACTIONS = (
    *(0.24, 0.25, 0.18, 0.15),
    *(0.52, 0.24, 0.14, 0.12),
    *(0.50, 0.26, 0.16, 0.12),
    *(0.47, 0.24, 0.15, 0.12),
    *(0.45, 0.19, 0.11, 0.11),
)
"""Bones of a hand as fractions of its length (wrist to the tip of the middle finger), ordered as `HAND_BONES`."""
_HAND_TABLE = np.array(HAND_FRACTIONS)


@dataclass(frozen=True)
class Bones:
    """Unforeshortened lengths in pixels: two bones of an arm, twenty of a hand, and the width of the shoulders."""

    arm: tuple[float, float]
    hand: Array
    shoulders: float

    @property
    def reach(self) -> float:
        """The largest distance of a wrist from its shoulder."""
        return sum(self.arm) * _REACH


def portrait_bones(body: Body, size: tuple[int, int]) -> Bones:
    """The lengths of a portrait's bones in pixels of its `size` (width, height), corrected for foreshortening.

    MotionError if no shoulders are visible.
    """
    points = body.body[:, :2] * size
    width = float(np.linalg.norm(points[SHOULDERS[0]] - points[SHOULDERS[1]]))
    if body.body[list(SHOULDERS), 2].min() <= 0 or width < 8:
        raise MotionError("the portrait shows no shoulders; expected head, shoulders and preferably both hands")
    upper = _longer_arm(points, body.body[:, 2], SHOULDERS, ELBOWS, UPPER_ARM * width)
    fore = _longer_arm(points, body.body[:, 2], ELBOWS, WRISTS, FOREARM * width)
    return Bones((upper, fore), _portrait_hand(body, size, HAND * width), width)


def _longer_arm(points: Floats, seen: Floats, near: tuple[int, int], far: tuple[int, int], usual: float) -> float:
    """The longer of the two visible sides, limited to plausible lengths."""
    lengths = [
        float(np.linalg.norm(points[a] - points[b]))
        for a, b in zip(near, far, strict=True)
        if min(seen[a], seen[b]) > 0.3
    ]
    return min(max([_USUAL * usual, *lengths]), 1.25 * usual)


def _portrait_hand(body: Body, size: tuple[int, int], usual: float) -> Array:
    """Lengths of hand bones: measured in 3D if depth is known, limited to plausible ratios; else those of the table."""
    depth = np.zeros((2, 21)) if body.depth is None else body.depth * size[0]
    found = []
    for side in (0, 1):
        if body.has_hand(side):
            space = np.concatenate([body.hands[side, :, :2] * size, depth[side][:, None]], axis=1)
            found.append(np.array([np.linalg.norm(space[a] - space[b]) for a, b in HAND_BONES]))
    if not found:
        return _HAND_TABLE * usual
    seen = np.max(found, axis=0)
    scale = max(float(np.median(seen / _HAND_TABLE)), _USUAL * usual)
    return np.asarray(np.clip(seen, 0.85 * scale * _HAND_TABLE, 1.2 * scale * _HAND_TABLE))


def driver_bones(track: PoseTrack) -> Bones:
    """The lengths of a driver's bones: for each the longest that it appears over the track."""
    points, seen = _pixels(track.body, track.image_size), track.body[..., 2] > 0
    width = float(np.median(np.linalg.norm(points[:, SHOULDERS[0]] - points[:, SHOULDERS[1]], axis=-1)))
    if not seen[:, list(SHOULDERS)].all(axis=1).any() or width < 1:
        raise MotionError(
            "the driving motion shows no shoulders; expected a body as well as hands: track the video again"
        )
    arm = [_longest_arm(points, seen, near, far) for near, far in ((SHOULDERS, ELBOWS), (ELBOWS, WRISTS))]
    hands, shown = _pixels(track.hands, track.image_size), track.hands[..., 2] > 0
    lengths = np.stack([np.linalg.norm(hands[:, :, a] - hands[:, :, b], axis=-1) for a, b in HAND_BONES], axis=-1)
    drawn = np.stack([shown[..., a] & shown[..., b] for a, b in HAND_BONES], axis=-1)
    table = _HAND_TABLE * HAND * width
    hand = [np.percentile(lengths[..., i][drawn[..., i]], _LONGEST) if drawn[..., i].any() else 0.0 for i in range(20)]
    return Bones(
        (max(arm[0], _USUAL * UPPER_ARM * width), max(arm[1], _USUAL * FOREARM * width)),
        np.where(np.array(hand) > 0, hand, table),
        width,
    )


def _longest_arm(points: Array, seen: npt.NDArray[np.bool_], near: tuple[int, int], far: tuple[int, int]) -> float:
    pairs = [(a, b) for a, b in zip(near, far, strict=True) if (seen[:, a] & seen[:, b]).any()]
    lengths = [np.linalg.norm(points[:, a] - points[:, b], axis=-1)[seen[:, a] & seen[:, b]] for a, b in pairs]
    return float(np.percentile(np.concatenate(lengths), _LONGEST)) if lengths else 0.0


def align_pose(track: PoseTrack, body: Body, size: tuple[int, int], from_start: bool = False) -> PoseTrack:
    """The track's gestures on the body of a portrait, in fractions of its picture of `size` (width, height).

    Wrists are placed as far from the shoulders as the driver's, in arm lengths; with `from_start` each hand starts at
    the portrait's own hand. Every bone has the portrait's length, foreshortened like the driver's; wrists stay in
    reach, hands in the picture. MotionError if either shows no shoulders.
    """
    check_motion(track)
    check_image_size(size, "the portrait")
    own, other = portrait_bones(body, size), driver_bones(track)
    points, home = _pixels(track.body, track.image_size), np.multiply(body.body[:, :2], size, dtype=np.float64)
    skeleton = _place_body(points, home, own.shoulders / other.shoulders)
    hands = np.empty((len(track), 2, 21, 2))
    moved = 0.0
    for side in (0, 1):
        wrists = _wrists(track, side, points, skeleton, own, other)
        if from_start and body.has_hand(side):
            wrists += body.hands[side, 0, :2] * np.array(size) - wrists[0]
        shape = _hand_shape(_pixels(track.hands[:, side], track.image_size), own, other)
        shoulder = skeleton[:, SHOULDERS[side]]
        held = _within_reach(wrists, shoulder, own.reach)
        hands[:, side] = _shift_inside(held[:, None] + shape, size)
        moved = max(moved, float(np.linalg.norm(hands[:, side, 0] - wrists, axis=-1).max() / own.shoulders))
        skeleton[:, WRISTS[side]] = _within_reach(hands[:, side, 0], shoulder, own.reach)
        skeleton[:, ELBOWS[side]] = _elbows(skeleton, side, own)
    if moved > 0.25:
        note(
            "hands_moved_into_reach",
            "hands were moved by up to {widths:.1f} shoulder widths to stay within reach and inside the picture",
            widths=float(moved),
        )
    return _as_track(track, skeleton, hands, _faces(track, body, size, own.shoulders / other.shoulders), size)


def _pixels(points: Floats, image_size: tuple[int, int]) -> Array:
    return np.asarray(points[..., :2], np.float64) * image_size


def _place_body(points: Array, home: Array, scale: float) -> Array:
    """The driver's body at the portrait's neck and scale, with its shoulders on the portrait's."""
    rest = np.median(points, axis=0)
    placed: Array = home[NECK] + scale * (points - rest[NECK])
    for shoulder in SHOULDERS:
        placed[:, shoulder] = home[shoulder] + scale * (points[:, shoulder] - rest[shoulder])
    return placed


def _wrists(track: PoseTrack, side: int, points: Array, skeleton: Array, own: Bones, other: Bones) -> Array:
    """Wrists (T, 2) as many arm lengths from the shoulder as the driver's are from its own."""
    shown = track.hands[:, side, 0, 2] > 0
    wrists = np.where(shown[:, None], _pixels(track.hands[:, side, 0], track.image_size), points[:, WRISTS[side]])
    step = (wrists - points[:, SHOULDERS[side]]) / sum(other.arm)
    return np.asarray(skeleton[:, SHOULDERS[side]] + step * sum(own.arm))


def _hand_shape(hands: Array, own: Bones, other: Bones) -> Array:
    """Hands (T, 21, 2) relative to the wrist: the driver's directions and foreshortening, the portrait's lengths."""
    shape = np.zeros_like(hands)
    for bone, (a, b) in enumerate(HAND_BONES):
        line = hands[:, b] - hands[:, a]
        length = np.linalg.norm(line, axis=-1, keepdims=True)
        flat = np.minimum(length / other.hand[bone], 1.0)
        shape[:, b] = shape[:, a] + line / np.maximum(length, 1e-9) * flat * own.hand[bone]
    return shape


def _within_reach(wrists: Array, shoulders: Array, reach: float) -> Array:
    """Wrists pulled back along their arm with a soft limit at its reach."""
    arm = wrists - shoulders
    length = np.linalg.norm(arm, axis=-1, keepdims=True)
    soft = 0.85 * reach
    over = np.maximum(length - soft, 0)
    held = np.minimum(length, soft) + (reach - soft) * (1 - np.exp(-over / (reach - soft)))
    return np.asarray(shoulders + arm / np.maximum(length, 1e-9) * held)


def _shift_inside(hands: Array, size: tuple[int, int]) -> Array:
    """Shift hands (T, 21, 2) as a whole into the picture; a hand larger than the picture is centred."""
    room = np.array(size) * MARGIN
    low, high = hands.min(axis=1), hands.max(axis=1)
    least, most = room - low, np.array(size) - room - high
    shift = np.where(least > most, (least + most) / 2, np.clip(0, least, most))
    return np.asarray(hands + shift[:, None])


def _elbows(skeleton: Array, side: int, own: Bones) -> Array:
    """Elbows near the driver's with no arm bone longer than the portrait's, by alternating projections onto discs."""
    shoulder, wrist = skeleton[:, SHOULDERS[side]], skeleton[:, WRISTS[side]]
    elbow = skeleton[:, ELBOWS[side]]
    for _ in range(12):
        for centre, most in ((shoulder, own.arm[0]), (wrist, own.arm[1])):
            line = elbow - centre
            length = np.linalg.norm(line, axis=-1, keepdims=True)
            elbow = centre + line * np.minimum(1.0, most / np.maximum(length, 1e-9))
    return elbow


def _faces(track: PoseTrack, body: Body, size: tuple[int, int], scale: float) -> Array:
    """The driver's face at the portrait's scale, with its median position on the portrait's face."""
    points = _pixels(track.face, track.image_size)
    home = (body.face if body.face[:, 2].any() else body.body[:1])[:, :2].mean(axis=0) * np.array(size)
    centre = np.median(points.mean(axis=1), axis=0)
    return np.asarray(home + scale * (points - centre))


def _as_track(track: PoseTrack, body: Array, hands: Array, face: Array, size: tuple[int, int]) -> PoseTrack:
    """Pixels as fractions of the portrait's picture, with the driver's scores."""
    parts: dict[str, Any] = {}
    for name, places in (("body", body), ("hands", hands), ("face", face)):
        scores = getattr(track, name)[..., 2:]
        fractions = np.where(scores > 0, places / np.array(size), 0)
        parts[name] = np.concatenate([fractions, scores], axis=-1).astype(np.float32)
    return replace(track, image_size=size, **parts)


NECK_PLACE = (0.5, 0.5)
SHOULDER_FRACTION = 0.39
"""The place of the neck in V2's own poses, and the width of their shoulders, as fractions of the picture."""
_TOLERANCE, _NEAR = 0.12, 0.06


@dataclass(frozen=True)
class SquareCrop:
    """A square in pixels of the picture, which may extend beyond it; `fits` is True if the picture needs no crop."""

    left: int
    top: int
    side: int
    fits: bool
    text: str
    """What was found, what is expected, and the square, in one line."""


def propose_crop(body: Body, size: tuple[int, int], track: PoseTrack | None = None) -> SquareCrop:
    """Propose a square around a body in a picture of `size` (width, height) that suits V2, or the driving `track`.

    In this square the neck has the place, and the shoulders have the width, of those in V2's own poses or in the track.
    """
    points = body.body[:, :2] * np.array(size, np.float32)
    width = float(np.linalg.norm(points[SHOULDERS[0]] - points[SHOULDERS[1]]))
    if width < 8:
        raise MotionError("the portrait shows no shoulders; expected head, shoulders and preferably both hands")
    fraction, (x, y) = (SHOULDER_FRACTION, NECK_PLACE) if track is None else _of_track(track)
    side = round(width / fraction)
    left, top = round(float(points[NECK, 0]) - x * side), round(float(points[NECK, 1]) - y * side)
    own, (own_x, own_y) = width / size[0], body.body[NECK, :2].tolist()
    near = abs(own / fraction - 1) < _TOLERANCE and max(abs(own_x - x), abs(own_y - y)) < _NEAR
    fits = near and size[0] == size[1]
    found = f"shoulders take {own:.0%} of the width, the neck is at {own_x:.2f}, {own_y:.2f}"
    wanted = f"expected about {fraction:.0%} at {x:.2f}, {y:.2f}"
    padding = max(0, -left, -top, left + side - size[0], top + side - size[1])
    filled = f", filled by {padding} px at its edges" if padding else ""
    square = f"{found}; {wanted}: take the {side} px square at {left}, {top}{filled}"
    return SquareCrop(left, top, side, fits, f"the framing is good: {found}; {wanted}" if fits else square)


def _of_track(track: PoseTrack) -> tuple[float, tuple[float, float]]:
    """The fraction of the width that the shoulders of a track take, and the place of its neck."""
    width = np.median(np.linalg.norm((track.body[:, SHOULDERS[0]] - track.body[:, SHOULDERS[1]])[:, :2], axis=-1))
    neck = np.median(track.body[:, NECK, :2], axis=0)
    if not 0.05 < width < 1.5:
        raise MotionError(
            "the driving motion shows no shoulders; expected a body as well as hands: track the video again"
        )
    return float(width), (float(neck[0]), float(neck[1]))

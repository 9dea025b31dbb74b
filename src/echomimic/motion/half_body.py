"""The square crop of a half-body picture that suits V2."""

from dataclasses import dataclass

import numpy as np

from echomimic.errors import MotionError
from echomimic.landmarks.body import Body
from echomimic.landmarks.topology import NECK, SHOULDERS
from echomimic.types import PoseTrack

NECK_PLACE = (0.5, 0.5)
SHOULDER_FRACTION = 0.39
"""Where the necks of V2's own poses are in their picture, and the fraction of its width that their shoulders take."""
_TOLERANCE, _NEAR = 0.12, 0.06


@dataclass(frozen=True)
class SquareCrop:
    """A square in pixels of the picture, which may reach outside; `fits` says whether the picture is good as it is."""

    left: int
    top: int
    side: int
    fits: bool
    text: str
    """What was found, what is expected, and the square, in one line."""


def propose_crop(body: Body, size: tuple[int, int], track: PoseTrack | None = None) -> SquareCrop:
    """The square around a body in a picture of `size` (width, height) that suits V2, or the driving `track` if given.

    It brings the neck and the width of the shoulders to where those of V2's own poses, or the track's, are.
    """
    points = body.body[:, :2] * np.array(size, np.float32)
    width = float(np.linalg.norm(points[SHOULDERS[0]] - points[SHOULDERS[1]]))
    if width < 8:
        raise MotionError("the portrait shows no shoulders; expected head, shoulders and, best, both hands")
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
        raise MotionError("the driving motion shows no shoulders; expected a body beside its hands: track it again")
    return float(width), (float(neck[0]), float(neck[1]))

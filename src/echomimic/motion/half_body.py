"""Which square of a half-body picture V2 should see, and the numbers behind it."""

from dataclasses import dataclass

import cv2
import numpy as np

from echomimic.errors import MotionError
from echomimic.landmarks.body import Body
from echomimic.landmarks.topology import ELBOWS, NECK, SHOULDERS
from echomimic.types import Picture, Portrait, PoseTrack

NECK_PLACE = (0.5, 0.5)
SHOULDER_SHARE = 0.39
"""Where the necks of V2's own poses are in their picture, and how much of its width their shoulders take."""
_TOLERANCE = 0.12


@dataclass(frozen=True)
class HalfBodyFraming:
    """A proposed square: `left`, `top` and `side` in pixels of the picture; it may reach outside, which is filled.

    `shoulder_share` and `neck` say what is found in the whole picture, `wanted_share` and `wanted_neck` what the square
    gives; `fits` whether the picture is good as it is; `elbows` whether both elbows stay in the square.
    """

    left: int
    top: int
    side: int
    shoulder_share: float
    neck: tuple[float, float]
    wanted_share: float
    wanted_neck: tuple[float, float]
    padding: tuple[int, int, int, int]
    elbows: bool
    fits: bool

    @property
    def words(self) -> str:
        """The proposal in one line."""
        neck = f"the neck is at {self.neck[0]:.2f}, {self.neck[1]:.2f}"
        found = f"shoulders take {self.shoulder_share:.0%} of the width, {neck}"
        wanted = f"{self.wanted_share:.0%} at {self.wanted_neck[0]:.2f}, {self.wanted_neck[1]:.2f}"
        if self.fits:
            return f"the framing is good: {found}; expected about {wanted}"
        filled = f", filled by {max(self.padding)} px at its edges" if max(self.padding) else ""
        place = f"{self.side} px square at {self.left}, {self.top}{filled}"
        return f"{found}; expected about {wanted}: take the {place}"


def propose_framing(body: Body, size: tuple[int, int], track: PoseTrack | None = None) -> HalfBodyFraming:
    """The square round a body in a picture of `size` (width, height) that suits V2, or the driving `track` where given.

    The neck and the width of the shoulders come to lie where those of V2's own poses, or the track's, lie.
    """
    points = body.body[:, :2] * np.array(size, np.float32)
    width = float(np.linalg.norm(points[SHOULDERS[0]] - points[SHOULDERS[1]]))
    if width < 8:
        raise MotionError("the portrait shows no shoulders; expected head, shoulders and, best, both hands")
    share, neck = (SHOULDER_SHARE, NECK_PLACE) if track is None else _of_track(track)
    side = round(width / share)
    left, top = round(float(points[NECK, 0]) - neck[0] * side), round(float(points[NECK, 1]) - neck[1] * side)
    padding = (max(0, -left), max(0, -top), max(0, left + side - size[0]), max(0, top + side - size[1]))
    place = (float(body.body[NECK, 0]), float(body.body[NECK, 1]))
    own = width / size[0]
    near = abs(own / share - 1) < _TOLERANCE and max(abs(place[0] - neck[0]), abs(place[1] - neck[1])) < 0.06
    elbows = points[list(ELBOWS)] - (left, top)
    held = bool(((elbows >= 0) & (elbows <= side)).all())
    return HalfBodyFraming(left, top, side, own, place, share, neck, padding, held, near and size[0] == size[1])


def _of_track(track: PoseTrack) -> tuple[float, tuple[float, float]]:
    """The share of the shoulders and the place of the neck in a track."""
    width = np.median(np.linalg.norm((track.body[:, SHOULDERS[0]] - track.body[:, SHOULDERS[1]])[:, :2], axis=-1))
    neck = np.median(track.body[:, NECK, :2], axis=0)
    if not 0.05 < width < 1.5:
        raise MotionError("the driving motion shows no shoulders; expected a body beside its hands: track it again")
    return float(width), (float(neck[0]), float(neck[1]))


def frame_half_body(portrait: Portrait, framing: HalfBodyFraming) -> Portrait:
    """The proposed square of a portrait; what reaches outside is filled with the picture's edge."""
    left, top, side = framing.left, framing.top, framing.side
    before_x, before_y, after_x, after_y = framing.padding
    padded = cv2.copyMakeBorder(portrait.pixels, before_y, after_y, before_x, after_x, cv2.BORDER_REPLICATE)
    x, y = left + before_x, top + before_y
    pixels: Picture = np.ascontiguousarray(padded[y : y + side, x : x + side], np.uint8)
    return Portrait(pixels, name=portrait.name)

"""Find a body, its hands and its face in a picture, as OpenPose key points, which V2 uses too."""

from dataclasses import dataclass

import numpy as np

from echomimic.errors import FaceError
from echomimic.landmarks.detectors import BodyLandmarks, body_landmarker, hand_landmarker
from echomimic.landmarks.topology import BODY_FROM_33, FACE_68, NECK, SHOULDERS, WRISTS
from echomimic.types import Floats, Picture, Portrait

HAND_SCORE = 0.9
"""The score of every hand point: the network gives none, and V2's own detector gave about this to clear hands."""
_NEAR_WRIST = 0.6
"""Largest distance of a hand from the wrist of the arm that it belongs to, in shoulder widths."""


@dataclass(frozen=True)
class Body:
    """An upper body: `body` (18, 3), `hands` (2, 21, 3) left then right, `face` (68, 3).

    Each point is x and y as fractions of the picture, and a score, 0 for a point that was not seen. `depth` (2, 21) is
    how far hand points lie behind their wrist, as a fraction of the picture's width, if it is known.
    """

    body: Floats
    hands: Floats
    face: Floats
    depth: Floats | None = None

    @property
    def shoulder_width(self) -> float:
        """Distance between the shoulders as a fraction of the picture's width."""
        return float(np.linalg.norm(self.body[SHOULDERS[0], :2] - self.body[SHOULDERS[1], :2]))

    def has_hand(self, side: int) -> bool:
        """Whether the left (0) or right (1) hand was seen."""
        return bool(self.hands[side, :, 2].max() > 0)


def find_body(portrait: Portrait) -> Body:
    """Find the upper body of a portrait; FaceError if there is none. Missing hands are searched for a second time."""
    body = read_body(body_landmarker()(portrait.pixels))
    if body is None:
        raise FaceError(
            f"no body found in {portrait.name} ({portrait.width}x{portrait.height}); expected head and shoulders of a "
            "person seen from the front: use another picture"
        )
    return body if body.has_hand(0) and body.has_hand(1) else _with_more_hands(body, portrait.pixels)


def read_body(found: BodyLandmarks | None) -> Body | None:
    """Convert what the body landmarker found to key points; None if it found nobody."""
    if found is None:
        return None
    body = np.stack([found.pose[0 if index is None else index] for index in BODY_FROM_33])[:, (0, 1, 3)]
    body[NECK] = (found.pose[11] + found.pose[12])[[0, 1, 3]] / 2
    hands = np.stack([_scored(hand) for hand in found.hands])
    depth = np.stack([_depth(hand) for hand in found.hands])
    return Body(body, hands, _face_68(found.face), depth)


def _scored(hand: Floats | None) -> Floats:
    if hand is None:
        return np.zeros((21, 3), np.float32)
    return np.column_stack([hand[:, :2], np.full(21, HAND_SCORE, np.float32)])


def _depth(hand: Floats | None) -> Floats:
    return np.zeros(21, np.float32) if hand is None else hand[:, 2]


def _face_68(face: Floats | None) -> Floats:
    if face is None:
        return np.zeros((68, 3), np.float32)
    return np.column_stack([face[list(FACE_68), :2], np.ones(68, np.float32)])


def _with_more_hands(body: Body, pixels: Picture) -> Body:
    """Add hands that the hand network finds by itself near an arm that has none yet."""
    hands = body.hands.copy()
    depth = np.zeros((2, 21), np.float32) if body.depth is None else body.depth.copy()
    for hand in (found.points for found in hand_landmarker(most=4, confidence=0.3)(pixels)):
        points = _scored(hand)
        far = [float(np.linalg.norm(points[0, :2] - body.body[wrist, :2])) for wrist in WRISTS]
        side = int(np.argmin(far))
        if far[side] < _NEAR_WRIST * body.shoulder_width and not hands[side, :, 2].any():
            hands[side], depth[side] = points, _depth(hand)
    return Body(body.body, hands, body.face, depth)

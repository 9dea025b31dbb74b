"""V2's poses: a pickled dict of `bodies`, `hands`, `faces` and their scores for each frame."""

from typing import Any

import numpy as np

from echomimic.errors import MotionError
from echomimic.motion.importers.people import Person, read_numbers
from echomimic.types import Floats

_V2_SIDE = 768


def read_v2(frame: Any, where: str) -> list[Person]:
    """The people in one of V2's dicts: `bodies`, `hands`, `faces` and their scores, in fractions of a crop.

    `draw_pose_params` say where the crop lies in the image of 768x768; the result is in fractions of that image.
    """
    if not isinstance(frame, dict) or "hands" not in frame:
        raise MotionError(f"{where} holds no 'hands'; expected a pose of V2")
    hands = _points(frame["hands"], frame.get("hands_score"), 21, f"{where}: hands")
    count = len(hands) // 2
    if count == 0 or len(hands) % 2:
        raise MotionError(f"{where} has {len(hands)} hands; expected a left and a right one for each person")
    stated = frame.get("bodies")
    bodies = stated if isinstance(stated, dict) else {}
    body = _part(bodies.get("candidate"), bodies.get("score"), 18, count, f"{where}: bodies")
    face = _part(frame.get("faces"), frame.get("faces_score"), 68, count, f"{where}: faces")
    scale, shift = _placing(frame.get("draw_pose_params"), where)
    placed = [np.concatenate([p[..., :2] * scale + shift, p[..., 2:]], axis=-1) for p in (body, hands, face)]
    pairs = np.stack([placed[1][:count], placed[1][count:]], axis=1)
    return [Person(*(part.astype(np.float32) for part in (placed[0][i], pairs[i], placed[2][i]))) for i in range(count)]


def _part(values: Any, scores: Any, points: int, count: int, where: str) -> Floats:
    """The points of a part for `count` people; zeros if the file has none of it."""
    if values is None:
        return np.zeros((count, points, 3), np.float32)
    part = _points(values, scores, points, where)
    if len(part) != count:
        raise MotionError(f"{where} are of {len(part)} people and the hands of {count}; expected the same")
    return part


def _points(values: Any, scores: Any, points: int, where: str) -> Floats:
    """(n, points, 3) from coordinates of any outer shape and their scores (1 if there are none)."""
    places = read_numbers(values, where)
    if places.size == 0 or places.size % (points * 2):
        raise MotionError(f"{where} have the shape {places.shape}; expected {points} points of x and y")
    places = places.reshape(-1, points, 2)
    marks = np.ones(places.shape[:2], np.float32) if scores is None else read_numbers(scores, f"{where}: scores")
    if marks.size != places.size // 2:
        raise MotionError(f"{where} have {places.size // 2} points and {marks.size} scores; expected a score a point")
    return np.concatenate([places, marks.reshape(-1, points, 1)], axis=-1)


def _placing(params: Any, where: str) -> tuple[Floats, Floats]:
    """The scale and shift from fractions of the crop to fractions of V2's square."""
    if params is None:
        return np.ones(2, np.float32), np.zeros(2, np.float32)
    values = read_numbers(params, f"{where}: draw_pose_params")
    if values.shape != (6,):
        raise MotionError(f"{where}: draw_pose_params has the shape {values.shape}; expected six numbers of pixels")
    _, _, top, bottom, left, right = values
    return np.array((right - left, bottom - top)) / _V2_SIDE, np.array((left, top)) / _V2_SIDE

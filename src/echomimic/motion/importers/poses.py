"""Poses of other programs: key points in OpenPose's JSON (OpenPose, DWPose, ComfyUI), and V2's pickled dicts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.topology import BODY_18_FROM_25
from echomimic.notes import note
from echomimic.signals import fill_gaps
from echomimic.types import Floats, PoseTrack


@dataclass(frozen=True)
class Person:
    """One person in one frame: x and y in fractions of the image, then a score, which is 0 for what was not seen."""

    body: Floats
    hands: Floats
    face: Floats
    image_size: tuple[int, int] | None = None

    @property
    def place(self) -> Floats:
        """The neck, or the mean of what was seen."""
        points = np.concatenate([self.body, self.hands.reshape(-1, 3), self.face])
        seen = points[points[:, 2] > 0]
        if self.body[1, 2] > 0 or not len(seen):
            return self.body[1, :2]
        return np.asarray(seen[:, :2].mean(axis=0), np.float32)

    @property
    def score(self) -> float:
        """The mean score of the body and the hands."""
        return float(self.body[:, 2].mean() + self.hands[..., 2].mean())

    @property
    def is_finite(self) -> bool:
        """Whether every value is a number."""
        return all(bool(np.isfinite(part).all()) for part in (self.body, self.hands, self.face))


def pose_track(
    frames: list[list[Person]], numbers: list[int], fps: float, image_size: tuple[int, int], where: str
) -> PoseTrack:
    """A track of one person: the one with the best score in the first frame, then whoever is nearest to the last place.

    `numbers` say which frame each entry of `frames` is; frames that are missing or empty are interpolated, with a note.
    """
    total = numbers[-1] + 1
    body, hands, face = (np.zeros((total, *shape, 3), np.float32) for shape in ((18,), (2, 21), (68,)))
    known = np.zeros(total, bool)
    before: Floats | None = None
    for number, found in zip(numbers, frames, strict=True):
        people = [person for person in found if person.is_finite]
        if people:
            person = _nearest(people, before)
            before, known[number] = person.place, True
            body[number], hands[number], face[number] = person.body, person.hands, person.face
    if not known.any():
        raise MotionError(f"{where} shows nobody in any frame; expected one person with numbers for key points")
    if not known.all():
        note(
            "frames_interpolated",
            "{where}: {missing} of {total} frames were missing or empty, and are interpolated",
            where=where,
            missing=int((~known).sum()),
            total=total,
        )
    most = max(len(found) for found in frames)
    if most > 1:
        note(
            "person_chosen",
            "{where} shows {count} people; the one with the highest score at first was followed",
            where=where,
            count=most,
        )
    return PoseTrack(fill_gaps(body, known), fill_gaps(hands, known), fill_gaps(face, known), fps, image_size)


def _nearest(people: list[Person], before: Floats | None) -> Person:
    if before is None:
        return max(people, key=lambda person: person.score)
    return min(people, key=lambda person: float(np.linalg.norm(person.place - before)))


def read_numbers(values: Any, where: str) -> Floats:
    """`values` as float32. MotionError if they are no numbers."""
    try:
        array: npt.NDArray[Any] = np.asarray(values)
    except ValueError:
        array = np.array("uneven")
    if array.dtype.kind not in "fiu":
        raise MotionError(f"{where} hold something that is no number; expected numbers")
    return array.astype(np.float32)


def read_openpose(frame: Any, image_size: tuple[int, int] | None, where: str) -> list[Person]:
    """The people in one frame of OpenPose's or DWPose's JSON, which may state its image size.

    MotionError if the key points are in pixels of an image whose size neither the file nor `image_size` states.
    """
    people = frame.get("people") if isinstance(frame, dict) else None
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise MotionError(f"{where} has no list of people; expected OpenPose's JSON")
    width, height = frame.get("canvas_width"), frame.get("canvas_height")
    stated = (int(width), int(height)) if isinstance(width, int) and isinstance(height, int) else image_size
    return [_openpose_person(person, stated, where) for person in people]


def _openpose_person(person: dict[str, Any], image_size: tuple[int, int] | None, where: str) -> Person:
    body = _triples(person.get("pose_keypoints_2d"), (18, 25), f"{where}: pose_keypoints_2d")
    hands = [
        _triples(person.get(f"hand_{side}_keypoints_2d"), (21,), f"{where}: hand_{side}") for side in ("left", "right")
    ]
    face = _triples(person.get("face_keypoints_2d"), (68, 70), f"{where}: face_keypoints_2d")
    parts = [body[list(BODY_18_FROM_25)] if len(body) == 25 else body, np.stack(hands), face[:68]]
    if max(float(np.nan_to_num(part[..., :2]).max()) for part in parts) > 2:
        if image_size is None:
            raise MotionError(f"{where} is in pixels of an unknown picture; give its width and height (canvas)")
        parts = [np.asarray(part / np.array((*image_size, 1), np.float32), np.float32) for part in parts]
    return Person(parts[0], parts[1], parts[2], image_size)


def _triples(values: Any, counts: tuple[int, ...], where: str) -> Floats:
    """(n, 3) from OpenPose's flat list; zeros if the part is missing."""
    if values is None or (isinstance(values, list) and not values):
        return np.zeros((counts[0], 3), np.float32)
    flat = read_numbers(values, where)
    if flat.size not in [count * 3 for count in counts]:
        raise MotionError(f"{where} has {flat.size} numbers; expected {counts[0]} times x, y and score")
    return flat.reshape(-1, 3)


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

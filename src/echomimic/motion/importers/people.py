"""A track of one person from frames that may show several."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
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

"""Key points in OpenPose's JSON, as OpenPose, DWPose and ComfyUI write it."""

from typing import Any

import numpy as np

from echomimic.errors import MotionError
from echomimic.landmarks.topology import BODY_18_FROM_25
from echomimic.motion.importers.people import Person, read_numbers
from echomimic.types import Floats


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
        parts = [part / np.array((*image_size, 1), np.float32) for part in parts]
    return Person(parts[0], parts[1], parts[2], image_size)


def _triples(values: Any, counts: tuple[int, ...], where: str) -> Floats:
    """(n, 3) from OpenPose's flat list; zeros if the part is missing."""
    if values is None or (isinstance(values, list) and not values):
        return np.zeros((counts[0], 3), np.float32)
    flat = read_numbers(values, where)
    if flat.size not in [count * 3 for count in counts]:
        raise MotionError(f"{where} has {flat.size} numbers; expected {counts[0]} times x, y and score")
    return flat.reshape(-1, 3)

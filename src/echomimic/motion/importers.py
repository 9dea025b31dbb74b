"""Motion of other programs: V1's and V2's folders, OpenPose and DWPose JSON, dumps of mediapipe's results."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.topology import BODY_18_FROM_25, EYES, POINTS, SKIN
from echomimic.motion.files import READABLE, kind_of_file, read_array, read_array_header, read_json
from echomimic.motion.safe_pickle import MAX_BYTES, read_pickle
from echomimic.notes import note
from echomimic.signals import fill_gaps
from echomimic.types import Floats, LandmarkTrack, Motion, PoseTrack

_SHAPES = {(count, axes) for count in (POINTS, SKIN) for axes in (2, 3)}

_WRAPPINGS = ("multi_face_landmarks", "face_landmarks", "faceLandmarks", "landmarks", "landmark", "points", "lmks")


def is_face(value: list[Any]) -> bool:
    """Whether a list holds the points of one face rather than frames."""
    first = value[0] if value else None
    point = isinstance(first, dict) and "x" in first
    return len(value) in (POINTS, SKIN) and (point or (isinstance(first, list) and len(first) in (2, 3)))


def face_track(
    frames: list[Any], numbers: list[int], fps: float, image_size: tuple[int, int], where: str
) -> LandmarkTrack:
    """A track from frames that hold a face or none; `numbers` say which frame each is, gaps are interpolated."""
    faces = [_face(frame, f"{where}, frame {i}") for i, frame in zip(numbers, frames, strict=True)]
    shape = next((face.shape for face in faces if face is not None), None)
    if shape is None:
        raise MotionError(f"{where} holds no face in any frame; expected at least one")
    odd = next((i for i, f in zip(numbers, faces, strict=True) if f is not None and f.shape != shape), None)
    if odd is not None:
        raise MotionError(f"{where}: frame {odd} has another shape than the frames before it; expected {shape}")
    known = np.zeros(numbers[-1] + 1, bool)
    points = np.zeros((len(known), POINTS, 3), np.float32)
    for number, face in zip(numbers, faces, strict=True):
        if face is not None and np.isfinite(face).all():
            points[number], known[number] = _in_pixels(_complete(face), image_size), True
    _note_gaps(shape, known, where)
    return LandmarkTrack(fill_gaps(points, known), image_size, fps, known)


def _face(frame: Any, where: str) -> Floats | None:
    """The points of one frame as (478 or 468, 2 or 3); None if it says that there was no face."""
    frame = _first_face(frame)
    if frame is None or (isinstance(frame, list) and not frame):
        return None
    if isinstance(frame, list) and isinstance(frame[0], dict):
        frame = [[point.get(axis) for axis in "xyz" if axis in point] for point in frame]
    try:
        values: npt.NDArray[Any] = np.asarray(frame)
    except ValueError:
        values = np.zeros(0)
    if values.dtype.kind not in "fiu" or values.ndim != 2 or values.shape not in _SHAPES:
        raise MotionError(f"{where} has the shape {values.shape}; expected (478, 3) points of mediapipe's face mesh")
    return values.astype(np.float32)


def _first_face(frame: Any) -> Any:
    """The points without the lists that mediapipe's results are wrapped in; of several faces the first."""
    for _ in range(6):
        if isinstance(frame, dict) and "x" not in frame:
            key = next((key for key in _WRAPPINGS if key in frame), None)
            frame = None if key is None else frame[key]
        elif (isinstance(frame, list) and 0 < len(frame) < 20 and isinstance(frame[0], (list, dict))) or (
            isinstance(frame, np.ndarray) and frame.ndim == 3 and 0 < len(frame) < 20
        ):
            frame = frame[0]
    return frame


def _complete(face: Floats) -> Floats:
    """All 478 points with a z: missing irises are put in the middle of the eyes, a missing z is 0."""
    full = np.zeros((POINTS, 3), np.float32)
    full[: len(face), : face.shape[1]] = face
    if len(face) < POINTS:
        for eye in EYES:
            around = [eye.left, eye.right, eye.upper_middle[0], eye.lower_middle[0]]
            full[list(eye.iris)] = full[around].mean(axis=0)
    return full


def _in_pixels(face: Floats, image_size: tuple[int, int]) -> Floats:
    """Points in pixels; mediapipe's own are fractions of the image, z in fractions of its width."""
    is_fraction = np.abs(face[:, :2]).max() < 4
    return face * np.array((image_size[0], image_size[1], image_size[0]), np.float32) if is_fraction else face


def _note_gaps(shape: tuple[int, ...], known: npt.NDArray[np.bool_], where: str) -> None:
    if not known.any():
        raise MotionError(f"{where} holds no frame of numbers; expected finite points in at least one frame")
    if not known.all():
        note(
            "frames_interpolated",
            "{where}: {missing} of {total} frames were missing or not numbers, and are interpolated",
            where=where,
            missing=int((~known).sum()),
            total=len(known),
        )
    if shape[0] < POINTS:
        note("irises_missing", "{where} has no irises; they were put in the middle of the eyes", where=where)
    if shape[1] < 3:
        note("depth_missing", "{where} has no depth; head turns cannot be read from it", where=where)


@dataclass(frozen=True)
class Person:
    """One person in one frame: x and y in fractions of the image, and a score, which is 0 for unseen points."""

    body: Floats
    hands: Floats
    face: Floats
    image_size: tuple[int, int] | None = None

    @property
    def place(self) -> Floats:
        """The neck, or the mean of the points that were seen."""
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
    """Track one person: the one with the best score in the first frame, then the one nearest to the previous place.

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
            "{where} shows {count} people; the one with the highest score in the first frame is followed",
            where=where,
            count=most,
        )
    return PoseTrack(fill_gaps(body, known), fill_gaps(hands, known), fill_gaps(face, known), fps, image_size)


def _nearest(people: list[Person], before: Floats | None) -> Person:
    if before is None:
        return max(people, key=lambda person: person.score)
    return min(people, key=lambda person: float(np.linalg.norm(person.place - before)))


def read_numbers(values: Any, where: str) -> Floats:
    """`values` as float32. MotionError if they are not numbers."""
    try:
        array: npt.NDArray[Any] = np.asarray(values)
    except ValueError:
        array = np.array("uneven")
    if array.dtype.kind not in "fiu":
        raise MotionError(f"{where} hold something that is not a number; expected numbers")
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


DEFAULT_FPS = 24.0
"""The frame rate of V1 and V2, whose files hold none."""
FACE_SIZE, POSE_SIZE = (512, 512), (768, 768)
"""The image size of V1 and of V2, whose files hold none."""
_FEWEST = 0.5
"""Smallest fraction of the numbered frames that a folder must hold."""


def read_foreign(path: Path, fps: float | None = None, image_size: tuple[int, int] | None = None) -> Motion:
    """The motion in a file or folder of another program. MotionError if it is of no known kind.

    `fps` and `image_size` are for a format that holds none.
    """
    try:
        frames, numbers = _read_folder(path) if path.is_dir() else ([_read_file(path)], [0])
    except OSError as error:
        raise MotionError(f"{path} cannot be read: {error.strerror}") from None
    return _motion(frames, numbers, fps, image_size, str(path))


def _read_file(path: Path) -> Any:
    kind = kind_of_file(path)
    if kind not in _READERS:
        raise MotionError(f"{path} is not a motion; expected {READABLE}")
    return _READERS[kind](path)


def _read_folder(path: Path) -> tuple[list[Any], list[int]]:
    """What the files of a folder hold, and the number of the frame of each, from 0."""
    kind, files = _numbered_files(path)
    numbers = sorted(files)
    span = numbers[-1] - numbers[0] + 1
    if len(numbers) < _FEWEST * span:
        raise MotionError(
            f"{path} numbers its frames {numbers[0]} to {numbers[-1]} but holds {len(numbers)} of {span}; expected "
            "no more than half to be missing"
        )
    return [_READERS[kind](files[n]) for n in numbers], [n - numbers[0] for n in numbers]


def _numbered_files(path: Path) -> tuple[str, dict[int, Path]]:
    """The kind of the files in a folder, and each by the last number in its name."""
    found: dict[str, dict[int, Path]] = {}
    for entry in path.iterdir():
        number = re.search(r"(\d+)\D*$", entry.stem)
        kind = entry.suffix.lower().removeprefix(".")
        if kind in _READERS and number and len(number[1].lstrip("0")) < 10:
            same = found.setdefault(kind, {}).setdefault(int(number[1]), entry)
            if same is not entry:
                names = " and ".join(sorted((same.name, entry.name)))
                raise MotionError(
                    f"{path} holds two files with the same number, {names}; expected one motion: separate them"
                )
    if not found:
        raise MotionError(f"{path} holds no motion; expected files named 0.pkl, 1.pkl … (V1) or 0.npy, 1.npy … (V2)")
    if len(found) > 1:
        raise MotionError(f"{path} holds .{' and .'.join(sorted(found))} files; expected one kind: separate them")
    return next(iter(found.items()))


def _read_npy(path: Path) -> Any:
    """Read a plain `.npy`, or one of V2, which has a header for one object and then a pickle."""
    try:
        with path.open("rb") as file:
            _, _, dtype = read_array_header(file)
            if not dtype.hasobject:
                file.seek(0)
                return read_array(file, path.stat().st_size, str(path))
            return read_pickle(file.read(MAX_BYTES + 1), str(path))
    except ValueError as error:
        raise MotionError(f"{path} cannot be read as .npy: {str(error).splitlines()[0]}") from None


_READERS: dict[str, Callable[[Path], Any]] = {
    "pkl": lambda path: read_pickle(path.read_bytes(), str(path)),
    "npy": _read_npy,
    "json": read_json,
}


def _motion(
    frames: list[Any], numbers: list[int], fps: float | None, image_size: tuple[int, int] | None, where: str
) -> Motion:
    """A track from what each file of a folder held, or from one file that holds all frames."""
    if len(frames) == 1:
        frames, own_fps, own_size = _unfolded(frames[0])
        fps, image_size = own_fps or fps, own_size or image_size
        numbers = numbers if len(frames) == 1 else list(range(len(frames)))
    if not frames:
        raise MotionError(f"{where} has no frames; expected at least one")
    if fps is None:
        fps = DEFAULT_FPS
        note(
            "frame_rate_assumed",
            "{where} holds no frame rate; {fps:g} frames a second are assumed, the rate of V1 and V2",
            where=where,
            fps=fps,
        )
    first = frames[0]
    if isinstance(first, dict) and ("people" in first or "hands" in first):
        openpose = "people" in first
        people: list[list[Person]] = []
        for number, frame in zip(numbers, frames, strict=True):
            place = f"{where}, frame {number}"
            people.append(read_openpose(frame, image_size, place) if openpose else read_v2(frame, place))
        stated = next((person.image_size for found in people for person in found if person.image_size), None)
        return pose_track(people, numbers, fps, stated or image_size or POSE_SIZE, where)
    return face_track(frames, numbers, fps, image_size or FACE_SIZE, where)


def _unfolded(value: Any) -> tuple[list[Any], float | None, tuple[int, int] | None]:
    """The frames of a file that holds several, with the frame rate and image size if it states them."""
    fps, image_size = None, None
    if isinstance(value, dict) and isinstance(value.get("frames"), list):
        rate, width, height = (value.get(key) for key in ("fps", "width", "height"))
        fps = float(rate) if isinstance(rate, (int, float)) and rate > 0 else None
        image_size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
        value = value["frames"]
    if isinstance(value, np.ndarray):
        return (list(value) if value.ndim == 3 else [value]), fps, image_size
    if isinstance(value, list) and not is_face(value):
        return value, fps, image_size
    return [value], fps, image_size

"""Motion that other programs left: V1's and V2's folders, OpenPose and DWPose JSON, mediapipe dumps."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.topology import EYES, POINTS, SKIN
from echomimic.motion.files import READABLE, kind_of_file, read_array, read_array_header, read_json
from echomimic.motion.importers.people import Person, pose_track, read_openpose, read_v2
from echomimic.motion.safe_pickle import MAX_BYTES, read_pickle
from echomimic.notes import note
from echomimic.signals import fill_gaps
from echomimic.types import Floats, LandmarkTrack, Motion

DEFAULT_FPS = 24.0
"""V1 and V2 hold no frame rate and mean this one."""
FACE_CANVAS = (512, 512)
POSE_CANVAS = (768, 768)
_LEAST_SHARE = 0.5
"""Four points round either eye: where a mesh without irises has its pupils put."""


@dataclass(frozen=True)
class Wanted:
    """What the user said of a format that holds no frame rate or canvas of its own."""

    fps: float | None = None
    image_size: tuple[int, int] | None = None


def read_foreign(path: Path, fps: float | None = None, image_size: tuple[int, int] | None = None) -> Motion:
    """The motion in a file or folder of another program; MotionError where it is of no known kind."""
    wanted = Wanted(fps, image_size)
    try:
        return _read_folder(path, wanted) if path.is_dir() else _read_file(path, wanted)
    except OSError as error:
        raise MotionError(f"{path} cannot be read: {error.strerror}") from None


def _read_file(path: Path, wanted: Wanted) -> Motion:
    kind = kind_of_file(path)
    if kind not in _READERS:
        raise MotionError(f"{path} is of no kind that this program reads; expected {READABLE}")
    return _motion([_READERS[kind](path)], [0], wanted, str(path))


def _read_folder(path: Path, wanted: Wanted) -> Motion:
    found: dict[str, dict[int, Path]] = {}
    for entry in path.iterdir():
        number = re.search(r"(\d+)\D*$", entry.stem)
        kind = entry.suffix.lower().removeprefix(".")
        if kind in _READERS and number and len(number[1].lstrip("0")) < 10:
            same = found.setdefault(kind, {}).setdefault(int(number[1]), entry)
            if same is not entry:
                names = " and ".join(sorted((same.name, entry.name)))
                raise MotionError(
                    f"{path} holds two frames of one number, {names}; expected one motion: sort them apart"
                )
    if not found:
        raise MotionError(f"{path} holds no motion; expected files named 0.pkl, 1.pkl … (V1) or 0.npy, 1.npy … (V2)")
    if len(found) > 1:
        raise MotionError(f"{path} holds .{' and .'.join(sorted(found))} files; expected one kind: sort them apart")
    (kind, files), *_ = found.items()
    numbers = sorted(files)
    span = numbers[-1] - numbers[0] + 1
    if len(numbers) < _LEAST_SHARE * span:
        raise MotionError(
            f"{path} numbers its frames {numbers[0]} to {numbers[-1]} but holds {len(numbers)} of {span}; expected "
            "no more than half to be missing"
        )
    return _motion([_READERS[kind](files[n]) for n in numbers], [n - numbers[0] for n in numbers], wanted, str(path))


def _read_pickle(path: Path) -> Any:
    return read_pickle(path.read_bytes(), str(path))


def _read_npy(path: Path) -> Any:
    """A plain `.npy`, or V2's: a header that promises one object, then a pickle."""
    try:
        with path.open("rb") as file:
            _, _, dtype = read_array_header(file)
            if not dtype.hasobject:
                file.seek(0)
                return read_array(file, path.stat().st_size, str(path))
            return read_pickle(file.read(MAX_BYTES + 1), str(path))
    except ValueError as error:
        raise MotionError(f"{path} cannot be read as .npy: {str(error).splitlines()[0]}") from None


_READERS: dict[str, Callable[[Path], Any]] = {"pkl": _read_pickle, "npy": _read_npy, "json": read_json}


def _motion(frames: list[Any], numbers: list[int], wanted: Wanted, where: str) -> Motion:
    """A track from what each file of a folder held, or from one file that holds all frames."""
    fps = wanted.fps
    if len(frames) == 1:
        frames, own_fps, own_canvas = _unfolded(frames[0])
        wanted = Wanted(own_fps or fps, own_canvas or wanted.image_size)
        numbers = numbers if len(frames) == 1 else list(range(len(frames)))
    if not frames:
        raise MotionError(f"{where} has no frames; expected at least one")
    if wanted.fps is None:
        note(
            "frame_rate_assumed",
            "{where} holds no frame rate; {fps:g} frames a second were taken, as V1 and V2 have it",
            where=where,
            fps=DEFAULT_FPS,
        )
        wanted = Wanted(DEFAULT_FPS, wanted.image_size)
    first = frames[0]
    if isinstance(first, dict) and "people" in first:
        return _pose(
            lambda frame, i: read_openpose(frame, wanted.image_size, f"{where}, frame {i}"),
            frames,
            numbers,
            wanted,
            where,
        )
    if isinstance(first, dict) and "hands" in first:
        return _pose(lambda frame, i: read_v2(frame, f"{where}, frame {i}"), frames, numbers, wanted, where)
    return _landmarks(frames, numbers, wanted, where)


def _unfolded(value: Any) -> tuple[list[Any], float | None, tuple[int, int] | None]:
    """The frames of a file that holds several, with the frame rate and canvas where it states them."""
    fps, image_size = None, None
    if isinstance(value, dict) and isinstance(value.get("frames"), list):
        rate, width, height = (value.get(key) for key in ("fps", "width", "height"))
        fps = float(rate) if isinstance(rate, (int, float)) and rate > 0 else None
        image_size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
        value = value["frames"]
    if isinstance(value, np.ndarray):
        return (list(value) if value.ndim == 3 else [value]), fps, image_size
    if isinstance(value, list) and not _is_frame(value):
        return value, fps, image_size
    return [value], fps, image_size


def _is_frame(value: list[Any]) -> bool:
    """Whether a list is one frame of points rather than a list of frames."""
    first = value[0] if value else None
    point = isinstance(first, dict) and "x" in first
    return len(value) in (POINTS, SKIN) and (point or (isinstance(first, list) and len(first) in (2, 3)))


def _pose(
    read: Callable[[Any, int], list[Person]], frames: list[Any], numbers: list[int], wanted: Wanted, where: str
) -> Motion:
    people = [read(frame, number) for frame, number in zip(frames, numbers, strict=True)]
    stated = next((p.image_size for found in people for p in found if p.image_size), None)
    image_size = stated or wanted.image_size or POSE_CANVAS
    return pose_track(people, numbers, wanted.fps or DEFAULT_FPS, image_size, where)


def _landmarks(frames: list[Any], numbers: list[int], wanted: Wanted, where: str) -> LandmarkTrack:
    image_size = wanted.image_size or FACE_CANVAS
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
    _say_what_was_done(shape, known, where)
    return LandmarkTrack(fill_gaps(points, known), image_size, wanted.fps or DEFAULT_FPS, known)


def _face(frame: Any, where: str) -> Floats | None:
    """The points of one frame as (478 or 468, 2 or 3); None where it says that there was no face."""
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


_SHAPES = {(count, axes) for count in (POINTS, SKIN) for axes in (2, 3)}
_WRAPPINGS = ("multi_face_landmarks", "face_landmarks", "faceLandmarks", "landmarks", "landmark", "points", "lmks")


def _first_face(frame: Any) -> Any:
    """The points inside the layers that mediapipe's results are wrapped in; the first face where there are several."""
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
    """All 478 points with a z: irises at the middle of the eyes where the mesh has none, z of 0 where there is none."""
    full = np.zeros((POINTS, 3), np.float32)
    full[: len(face), : face.shape[1]] = face
    if len(face) < POINTS:
        for eye in EYES:
            around = [eye.left, eye.right, eye.upper_middle[0], eye.lower_middle[0]]
            full[list(eye.iris)] = full[around].mean(axis=0)
    return full


def _in_pixels(face: Floats, image_size: tuple[int, int]) -> Floats:
    """Points in pixels; mediapipe's own are shares of the picture, z in shares of its width."""
    is_share = np.abs(face[:, :2]).max() < 4
    return face * np.array((image_size[0], image_size[1], image_size[0]), np.float32) if is_share else face


def _say_what_was_done(shape: tuple[int, ...], known: npt.NDArray[np.bool_], where: str) -> None:
    if not known.any():
        raise MotionError(f"{where} holds no frame of numbers; expected finite points in at least one frame")
    if not known.all():
        note(
            "frames_interpolated",
            "{where}: {missing} of {total} frames were missing or no numbers, and are interpolated",
            where=where,
            missing=int((~known).sum()),
            total=len(known),
        )
    if shape[0] < POINTS:
        note("irises_missing", "{where} has no irises; they were put in the middle of the eyes", where=where)
    if shape[1] < 3:
        note("depth_missing", "{where} has no depth; head turns cannot be read from it", where=where)

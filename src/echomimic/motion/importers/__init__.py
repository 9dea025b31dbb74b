"""Motion of other programs: V1's and V2's folders, OpenPose and DWPose JSON, dumps of mediapipe's results."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from echomimic.errors import MotionError
from echomimic.motion.files import READABLE, kind_of_file, read_array, read_array_header, read_json
from echomimic.motion.importers.face_mesh import face_track, is_face
from echomimic.motion.importers.poses import Person, pose_track, read_openpose, read_v2
from echomimic.motion.safe_pickle import MAX_BYTES, read_pickle
from echomimic.notes import note
from echomimic.types import Motion

DEFAULT_FPS = 24.0
"""The frame rate of V1 and V2, whose files hold none."""
FACE_SIZE, POSE_SIZE = (512, 512), (768, 768)
"""The image size of V1 and of V2, whose files hold none."""
_FEWEST = 0.5
"""The fraction of the numbered frames that a folder must hold."""


@dataclass(frozen=True)
class _Defaults:
    """The user's frame rate and image size for a format that holds none."""

    fps: float | None
    image_size: tuple[int, int] | None


def read_foreign(path: Path, fps: float | None = None, image_size: tuple[int, int] | None = None) -> Motion:
    """The motion in a file or folder of another program. MotionError if it is of no known kind."""
    defaults = _Defaults(fps, image_size)
    try:
        return _read_folder(path, defaults) if path.is_dir() else _read_file(path, defaults)
    except OSError as error:
        raise MotionError(f"{path} cannot be read: {error.strerror}") from None


def _read_file(path: Path, defaults: _Defaults) -> Motion:
    kind = kind_of_file(path)
    if kind not in _READERS:
        raise MotionError(f"{path} is not a motion; expected {READABLE}")
    return _motion([_READERS[kind](path)], [0], defaults, str(path))


def _read_folder(path: Path, defaults: _Defaults) -> Motion:
    kind, files = _numbered_files(path)
    numbers = sorted(files)
    span = numbers[-1] - numbers[0] + 1
    if len(numbers) < _FEWEST * span:
        raise MotionError(
            f"{path} numbers its frames {numbers[0]} to {numbers[-1]} but holds {len(numbers)} of {span}; expected "
            "no more than half to be missing"
        )
    return _motion([_READERS[kind](files[n]) for n in numbers], [n - numbers[0] for n in numbers], defaults, str(path))


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
                    f"{path} holds two frames of one number, {names}; expected one motion: sort them apart"
                )
    if not found:
        raise MotionError(f"{path} holds no motion; expected files named 0.pkl, 1.pkl … (V1) or 0.npy, 1.npy … (V2)")
    if len(found) > 1:
        raise MotionError(f"{path} holds .{' and .'.join(sorted(found))} files; expected one kind: sort them apart")
    return next(iter(found.items()))


def _read_pickle(path: Path) -> Any:
    return read_pickle(path.read_bytes(), str(path))


def _read_npy(path: Path) -> Any:
    """A plain `.npy`, or one of V2: a header that promises one object, then a pickle."""
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


def _motion(frames: list[Any], numbers: list[int], defaults: _Defaults, where: str) -> Motion:
    """A track from what each file of a folder held, or from one file that holds all frames."""
    fps, image_size = defaults.fps, defaults.image_size
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
            "{where} holds no frame rate; {fps:g} frames a second were taken, as V1 and V2 have it",
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

"""Landmarks of mediapipe's face mesh: V1's pickles, and dumps of mediapipe's results as JSON or `.npy`."""

from typing import Any

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.topology import EYES, POINTS, SKIN
from echomimic.notes import note
from echomimic.signals import fill_gaps
from echomimic.types import Floats, LandmarkTrack

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
    """The points without the layers that mediapipe's results are wrapped in; of several faces the first."""
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
            "{where}: {missing} of {total} frames were missing or no numbers, and are interpolated",
            where=where,
            missing=int((~known).sum()),
            total=len(known),
        )
    if shape[0] < POINTS:
        note("irises_missing", "{where} has no irises; they were put in the middle of the eyes", where=where)
    if shape[1] < 3:
        note("depth_missing", "{where} has no depth; head turns cannot be read from it", where=where)

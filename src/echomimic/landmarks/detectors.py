"""The networks that detect faces, bodies, hands and the person in a picture, behind six functions.

This is the only module that knows which library runs them (mediapipe 0.10.21 today):

    load_detectors()                                   import the library; SetupError if it cannot be loaded
    detect_faces(pixels, full_range, confidence)       -> list[Detection]
    face_landmarker(video, most, confidence)           -> with … as find: find(pixels) -> list of (478, 3) pixels
    body_landmarker(video)                             -> with … as find: find(pixels) -> BodyLandmarks or None
    hand_landmarker(most, confidence)                  -> with … as find: find(pixels) -> list[HandLandmarks]
    selfie_mask(pixels)                                -> (H, W) float32

`pixels` is (H, W, 3) uint8 RGB of any size. The landmarkers are context managers that yield a function; with
`video=True` the function tracks from one call to the next, otherwise each call stands alone. Coordinates are fractions
of the picture's width and height (z: of its width), but faces are in pixels.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from echomimic.errors import SetupError
from echomimic.types import Floats, Picture

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """A detected face: `box` x, y, width, height in pixels; `score` 0..1; `keypoints` (6, 2) in pixels.

    The key points are right eye, left eye, nose tip, mouth, right ear, left ear; right and left are the person's own.
    """

    box: Box
    score: float
    keypoints: Floats


@dataclass(frozen=True)
class HandLandmarks:
    """A hand: `points` (21, 3); `side` 0 where it is labelled left, 1 right (as in a mirror); `score` of the label."""

    points: Floats
    side: int
    score: float


@dataclass(frozen=True)
class BodyLandmarks:
    """A person: `pose` (33, 4) x, y, z, visibility; left and right hand (21, 3); `face` (478, 3); None: not seen."""

    pose: Floats
    hands: tuple[Floats | None, Floats | None]
    face: Floats | None


def load_detectors() -> Any:
    """Import mediapipe's solutions, which takes most of a second; SetupError where it cannot be loaded."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ.setdefault("GLOG_minloglevel", "3")
    try:
        import mediapipe
    except ImportError as error:
        fix = "apt-get install libgl1" if "libGL" in str(error) else "pip install mediapipe==0.10.21"
        raise SetupError(f"mediapipe cannot be loaded ({error}); expected version 0.10.21: {fix}") from None
    return mediapipe.solutions


def detect_faces(pixels: Picture, *, full_range: bool = False, confidence: float = 0.5) -> list[Detection]:
    """Faces of a picture; `full_range` finds smaller ones (down to about a thirtieth of the longer side)."""
    height, width = pixels.shape[:2]
    with load_detectors().face_detection.FaceDetection(
        model_selection=int(full_range), min_detection_confidence=confidence
    ) as model:
        found = model.process(np.ascontiguousarray(pixels)).detections or []
    size = np.array([width, height], np.float32)
    detections = []
    for detection in found:
        box = detection.location_data.relative_bounding_box
        points = np.array([(p.x, p.y) for p in detection.location_data.relative_keypoints], np.float32) * size
        box_pixels = (box.xmin * width, box.ymin * height, box.width * width, box.height * height)
        detections.append(Detection(box_pixels, float(detection.score[0]), points))
    return detections


@contextmanager
def face_landmarker(
    *, video: bool = False, most: int = 1, confidence: float = 0.4
) -> Iterator[Callable[[Picture], list[Floats]]]:
    """A function that finds up to `most` faces: landmarks (478, 3) with irises, in pixels."""
    model = load_detectors().face_mesh.FaceMesh(
        static_image_mode=not video,
        refine_landmarks=True,
        max_num_faces=most,
        min_detection_confidence=confidence,
        min_tracking_confidence=confidence,
    )

    def find(pixels: Picture) -> list[Floats]:
        height, width = pixels.shape[:2]
        found = model.process(np.ascontiguousarray(pixels)).multi_face_landmarks or []
        return [_points(face) * np.array([width, height, width], np.float32) for face in found]

    try:
        yield find
    finally:
        model.close()


@contextmanager
def body_landmarker(*, video: bool = False) -> Iterator[Callable[[Picture], BodyLandmarks | None]]:
    """A function that finds one person's body, hands and face."""
    model = load_detectors().holistic.Holistic(static_image_mode=not video, refine_face_landmarks=True)

    def find(pixels: Picture) -> BodyLandmarks | None:
        found = model.process(np.ascontiguousarray(pixels))
        if found.pose_landmarks is None:
            return None
        pose = np.array([(p.x, p.y, p.z, p.visibility) for p in found.pose_landmarks.landmark], np.float32)
        left, right, face = (
            None if part is None else _points(part)
            for part in (found.left_hand_landmarks, found.right_hand_landmarks, found.face_landmarks)
        )
        return BodyLandmarks(pose, (left, right), face)

    try:
        yield find
    finally:
        model.close()


@contextmanager
def hand_landmarker(*, most: int = 2, confidence: float = 0.5) -> Iterator[Callable[[Picture], list[HandLandmarks]]]:
    """A function that finds up to `most` hands, each picture by itself."""
    model = load_detectors().hands.Hands(
        static_image_mode=True, max_num_hands=most, min_detection_confidence=confidence
    )

    def find(pixels: Picture) -> list[HandLandmarks]:
        found = model.process(np.ascontiguousarray(pixels))
        labels = [item.classification[0] for item in found.multi_handedness or []]
        return [
            HandLandmarks(_points(hand), ("Left", "Right").index(label.label), float(label.score))
            for hand, label in zip(found.multi_hand_landmarks or [], labels, strict=True)
        ]

    try:
        yield find
    finally:
        model.close()


def selfie_mask(pixels: Picture) -> Floats:
    """Probability that a pixel shows a person: (H, W) float32 0..1."""
    with load_detectors().selfie_segmentation.SelfieSegmentation(model_selection=0) as model:
        return np.asarray(model.process(np.ascontiguousarray(pixels)).segmentation_mask, np.float32)


def _points(found: Any) -> Floats:
    return np.array([(p.x, p.y, p.z) for p in found.landmark], np.float32)

"""mediapipe 0.10.21's solutions behind the calls of landmarks/detectors.py, to compare the package's own with."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from echomimic.landmarks.detectors import BodyLandmarks, Detection, HandLandmarks
from echomimic.types import Floats, Picture


def solutions() -> Any:
    """mediapipe's solutions. Raises ImportError if mediapipe is not installed."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ.setdefault("GLOG_minloglevel", "3")
    import mediapipe

    return mediapipe.solutions


def detect_faces(pixels: Picture, *, full_range: bool = False, confidence: float = 0.5) -> list[Detection]:
    """Faces of a picture; `full_range` finds smaller ones (down to about a thirtieth of the longer side)."""
    height, width = pixels.shape[:2]
    with solutions().face_detection.FaceDetection(
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


def face_landmarker(
    *, video: bool = False, most: int = 1, confidence: float = 0.4
) -> Callable[[Picture], list[Floats]]:
    """A function that finds up to `most` faces: landmarks (478, 3) with irises, in pixels."""
    model = solutions().face_mesh.FaceMesh(
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

    return find


def body_landmarker(*, video: bool = False) -> Callable[[Picture], BodyLandmarks | None]:
    """A function that finds one person's body, hands and face."""
    model = solutions().holistic.Holistic(static_image_mode=not video, refine_face_landmarks=True)

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

    return find


def hand_landmarker(
    *, video: bool = False, most: int = 2, confidence: float = 0.5
) -> Callable[[Picture], list[HandLandmarks]]:
    """A function that finds up to `most` hands, each picture by itself."""
    model = solutions().hands.Hands(
        static_image_mode=not video, max_num_hands=most, min_detection_confidence=confidence
    )

    def find(pixels: Picture) -> list[HandLandmarks]:
        found = model.process(np.ascontiguousarray(pixels))
        labels = [item.classification[0] for item in found.multi_handedness or []]
        return [
            HandLandmarks(_points(hand), ("Left", "Right").index(label.label), float(label.score))
            for hand, label in zip(found.multi_hand_landmarks or [], labels, strict=True)
        ]

    return find


def selfie_mask(pixels: Picture) -> Floats:
    """Probability that a pixel shows a person: (H, W) float32 0..1."""
    with solutions().selfie_segmentation.SelfieSegmentation(model_selection=0) as model:
        return np.asarray(model.process(np.ascontiguousarray(pixels)).segmentation_mask, np.float32)


def _points(found: Any) -> Floats:
    return np.array([(p.x, p.y, p.z) for p in found.landmark], np.float32)

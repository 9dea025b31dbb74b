"""Find the faces of a picture, and choose the one to animate."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from echomimic.errors import FaceError
from echomimic.landmarks.detectors import Box, detect_faces, face_landmarker
from echomimic.landmarks.topology import EAR_LEFT, EAR_RIGHT
from echomimic.notes import note
from echomimic.options import Options
from echomimic.types import Floats, Picture, Portrait

SMALLEST = 64
"""A face narrower than this many pixels is refused: its mouth would be a dozen pixels wide."""
WIDEST_YAW = 32.0
"""Degrees past which a head counts as a profile: the far side of the face is not in the picture."""


@dataclass(frozen=True)
class Face:
    """A face: `landmarks` (478, 3) float32 in pixels of the picture, z growing away from the viewer."""

    landmarks: Floats

    @property
    def box(self) -> Box:
        """x, y, width, height of the landmarks."""
        low, high = self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])

    @property
    def size(self) -> float:
        """The longer side of the box, in pixels."""
        return max(self.box[2:])

    @property
    def yaw(self) -> float:
        """Degrees by which the head is turned; positive towards the right of the picture."""
        across = self.landmarks[EAR_RIGHT] - self.landmarks[EAR_LEFT]
        return math.degrees(math.atan2(float(across[2]), float(np.hypot(across[0], across[1]))))


def find_faces(pixels: Picture, most: int = 12) -> list[Face]:
    """Every face of a picture (H, W, 3), from left to right; small ones and ones that fill it too."""
    with face_landmarker(most=most) as find:
        faces = [Face(points) for points in find(pixels)]
    height, width = pixels.shape[:2]
    if not faces or max(face.size for face in faces) < 0.3 * max(width, height):
        for box in (found.box for found in detect_faces(pixels, full_range=True, confidence=0.4)):
            if not any(_overlap(box, face.box) > 0.1 for face in faces):
                faces += _faces_in(pixels, _grown(box, 1.0), most=1, confidence=0.2)
    if not faces:
        faces = _faces_in(pixels, _grown((0.0, 0.0, width, height), 0.5), most=1, confidence=0.2)
    for parts in (2, 4):
        faces = faces or [face for tile in _tiles(width, height, parts) for face in _faces_in(pixels, tile, most)]
    return sorted(_distinct(faces), key=lambda face: face.box[0])


def pick_face(portrait: Portrait, options: Options) -> Face:
    """The face to animate: the one in `face_box`, number `face` from the left, or the largest.

    Raises FaceError where there is none or it is too small; makes a note where a choice was made.
    """
    face = _face_in_box(portrait, options.face_box) if options.face_box else _chosen_face(portrait, options.face)
    if face.size < SMALLEST:
        raise FaceError(
            f"the face in {portrait.name} is {face.size:.0f} px; expected at least {SMALLEST}: "
            "use a larger picture, or a closer one",
            code="face_too_small",
        )
    if abs(face.yaw) > WIDEST_YAW:
        note(
            "head_turned",
            "the head in {name} is turned by about {degrees:.0f} degrees; beyond {limit:.0f} the far cheek and lip may "
            "look wrong: a picture from the front works better",
            name=portrait.name,
            degrees=abs(face.yaw),
            limit=WIDEST_YAW,
        )
    return face


def _chosen_face(portrait: Portrait, number: int | None) -> Face:
    faces = find_faces(portrait.pixels)
    if not faces:
        raise FaceError(
            f"no face found in {portrait.name} ({portrait.width}x{portrait.height}); expected one seen from the front: "
            "say where it is with `face_box` x,y,w,h"
        )
    if number is not None:
        if number > len(faces):
            raise FaceError(
                f"face {number} of {portrait.name} was asked for; expected 1 to {len(faces)}, from the left",
                code="face_number_invalid",
            )
        return faces[number - 1]
    largest = max(range(len(faces)), key=lambda i: faces[i].size)
    if len(faces) > 1:
        note(
            "largest_face_used",
            "{count} faces in {name}: taking the largest, number {number} from the left (`face` N takes another)",
            count=len(faces),
            name=portrait.name,
            number=largest + 1,
        )
    return faces[largest]


def _face_in_box(portrait: Portrait, box: Box) -> Face:
    x, y, w, h = box
    if w <= 0 or h <= 0 or x >= portrait.width or y >= portrait.height or x + w <= 0 or y + h <= 0:
        raise FaceError(
            f"the face box {x:g},{y:g},{w:g},{h:g} is not inside {portrait.name} ({portrait.width}x{portrait.height}); "
            "expected x,y,w,h in its pixels"
        )
    for margin in (0.5, 0.25, 1.0):
        faces = [
            face
            for face in _faces_in(portrait.pixels, _grown(box, margin), most=1, confidence=0.05)
            if _overlap(box, face.box) > 0.2
        ]
        if faces:
            return faces[0]
    raise FaceError(
        f"no face found in the box {x:g},{y:g},{w:g},{h:g} of {portrait.name}; expected one seen from the front: "
        "draw the box from the hairline to the chin and from ear to ear"
    )


def _tiles(width: int, height: int, parts: int) -> Iterator[Box]:
    """Squares of a `parts`-th of the longer side, half overlapping, that cover the picture; none under four faces."""
    side = max(width, height) / parts
    if side < 4 * SMALLEST:
        return
    for top in np.arange(0, max(1.0, height - side / 2), side / 2):
        for left in np.arange(0, max(1.0, width - side / 2), side / 2):
            yield float(left), float(top), side, side


def _faces_in(pixels: Picture, box: Box, most: int, confidence: float = 0.5) -> list[Face]:
    """Faces inside a box of the picture, looked at on a canvas of about 512 pixels; the box may reach outside."""
    import cv2

    x, y, w, h = box
    scale = 512 / max(w, h)
    place = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]], np.float32)
    size = (max(8, round(w * scale)), max(8, round(h * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    view = np.asarray(cv2.warpAffine(pixels, place, size, flags=how, borderMode=cv2.BORDER_REPLICATE), np.uint8)
    with face_landmarker(most=most, confidence=confidence) as find:
        found = find(view)
    return [Face((points / scale + np.array([x, y, 0])).astype(np.float32)) for points in found]


def _grown(box: Box, margin: float) -> Box:
    x, y, w, h = box
    side = max(w, h) * (1 + 2 * margin)
    return x + w / 2 - side / 2, y + h / 2 - side / 2, side, side


def _overlap(a: Box, b: Box) -> float:
    """Shared area over the smaller box's area."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(0.0, wide) * max(0.0, high) / max(1e-6, min(a[2] * a[3], b[2] * b[3]))


def _distinct(faces: list[Face]) -> list[Face]:
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.size):
        if all(_overlap(face.box, other.box) < 0.5 for other in kept):
            kept.append(face)
    return kept

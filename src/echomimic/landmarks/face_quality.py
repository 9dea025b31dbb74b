"""Reliability of a detected face: whether it is upright, completely visible, and human."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks.detectors import Box, detect_faces
from echomimic.landmarks.head_pose import align, angles, face_template
from echomimic.landmarks.topology import (
    CHIN,
    FOREHEAD,
    IRIS_CENTRES,
    LIPS,
    LOWER_LIP_MIDDLE,
    LOWER_RINGS,
    OUTER_EYES,
    UPPER_LIP_MIDDLE,
    UPPER_RINGS,
)
from echomimic.types import Floats, Picture

Array = npt.NDArray[np.float64]
FindLandmarks = Callable[[Picture], list[Floats]]

# Measured on 19 portraits of people, paintings, drawings and a statue, each upright, tilted by 40 degrees either way,
# turned by 90, 180 and 270 degrees, with four painted masks, and cut off at the mouth.
STEEPEST_ROLL = 60.0
"""Degrees from which a face counts as lying or upside down. Landmarks of sideways faces have 71 to 98."""
_UPRIGHT_ROLL = 50.0
_SCORE = (0.70, 0.74)
"""Detector scores from which a face is accepted in a turned picture and in the given one (upright: at least 0.75)."""
_KEYPOINTS = 0.16
"""Largest distance of a key point between detector and landmarks, in eye distances: upright at most 0.15."""
_UNSTABLE = 0.03
"""Movement of the lips in eye distances when the crop moves: upright and unmasked at most 0.016."""
_SPURIOUS_SCORE = 0.65
_DOUBTFUL_SCORE, _DOUBTFUL_KEYPOINTS, _DOUBTFUL_MOVES = 0.6, 0.25, 0.1
_FLAT, _FOREIGN = 8.0, 20.0
"""CIELAB: contrast across the lips below which there are none (faces: at least 14); difference of colour between the
skin around the mouth and that of the cheeks from which on it does not count as skin (faces: at most 12)."""
_COVERED = ((0.018, -5.0, 14.0), (_UNSTABLE, -8.0, 10.0))
"""Lips that move by more than the first seem covered if the line between them is not that much darker than the skin
(faces: at least 9 darker), or if the colours differ by more than the last."""
_CHIN_OUT = 0.05
_CROPS: tuple[tuple[float, float, float], ...] = ((0.35, 0.05, 0.0), (0.6, -0.1, 0.1))
"""Margin and shift, in face sizes, of the crops in which the landmarks are found again."""
_UPPER_SKIN = (50, 280, 101, 330, 118, 347, 151, 9, 6, 197)
_LOWER_SKIN = (164, 18, 200, 57, 287, 214, 434, 204, 424, 167, 393)
_RGB_TO_XYZ = np.array(
    [[0.433953, 0.376219, 0.189828], [0.212671, 0.715160, 0.072169], [0.017758, 0.109477, 0.872765]], np.float32
)
"""From linear sRGB to XYZ relative to the white D65."""
_EYE_PIXELS = 60
"""Distance of the outer eye corners at which colours are read."""


@dataclass(frozen=True)
class FaceQuality:
    """Measurements that tell whether a face can be animated.

    `roll` in degrees; `score` of the detector in a crop; `keypoints` and `moves`: distances in eye distances, between
    detector and landmarks and between landmarks of different crops; `contrast`, `slit`, `colours` in CIELAB units;
    `outside`: whether lips or chin lie beyond the picture's border.
    """

    roll: float
    score: float
    keypoints: float
    moves: float
    contrast: float
    slit: float
    colours: float
    outside: bool

    @property
    def is_suspect(self) -> bool:
        """Whether the picture may have to be turned for this face to be upright."""
        return abs(self.roll) > STEEPEST_ROLL or self.score < _SCORE[1] or self._disagrees

    @property
    def is_upright(self) -> bool:
        """Whether this is surely an upright face."""
        return abs(self.roll) <= _UPRIGHT_ROLL and self.score >= _SCORE[0] and not self._disagrees

    @property
    def _disagrees(self) -> bool:
        return self.keypoints > _KEYPOINTS or self.moves > _UNSTABLE

    @property
    def is_faint(self) -> bool:
        """Whether the detector is hardly sure that this is a face."""
        return self.score < _DOUBTFUL_SCORE

    @property
    def is_spurious(self) -> bool:
        """Whether this is hardly a face of any kind: it is not found again, and the detector sees another."""
        return self.score < _SPURIOUS_SCORE and self.keypoints > _DOUBTFUL_KEYPOINTS and self.moves == np.inf

    @property
    def is_doubtful(self) -> bool:
        """Whether this may not be a human face, or one that is half hidden."""
        return (
            abs(self.roll) > STEEPEST_ROLL
            or self.is_faint
            or self.keypoints > _DOUBTFUL_KEYPOINTS
            or self.moves > _DOUBTFUL_MOVES
        )

    @property
    def hides_mouth(self) -> bool:
        """Whether something seems to cover the mouth: the landmarks have lips, but the picture shows none there."""
        return (
            self.contrast < _FLAT
            or self.colours > _FOREIGN
            or any(
                self.moves > moves and (self.slit > slit or self.colours > colours) for moves, slit, colours in _COVERED
            )
        )


def measure_quality(pixels: Picture, landmarks: Floats, find: FindLandmarks) -> FaceQuality:
    """The quality of a face with `landmarks` (478, 3) in a picture (H, W, 3); `find` finds landmarks in crops."""
    eyes = float(np.linalg.norm(landmarks[OUTER_EYES[1]] - landmarks[OUTER_EYES[0]]))
    score, keypoints = _detected(pixels, landmarks, eyes)
    contrast, slit, colours = _mouth_colours(pixels, landmarks, eyes)
    return FaceQuality(
        angles(align(landmarks, face_template()).rotation.T)[2],
        score,
        keypoints,
        max(_moved(pixels, landmarks, find, crop) for crop in _CROPS) / eyes,
        contrast,
        slit,
        colours,
        _is_outside(pixels, landmarks),
    )


def crop_square(pixels: Picture, box: Box, side: int) -> tuple[Picture, float]:
    """A box of a picture as a crop whose longer side is `side` pixels, and its scale; the border is repeated."""
    x, y, w, h = box
    scale = side / max(w, h)
    place = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]], np.float32)
    size = (max(8, round(w * scale)), max(8, round(h * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.warpAffine(pixels, place, size, flags=how, borderMode=cv2.BORDER_REPLICATE), np.uint8), scale


def _square(landmarks: Floats, margin: float, shift: tuple[float, float] = (0, 0)) -> Box:
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    size = float((high - low).max())
    x, y = (low + high) / 2 + np.array(shift) * size - size * (0.5 + margin)
    return float(x), float(y), size * (1 + 2 * margin), size * (1 + 2 * margin)


def _detected(pixels: Picture, landmarks: Floats, eyes: float) -> tuple[float, float]:
    """The score of the detection that lies on the landmarks, and the distance of its key points from them."""
    box = _square(landmarks, 0.6)
    view, scale = crop_square(pixels, box, 256)
    lips = landmarks[[UPPER_LIP_MIDDLE[1], LOWER_LIP_MIDDLE[1]], :2].mean(0)
    places = np.stack([*landmarks[[*IRIS_CENTRES, 1], :2], lips])
    best = (0.0, np.inf)
    for found in detect_faces(view, confidence=0.05):
        far = float(np.linalg.norm(found.keypoints[:4] / scale + box[:2] - places, axis=1).max()) / eyes
        if far < 2 and found.score > best[0]:
            best = found.score, far
    return best


def _moved(pixels: Picture, landmarks: Floats, find: FindLandmarks, crop: tuple[float, float, float]) -> float:
    """The distance in pixels between the lips and those found in another crop."""
    margin, *shift = crop
    box = _square(landmarks, margin, (shift[0], shift[1]))
    view, scale = crop_square(pixels, box, 512)
    again = [points[:, :2] / scale + box[:2] for points in find(view)]
    lips = list(LIPS)
    return min((float(np.linalg.norm(a - landmarks[:, :2], axis=1)[lips].mean()) for a in again), default=np.inf)


def _mouth_colours(pixels: Picture, landmarks: Floats, eyes: float) -> tuple[float, float, float]:
    """Contrast across the lips, brightness of the line between them, colour of the skin around them."""
    box = _square(landmarks, 0.15)
    side = int(box[2] * _EYE_PIXELS / eyes) + 2
    view, scale = crop_square(pixels, box, side)
    lab = cv2.GaussianBlur(_lab(view), (0, 0), 1)
    at = ((landmarks[:, :2] - box[:2]) * scale).astype(np.float64)
    down = at[CHIN] - at[FOREHEAD]
    down *= 0.15 * _EYE_PIXELS / np.linalg.norm(down)
    rings = [at[list(ring)] for ring in (*UPPER_RINGS[::-1], *LOWER_RINGS)]
    rows = np.stack([rings[0] - down, *rings, rings[-1] + down])[:, 1:-1]

    def colours(points: Array) -> Floats:
        x, y = np.clip(np.rint(points).astype(int), 0, side - 1).T
        return np.asarray(lab[y.T, x.T], np.float32)

    profile = colours(rows).mean(axis=1)
    lips = profile[1:-1]
    contrast = float(np.linalg.norm(lips[:, None] - lips[None], axis=2).max())
    slit = float(profile[4:6, 0].min() - (profile[0, 0] + profile[-1, 0]) / 2)
    upper, lower = (np.median(colours(at[list(skin)]), axis=0) for skin in (_UPPER_SKIN, _LOWER_SKIN))
    return contrast, slit, float(np.linalg.norm((upper - lower)[1:]))


def _lab(pixels: Picture) -> Floats:
    """sRGB (H, W, 3) uint8 as CIELAB under D65, float32. OpenCV would spend 50 ms on tables at its first conversion."""
    rgb = np.arange(256, dtype=np.float32) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4).astype(np.float32)[pixels]
    xyz = linear @ _RGB_TO_XYZ.T
    x, y, z = np.moveaxis(np.where(xyz > 216 / 24389, np.cbrt(xyz), xyz * (841 / 108) + 16 / 116), 2, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=2).astype(np.float32)


def _is_outside(pixels: Picture, landmarks: Floats) -> bool:
    """Whether a point of the lips, or the chin by a twentieth of the face, lies outside of the picture."""
    height, width = pixels.shape[:2]
    lips, chin = landmarks[list(LIPS), :2], landmarks[CHIN, :2]
    beyond = _CHIN_OUT * float(np.ptp(landmarks[:, :2], axis=0).max())
    return bool(
        (lips < 0).any()
        or (lips > (width, height)).any()
        or (chin < -beyond).any()
        or (chin > (width + beyond, height + beyond)).any()
    )

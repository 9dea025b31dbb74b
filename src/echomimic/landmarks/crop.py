"""Crop a picture to the part that the video shows, scale it to the size of the video, and paste it back."""

from dataclasses import dataclass

import cv2
import numpy as np

from echomimic.landmarks.face import Face
from echomimic.options import Options
from echomimic.types import Floats, Picture, Portrait

LONGEST = 1024
"""The longer side of a video of the whole picture if `size` is not given."""
CROP = 512
"""The side of a cropped video if `size` is not given."""
HEAD_ROOM = 0.06
"""Distance of a crop's centre above the middle of the face, as a fraction of the face's height: room for the hair."""

FEATHER = 0.08
"""Width of the soft border of a face that is pasted back, as a fraction of the face picture."""


@dataclass(frozen=True)
class Crop:
    """A box of a picture (`left`, `top`, `source_width`, `source_height` in its pixels) as a `width` x `height` video.

    The box may reach beyond the picture, whose border pixels are then repeated.
    """

    left: int
    top: int
    source_width: int
    source_height: int
    width: int
    height: int

    @property
    def scale(self) -> tuple[float, float]:
        """Video pixels per picture pixel, across and down."""
        return self.width / self.source_width, self.height / self.source_height

    def cut(self, pixels: Picture) -> Picture:
        """The box of `pixels` (H, W, 3) or (H, W), at the video's size."""
        tall, broad = pixels.shape[:2]
        inside = pixels[
            max(0, self.top) : max(0, self.top + self.source_height),
            max(0, self.left) : max(0, self.left + self.source_width),
        ]
        edges = (
            max(0, -self.top),
            max(0, self.top + self.source_height - tall),
            max(0, -self.left),
            max(0, self.left + self.source_width - broad),
        )
        if any(edges):
            inside = np.asarray(cv2.copyMakeBorder(inside, *edges, cv2.BORDER_REPLICATE), np.uint8)
        if (self.width, self.height) == (self.source_width, self.source_height):
            return np.ascontiguousarray(inside)
        how = cv2.INTER_AREA if self.width < self.source_width else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(inside, (self.width, self.height), interpolation=how), np.uint8)

    def points(self, landmarks: Floats) -> Floats:
        """Landmarks (..., 3) of the picture in pixels of the video."""
        across, down = self.scale
        shift = np.array([self.left, self.top, 0], np.float32)
        return ((landmarks - shift) * np.array([across, down, across], np.float32)).astype(np.float32)


def frame_full(width: int, height: int, size: int | None) -> Crop:
    """The whole picture at its own aspect ratio, the longer side `size` pixels (at most `LONGEST` by default), even."""
    longer = max(width, height)
    scale = (size or min(longer, LONGEST)) / longer
    out_width, out_height = _even(width * scale), _even(height * scale)
    if scale == 1:  # an odd row or column is repeated rather than stretched
        return Crop(0, 0, out_width, out_height, out_width, out_height)
    return Crop(0, 0, width, height, out_width, out_height)


def frame_crop(width: int, height: int, face: Face, margin: float, size: int | None) -> Crop:
    """A square around the head: the face and `margin` of its size on each side, moved inside the picture if it fits."""
    x, y, w, h = face.box
    wanted = face.size * (1 + 2 * margin)
    fits = min(width, height)
    side = round(min(wanted, fits) if fits >= face.size * 1.2 else wanted)
    left = round(x + w / 2 - side / 2)
    top = round(y + h * (0.5 - HEAD_ROOM) - side / 2)
    out = _even(size or CROP)
    return Crop(_inside(left, side, width), _inside(top, side, height), side, side, out, out)


def frame_portrait(portrait: Portrait, face: Face, options: Options) -> Crop:
    """The crop that the option `framing` asks for."""
    if options.framing == "crop":
        return frame_crop(portrait.width, portrait.height, face, options.crop_margin, options.size)
    return frame_full(portrait.width, portrait.height, options.size)


def _inside(start: int, length: int, limit: int) -> int:
    return min(max(0, start), limit - length) if length <= limit else round((limit - length) / 2)


def _even(length: float) -> int:
    return max(16, 2 * round(length / 2))


class PasteBack:
    """Pastes generated faces back into the picture `whole`, with a soft border.

    `crop` is where the face was cut out of a picture of `size` (width, height); `whole` is that picture at any scale.
    """

    def __init__(self, whole: Picture, crop: Crop, size: tuple[int, int]) -> None:
        self._whole = whole
        height, width = whole.shape[:2]
        across, down = width / size[0], height / size[1]
        left, right = (round(x * across) for x in (crop.left, crop.left + crop.source_width))
        top, bottom = (round(y * down) for y in (crop.top, crop.top + crop.source_height))
        self._size = (right - left, bottom - top)
        self._place = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        self._part = slice(max(-top, 0), height - top), slice(max(-left, 0), width - left)
        edge = max(1, round(FEATHER * min(self._size)))
        weight = np.zeros((self._size[1], self._size[0]), np.float32)
        weight[edge:-edge, edge:-edge] = 1
        blurred = cv2.blur(weight, (2 * edge + 1, 2 * edge + 1), borderType=cv2.BORDER_CONSTANT)
        self._weight = np.asarray(blurred, np.float32)[self._part][..., None]
        self._background = self._whole[self._place] * (1 - self._weight)

    def __call__(self, face: Picture) -> Picture:
        """The whole picture with this face: (H, W, 3) uint8."""
        how = cv2.INTER_AREA if self._size[0] < face.shape[1] else cv2.INTER_CUBIC
        resized = cv2.resize(face, self._size, interpolation=how)[self._part]
        picture = self._whole.copy()
        picture[self._place] = np.rint(resized * self._weight + self._background)
        return picture

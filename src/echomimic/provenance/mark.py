"""Put an imperceptible mark into frames: weak noise in luma, stronger in texture, that holds 48 bits.

See docs/decisions for what it survives and what it cannot promise.
"""

from collections.abc import Generator, Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.provenance.mark_code import encode_payload
from echomimic.provenance.mark_pattern import PAIRS, SLOT, TILE, WIDTH, tiles
from echomimic.types import Floats, Picture

FLAT = 0.3
"""Strength in flat areas, in grey values (root mean square)."""
TEXTURED = 1.6
"""Strength that full texture adds."""
_FULL_TEXTURE = 12.0
"""Local standard deviation in grey values from which texture counts in full."""
_WINDOW = (9, 9)


def mark_frames(frames: Iterator[Picture], fps: float, payload: bytes, first: int = 0) -> Generator[Picture]:
    """Yield copies of `frames` (H, W, 3) with a mark that holds `payload`, 6 bytes.

    `first` is the number of the first frame in the clip; at the start of a segment the frames are the same as if the
    clip were marked from its beginning.
    """
    marker: Marker | None = None
    try:
        for index, frame in enumerate(frames, first):
            marker = marker or Marker(payload, (frame.shape[0], frame.shape[1]), fps)
            yield marker.mark(frame, index)
    finally:
        close = getattr(frames, "close", None)
        if close is not None:
            close()


class Marker:
    """Marks frames of one size (height, width), one after the other."""

    def __init__(self, payload: bytes, size: tuple[int, int], fps: float) -> None:
        self._size, self._fps = size, fps
        self._small = (WIDTH, max(1, round(WIDTH * size[0] / size[1])))
        repeats = (-(-self._small[1] // TILE), WIDTH // TILE)
        self._tiles = [np.tile(tile, repeats)[: self._small[1]] for tile in tiles(encode_payload(payload))]
        self._slot = -1
        self._plus: Picture
        self._minus: Picture

    def mark(self, frame: Picture, index: int) -> Picture:
        """Frame number `index` with the mark."""
        slot = int(index / self._fps / SLOT + 1e-6)
        if slot != self._slot:
            self._slot = slot
            self._prepare(frame, slot % (2 * PAIRS))
        return np.asarray(cv2.subtract(cv2.add(frame, self._plus), self._minus), np.uint8)

    def _prepare(self, frame: Picture, slot: int) -> None:
        """What is added and subtracted in a slot, which follows the texture of its first frame."""
        pattern = self._tiles[slot // 2] if slot % 2 == 0 else -self._tiles[slot // 2]
        strength = _strength(cv2.resize(frame[..., 1], self._small, interpolation=cv2.INTER_AREA))
        height, width = self._size
        change = cv2.resize(strength * pattern, (width, height), interpolation=cv2.INTER_LINEAR)
        plus, minus = (cv2.convertScaleAbs(np.maximum(sign * change, 0)) for sign in (1, -1))
        self._plus, self._minus = (np.asarray(cv2.merge([part] * 3), np.uint8) for part in (plus, minus))


def _strength(luma: npt.NDArray[Any]) -> Floats:
    """Strength of the mark (H, W) by the local contrast of a picture (H, W)."""
    values = luma.astype(np.float32)
    mean = cv2.boxFilter(values, -1, _WINDOW)
    variance = np.maximum(cv2.boxFilter(values * values, -1, _WINDOW) - mean * mean, 0)
    return np.asarray(FLAT + TEXTURED * np.minimum(np.sqrt(variance) / _FULL_TEXTURE, 1), np.float32)

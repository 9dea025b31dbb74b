"""Paint a person out of a picture: what is behind them, near enough for a head that moves a few pixels.

Close to the person's outline the background is carried on along rows and columns, so that blinds, shelves and door
frames go on; further in, where nothing will ever show, it is smooth.
"""

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.types import Floats, Picture

_T = TypeVar("_T", bound=np.generic)
Hole = npt.NDArray[np.bool_]

GROW = 13 / 512
"""How far beyond the matte the person is painted out, in shares of the longer side: mattes miss thin hair."""
CARRY = 30 / 512
"""How deep into the hole rows and columns are carried on, in shares of the longer side."""
DETAIL = 512
"""The longer side, in pixels, at which the hole is filled."""
RUN = 6
"""Pixels along a row or column whose evenness tells how well it can be carried on."""


def fill_background(pixels: Picture, matte: Floats) -> Picture:
    """`pixels` (H, W, 3) with the person of `matte` (H, W) painted over by what surrounds it."""
    reach = max(3, round(max(matte.shape) * GROW) | 1)
    hole = cv2.dilate((matte > 0.08).astype(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)
    if not hole.any() or hole.all():
        return pixels
    filled = cv2.resize(_fill(*_shrunk(pixels, hole)), matte.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(np.where(hole[..., None], filled, pixels), 0, 255).astype(np.uint8)


def _shrunk(pixels: Picture, hole: Hole) -> tuple[Floats, Hole]:
    """Both at most `DETAIL` pixels on the longer side: what is guessed needs no more."""
    scale = min(1.0, DETAIL / max(hole.shape))
    size = (max(8, round(hole.shape[1] * scale)), max(8, round(hole.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    share = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return small, np.asarray(share > 0)


def _fill(colour: Floats, hole: Hole) -> Floats:
    """The hole filled: carried on near its rim, smooth further in."""
    carried, found = _carry_on(colour, hole)
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3)
    trust = np.where(found, np.exp(-((depth / (max(hole.shape) * CARRY)) ** 2)), 0)[..., None]
    filled = cv2.GaussianBlur(carried * trust + _smooth_fill(colour, hole) * (1 - trust), (0, 0), 0.8)
    return np.asarray(np.where(hole[..., None], filled, colour), np.float32)


def _smooth_fill(colour: Floats, hole: Hole) -> Floats:
    """Pull-push over an image pyramid: a hole takes the colour of the nearest coarser level that knows one."""
    known = (~hole).astype(np.float32)
    levels = [(colour * known[..., None], known)]
    while min(levels[-1][1].shape) > 4:
        finer, weight = levels[-1]
        levels.append((np.asarray(cv2.pyrDown(finer), np.float32), np.asarray(cv2.pyrDown(weight), np.float32)))
    filled = levels[-1][0] / np.maximum(levels[-1][1], 1e-3)[..., None]
    for finer, weight in reversed(levels[:-1]):
        coarse = cv2.resize(filled, (finer.shape[1], finer.shape[0]), interpolation=cv2.INTER_LINEAR)
        trust = np.clip(weight * 4, 0, 1)[..., None]
        filled = finer / np.maximum(weight, 1e-3)[..., None] * trust + coarse * (1 - trust)
    return np.asarray(filled, np.float32)


def _carry_on(colour: Floats, hole: Hole) -> tuple[Floats, Hole]:
    """Every row and column carried into the hole from both ends, near and even ones first; where that reached."""
    total = np.zeros_like(colour)
    weight = np.zeros(hole.shape, np.float32)
    for upright in (False, True):
        for backwards in (False, True):
            part, share = _carry_right(_turned(colour, upright, backwards), _turned(hole, upright, backwards))
            total += _turned_back(part, upright, backwards)
            weight += _turned_back(share, upright, backwards)
    return total / np.maximum(weight, 1e-9)[..., None], weight > 0


def _carry_right(colour: Floats, hole: Hole) -> tuple[Floats, Floats]:
    """The last known colour of each row carried to the right, times its weight, and the weight."""
    columns = np.arange(hole.shape[1])
    last = np.maximum.accumulate(np.where(hole, -1, columns), axis=1)
    start = np.maximum(last, RUN)
    rows = np.arange(len(hole))[:, None]
    steps = np.abs(np.diff(colour, axis=1, prepend=colour[:, :1])).mean(2)
    change = np.cumsum(np.where(hole, 0, steps), axis=1)
    uneven = (change[rows, start] - change[rows, start - RUN]) / RUN
    weight = 1 / ((columns - last + 1.0) ** 1.5 * (uneven + 1) ** 2)
    weight = np.where(last >= RUN, weight, 0).astype(np.float32)
    return colour[rows, start] * weight[..., None], weight


def _turned(array: npt.NDArray[_T], upright: bool, backwards: bool) -> npt.NDArray[_T]:
    turned = np.swapaxes(array, 0, 1) if upright else array
    return turned[:, ::-1] if backwards else turned


def _turned_back(array: npt.NDArray[_T], upright: bool, backwards: bool) -> npt.NDArray[_T]:
    straight = array[:, ::-1] if backwards else array
    return np.swapaxes(straight, 0, 1) if upright else straight

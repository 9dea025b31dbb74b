"""Enlarge a portrait before frames are sampled from it, so that frames are as sharp as the portrait."""

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.openings import FINER, Array, Pixels, cover
from echomimic.mesh.warp import Box, bounds
from echomimic.types import Floats, Picture

_BETWEEN = np.array([0.104, -0.276, 0.672], np.float32)
"""Weights of the three pixels on either side of a new one, the nearest last.

Linear sampling blurs, most of all half way between pixels. With h(f) = (sqrt(8 + cos²(pi f)) - cos(pi f)) / 2 as their
response to f periods a pixel, the new pixels make up for it: over all positions the energy at f is that of the photo.
These are the least squares solution for f up to 0.44, with h at most 1.4.
"""
_SHARPER = np.array([0.03, -0.09, 0.06], np.float32)
"""Change of the weights for an `amount` of 1: sharper, for faces with detail above f = 0.44; -1 is as much softer."""
_AMOUNTS = (-1.0, 0.0, 1.0)
_SHIFTS = (1 / 3, 1.0, 5 / 3)
"""Positions between two pixels, in pixels of the enlarged picture, at which detail is measured."""
_TARGET = 1.04
"""Energy of the shifted face against the photo's: turning and stretching it loses a few percent more."""
_LEAST = 400
"""Pixels of skin below which there is nothing to measure."""


def enlarged(picture: Pixels, amount: float = 0.0) -> Pixels:
    """The picture (H, W) or (H, W, C) at twice its size (`FINER`): its own pixels at even positions, weighted
    neighbours elsewhere."""
    rows, columns = picture.shape[:2]
    side = _BETWEEN + np.float32(amount) * _SHARPER
    half = np.array([[*side, *side[::-1]]], np.float32)
    finer = np.empty((2 * rows - 1, 2 * columns - 1, *picture.shape[2:]), np.uint8)
    right = cv2.filter2D(picture, -1, half, anchor=(2, 0), borderType=cv2.BORDER_REPLICATE)
    finer[::2, ::2], finer[::2, 1::2] = picture, right[:, :-1]
    for column, source in ((0, picture), (1, right[:, :-1])):
        under = cv2.filter2D(np.ascontiguousarray(source), -1, half.T, anchor=(0, 2), borderType=cv2.BORDER_REPLICATE)
        finer[1::2, column::2] = under[:-1]
    return finer


def sharpening_amount(picture: Picture, landmarks: Floats) -> float:
    """The `amount` for which the moved face has as much detail as the portrait, from -1 to 1.

    `picture` (H, W, 3) RGB; `landmarks` (478, 2 or 3) pixels. 0 for a face too small to measure.
    """
    grey, skin = _grey_skin(picture, landmarks)
    if np.count_nonzero(skin) < _LEAST:
        return 0.0
    energies = [_energy_between(enlarged(grey, amount), skin) for amount in _AMOUNTS]
    return float(np.interp(_TARGET * _energy(grey, skin), energies, _AMOUNTS))


def detail_energy(picture: Picture, landmarks: Floats) -> float:
    """Mean squared Laplacian of the skin of a face, in squared grey levels; arguments as for `sharpening_amount`."""
    return _energy(*_grey_skin(picture, landmarks))


def _grey_skin(picture: Picture, landmarks: Floats) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """(h, w) each: the face in grey, and which of its pixels are skin; both empty for a face outside the picture."""
    flat = np.asarray(landmarks[:, :2], np.float64)
    box = bounds(flat[list(mesh.OVAL)], (0, 0, 0, 0), (picture.shape[1], picture.shape[0]))
    face = np.ascontiguousarray(picture[box[1] : box[3], box[0] : box[2]])
    if not face.size:
        return np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.bool_)
    return np.asarray(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), np.uint8), _skin(flat, box)


def _skin(flat: Array, box: Box) -> npt.NDArray[np.bool_]:
    """(h, w): pixels well inside the oval of the face, without eyes and lips, whose edges would dominate."""
    reach = max(3, round(0.04 * float(np.ptp(flat[list(mesh.OVAL), 0]))))
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    skin = cv2.erode(cover(flat[list(mesh.OVAL)], box), around, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    for part in (mesh.LIPS, *((*eye.contour, *eye.crease) for eye in mesh.EYES)):
        hull = cv2.convexHull(flat[list(part)].astype(np.float32))[:, 0].astype(np.float64)
        skin = np.minimum(skin, 1 - cv2.dilate(cover(hull, box), around))
    return np.asarray(skin > 0.5)


def _energy_between(finer: Pixels, inside: npt.NDArray[np.bool_]) -> float:
    """The mean energy of the face sampled from an enlarged picture at `_SHIFTS`."""
    size = inside.shape[1], inside.shape[0]
    energies = []
    for right in _SHIFTS:
        for down in _SHIFTS:
            at = np.array([[FINER, 0, right], [0, FINER, down]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            moved = cv2.warpAffine(finer, at, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
            energies.append(_energy(np.asarray(moved, np.uint8), inside))
    return float(np.mean(energies))


def _energy(grey: Pixels, inside: npt.NDArray[np.bool_]) -> float:
    """Mean squared Laplacian of the pixels `inside` of a grey picture (h, w)."""
    return float(np.square(cv2.Laplacian(grey, cv2.CV_32F)[inside]).mean())

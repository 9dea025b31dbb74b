"""Metrics on features of a network, which is a parameter: a function from numpy to numpy."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.evaluate.landmarks import Faces
from echomimic.evaluate.picture import Pair
from echomimic.landmarks.topology import FACE_CROP_POINTS
from echomimic.media import Video
from echomimic.types import Floats, Picture

Network = Callable[[Floats], Floats]
"""A batch (n, …) float32 to features (n, d) float32; each row depends on its own input only."""

BATCH = 8
"""Inputs in one call; the last call is padded, so that the digits depend on no setting."""
WINDOW = 16
"""Frames in one window of FVD."""
FACE_SIDE, EXPRESSION_SIDE, WINDOW_SIDE = 112, 224, 224
_CROP_PLACES = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)], np.float64
)
"""The positions of the five points in a crop of 112 pixels (ArcFace: Deng et al. 2019)."""


def features(network: Network, inputs: Iterable[npt.NDArray[np.generic]]) -> Floats:
    """Features (n, d) of inputs; (0, 0) if there are none."""
    rows: list[Floats] = []
    waiting: list[Floats] = []
    for item in inputs:
        waiting.append(np.asarray(item, np.float32))
        if len(waiting) == BATCH:
            rows.append(_run(network, waiting))
            waiting = []
    if waiting:
        rows.append(_run(network, waiting))
    return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32)


def _run(network: Network, waiting: Sequence[Floats]) -> Floats:
    filled = [*waiting, *[waiting[-1]] * (BATCH - len(waiting))]
    found = np.asarray(network(np.stack(filled)), np.float32)
    return found.reshape(len(found), -1)[: len(waiting)]


def frame_features(network: Network, frames: Iterable[Picture]) -> Floats:
    """For FID: all frames as (3, H, W) RGB 0..255, at their own size: the network brings them to its own."""
    return features(network, (frame.transpose(2, 0, 1) for frame in frames))


def window_features(network: Network, frames: Iterable[Picture]) -> Floats:
    """For FVD: windows of 16 frames that do not overlap, (3, 16, 224, 224) RGB 0..255; a rest under 16 is left out."""
    return features(network, _windows(frames))


def _windows(frames: Iterable[Picture]) -> Iterator[npt.NDArray[np.uint8]]:
    window: list[Picture] = []
    for frame in frames:
        window.append(_square(frame, WINDOW_SIDE))
        if len(window) == WINDOW:
            yield np.stack(window).transpose(3, 0, 1, 2)
            window = []


def _square(frame: Picture, side: int) -> Picture:
    how = cv2.INTER_AREA if min(frame.shape[:2]) > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (side, side), interpolation=how), np.uint8)


def lpips(network: Network, pairs: Iterable[Pair]) -> float | None:
    """Mean squared distance of perceptual features; `network` gives them weighted and normalised, from RGB 0..255."""
    inputs = (frame.transpose(2, 0, 1) for pair in pairs for frame in pair)
    rows = features(network, inputs).astype(np.float64)
    if not len(rows):
        return None
    return float(((rows[0::2] - rows[1::2]) ** 2).sum(axis=1).mean())


def face_crops(video: Video, faces: Faces, side: int) -> Iterator[Picture]:
    """The face of each frame in which it was found, upright on a square of `side` pixels, eyes and mouth in place."""
    for index, (_, pixels) in enumerate(video.frames()):
        if index < len(faces.track) and faces.valid[index]:
            yield face_crop(pixels, faces.track.points[index], side)


def face_crop(pixels: Picture, points: Floats, side: int) -> Picture:
    """One such crop, by the similarity that brings five points closest to their places (Umeyama 1991)."""
    five = points[list(FACE_CROP_POINTS), :2].astype(np.float64)
    place = _similarity(five, _CROP_PLACES * side / FACE_SIDE)
    return np.asarray(cv2.warpAffine(pixels, place, (side, side), flags=cv2.INTER_LINEAR), np.uint8)


def _similarity(source: npt.NDArray[np.float64], goal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Least-squares similarity transform (2, 3); points as complex numbers."""
    a, b = source[:, 0] + 1j * source[:, 1], goal[:, 0] + 1j * goal[:, 1]
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def embeddings(network: Network, crops: Iterable[Picture]) -> Floats:
    """Embeddings (n, d) of unit length, of face crops (3, 112, 112) RGB 0..255."""
    rows = features(network, (crop.transpose(2, 0, 1) for crop in crops))
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


def csim(frames: Floats, wanted: Floats) -> float | None:
    """Mean cosine of embeddings (n, d) of frames to the mean direction of those of the person wanted (m, d)."""
    if not len(frames) or not len(wanted):
        return None
    mean = wanted.astype(np.float64).mean(axis=0)
    return float((frames.astype(np.float64) @ (mean / np.linalg.norm(mean))).mean())


def expression_coefficients(network: Network, crops: Iterable[Picture]) -> Floats:
    """For E-FID: coefficients (n, k) of face crops (3, 224, 224) RGB 0..1."""
    return features(network, (crop.transpose(2, 0, 1).astype(np.float32) / 255 for crop in crops))


_SMALLEST = 1e-12
"""Fraction of the spread below which a distance is rounding."""
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """`mean` (d,) and `covariance` (d, d)."""

    mean: Doubles
    covariance: Doubles


def fit_gaussian(features: npt.ArrayLike) -> Gaussian:
    """Mean and unbiased covariance of features (n, d), n > 1, in double precision."""
    rows = np.asarray(features, np.float64)
    mean = rows.mean(axis=0)
    centred = rows - mean
    return Gaussian(mean, centred.T @ centred / (len(rows) - 1))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), as Heusel et al. 2017 use it; 0 for equal Gaussians, never below.

    The trace of the root is the sum of the roots of the eigenvalues of C1^½ C2 C1^½, which is symmetric:
    this avoids complex numbers if a covariance is singular.
    """
    root = _root(one.covariance)
    shared = np.linalg.eigvalsh(_symmetric(root @ other.covariance @ root))
    cross = np.sqrt(np.clip(shared, 0, None)).sum()
    shift = one.mean - other.mean
    spread = np.trace(one.covariance) + np.trace(other.covariance)
    distance = float(shift @ shift + spread - 2 * cross)
    return distance if distance > _SMALLEST * spread else 0.0


def _root(matrix: Doubles) -> Doubles:
    values, vectors = np.linalg.eigh(_symmetric(matrix))
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def _symmetric(matrix: Doubles) -> Doubles:
    return (matrix + matrix.T) / 2

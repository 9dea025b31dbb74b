"""Metrics of pictures: flicker, colour drift, sharpness, background motion; PSNR, SSIM and MS-SSIM to a reference."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.errors import SetupError
from echomimic.evaluate.container import Values
from echomimic.installation import install_command, missing_package
from echomimic.landmarks.detectors import selfie_mask
from echomimic.landmarks.face import shrink
from echomimic.landmarks.topology import OUTER_EYES, SKIN_SAMPLES
from echomimic.media import Video
from echomimic.notes import note
from echomimic.types import Floats, Picture

SIDE = 512
"""Longer side at which pictures are measured; larger ones are scaled down, so that figures are comparable."""
_SMALL, _GRID = 128, 16
"""Landmarks on both cheeks and the forehead."""
_SKIN_RADIUS = 0.12
_PERSON, _ROOM = 0.1, 9
"""Probability from which a pixel of the 128-square shows the person, and by how many pixels the person is grown."""
_LEAST_BACKGROUND = 0.05


@dataclass(frozen=True)
class PictureStatistics:
    """One row a frame: `grid` (T, 16, 16) mean luma of blocks, `colour` and `skin` (T, 3) mean CIELAB, `sharpness`
    (T,) log2 of the Laplacian's variance in the face, `behind` (T,) mean change of the background since the frame
    before. Unknown values are NaN."""

    grid: Floats
    colour: Floats
    skin: Floats
    sharpness: Floats
    behind: Floats


class PictureAccumulator:
    """Accumulates a few statistics of each frame."""

    def __init__(self, fps: float) -> None:
        self._every = max(1, round(fps))
        self._rows: list[tuple[Floats, Floats, Floats, float, float]] = []
        self._before: Floats | None = None
        self._background: npt.NDArray[np.bool_] | None = None

    def add(self, pixels: Picture, points: Floats | None) -> None:
        """Add the next frame (H, W, 3) with its landmarks (478, 3) if a face was found."""
        pixels, scale = shrink(pixels, SIDE)
        small = np.asarray(cv2.resize(pixels, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA), np.uint8)
        luma = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
        grid = np.asarray(cv2.resize(luma, (_GRID, _GRID), interpolation=cv2.INTER_AREA), np.float32)
        if len(self._rows) % self._every == 0:
            self._background = _background(pixels)
        face = None if points is None else points[:, :2] * np.float32(scale)
        self._rows.append((grid, _lab(small), _skin(pixels, face), _sharpness(pixels, face), self._behind(luma)))

    def _behind(self, luma: Floats) -> float:
        before, self._before = self._before, luma
        if before is None or self._background is None:
            return float("nan")
        return float(np.abs(luma - before)[self._background].mean())

    def result(self) -> PictureStatistics:
        grid, colour, skin, sharpness, behind = zip(*self._rows, strict=True)
        return PictureStatistics(
            np.stack(grid),
            np.stack(colour),
            np.stack(skin),
            np.array(sharpness, np.float32),
            np.array(behind, np.float32),
        )


def picture_metrics(statistics: PictureStatistics, fps: float) -> Values:
    """Flicker, colour drift, sharpness and its slope, background motion (see the catalogue)."""
    return {
        "flicker": flicker(statistics.grid),
        "colour_drift": drift(statistics.colour, fps),
        "sharpness": _mean(statistics.sharpness),
        "sharpness_slope": slope(statistics.sharpness, fps),
        "background_motion": _mean(statistics.behind),
    }


def flicker(grid: Floats) -> float | None:
    """Mean |L(t) - (L(t-1) + L(t+1)) / 2| of the luma of 16 x 16 blocks, in grey values 0..255."""
    return float(flicker_curve(grid).mean()) if len(grid) > 2 else None


def flicker_curve(grid: Floats) -> Floats:
    """The same for each inner frame: (T - 2,)."""
    blocks = np.asarray(grid, np.float64)
    return np.abs(blocks[1:-1] - (blocks[:-2] + blocks[2:]) / 2).mean(axis=(1, 2))


def drift(colours: Floats, fps: float) -> float | None:
    """Largest CIE76 distance between the mean colour of a whole second and that of the first second (T, 3)."""
    means = seconds(colours, fps)
    return float(np.linalg.norm(means - means[0], axis=1).max()) if len(means) > 1 else None


def seconds(values: Floats, fps: float) -> npt.NDArray[np.float64]:
    """Means (S, …) over whole seconds of rows (T, …), rows that are not known left out; seconds without any dropped."""
    length = max(1, round(fps))
    rows = np.asarray(values, np.float64).reshape(len(values), -1)
    pieces = [rows[start : start + length] for start in range(0, len(rows) - length + 1, length)] or [rows]
    known = [piece[np.isfinite(piece).all(axis=1)] for piece in pieces]
    means = [piece.mean(axis=0) for piece in known if len(piece)]
    return np.stack(means) if means else np.zeros((0, rows.shape[1]))


def slope(values: Floats, fps: float) -> float | None:
    """Slope a second of the least-squares line through a curve (T,)."""
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < 3:
        return None
    when = known / fps - np.mean(known / fps)
    return float((when * values[known]).sum() / (when**2).sum())


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else None


def _background(pixels: Picture) -> npt.NDArray[np.bool_] | None:
    """Pixels of the 128 x 128 picture outside the person; None if they are fewer than 5 %."""
    mask = cv2.resize(selfie_mask(pixels), (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
    person = cv2.dilate((np.asarray(mask) > _PERSON).astype(np.uint8), np.ones((_ROOM, _ROOM), np.uint8))
    background = np.asarray(person) == 0
    return background if background.mean() > _LEAST_BACKGROUND else None


def _lab(pixels: Picture) -> Floats:
    """Mean CIELAB (3,) of a picture, taken after averaging, so that no colour is rounded."""
    mean = pixels.reshape(1, -1, 3).mean(axis=1, dtype=np.float64).astype(np.float32) / 255
    return np.asarray(cv2.cvtColor(mean[None], cv2.COLOR_RGB2LAB), np.float32).reshape(3)


def _skin(pixels: Picture, face: Floats | None) -> Floats:
    if face is None:
        return np.full(3, np.nan, np.float32)
    reach = max(1.0, _SKIN_RADIUS * float(np.linalg.norm(face[OUTER_EYES[1]] - face[OUTER_EYES[0]])))
    patches = [_cut(pixels, face[index] - reach, face[index] + reach).reshape(-1, 3) for index in SKIN_SAMPLES]
    joined = np.concatenate(patches)
    return _lab(joined[None]) if len(joined) else np.full(3, np.nan, np.float32)


def _sharpness(pixels: Picture, face: Floats | None) -> float:
    if face is None:
        return float("nan")
    box = _cut(pixels, face.min(axis=0), face.max(axis=0))
    if min(box.shape[:2]) < 8:
        return float("nan")
    detail = cv2.Laplacian(cv2.cvtColor(np.ascontiguousarray(box), cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    return float(np.log2(1 + np.var(np.asarray(detail), dtype=np.float64)))


def _cut(pixels: Picture, low: Floats, high: Floats) -> Picture:
    """The part of a picture between two corners (x, y), as far as it reaches."""
    left, top = (max(0, int(side)) for side in low)
    right, bottom = (max(0, int(np.ceil(side))) for side in high)
    return pixels[top:bottom, left:right]


MOST_PSNR = 100.0
"""Decibels for equal pictures, since infinity can neither be averaged nor written as JSON."""
_LEAST_SIDE = 161
"""MS-SSIM halves the picture four times under a window of 11 pixels."""
Pair = tuple[Picture, Picture]


def paired_frames(ours: Video, theirs: Video) -> Iterator[Pair]:
    """Each frame of a clip with the reference's nearest in time, brought to the clip's size, as long as both last."""
    others = theirs.frames()
    current = next(others)
    following = next(others, None)
    for second, pixels in ours.frames():
        while following is not None and abs(following[0] - second) <= abs(current[0] - second):
            current, following = following, next(others, None)
        if second > current[0] + 1 / theirs.fps:
            return
        yield pixels, _sized(current[1], pixels.shape[1], pixels.shape[0])


def _sized(pixels: Picture, width: int, height: int) -> Picture:
    if pixels.shape[:2] == (height, width):
        return pixels
    how = cv2.INTER_AREA if pixels.shape[1] > width else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=how), np.uint8)


def reference_metrics(ours: Video, theirs: Video) -> Values:
    """Means over frames of PSNR, SSIM and MS-SSIM (see the catalogue)."""
    measures: dict[str, Callable[[Picture, Picture], float]] = {"psnr": psnr, "ssim": ssim}
    if _has_multiscale(ours):
        measures["ms_ssim"] = ms_ssim
    rows = [[measure(*pair) for measure in measures.values()] for pair in paired_frames(ours, theirs)]
    means = dict(zip(measures, np.mean(rows, axis=0), strict=True)) if rows else {}
    return {name: float(means[name]) if name in means else None for name in ("psnr", "ssim", "ms_ssim")}


def _scikit_image() -> Any:
    """scikit-image's metrics. Raises SetupError if it is not installed."""
    try:
        from skimage import metrics
    except ImportError:
        raise SetupError(missing_package("scikit-image", "evaluate", "comparing with a reference needs")) from None
    return metrics


def psnr(one: Picture, other: Picture) -> float:
    """Peak signal to noise ratio over R, G and B of 8 bits, in decibels; OpenCV's."""
    return min(MOST_PSNR, cv2.PSNR(one, other))


def ssim(one: Picture, other: Picture) -> float:
    """Structural similarity of luma with a Gaussian window of 1.5 pixels (Wang et al. 2004); scikit-image's."""
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return float(_scikit_image().structural_similarity(_luma(one), _luma(other), **how))


def ms_ssim(one: Picture, other: Picture) -> float:
    """SSIM of luma over five scales (Wang et al. 2003); torchmetrics'."""
    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    first, second = (torch.from_numpy(_luma(picture).astype(np.float32))[None, None] for picture in (one, other))
    with torch.inference_mode(), _one_thread():
        return float(multiscale_structural_similarity_index_measure(first, second, data_range=255.0))


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch on one thread: ten times as fast for small pictures, and the digits depend on no core count."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _luma(pixels: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def _has_multiscale(video: Video) -> bool:
    """Return True if MS-SSIM can be computed; otherwise leave a note."""
    if min(video.width, video.height) < _LEAST_SIDE:
        note(
            "msssim_too_small",
            "ms_ssim is left out: {width}x{height} is too small for its five scales ({least} px)",
            width=video.width,
            height=video.height,
            least=_LEAST_SIDE,
        )
        return False
    if find_spec("torchmetrics") is None or find_spec("torch") is None:
        note(
            "msssim_package_missing",
            "ms_ssim is left out: it needs torchmetrics: {command}",
            command=install_command("evaluate"),
        )
        return False
    return True

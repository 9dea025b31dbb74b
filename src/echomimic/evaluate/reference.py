"""Compare a clip with a reference of the same motion frame by frame: PSNR, SSIM, MS-SSIM."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np

from echomimic.errors import SetupError
from echomimic.evaluate.container import Values
from echomimic.installation import install_command, missing_package
from echomimic.media import Video
from echomimic.notes import note
from echomimic.types import Picture

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
    """Peak signal to noise ratio over R, G and B of 8 bits, in decibels; scikit-image's."""
    peak_signal_noise_ratio = _scikit_image().peak_signal_noise_ratio

    if np.array_equal(one, other):
        return MOST_PSNR
    return min(MOST_PSNR, float(peak_signal_noise_ratio(other, one, data_range=255)))


def ssim(one: Picture, other: Picture) -> float:
    """Structural similarity of luma with a Gaussian window of 1.5 pixels (Wang et al. 2004); scikit-image's."""
    structural_similarity = _scikit_image().structural_similarity

    return float(
        structural_similarity(
            _luma(one), _luma(other), gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
    )


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

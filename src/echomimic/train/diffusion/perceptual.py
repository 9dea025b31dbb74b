"""Perceptual distances between pictures (n, 3, H, W) in -1..1, with gradients to the first."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echomimic.errors import SetupError

Distance = Callable[[Tensor, Tensor], Tensor]
"""Distances (n,) of pictures (n, 3, H, W)."""
_SCALES = 3


def perceptual_distance(kind: str) -> Distance:
    """The distance of the setting `loss.perceptual`. Raises SetupError if its package is missing."""
    if kind == "none":
        return lambda made, real: made.new_zeros(len(made))
    return gradient_distance if kind == "gradients" else _lpips()


def gradient_distance(made: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference of image gradients at three scales: sharpness without weights of any network."""
    total = made.new_zeros(len(made))
    for scale in range(_SCALES):
        for axis in (2, 3):
            total = total + (made.diff(dim=axis) - real.diff(dim=axis)).abs().mean(dim=(1, 2, 3))
        if scale + 1 < _SCALES and min(made.shape[2:]) >= 4:
            made, real = (F.avg_pool2d(picture, 2) for picture in (made, real))
    return total


def _lpips() -> Distance:
    """LPIPS on VGG (Zhang et al., 2018); its backbone is downloaded by torchvision when it is first used."""
    try:
        import lpips
    except ImportError:
        raise SetupError(
            "loss.perceptual lpips needs the package lpips, which is not installed; expected the extra train-gpu, or "
            "loss.perceptual=gradients"
        ) from None
    network: Any = lpips.LPIPS(net="vgg", verbose=False)
    assert isinstance(network, nn.Module)
    network.requires_grad_(False).eval()

    def distance(made: Tensor, real: Tensor) -> Tensor:
        with torch.autocast(made.device.type, enabled=False):
            values: Tensor = network.to(made.device)(made, real)
        return values.flatten()

    return distance

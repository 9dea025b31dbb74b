"""The training losses: of the velocity, perceptual distances, and the spatial loss of V1.

The spatial loss compares one decoded crop of the face with the real one, weighted by the timestep.
"""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echomimic.diffusion.vae import FACTOR, SCALE
from echomimic.errors import SetupError
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.randomness import TIMESTEPS
from echomimic.train.diffusion.settings import LossSettings
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import checkpointed


def latent_loss(schedule: NoiseSchedule, batch: Batch, velocity: Tensor, settings: LossSettings) -> Tensor:
    """Mean squared error of the velocity (B, F, c, h, w), weighted by noise level and by `batch.mouth`."""
    return (schedule.weight(batch.timestep, settings) * sample_errors(schedule, batch, velocity)).mean()


def sample_errors(schedule: NoiseSchedule, batch: Batch, velocity: Tensor) -> Tensor:
    """Squared error of the velocity of each sample (B,), weighted by `batch.mouth`."""
    target = schedule.velocity(batch.latents, batch.noise, batch.timestep)
    return (batch.mouth * (velocity.float() - target) ** 2).mean(dim=(1, 2, 3, 4))


def mouth_weights(box: tuple[int, int, int, int] | None, size: tuple[int, int], weight: float) -> Tensor:
    """Loss weights (1, h, w) of mean 1 for latents of `size` (h, w): `weight` inside `box`, 1 outside.

    `box` is left, top, right, bottom in latent cells, None for frames without speech or mouth.
    """
    weights = torch.ones(1, *size)
    if box is not None:
        left, top, right, bottom = box
        weights[:, top:bottom, left:right] = weight
    return weights / weights.mean()


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


MARGIN = 4
"""Latent cells at each side of a crop that are decoded for context and not compared."""


class SpatialLoss:
    """Squared error and perceptual distance of `batch.crop_picture` and the crop decoded from the predicted latents.

    Latents are predicted in one step from the velocity. Samples at timesteps from `spatial_below` on count as zero.
    The autoencoder keeps no activations but the inputs of its blocks.
    """

    def __init__(
        self, schedule: NoiseSchedule, vae: nn.Module, settings: LossSettings, distance: Distance | None = None
    ) -> None:
        self._schedule, self._vae, self._settings = schedule, vae, settings
        self._distance = distance or perceptual_distance(settings.perceptual)
        checkpoint_decoder(vae)

    def __call__(self, batch: Batch, noisy: Tensor, velocity: Tensor, step: int) -> dict[str, Tensor]:
        """See `LossTerm`."""
        if self._settings.spatial <= 0 or step < self._settings.spatial_from:
            return {}
        assert batch.crop is not None and batch.crop_picture is not None
        rows = torch.nonzero(batch.timestep < self._settings.spatial_below).flatten()
        if not len(rows):
            return {"spatial": velocity.new_zeros((), dtype=torch.float32)}
        with torch.autocast(noisy.device.type, enabled=False):
            t = batch.timestep[rows]
            made = decode_crops(self._schedule, self._vae, noisy[rows], velocity[rows].float(), t, batch.crop[rows])
            made, real = without_margin(made), without_margin(batch.crop_picture[rows])
            errors = ((made - real) ** 2).mean(dim=(1, 2, 3)) + self._distance(made, real)
            weight = torch.cos(math.pi * t / (2 * TIMESTEPS))
        return {"spatial": self._settings.spatial * (weight * errors).sum() / len(batch)}


def decode_crops(
    schedule: NoiseSchedule,
    vae: nn.Module,
    noisy: Tensor,
    velocity: Tensor,
    t: Tensor,
    crops: Tensor,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Pictures (n, 3, H, W) in about -1..1 of crops of predicted latents, with gradients to the velocity.

    `noisy` and `velocity` are (n, F, c, h, w), `crops` (n, 5) as `Sample.crop`. All crops have one size, or
    are pooled to pictures of `size` (H, W).
    """
    clean = schedule.clean(noisy.float(), velocity, t)
    parts = [
        clean[row, frame, :, top : top + height, left : left + width]
        for row, (frame, top, left, height, width) in enumerate(crops.tolist())
    ]
    if size is not None:
        cells = (size[0] // FACTOR, size[1] // FACTOR)
        parts = [part if part.shape[1:] == cells else F.adaptive_avg_pool2d(part, cells) for part in parts]
    if next(vae.parameters()).device != clean.device:
        nn.Module.to(vae, clean.device)
    return cast(Tensor, cast(Any, vae).decode(torch.stack(parts) / SCALE))


def without_margin(pictures: Tensor) -> Tensor:
    """Decoded crops without the margin that was decoded for context; small crops have none."""
    if min(pictures.shape[2:]) < 4 * MARGIN * FACTOR:
        return pictures
    cut = MARGIN * FACTOR
    return pictures[:, :, cut:-cut, cut:-cut]


def decoder_layers(decoder: nn.Module) -> list[Any]:
    """The layers that are recomputed: residual blocks and upsampling layers."""
    blocks = cast(Any, decoder)
    upsamplers = [layer for block in blocks.up_blocks for layer in block.upsamplers]
    resnets = [layer for block in (blocks.mid_block, *blocks.up_blocks) for layer in block.resnets]
    return [*resnets, *upsamplers]


def checkpoint_decoder(vae: nn.Module) -> None:
    """Recompute the layers of Stable Diffusion's decoder in the backward pass; other autoencoders are not changed."""
    decoder = getattr(vae, "decoder", None)
    if decoder is None or getattr(vae, "is_checkpointed", False):
        return
    for layer in decoder_layers(decoder):
        layer.forward = checkpointed(layer.forward)
    cast(Any, vae).is_checkpointed = True

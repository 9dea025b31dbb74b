"""The Phase-specific Denoising loss of V2 on decoded crops: pose in noisy steps, detail between, sharpness at the end.

The picture is decoded from the latents that one step predicts. Gradients reach the velocity and pass through the
autoencoder, the pose reader and the perceptual network, none of which is trained.
"""

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echomimic.errors import OptionError
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.losses import (
    Distance,
    checkpoint_decoder,
    decode_crops,
    perceptual_distance,
    without_margin,
)
from echomimic.train.diffusion.reader import load_reader
from echomimic.train.diffusion.settings import PhaseLossSettings
from echomimic.train.diffusion.targets import NoiseSchedule

Phase = Literal["pose", "detail", "perceptual"]
PHASES: tuple[Phase, ...] = ("pose", "detail", "perceptual")
_LUMA = (0.299, 0.587, 0.114)
_SIGMA = 1.0


class PhaseLoss:
    """One of three losses for each sample, chosen by its timestep (`loop.LossTerm`).

    `reader` is a pose reader, needed for the weight of `pose`; `distance` is the perceptual one. Samples whose crop has
    no height count as zero.
    """

    def __init__(
        self,
        schedule: NoiseSchedule,
        vae: nn.Module,
        settings: PhaseLossSettings,
        reader: nn.Module | None = None,
        distance: Distance | None = None,
    ) -> None:
        self._schedule, self._vae, self._settings = schedule, vae, settings
        self._reader, self._distance = reader, distance
        checkpoint_decoder(vae)
        for network in (vae, reader):
            if network is not None:
                network.requires_grad_(False)

    def __call__(self, batch: Batch, noisy: Tensor, velocity: Tensor, step: int) -> dict[str, Tensor]:
        """See `LossTerm`."""
        assert batch.crop is not None and batch.crop_picture is not None
        losses = dict[str, Tensor]()
        shown = batch.crop[:, 3] > 0
        with torch.autocast(noisy.device.type, enabled=False):
            for name in PHASES:
                weight = self._weight(name, step)
                rows = torch.nonzero(shown & in_phase(name, batch.timestep, self._settings)).flatten()
                losses[name] = velocity.new_zeros((), dtype=torch.float32)
                if weight > 0 and len(rows):
                    made, real = self._pictures(batch, noisy, velocity, rows)
                    losses[name] = weight * self._errors(name, made, real).sum() / len(batch)
        return losses

    def _weight(self, name: Phase, step: int) -> float:
        weight = float(getattr(self._settings, name))
        return weight * min(1.0, step / max(1, self._settings.pose_warmup)) if name == "pose" else weight

    def _pictures(self, batch: Batch, noisy: Tensor, velocity: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted and real crops (n, 3, H, W) of some samples, without their margins."""
        assert batch.crop is not None and batch.crop_picture is not None
        real = batch.crop_picture[rows]
        t, crops = batch.timestep[rows], batch.crop[rows]
        made = decode_crops(
            self._schedule, self._vae, noisy[rows], velocity[rows].float(), t, crops, (real.shape[2], real.shape[3])
        )
        return without_margin(made), without_margin(real)

    def _errors(self, name: Phase, made: Tensor, real: Tensor) -> Tensor:
        """The loss of each crop (n,)."""
        if name == "perceptual":
            assert self._distance is not None
            return self._distance(made, real)
        if name == "detail":
            return ((edges(made) - edges(real)) ** 2).mean(dim=(1, 2, 3))
        assert self._reader is not None
        if next(self._reader.parameters()).device != made.device:
            self._reader.to(made.device)
        return ((self._reader(made) - self._reader(real)) ** 2).mean(dim=(1, 2, 3))


def load_phase_loss(schedule: NoiseSchedule, vae: nn.Module, settings: PhaseLossSettings) -> PhaseLoss:
    """Load the loss with its networks. Raises OptionError, WeightsError or SetupError if one is missing."""
    if settings.pose > 0 and not settings.reader:
        raise OptionError(
            "phase_loss.pose needs phase_loss.reader; expected a file that `echomimic train reader` wrote, or pose = 0"
        )
    reader = load_reader(Path(settings.reader)) if settings.pose > 0 else None
    distance = perceptual_distance(settings.distance) if settings.perceptual > 0 else None
    return PhaseLoss(schedule, vae, settings, reader, distance)


def in_phase(name: Phase, t: Tensor, settings: PhaseLossSettings) -> Tensor:
    """Flags (n,) of the timesteps that belong to a phase."""
    if name == "pose":
        return t >= settings.pose_from
    if name == "perceptual":
        return t < settings.perceptual_below
    return (t >= settings.perceptual_below) & (t < settings.pose_from)


def edges(pictures: Tensor) -> Tensor:
    """Strength of edges (n, 1, H, W) of pictures (n, 3, H, W) in -1..1: Sobel's gradients of the smoothed luma.

    Unlike Canny's detector it can be differentiated.
    """
    luma = (pictures * pictures.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True) / 2 + 0.5
    place = torch.arange(-2, 3, dtype=luma.dtype, device=luma.device)
    gauss = torch.exp(-(place**2) / (2 * _SIGMA**2))
    gauss = torch.outer(gauss, gauss)
    smooth = F.conv2d(F.pad(luma, (2, 2, 2, 2), mode="replicate"), (gauss / gauss.sum())[None, None])
    slope = luma.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    kernels = torch.stack([slope, slope.T])[:, None]
    gradients = F.conv2d(F.pad(smooth, (1, 1, 1, 1), mode="replicate"), kernels)
    return ((gradients**2).sum(dim=1, keepdim=True) + 1e-6).sqrt()

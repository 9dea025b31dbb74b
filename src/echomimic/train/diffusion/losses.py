"""The losses of training."""

import torch
from torch import Tensor

from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.settings import LossSettings
from echomimic.train.diffusion.targets import NoiseSchedule


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

"""Noise levels, velocity targets and loss weights: the schedule of inference, used in training.

Velocity prediction (Salimans and Ho 2022): v = alpha * noise - sigma * clean. Zero terminal signal-to-noise ratio
(Lin et al. 2023). Min-SNR weights for velocity (Hang et al. 2023) with a floor: without it the first step of every
sampler, t = 999, would have weight 0 (decision page 51).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from echomimic.diffusion.schedule import TRAINED, signal_levels
from echomimic.train.diffusion.settings import LossSettings


@dataclass(frozen=True)
class NoiseSchedule:
    """`alpha` and `sigma` (1000,) float32: z_t = alpha[t] * clean + sigma[t] * noise."""

    alpha: Tensor
    sigma: Tensor

    @classmethod
    def of_inference(cls) -> "NoiseSchedule":
        """The schedule that inference samples with."""
        return cls.of_betas(str(TRAINED["beta_schedule"]))

    @classmethod
    def of_betas(cls, betas: str) -> "NoiseSchedule":
        """The schedule with these betas ("linear", "scaled_linear"), rescaled to zero terminal SNR."""
        signal = signal_levels(betas).double()
        return cls(signal.sqrt().float(), (1 - signal).sqrt().float())

    def at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """`alpha` and `sigma` at timesteps `t` (n,), shaped to multiply tensors `like` (n, ...)."""
        shape = (-1, *[1] * (like.ndim - 1))
        return self.alpha.to(like.device)[t].view(shape), self.sigma.to(like.device)[t].view(shape)

    def add_noise(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.at(t, clean)
        return alpha * clean + sigma * noise

    def velocity(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.at(t, clean)
        return alpha * noise - sigma * clean

    def clean(self, noisy: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.at(t, noisy)
        return alpha * noisy - sigma * velocity

    def noise(self, noisy: Tensor, velocity: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.at(t, noisy)
        return alpha * velocity + sigma * noisy

    def weight(self, t: Tensor, settings: LossSettings) -> Tensor:
        """Weights (n,) of the velocity loss at timesteps `t`."""
        if settings.weighting == "v":
            return torch.ones_like(t, dtype=torch.float32)
        signal = self.alpha.to(t.device)[t].double() ** 2
        ratio = signal / (1 - signal)
        return (ratio.clamp(max=settings.gamma) / (ratio + 1)).clamp(min=settings.floor).float()

"""The noise schedule of the checkpoints, and the samplers that follow it.

A thousand steps, betas linear, velocity prediction (Salimans & Ho, 2022), zero terminal signal-to-noise ratio and
trailing timesteps (Lin et al., 2023). The multistep samplers are diffusers'.
"""

from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from echomimic.errors import SetupError
from echomimic.installation import missing_package, quiet_import

SamplerName = Literal["ddim", "dpm++", "unipc"]

TRAINED: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


STEPS: int = TRAINED["num_train_timesteps"]


def signal_levels(betas: str = TRAINED["beta_schedule"]) -> Tensor:
    """The signal's share of the power at each trained step (1000,), rescaled to zero at the last (Lin et al., 2023).

    `betas` is "linear" or "scaled_linear".
    """
    power = 0.5 if betas == "scaled_linear" else 1
    start, end = TRAINED["beta_start"] ** power, TRAINED["beta_end"] ** power
    root = (1.0 - torch.linspace(start, end, STEPS) ** (1 / power)).cumprod(0).sqrt()
    levels = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
    rescaled = 1 - torch.cat([levels[:1], levels[1:] / levels[:-1]])
    return (1.0 - rescaled).cumprod(0)


def _multistep(name: SamplerName, steps: int) -> Any:
    """A scheduler of diffusers, configured as the checkpoints were trained; its import takes seconds."""
    try:
        with quiet_import():
            from diffusers import schedulers

            kinds: Any = schedulers
            dpm, unipc = kinds.DPMSolverMultistepScheduler, kinds.UniPCMultistepScheduler
    except ImportError as error:
        raise SetupError(missing_package(error.name, "diffusion")) from None
    scheduler = (
        dpm(**TRAINED, algorithm_type="dpmsolver++", final_sigmas_type="zero")
        if name == "dpm++"
        else unipc(**TRAINED, final_sigmas_type="zero")
    )
    scheduler.set_timesteps(steps)
    return scheduler


_NUMBERS = ("lower_order_nums", "this_order", "_step_index")
_LISTS = ("model_outputs", "timestep_list")
"""Where the multistep schedulers of diffusers keep what they remember."""


class Sampler:
    """One run of a sampler: `timesteps` from noisy to clean, and a `step` for each of them, in that order.

    `levels` is the signal's share of the power at each trained step.

    DDIM (Song et al., 2021) is what the published systems use; at 6 steps it ends, as theirs, at the first trained
    noise level and not at zero noise. DPM++ (Lu et al., 2022) and UniPC (Zhao et al., 2023) need fewer steps.
    """

    def __init__(self, name: SamplerName, steps: int) -> None:
        self._scheduler = None if name == "ddim" else _multistep(name, steps)
        self._stride = STEPS // steps
        self.levels: Tensor = signal_levels() if self._scheduler is None else self._scheduler.alphas_cumprod
        trailing = np.round(np.arange(STEPS, 0, -STEPS / steps)) - 1
        self.timesteps = [int(t) for t in (trailing if self._scheduler is None else self._scheduler.timesteps)]

    def clean(self, velocity: Tensor, t: int, latents: Tensor) -> Tensor:
        """The predicted clean latents (Salimans & Ho, 2022, appendix D)."""
        signal = float(self.levels[t])
        return cast(Tensor, signal**0.5 * latents - (1 - signal) ** 0.5 * velocity)

    def noised(self, clean: Tensor, noise: Tensor, t: int) -> Tensor:
        """Clean latents with the noise that they have at a timestep."""
        signal = float(self.levels[t])
        return signal**0.5 * clean + (1 - signal) ** 0.5 * noise

    def history(self) -> dict[str, Tensor]:
        """What a multistep sampler remembers of the steps so far; nothing for DDIM."""
        found = {name: value for name in _NUMBERS if (value := getattr(self._scheduler, name, None)) is not None}
        for name in _LISTS:
            values = getattr(self._scheduler, name, ())
            found |= {f"{name}.{place}": value for place, value in enumerate(values) if value is not None}
        if (last := getattr(self._scheduler, "last_sample", None)) is not None:
            found["last_sample"] = last
        return {name: torch.as_tensor(value) for name, value in found.items()}

    def restore(self, history: Mapping[str, Tensor], like: Tensor) -> None:
        """Continue with what `history` returned; tensors go to the device of `like`."""
        for name, value in history.items():
            held = value.to(like.device) if value.ndim else int(value)
            listed, _, place = name.partition(".")
            if place:
                getattr(self._scheduler, listed)[int(place)] = held
            else:
                setattr(self._scheduler, name, held)

    def step(self, velocity: Tensor, t: int, latents: Tensor) -> Tensor:
        """The latents at the next noise level."""
        if self._scheduler is not None:
            return cast(Tensor, self._scheduler.step(velocity, t, latents).prev_sample)
        now, following = self.levels[t], t - self._stride
        after = self.levels[following] if following >= 0 else torch.ones(())
        clean = now**0.5 * latents - (1 - now) ** 0.5 * velocity
        noise = now**0.5 * velocity + (1 - now) ** 0.5 * latents
        return after**0.5 * clean + (1 - after) ** 0.5 * noise


def first_noise(frames: int, height: int, width: int, seed: int, clamp: float | None) -> Tensor:
    """The initial noise (frames, 4, height, width) float32 on the CPU, clamped to ±`clamp`; a run draws nothing else.

    Drawn as in the published systems: for the whole clip at once, so a frame's noise depends on the clip's length.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(4, frames, height, width, generator=generator).transpose(0, 1)
    return noise.contiguous() if clamp is None else noise.clamp(-clamp, clamp).contiguous()

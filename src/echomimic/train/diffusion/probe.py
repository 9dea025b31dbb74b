"""Find the betas that checkpoints were trained with: compare the losses of two timestep labels of the same latents.

A denoising network gets the noise level as a timestep. The schedules `linear` and `scaled_linear` have different
timesteps for the same noise level. The timestep of the schedule that the network was trained with gives the lower loss.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from echomimic.diffusion.device import choose_device
from echomimic.errors import OptionError
from echomimic.train.diffusion.batch import Batch, Sample
from echomimic.train.diffusion.clips import open_clips
from echomimic.train.diffusion.encoding import encode_batch
from echomimic.train.diffusion.samples import ClipSamples
from echomimic.train.diffusion.settings import make_settings
from echomimic.train.diffusion.starts import VARIANT_PRESETS, load_start
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import Trainee

BETAS = ("linear", "scaled_linear")
TIMESTEPS = (200, 300, 400, 500, 600, 700)
"""Timesteps of the linear schedule whose noise levels are compared."""
_CLEAR = 0.6
"""Fraction of windows in which one schedule must be better for a verdict."""


@dataclass(frozen=True)
class Probe:
    """Mean loss by noise level (timestep of the linear schedule) and schedule, and the fraction of windows for linear.

    `losses` are keyed by betas; `linear_better` is a fraction of `windows` x levels.
    """

    levels: tuple[int, ...]
    losses: dict[str, list[float]]
    linear_better: float
    windows: int

    @property
    def verdict(self) -> str:
        """The betas that fit better, or "undecided"."""
        if self.linear_better >= _CLEAR:
            return "linear"
        return "scaled_linear" if self.linear_better <= 1 - _CLEAR else "undecided"


def probe_schedule(trainee: Trainee, vae: nn.Module, samples: Sequence[Sample]) -> Probe:
    """Compare both schedules on `samples`."""
    linear, scaled = (NoiseSchedule.of_betas(betas) for betas in BETAS)
    labels = {t: (t, int((scaled.alpha - linear.alpha[t]).abs().argmin())) for t in TIMESTEPS}
    errors = torch.tensor([list(_errors(trainee, vae, sample, linear, labels)) for sample in samples])
    means = errors.mean(dim=0)
    losses = {betas: [float(value) for value in means[:, i]] for i, betas in enumerate(BETAS)}
    better = float((errors[..., 0] < errors[..., 1]).float().mean())
    return Probe(TIMESTEPS, losses, better, len(samples))


def _errors(
    trainee: Trainee, vae: nn.Module, sample: Sample, schedule: NoiseSchedule, labels: dict[int, tuple[int, int]]
) -> Iterator[list[float]]:
    """Losses with both schedules' timesteps at each noise level of one sample."""
    device = next(trainee.parameters()).device
    batch = encode_batch(vae, Batch.stack([sample]).to(device))
    batch = replace(batch, keep=torch.ones(1, 3, device=device))
    for t, both in labels.items():
        level = torch.tensor([t], device=device)
        noisy = schedule.add_noise(batch.latents, batch.noise, level)
        target = schedule.velocity(batch.latents, batch.noise, level)
        yield [_error(trainee, batch, noisy, target, label) for label in both]


def _error(trainee: Trainee, batch: Batch, noisy: Tensor, target: Tensor, label: int) -> float:
    labelled = replace(batch, timestep=torch.tensor([label], device=noisy.device))
    with torch.no_grad():
        return float(((trainee(labelled, noisy)[1].float() - target) ** 2).mean())


def probe_weights(
    data: Path,
    weights: Path,
    preset: str,
    count: int,
    overrides: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Probe the checkpoints of a preset on windows of a data set. Raises OptionError for a preset of another kind."""
    variant = next((variant for variant, name in VARIANT_PRESETS.items() if name == preset), None)
    if variant is None:
        raise OptionError(f"preset {preset!r} cannot be probed; expected one of {', '.join(VARIANT_PRESETS.values())}")
    values = {
        "data": {"path": str(data)},
        "model": {"variant": variant, "start": str(weights)},
        "loss": {"spatial": 0.0},
        "run": {"precision": "float32"},
    }
    settings = make_settings(values, overrides)
    clips, _ = open_clips(data, settings)
    start, device = load_start(settings), choose_device("auto")
    start.trainee.requires_grad_(False).to(device)
    source = ClipSamples(clips, start.speech, settings, augmented=False)
    probes = []
    for n in range(count):
        probes.append(probe_schedule(start.trainee, start.vae, [source.sample(n)]))
        if progress:
            progress(n + 1, count)
    return _summary(probes)


def _summary(probes: Sequence[Probe]) -> dict[str, Any]:
    """Means over probes of one window each."""
    count = len(probes)
    losses = {
        betas: [sum(probe.losses[betas][i] for probe in probes) / count for i in range(len(TIMESTEPS))]
        for betas in BETAS
    }
    whole = Probe(TIMESTEPS, losses, sum(probe.linear_better for probe in probes) / count, count)
    return {
        "levels": list(whole.levels),
        "losses": losses,
        "linear_better": whole.linear_better,
        "windows": count,
        "verdict": whole.verdict,
    }


def probe_lines(found: dict[str, Any]) -> list[str]:
    """The result as a table."""
    rows = [
        f"{t:>6}{found['losses']['linear'][i]:>12.5f}{found['losses']['scaled_linear'][i]:>16.5f}"
        for i, t in enumerate(found["levels"])
    ]
    return [
        f"{'t':>6}{'linear':>12}{'scaled_linear':>16}",
        *rows,
        f"linear is better in {found['linear_better']:.0%} of {found['windows']} windows x {len(rows)} noise levels: "
        f"{found['verdict']}",
    ]

"""Few-step models: distil a trained model into one that needs six steps and no guidance (decision page 52).

Phased consistency distillation (Wang et al., 2024, "Phased Consistency Models"). The steps of the deterministic sampler
that inference uses are the phases. From any point of a grid inside a phase, the student learns to jump to the end of
the phase. Its target is the jump of the target network (an average of the student) from the next point, which one
guided step of the teacher reaches. Progressive distillation (Salimans and Ho, 2022) is the same with two steps of the
teacher.

The objective takes the place of the usual one in `loop.train`. On the trained mini:

    settings = make_settings({
        "model": {"variant": "landmarks", "trained": "denoising"},
        "distil": {"kind": "consistency"},                       # steps 6, guidance 1.5 to 3.5
        "drop": {"all": 0.0, "audio": 0.0, "reference": 0.0, "condition": 0.0},
        "optimizer": {"rate": 1e-4, ...},
    })
    objective = DistillationObjective(trainee, settings)         # before `train`: the present trainee is the teacher
    average = train(trainee, samples, settings, folder, objective=objective)
    export_networks(trainee, average, find_preset("v1-landmarks-acc"), folder / "weights", geometry=..., others=...)
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from echomimic.diffusion.schedule import Sampler
from echomimic.errors import OptionError
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.lora import trainable_parameters
from echomimic.train.diffusion.randomness import TIMESTEPS
from echomimic.train.diffusion.settings import DistilSettings, TrainSettings
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import Trainee


@dataclass(frozen=True)
class PhaseGrid:
    """Points from which the student jumps, each field (n,) int64, the least noise first.

    `start` is the point, `lower` the next point of its phase, `end` the end of the phase; -1 means no noise.
    """

    start: Tensor
    lower: Tensor
    end: Tensor

    @classmethod
    def of_sampler(cls, steps: int, points: int, used: int | None = None) -> "PhaseGrid":
        """The first `used` of `points` points in each step of `Sampler("ddim", steps)`; default: all."""
        rows = []
        for high, low in reversed(sampler_edges(steps)):
            grid = [high - round(k * (high - low) / points) for k in range(points + 1)]
            rows += [(grid[k], grid[k + 1], low) for k in reversed(range(used or points))]
        return cls(*torch.tensor(rows).T.contiguous())

    def choose(self, timestep: Tensor) -> tuple["PhaseGrid", Tensor]:
        """Map uniform timesteps to points (n,), and to uniform numbers (n,) that are independent of the points."""
        place = timestep.cpu().double() * len(self.start) / TIMESTEPS
        index = place.long()
        chosen = PhaseGrid(*(values[index].to(timestep.device) for values in (self.start, self.lower, self.end)))
        return chosen, (place - index).float().to(timestep.device)


def sampler_edges(steps: int) -> list[tuple[int, int]]:
    """Start and end of each step of `Sampler("ddim", steps)`, most noise first; below 0 means no noise."""
    length = TIMESTEPS // steps
    return [(t, max(-1, t - length)) for t in Sampler("ddim", steps).timesteps]


def jump(schedule: NoiseSchedule, noisy: Tensor, velocity: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """One deterministic step (DDIM) from timesteps `start` to `end` (n,); -1 means no noise."""
    clean, noise = schedule.clean(noisy, velocity, start), schedule.noise(noisy, velocity, start)
    alpha, sigma = schedule.at(end.clamp(min=0), noisy)
    whole = (end < 0).view(-1, *[1] * (noisy.ndim - 1))
    return torch.where(whole, clean, alpha * clean + sigma * noise)


def pseudo_huber(difference: Tensor, factor: float) -> Tensor:
    """sqrt(|x|² + c²) - c of each sample (n,), with c = `factor` times the root of the number of values."""
    square = difference.flatten(1).square().sum(dim=1)
    c = factor * difference[0].numel() ** 0.5
    return (square + c**2).sqrt() - c


class DistillationObjective:
    """The objective (`loop.Objective`) of `settings.distil`; the trainee as it is now becomes the teacher.

    The target network is part of a checkpoint, so a resumed run gives the same bits. Raises OptionError.
    """

    def __init__(self, trainee: Trainee, settings: TrainSettings) -> None:
        distil = settings.distil
        if distil.kind == "off":
            raise OptionError("distil.kind is off; expected consistency or progressive")
        self._settings, self._schedule = distil, trainee.schedule
        self._parameters = trainable_parameters(trainee, settings)
        self._teacher = frozen_copy(trainee, self._parameters)
        self._target = frozen_copy(trainee, self._parameters) if distil.kind == "consistency" else None
        self._grid = _grid_of(distil)
        self._step: int | None = None

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """See `loop.Objective`."""
        if step != self._step:
            self._step = step
            self._follow(batch.latents.device)
        points, chance = self._grid.choose(batch.timestep)
        batch = replace(batch, timestep=points.start)
        noisy, velocity = model(batch)
        reached = jump(self._schedule, noisy, velocity.float(), points.start, points.end)
        with torch.no_grad():
            low, high = self._settings.guidance
            target = self._destination(batch, noisy.detach(), points, low + (high - low) * chance)
        return {"distil": pseudo_huber(reached - target, self._settings.huber).mean()}

    def state(self) -> dict[str, Tensor]:
        """The parameters of the target network, for a checkpoint."""
        return {name: value.detach().cpu() for name, value in self._target_parameters().items()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        with torch.no_grad():
            for name, value in self._target_parameters().items():
                value.copy_(tensors[name])

    def _target_parameters(self) -> dict[str, nn.Parameter]:
        named = {} if self._target is None else dict(self._target.named_parameters())
        return {name: named[name] for name in self._parameters if name in named}

    def _follow(self, device: torch.device) -> None:
        """Move the target network towards the student, once a step."""
        self._teacher.to(device)
        if self._target is None:
            return
        self._target.to(device)
        with torch.no_grad():
            for name, value in self._target_parameters().items():
                value.lerp_(self._parameters[name].detach().to(value), 1 - self._settings.target_decay)

    def _destination(self, batch: Batch, noisy: Tensor, points: PhaseGrid, guidance: Tensor) -> Tensor:
        """The target of the student: two steps, the second of which has length zero at the end of a phase."""
        lower = jump(self._schedule, noisy, self._guided(batch, noisy, guidance), points.start, points.lower)
        batch = replace(batch, timestep=points.lower.clamp(min=0))
        if self._target is None:
            velocity = self._guided(batch, lower, guidance)
        else:
            velocity = self._target(batch, lower)[1].float()
        arrived = jump(self._schedule, lower, velocity, points.lower.clamp(min=0), points.end)
        done = (points.lower == points.end).view(-1, 1, 1, 1, 1)
        return torch.where(done, lower, arrived)

    def _guided(self, batch: Batch, noisy: Tensor, guidance: Tensor) -> Tensor:
        """The teacher's velocity with classifier-free guidance of each sample (n,)."""
        conditional = self._teacher(batch, noisy)[1].float()
        free = self._teacher(replace(batch, keep=torch.zeros_like(batch.keep)), noisy)[1].float()
        return cast(Tensor, free + guidance.view(-1, 1, 1, 1, 1) * (conditional - free))


def frozen_copy(trainee: Trainee, parameters: Mapping[str, nn.Parameter]) -> Trainee:
    """A copy of a trainee without gradients that shares all parameters except the trained ones."""
    trained = {id(parameter) for parameter in parameters.values()}
    shared = {id(value): value for value in trainee.parameters() if id(value) not in trained}
    copy = deepcopy(trainee, shared)
    for module in copy.modules():
        module.__dict__.pop("forward", None)  # a checkpointed layer's would be that of the original
    for name, value in copy.named_parameters():
        if name in parameters:
            value.requires_grad_(False)
    return copy.eval()


def _grid_of(settings: DistilSettings) -> PhaseGrid:
    if settings.kind == "consistency":
        return PhaseGrid.of_sampler(settings.steps, settings.grid)
    return PhaseGrid.of_sampler(settings.steps, 2, used=1)  # from the start of each phase in two steps

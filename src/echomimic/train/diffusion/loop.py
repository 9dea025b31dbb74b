"""The training loop on `accelerate`: steps, gradient clipping, averaged weights, checkpoints, logs."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from echomimic.diffusion.device import is_out_of_memory
from echomimic.errors import DeviceError, OptionError
from echomimic.train.diffusion.batch import Batch, Sample
from echomimic.train.diffusion.checkpoints import Stateful, list_checkpoints, load_checkpoint, save_checkpoint
from echomimic.train.diffusion.lora import trainable_parameters
from echomimic.train.diffusion.losses import latent_loss
from echomimic.train.diffusion.run_folder import check_trackers, cut_log, write_log
from echomimic.train.diffusion.settings import LossSettings, OptimizerSettings, TrainSettings
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import Trainee, checkpoint_layers, freeze_in

MOST_SKIPPED = 20
"""Number of successive steps with a gradient that is not finite after which a run stops."""
Report = Callable[[dict[str, Any]], None]
Encode = Callable[[Batch], Batch]
AfterStep = Callable[["RunState", Trainee], Iterable[dict[str, Any]]]
"""Called after every step in every process; returns further records to log, in the first process only."""


class Objective(Protocol):
    """The objective that a run minimizes: the sum of named losses of a batch."""

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Losses by name, each a scalar; `model` is the trainee or its wrapper, called as `model(batch)`."""
        ...


class LossTerm(Protocol):
    """A further loss on the predicted velocity."""

    def __call__(self, batch: Batch, noisy: Tensor, velocity: Tensor, step: int) -> dict[str, Tensor]:
        """Weighted losses by name, each a scalar; none in steps in which the term is off."""
        ...


class VelocityObjective:
    """The usual objective: the weighted error of the velocity, and further terms on the same prediction."""

    def __init__(self, schedule: NoiseSchedule, settings: LossSettings, terms: Sequence[LossTerm] = ()) -> None:
        self._schedule, self._settings, self._terms = schedule, settings, terms

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """See `Objective`."""
        noisy, velocity = model(batch)
        losses = {"latent": latent_loss(self._schedule, batch, velocity, self._settings)}
        for term in self._terms:
            losses.update(term(batch, noisy, velocity, step))
        return losses


class Samples(Protocol):
    """A source of training samples, each a pure function of its number in the whole run."""

    def sample(self, n: int) -> Sample:
        """Sample `n` of the run."""
        ...


@dataclass
class RunState:
    """The state of a run: the step, the averaged weights by parameter name, and steps skipped in a row."""

    step: int
    average: dict[str, Tensor]
    skipped: int = 0


def train(
    trainee: Trainee,
    samples: Samples,
    settings: TrainSettings,
    folder: Path,
    *,
    objective: Objective | None = None,
    encode: Encode = lambda batch: batch,
    resume: bool = False,
    force: bool = False,
    report: Report | None = None,
    after_step: AfterStep | None = None,
) -> dict[str, Tensor]:
    """Train `trainee` in place until `settings.run.steps`, and return the averaged weights by parameter name.

    Starts in a new or empty `folder`, or with `resume` from its newest checkpoint, with `force` even if its settings
    differ. `encode` gives a batch latents in place of pictures. The records that `after_step` returns are logged.
    Raises OptionError, OutputError, and DeviceError if the loss stays NaN or memory runs out.
    """
    accelerator = _make_accelerator(settings, folder)
    _check_batch(settings, accelerator.num_processes)
    parameters = _prepare_networks(trainee, settings, accelerator.device)
    optimizer = make_optimizer(parameters, settings.optimizer)
    state = RunState(0, {name: value.detach().float().cpu().clone() for name, value in parameters.items()})
    existing = list_checkpoints(folder)
    if existing and not resume:
        raise OptionError(f"{folder} holds a run already; expected an empty folder, or --resume")
    objective = objective or VelocityObjective(trainee.schedule, settings.loss)
    extra = objective if isinstance(objective, Stateful) else None
    if existing:
        state.step = load_checkpoint(existing[-1], settings, parameters, state.average, optimizer, extra, force=force)
        if accelerator.is_main_process:
            cut_log(folder, state.step)
    model = accelerator.prepare_model(trainee) if accelerator.num_processes > 1 else trainee
    model.train()
    step_of = _StepRunner(accelerator, model, objective, encode, parameters, optimizer, settings, state)
    for batches in _step_batches(samples, settings, state.step, accelerator):
        record = step_of.run(batches)
        accelerator.log(record, step=state.step)
        if accelerator.is_main_process:
            write_log(folder, record)
            if report:
                report(record)
            if state.step == settings.run.steps or state.step % settings.run.checkpoint_every == 0:
                save_checkpoint(folder, state.step, settings, parameters, state.average, optimizer, extra)
        for found in after_step(state, trainee) if after_step else ():  # in the first process only
            accelerator.log(found, step=state.step)
            write_log(folder, {"step": state.step, **found})
    _end(accelerator)
    return state.average


def _end(accelerator: Any) -> None:
    """End a run together with the other processes; during this wait, gloo's threads release their last tensors.

    If these were released after the process group, both would wait for each other.
    """
    accelerator.wait_for_everyone()
    accelerator.end_training()


def _prepare_networks(trainee: Trainee, settings: TrainSettings, device: torch.device) -> dict[str, nn.Parameter]:
    """Select the trained parameters, their number format and their device, and return them by name."""
    parameters = trainable_parameters(trainee, settings)
    if settings.run.gradient_checkpointing:
        checkpoint_layers(trainee.denoising)
        checkpoint_layers(trainee.reference)
    if settings.run.precision == "bfloat16" and device.type != "cpu":
        # on a CPU, norms with weights in bfloat16 take no input in float32
        freeze_in(trainee, torch.bfloat16)
    trainee.to(device)
    return parameters


def _make_accelerator(settings: TrainSettings, folder: Path) -> Any:
    """The Accelerator of a run, with its trackers. Raises SetupError for trackers that are not installed."""
    from accelerate import Accelerator

    check_trackers(settings.run.trackers)
    # the loop chooses the precision itself, since accelerate allows a process only one
    accelerator = Accelerator(mixed_precision="no", log_with=[*settings.run.trackers] or None, project_dir=str(folder))
    if settings.run.trackers:
        accelerator.init_trackers("echomimic", config={"settings": settings.digest()})
    return accelerator


class _StepRunner:
    """One optimizer step at a time."""

    def __init__(
        self,
        accelerator: Any,
        model: nn.Module,
        objective: Objective,
        encode: Encode,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        settings: TrainSettings,
        state: RunState,
    ) -> None:
        self.accelerator, self.model, self.objective, self.encode = accelerator, model, objective, encode
        self.parameters, self.optimizer, self.settings, self.state = parameters, optimizer, settings, state

    def run(self, batches: list[Batch]) -> dict[str, Any]:
        """Accumulate the gradients of `batches`, step, and return the log record."""
        began, sums = time.monotonic(), dict[str, Tensor]()
        rate = learning_rate(self.state.step, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        for number, batch in enumerate(batches):
            with self._synchronized(number == len(batches) - 1):
                losses = self._backward(batch, len(batches))
            for name, loss in losses.items():
                sums[name] = sums.get(name, torch.zeros_like(loss)) + loss.detach() / len(batches)
        norm = float(nn.utils.clip_grad_norm_(list(self.parameters.values()), self.settings.optimizer.max_norm))
        self._apply(norm)
        self.state.step += 1
        means = {name: float(self.accelerator.reduce(value, "mean")) for name, value in sums.items()}
        seconds = time.monotonic() - began
        losses_of = {"loss": sum(means.values())} | (means if len(means) > 1 else {})
        return {"step": self.state.step, **losses_of, "norm": norm, "rate": rate, "seconds": seconds}

    def _backward(self, batch: Batch, batches: int) -> dict[str, Tensor]:
        """Losses of one micro-batch, whose gradients are added up. Raises DeviceError if memory runs out."""
        try:
            with mixed_precision(self.settings, self.accelerator.device):
                batch = self.encode(batch.to(self.accelerator.device))
                losses = self.objective(self.model, batch, self.state.step)
            torch.autograd.backward(torch.stack([*losses.values()]).sum() / batches)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                "a step does not fit the device's memory; raise optimizer.accumulate, lower optimizer.batch, or use "
                "run.gradient_checkpointing and optimizer.kind adamw8bit",
                code="out_of_memory",
            ) from None
        return losses

    def _synchronized(self, last: bool) -> AbstractContextManager[Any]:
        """Exchange gradients between processes only in the last micro-batch of a step."""
        if last or self.accelerator.num_processes == 1:
            return nullcontext()
        return self.accelerator.no_sync(self.model)

    def _apply(self, norm: float) -> None:
        """Step the optimizer and the averages, unless the gradient is not finite."""
        if not math.isfinite(norm):
            self.state.skipped += 1
            if self.state.skipped >= MOST_SKIPPED:
                raise DeviceError(
                    f"the gradient was not finite in {MOST_SKIPPED} steps in a row; lower optimizer.rate, "
                    "or use run.precision = float32"
                )
            return
        self.state.skipped = 0
        self.optimizer.step()
        every = self.settings.optimizer.ema_every
        if (self.state.step + 1) % every == 0:
            update_average(self.state.average, self.parameters, self.settings.optimizer.ema, self.state.step, every)


def mixed_precision(settings: TrainSettings, device: torch.device) -> torch.autocast:
    """The number format of a run's forward passes."""
    return torch.autocast(device.type, torch.bfloat16, enabled=settings.run.precision == "bfloat16")


def update_average(
    average: dict[str, Tensor], parameters: Mapping[str, nn.Parameter], decay: float, step: int, every: int = 1
) -> None:
    """Exponential moving average of the weights, with a warm-up of the decay: (1 + step) / (10 + step).

    `decay` is that of one step; the average is updated once in `every` steps.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step)) ** every
    with torch.no_grad():
        for name, parameter in parameters.items():
            average[name].lerp_(parameter.detach().float().to(average[name].device), weight)


def make_optimizer(parameters: Mapping[str, nn.Parameter], settings: OptimizerSettings) -> torch.optim.Optimizer:
    """AdamW, or its 8-bit form from bitsandbytes (extra `train-gpu`)."""
    arguments: dict[str, Any] = {
        "lr": settings.rate,
        "betas": settings.betas,
        "weight_decay": settings.weight_decay,
        "eps": settings.eps,
    }
    if settings.kind == "adamw":
        return torch.optim.AdamW(parameters.values(), **arguments)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise OptionError(
            "optimizer.kind adamw8bit needs bitsandbytes, which is not installed; expected the extra train-gpu"
        ) from None
    return AdamW8bit(parameters.values(), **arguments)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """The learning rate of a step: linear warm-up, then constant or a cosine down to 0."""
    optimizer = settings.optimizer
    warm = min(1.0, (step + 1) / max(1, optimizer.warmup))
    if optimizer.schedule == "constant":
        return optimizer.rate * warm
    return optimizer.rate * warm * 0.5 * (1 + math.cos(math.pi * step / settings.run.steps))


class _Numbered(Dataset[Sample]):
    """The samples of a run as a map-style dataset, for worker processes."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, n: int) -> Sample:
        return self._samples.sample(n)


def _step_batches(samples: Samples, settings: TrainSettings, first: int, accelerator: Any) -> Iterator[list[Batch]]:
    """The batches of each remaining step that belong to this process."""
    parts = settings.optimizer.accumulate
    numbers = [
        sample_numbers(step, part, settings, accelerator.process_index, accelerator.num_processes)
        for step in range(first, settings.run.steps)
        for part in range(parts)
    ]
    loader = DataLoader(
        _Numbered(samples), batch_sampler=numbers, collate_fn=Batch.stack, num_workers=settings.run.workers
    )
    waiting: list[Batch] = []
    for batch in loader:
        waiting.append(batch)
        if len(waiting) == parts:
            yield waiting
            waiting = []


def sample_numbers(step: int, part: int, settings: TrainSettings, process: int, processes: int) -> list[int]:
    """Numbers of the samples in one micro-batch of one process; all micro-batches together make the step."""
    total = settings.optimizer.batch
    whole = list(range(step * total, (step + 1) * total))
    return whole[process * settings.optimizer.accumulate + part :: processes * settings.optimizer.accumulate]


def _check_batch(settings: TrainSettings, processes: int) -> None:
    group = processes * settings.optimizer.accumulate
    if settings.optimizer.batch % group:
        raise OptionError(
            f"optimizer.batch is {settings.optimizer.batch}; expected a multiple of processes x accumulate ({group})"
        )

"""The training loop on a CPU (random crops, one-cycle schedules, averaged weights), and the export of networks."""

import logging
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn import functional as F

from echomimic.mesh.speech_to_face import CHANNELS as SHIPPED
from echomimic.mesh.speech_to_face import ArticulationNetwork, network_from
from echomimic.train.articulation.corpus import Example
from echomimic.train.articulation.crops import random_crop
from echomimic.train.articulation.labels import CHANNELS, CLASSES
from echomimic.train.articulation.network import AHEAD, DILATIONS, Articulator
from echomimic.types import Floats

_log = logging.getLogger(__name__)
_EDGE = 15
"""Outputs at each end of a crop that the loss ignores, since their receptive field is cut off."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings: `steps` of each cycle, each at half the learning `rate` of the one before; `crop` in frames at 100 Hz;
    clean clips are drawn `clean_weight` times as often; `tempo` and `noise` as in `random_crop`."""

    width: int = 128
    steps: tuple[int, ...] = (3500, 2000)
    batch: int = 16
    crop: int = 400
    rate: float = 3e-3
    clean_weight: float = 3.0
    velocity: float = 3.0
    closure: float = 1.5
    closed_weight: float = 2.0
    phones: float = 0.4
    tempo: float = 0.3
    noise: float = 0.22
    seed: int = 0
    start: Path | None = None
    """Weight file to start from, instead of random weights."""


@dataclass(frozen=True)
class Trained:
    """A trained network, and the mean and spread (8,) of the curves that it was trained on."""

    network: Articulator
    mean: Floats
    spread: Floats


@dataclass(frozen=True)
class _Batch:
    features: Tensor
    curves: Tensor
    closure: Tensor
    phones: Tensor


def train(examples: list[Example], settings: TrainingConfig) -> Trained:
    """Train on clips of at least `settings.crop` frames; each cycle starts with the weights at the end of the last one.

    Returns the mean of the networks at the ends of the cycles, which generalizes better to unseen voices.
    """
    torch.manual_seed(settings.seed)
    usable = [example for example in examples if len(example.features) >= settings.crop]
    every = np.concatenate([example.labels.curves[::8] for example in usable])
    mean, spread = every.mean(axis=0), every.std(axis=0) + 1e-3
    network = Articulator(settings.width, len(CHANNELS), len(CLASSES))
    if settings.start is not None:
        start_from(network, settings.start, mean, spread)
    ends: list[Articulator] = []
    for cycle in range(len(settings.steps)):
        batches = _batches(usable, mean, spread, settings, cycle)
        network = _run_cycle(network, batches, settings, cycle)
        ends.append(deepcopy(network))
    return Trained(_mean_of(ends).eval(), mean, spread)


def start_from(network: Articulator, path: Path, mean: Floats, spread: Floats) -> None:
    """Load the weights of a file of the same size; heads that are not in the file keep their random weights."""
    with safe_open(path, "np") as file:
        known = {name: torch.from_numpy(file.get_tensor(name).astype(np.float32)) for name in file.keys()}  # noqa: SIM118
    rows = [CHANNELS.index(name) for name in SHIPPED[:-1]]
    state = network.state_dict()
    state |= {name: tensor for name, tensor in known.items() if not name.startswith("head")}
    middle, scale = torch.from_numpy(mean[rows]), torch.from_numpy(spread[rows])
    state["curves.weight"][rows] = known["head.weight"][:-1] / scale[:, None, None]
    state["curves.bias"][rows] = (known["head.bias"][:-1] - middle) / scale
    state["closure.weight"], state["closure.bias"] = known["head.weight"][-1:], known["head.bias"][-1:]
    network.load_state_dict(state)


@torch.no_grad()
def _mean_of(networks: list[Articulator]) -> Articulator:
    """A network with the mean weights of `networks`."""
    mean = deepcopy(networks[0])
    for parameter, *others in zip(mean.parameters(), *(n.parameters() for n in networks), strict=True):
        parameter.copy_(torch.stack(others).mean(dim=0))
    return mean


def _run_cycle(network: Articulator, batches: Iterator[_Batch], settings: TrainingConfig, cycle: int) -> Articulator:
    """One cycle of the learning rate (Smith and Topin 2017); returns the exponentially averaged weights."""
    if cycle:
        torch.manual_seed(settings.seed + cycle)
    steps, rate = settings.steps[cycle], settings.rate / 2**cycle
    average = deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
    recent, start = 0.0, time.monotonic()
    for step, batch in enumerate(batches, 1):
        loss = objective(network, batch, settings)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        _update_average(average, network)
        recent += (loss.item() - recent) / min(step, 100)
        if step % 250 == 0 or step == steps:
            _log.info(
                "cycle %d, step %d of %d, loss %.3f, %.0f s", cycle + 1, step, steps, recent, time.monotonic() - start
            )
    return average


@torch.no_grad()
def _update_average(average: Articulator, network: Articulator) -> None:
    """Exponential moving average of the weights with decay 0.995."""
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 0.005)


def objective(network: Articulator, batch: _Batch, settings: TrainingConfig) -> Tensor:
    """Squared error of curves and of their speed, plus closures (balanced) and phones as classes."""
    inner = slice(_EDGE, -_EDGE)
    curves, closure, phones = (part[..., inner] for part in network(batch.features))
    error = curves - batch.curves[..., inner]
    closed = F.binary_cross_entropy_with_logits(
        closure, batch.closure[..., inner], pos_weight=torch.tensor(settings.closed_weight)
    )
    loss: Tensor = (
        error.square().mean()
        + settings.velocity * error.diff(dim=-1).square().mean()
        + settings.closure * closed
        + settings.phones * F.cross_entropy(phones, batch.phones[..., inner])
    )
    return loss


def _batches(
    examples: list[Example], mean: Floats, spread: Floats, settings: TrainingConfig, cycle: int
) -> Iterator[_Batch]:
    draw = np.random.default_rng([settings.seed, cycle] if cycle else settings.seed)
    weight = np.array([len(e.features) ** 0.5 * (settings.clean_weight if e.clean else 1.0) for e in examples])
    for _ in range(settings.steps[cycle]):
        chosen = draw.choice(len(examples), settings.batch, p=weight / weight.sum())
        crops = [random_crop(examples[k], settings.crop, draw, settings.tempo, settings.noise) for k in chosen]
        features, curves, closure, phones = (np.stack(part) for part in zip(*crops, strict=True))
        curves = ((curves - mean) / spread).transpose(0, 2, 1)
        arrays = (features.transpose(0, 2, 1), curves, closure, phones.astype(np.int64))
        yield _Batch(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))


def tensors_of(trained: Trained) -> dict[str, Floats]:
    """The shipped tensors by name, float16: `stem`, `blocks.N` and one `head` for all channels."""
    state = {name: tensor.detach().numpy() for name, tensor in trained.network.state_dict().items()}
    rows = [CHANNELS.index(name) for name in SHIPPED[:-1]]
    scale, shift = trained.spread[rows], trained.mean[rows]
    weight = np.concatenate([state["curves.weight"][rows] * scale[:, None, None], state["closure.weight"]])
    bias = np.concatenate([state["curves.bias"][rows] * scale + shift, state["closure.bias"]])
    kept = {name: tensor for name, tensor in state.items() if name.startswith(("stem", "blocks"))}
    return {
        name: tensor.astype(np.float16) for name, tensor in (kept | {"head.weight": weight, "head.bias": bias}).items()
    }


def to_numpy(trained: Trained) -> ArticulationNetwork:
    """The network as it will run, rounded to float16 like the file."""
    return network_from(tensors_of(trained), DILATIONS, AHEAD)


def save(trained: Trained, path: Path, about: dict[str, str]) -> None:
    """Write the weight file; `about` goes into its header."""
    reach = {"dilations": " ".join(map(str, DILATIONS)), "ahead": " ".join(map(str, AHEAD))}
    header = {"channels": " ".join(SHIPPED), **reach, **about}
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors_of(trained).items()}, path, header)
    path.chmod(0o644)


def agreement(trained: Trained, frames: int = 1000) -> float:
    """The largest difference between torch and numpy on noise, both with their own rounding."""
    features = np.random.default_rng(0).standard_normal((frames, 40)).astype(np.float32)
    with torch.no_grad():
        curves, closure, _ = trained.network(torch.from_numpy(features.T[None].copy()))
    rows = [CHANNELS.index(name) for name in SHIPPED[:-1]]
    wanted = curves[0].numpy()[rows].T * trained.spread[rows] + trained.mean[rows]
    wanted = np.concatenate([wanted, closure[0].numpy()[:, None]], axis=1)
    return float(np.abs(to_numpy(trained)(features) - wanted).max())

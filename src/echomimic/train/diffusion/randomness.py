"""All randomness of training, as pure functions of (seed, sample number), so that there is no state to save.

Sample `n` of a run is number `n - step * batch` of its step. Order, windows, references, regions, dropouts, noise and
timesteps of a sample depend on nothing but the seed and `n`, so a run does not depend on the number of processes,
workers or restarts (decision page 50).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from echomimic.diffusion.condition_images import PARTS, SELECTED
from echomimic.train.diffusion.settings import DropSettings, LandmarkSettings

TIMESTEPS = 1000
_STREAMS = (
    *("order", "window", "regions", "drops", "audio", "noise", "timestep", "jitter", "spatial", "headshot", "pose"),
    *("crop", "place"),
)


def stream(name: str, *counters: int) -> np.random.Generator:
    """Make an independent generator for one purpose: `name` is one of the known purposes, `counters` e.g. (seed, n)."""
    return np.random.default_rng(np.random.SeedSequence([_STREAMS.index(name), *counters]))


@dataclass(frozen=True)
class Drops:
    """Which conditions of a sample are dropped."""

    audio: bool = False
    condition: bool = False
    reference: bool = False


def clip_of_sample(seed: int, n: int, clips: int) -> int:
    """The clip of sample `n`: epoch e walks a permutation of all clips that is seeded by (seed, e)."""
    epoch, place = divmod(n, clips)
    return int(stream("order", seed, epoch).permutation(clips)[place])


def window_of_sample(seed: int, n: int, length: int, frames: int, distance: int) -> tuple[int, int]:
    """First frame of the window and the reference frame of sample `n` in a clip of `length` frames.

    The reference lies at least `distance` frames from the window if the clip is long enough, else as far as possible.
    """
    draw = stream("window", seed, n)
    first = int(draw.integers(0, length - frames + 1))
    all_frames = np.arange(length)
    away = np.maximum(first - all_frames, all_frames - (first + frames - 1))
    allowed = np.flatnonzero(away >= distance)
    return first, int(draw.choice(allowed if len(allowed) else np.flatnonzero(away == away.max())))


def regions_of_sample(seed: int, n: int, settings: LandmarkSettings) -> tuple[str, ...]:
    """Regions of the face to draw for sample `n` (Random Landmark Selection), in drawing order."""
    draw = stream("regions", seed, n)
    kind = draw.random()
    if kind < settings.none:
        return ()
    if kind < settings.none + settings.all:
        return tuple(PARTS)
    if kind < settings.none + settings.all + settings.selected:
        return tuple(part for part in PARTS if part in SELECTED)
    return tuple(part for part in PARTS if draw.random() < settings.each)


def drops_of_sample(seed: int, n: int, settings: DropSettings, silent: float = 0.0) -> Drops:
    """Conditions to drop for sample `n`; `silent` is a further probability of dropping the audio."""
    draw = stream("drops", seed, n)
    kind, extra = draw.random(), draw.random()
    edges = np.cumsum([settings.all, settings.audio, settings.reference, settings.condition])
    if kind < edges[0]:
        return Drops(audio=True, condition=True, reference=True)
    return Drops(
        audio=bool(kind < edges[1]) or bool(extra < silent),
        reference=bool(edges[1] <= kind < edges[2]),
        condition=bool(edges[2] <= kind < edges[3]),
    )


def timestep_of_sample(seed: int, n: int, batch: int) -> int:
    """Timestep of sample `n`, uniform over 0..999 and stratified over the samples of a step."""
    step, place = divmod(n, batch)
    draw = stream("timestep", seed, step)
    offset, order = draw.random(), draw.permutation(batch)
    return min(TIMESTEPS - 1, int(TIMESTEPS * (order[place] + offset) / batch))


def noise_of_sample(seed: int, n: int, shape: tuple[int, ...]) -> Tensor:
    """Gaussian noise of sample `n`: float32 of `shape`."""
    values: npt.NDArray[np.float32] = stream("noise", seed, n).standard_normal(shape, np.float32)
    return torch.from_numpy(values)

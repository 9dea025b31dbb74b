"""Keep the latents of a clip in its work folder after every step, so that another run can resume from there."""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from echomimic.diffusion.ranks import SINGLE, Ranks

if TYPE_CHECKING:
    from echomimic.work import WorkFolder

_SAMPLER, _NUMBERS = "sampler.", "numbers"


@dataclass(frozen=True)
class DenoiserState:
    """Where denoising stands after `step` steps: the latents, the sampler's history, and the length of windows."""

    step: int
    latents: Tensor
    sampler: dict[str, Tensor]
    size: int
    overlap: int

    def to_bytes(self) -> bytes:
        """The content of a .safetensors file."""
        tensors = {"latents": self.latents, **{_SAMPLER + name: value for name, value in self.sampler.items()}}
        tensors[_NUMBERS] = torch.tensor([self.step, self.size, self.overlap])
        return safetensors.torch.save({name: value.cpu().contiguous() for name, value in tensors.items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> "DenoiserState | None":
        """The state in the content of a file; None if it is empty or damaged."""
        try:
            tensors = safetensors.torch.load(data)
            step, size, overlap = tensors.pop(_NUMBERS).tolist()
            latents = tensors.pop("latents")
        except (SafetensorError, KeyError):
            return None
        return cls(
            step, latents, {name.removeprefix(_SAMPLER): tensor for name, tensor in tensors.items()}, size, overlap
        )


@dataclass(frozen=True)
class Held:
    """Finished latents (frames, 4, h, w) of which only those from `first` up to `last` change; others are held.

    `noise` is what they were made from. At each end of the span, unless it is an end of the clip, `ramp` frames are
    blended with the finished ones.
    """

    latents: Tensor
    noise: Tensor
    first: int
    last: int
    ramp: int

    def blend(self, latents: Tensor, known: Tensor) -> Tensor:
        """The latents inside of the span and the known ones outside."""
        frames = torch.arange(len(latents), device=latents.device, dtype=torch.float32)
        weight = ((frames >= self.first) & (frames < self.last)).float()
        if self.first > 0:
            weight = torch.minimum(weight, ((frames - self.first + 1) / (self.ramp + 1)).clamp(0, 1))
        if self.last < len(latents):
            weight = torch.minimum(weight, ((self.last - frames) / (self.ramp + 1)).clamp(0, 1))
        weight = weight.view(-1, 1, 1, 1)
        return torch.where(weight == 0, known, known + weight * (latents - known))


class LatentStore:
    """The latents in a work folder; without a folder nothing is kept. Each part that is rendered again has a file.

    Of several ranks only the first has the folder; it gives the others what is loaded.
    """

    def __init__(self, work: "WorkFolder | None", steps: int, ranks: Ranks = SINGLE) -> None:
        self._work, self._steps, self._ranks = work, steps, ranks

    def load(self) -> DenoiserState | None:
        """The state of an interrupted run."""
        return self._read(0)

    def held(self, noise: Tensor, ramp: int) -> Held | None:
        """The finished latents, if only a span of them is to be rendered again."""
        span = json.loads(self._ranks.broadcast(json.dumps(self._work and self._work.span).encode()))
        finished = None if span is None else self._read(-1)
        if finished is None:
            return None
        first, last = span
        return Held(finished.latents.to(noise), noise, first, last, ramp)

    def save(self, state: DenoiserState) -> None:
        """Keep the latents after a step; after the last one those before the span are no longer needed."""
        if self._work is None:
            return
        self._work.write(_name(self._work.epoch), state.to_bytes())
        if state.step == self._steps:
            self._work.remove(_name(self._work.epoch - 1))

    def _read(self, epoch: int) -> DenoiserState | None:
        """The state in the file of an epoch, counted from the present one."""
        data = b""
        if self._work is not None:
            with suppress(OSError):
                data = (self._work.path / _name(self._work.epoch + epoch)).read_bytes()
        return DenoiserState.from_bytes(self._ranks.broadcast(data))


def _name(epoch: int) -> str:
    return f"latents-{epoch}.safetensors"

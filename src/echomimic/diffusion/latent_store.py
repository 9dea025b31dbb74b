"""Keep the latents of a clip in its work folder after every step, so that another run goes on from there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

if TYPE_CHECKING:
    from echomimic.work import WorkFolder

_SAMPLER = "sampler."


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
        numbers = {name: str(getattr(self, name)) for name in ("step", "size", "overlap")}
        return safetensors.torch.save({name: value.cpu().contiguous() for name, value in tensors.items()}, numbers)


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
    """The latents in a work folder; without a folder nothing is kept. Each part that is rendered again has a file."""

    def __init__(self, work: "WorkFolder | None", steps: int) -> None:
        self._work, self._steps = work, steps

    def load(self) -> DenoiserState | None:
        """Where a run that was cut off stood."""
        return None if self._work is None else self._read(self._work.epoch)

    def held(self, noise: Tensor, ramp: int) -> Held | None:
        """The finished latents, if only a span of them is to be rendered again."""
        if self._work is None or self._work.span is None:
            return None
        finished = self._read(self._work.epoch - 1)
        return None if finished is None else Held(finished.latents.to(noise), noise, *self._work.span, ramp)

    def save(self, state: DenoiserState) -> None:
        """Keep the latents after a step; after the last one those before the span are no longer needed."""
        if self._work is None:
            return
        self._work.write(_name(self._work.epoch), state.to_bytes())
        if state.step == self._steps:
            self._work.remove(_name(self._work.epoch - 1))

    def _read(self, epoch: int) -> DenoiserState | None:
        assert self._work is not None
        try:
            with safe_open(self._work.path / _name(epoch), "pt") as file:
                numbers = {name: int(value) for name, value in file.metadata().items()}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError):
            return None
        latents = tensors.pop("latents")
        sampler = {name.removeprefix(_SAMPLER): value for name, value in tensors.items()}
        return DenoiserState(latents=latents, sampler=sampler, **numbers)


def _name(epoch: int) -> str:
    return f"latents-{epoch}.safetensors"

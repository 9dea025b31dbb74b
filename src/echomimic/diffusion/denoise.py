"""From noise to clean latents: the one loop of every preset. No files, no loading, no drawing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from echomimic.diffusion.attention import KeysValues
from echomimic.diffusion.context import Window, closed_windows, open_windows, rolled
from echomimic.diffusion.device import is_out_of_memory
from echomimic.diffusion.schedule import Sampler, SamplerName
from echomimic.diffusion.unet import UNet
from echomimic.errors import DeviceError
from echomimic.notes import note
from echomimic.types import Progress

LEAST = 4
"""Frames to which windows may be shortened where memory runs out: with fewer, neighbours stop moving together."""


@dataclass(frozen=True)
class Conditions:
    """What steers the denoising of some frames; the arguments of `UNet.forward`, None where there is nothing."""

    audio: Tensor | None = None
    condition: Tensor | None = None
    portrait: Sequence[KeysValues] | None = None

    def null(self) -> "Conditions":
        """The same frames without any steering: silence, no driving picture, no portrait."""
        return Conditions()


ConditionsOf = Callable[[Sequence[int]], Conditions]
"""The conditions of the frames with these indices; called for every window, so nothing need be held for a clip."""


@dataclass(frozen=True)
class Recipe:
    """How a clip is denoised. `roll` is how far the windows move each step; `batch` how many go into one call.

    `divide` false leaves frames that two windows share undivided, as the first published pipeline did at guidance ≤ 1.
    `least` is how short windows may become where memory runs out.
    """

    steps: int
    guidance: float
    size: int = 12
    overlap: int = 3
    stride: int = 1
    roll: int = 3
    batch: int = 1
    windows: Literal["open", "closed"] = "open"
    sampler: SamplerName = "ddim"
    divide: bool = True
    least: int = LEAST

    def at(self, step: int, frames: int) -> list[Window]:
        """The windows of one step."""
        if self.windows == "open":
            return open_windows(frames, self.size, self.overlap, self.roll * step)
        return rolled(closed_windows(frames, self.size, self.overlap, self.stride), self.roll * step, frames)

    def calls(self, frames: int, first: int = 0) -> int:
        """How many windows are denoised from step `first` on."""
        return sum(len(self.at(step, frames)) for step in range(first, self.steps))

    def smaller(self, frames: int) -> "Recipe | None":
        """The recipe with windows of two thirds as many frames, None where they may not become smaller."""
        size = max(self.least, 2 * min(self.size, frames) // 3)
        return (
            None if size >= min(self.size, frames) else replace(self, size=size, overlap=min(self.overlap, size // 4))
        )


class _WindowError(Exception):
    """One window alone does not fit the device's memory."""


Look = Callable[[Tensor], None]
"""Is shown, after every step, what the latents (frames, 4, h, w) would be without the noise that is left."""


class Denoiser:
    """Denoises clips; `recipe` and `batch` are what fits of the wanted ones, learnt as memory runs out."""

    def __init__(self, unet: UNet, conditions: ConditionsOf, recipe: Recipe, dtype: torch.dtype) -> None:
        self.unet, self.conditions, self.recipe, self.dtype = unet, conditions, recipe, dtype
        self.batch = recipe.batch

    def run(self, noise: Tensor, progress: Progress | None = None, look: Look | None = None) -> Iterator[Tensor]:
        """Yield the latents (frames, 4, h, w) float32 after every step; the last are the result.

        `progress` counts windows. Raises DeviceError where not even a short window fits the device.
        """
        sampler = Sampler(self.recipe.sampler, self.recipe.steps)
        latents, before = noise, 0
        for step, t in enumerate(sampler.timesteps):
            velocity, count = self._summed(latents, t, step, before, progress)
            before += len(self.recipe.at(step, len(latents)))
            if look:
                look(sampler.clean(velocity / count, t, latents))
            latents = sampler.step(velocity / count if self.recipe.divide else velocity, t, latents)
            yield latents

    def _summed(
        self, latents: Tensor, t: int, step: int, before: int, progress: Progress | None
    ) -> tuple[Tensor, Tensor]:
        """The velocities of all windows added up, and how many windows each frame is in (frames, 1, 1, 1)."""
        velocity, count = torch.zeros_like(latents), latents.new_zeros(len(latents), 1, 1, 1)
        done, total = before, before + self.recipe.calls(len(latents), step)
        try:
            for windows, predictions in self._predict(latents, t, self.recipe.at(step, len(latents))):
                for window, prediction in zip(windows, predictions, strict=True):
                    velocity[window] += prediction
                    count[window] += 1
                done += len(windows)
                if progress:
                    progress(done, total)
        except _WindowError:
            self._shorten(len(latents))
        else:
            return velocity, count
        return self._summed(latents, t, step, before, progress)

    def _predict(self, latents: Tensor, t: int, windows: list[Window]) -> Iterator[tuple[list[Window], Tensor]]:
        """Windows with their guided velocities (windows, frames, 4, h, w), as many at a time as memory allows."""
        start = 0
        while start < len(windows):
            some = windows[start : start + self.batch]
            try:
                predictions = self._guided(latents, t, some)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(some))
                continue
            start += len(some)
            yield some, predictions

    def _shorten(self, frames: int) -> None:
        recipe, tried = self.recipe.smaller(frames), min(self.recipe.size, frames)
        if recipe is None:
            raise DeviceError(
                f"a window of {tried} frames does not fit the device's memory; lower `size` or `context_frames`, "
                "or try `offload` or `dtype` bfloat16",
                code="out_of_memory",
            ) from None
        self.recipe = recipe
        note(
            "window_shortened",
            "windows of {tried} frames do not fit the device's memory; continuing with {frames}",
            tried=tried,
            frames=recipe.size,
        )

    def _halve(self, tried: int) -> None:
        if tried == 1:
            raise _WindowError from None
        self.batch = tried // 2
        note(
            "batch_reduced",
            "{tried} windows at once do not fit the device's memory; continuing with {batch}",
            tried=tried,
            batch=self.batch,
        )

    def _guided(self, latents: Tensor, t: int, windows: list[Window]) -> Tensor:
        """One call of the network, or two where guidance asks for the difference that the conditions make."""
        index = [i for window in windows for i in window]
        # channels last: convolutions are faster so, and tokens become views
        x = latents[index].to(self.dtype, memory_format=torch.channels_last)
        conditions = self.conditions(index)
        timestep = torch.tensor([t], device=x.device)

        def velocity(given: Conditions) -> Tensor:
            out = self.unet(x, timestep, given.audio, given.condition, given.portrait, len(windows[0]))
            return out.float().unflatten(0, (len(windows), -1))

        steered = velocity(conditions)
        if self.recipe.guidance <= 1:
            return steered
        free = velocity(conditions.null())
        return free + self.recipe.guidance * (steered - free)

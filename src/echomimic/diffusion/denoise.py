"""The denoising loop of every preset, from noise to clean latents."""

from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor

from echomimic.diffusion.attention import KeysValues
from echomimic.diffusion.context import Window, closed_windows, open_windows, shifted
from echomimic.diffusion.deep_cache import FEATURE_BYTES, CacheSchedule, full_steps
from echomimic.diffusion.device import indices_on, is_out_of_memory
from echomimic.diffusion.latent_store import DenoiserState, Held
from echomimic.diffusion.ranks import SINGLE, Ranks
from echomimic.diffusion.schedule import Sampler, SamplerName
from echomimic.diffusion.unet import DeepFeatures, UNet
from echomimic.errors import DeviceError
from echomimic.notes import note
from echomimic.types import Progress

MIN_WINDOW = 4
"""Frames to which windows may be shortened if memory runs out: with fewer, neighbours stop moving together."""

WINDOWS_PER_RANK = 16
"""Windows of each rank whose velocities are exchanged together: more take memory."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of some frames: the arguments of `UNet.forward`, each of which may be None."""

    audio: Tensor | None = None
    condition: Tensor | None = None
    portrait: Sequence[KeysValues] | None = None

    def null(self) -> "Conditions":
        """The null condition: no audio, no condition features, no portrait keys."""
        return Conditions()


ConditionsOf = Callable[[Sequence[int]], Conditions]
"""Computes the conditions of the frames with these indices; called for every window, so no clip is kept."""


@dataclass(frozen=True)
class SamplingConfig:
    """How a clip is denoised. Windows have `size` frames and move by `shift` each step; `batch` go into one call.

    `divide` false leaves the sum over overlapping windows undivided, as the first pipeline did at guidance ≤ 1.
    `min_size` is how short windows may become if memory runs out; `span` limits the windows to those that touch it.
    With `guidance_batch` both halves of guidance go into one call. One of `cache` steps computes all layers of the
    network; the windows stay until the next such step. With `same_shapes` all calls have the same number of windows.
    """

    steps: int
    guidance_scale: float
    size: int = 12
    overlap: int = 3
    stride: int = 1
    shift: int = 3
    batch: int = 1
    windows: Literal["open", "closed"] = "open"
    sampler: SamplerName = "ddim"
    divide: bool = True
    min_size: int = MIN_WINDOW
    span: tuple[int, int] | None = None
    guidance_batch: bool = False
    cache: int = 1
    cache_schedule: CacheSchedule = "uniform"
    same_shapes: bool = False

    @cached_property
    def full_steps(self) -> list[int]:
        """The steps that compute all layers of the network."""
        return full_steps(self.steps, self.cache, self.cache_schedule)

    def at(self, step: int, frames: int) -> list[Window]:
        """The windows of one step."""
        first, last = self.span or (0, frames)
        return [window for window in self._all(step, frames) if any(first <= frame < last for frame in window)]

    def _all(self, step: int, frames: int) -> list[Window]:
        shift = self.shift * (bisect(self.full_steps, step) - 1)
        if self.windows == "open":
            return open_windows(frames, self.size, self.overlap, shift)
        return shifted(closed_windows(frames, self.size, self.overlap, self.stride), shift, frames)

    def calls(self, frames: int, first: int = 0) -> int:
        """Number of windows that are denoised from step `first` on."""
        return sum(len(self.at(step, frames)) for step in range(first, self.steps))

    def smaller(self, frames: int) -> "SamplingConfig | None":
        """The config with windows of two thirds as many frames; None if they may not become smaller."""
        size = max(self.min_size, 2 * min(self.size, frames) // 3)
        return (
            None if size >= min(self.size, frames) else replace(self, size=size, overlap=min(self.overlap, size // 4))
        )


_Half = Literal["conditional", "null", "both"] | None
"""One of the two calls of classifier-free guidance; None is their guided sum."""


class _WindowError(Exception):
    """One window alone does not fit the device's memory."""


StepCallback = Callable[[Tensor], None]
"""Receives, after every step, the predicted clean latents (frames, 4, h, w)."""


class Denoiser:
    """Denoises clips; `config` and `batch` are reduced as memory runs out. Windows are dealt to the `ranks`.

    Within a step the host does not wait for the device.
    """

    def __init__(
        self, unet: UNet, conditions: ConditionsOf, config: SamplingConfig, dtype: torch.dtype, ranks: Ranks = SINGLE
    ) -> None:
        self.unet, self.conditions, self.config, self.dtype = unet, conditions, config, dtype
        self.batch, self.ranks = config.batch, ranks
        self._guides_at_once = config.guidance_batch
        self._deep: dict[object, DeepFeatures] = {}
        self._is_caching = config.cache > 1

    def run(
        self,
        noise: Tensor,
        progress: Progress | None = None,
        callback: StepCallback | None = None,
        start: DenoiserState | None = None,
        held: Held | None = None,
        keep: Callable[[DenoiserState], None] | None = None,
    ) -> Iterator[Tensor]:
        """Yield the latents (frames, 4, h, w) float32 after every step; the last are the result.

        `keep` receives the state after every step, with `cache` only before full steps, and `start` is that of an
        earlier run, to resume from; of `held` latents only a span is denoised.
        `progress` counts windows. Raises DeviceError if not even a short window fits the device.
        """
        sampler = Sampler(self.config.sampler, self.config.steps)
        latents, first, before = noise, 0, 0
        if start is not None:
            latents, first = start.latents.to(noise), start.step
            self.config = replace(self.config, size=start.size, overlap=start.overlap)
            sampler.restore(start.sampler, noise)
            before = self.config.calls(len(noise)) - self.config.calls(len(noise), first)
        if self.config.same_shapes:
            most = max(len(self.config.at(step, len(noise))) for step in range(self.config.steps))
            self.batch = min(self.batch, -(-most // self.ranks.count))
        states = {*self.config.full_steps, self.config.steps}
        for step, t in [*enumerate(sampler.timesteps)][first:]:
            if step in states:
                self._deep.clear()
            velocity, count = self._summed(latents, t, step, before, progress)
            count = count.clamp(min=1)
            before += len(self.config.at(step, len(latents)))
            if callback:
                callback(sampler.clean(velocity / count, t, latents))
            latents = sampler.step(velocity / count if self.config.divide else velocity, t, latents)
            if held:
                later = sampler.timesteps[step + 1 : step + 2]
                latents = held.blend(
                    latents, sampler.noised(held.latents, held.noise, later[0]) if later else held.latents
                )
            if keep and step + 1 in states:
                keep(DenoiserState(step + 1, latents, sampler.history(), self.config.size, self.config.overlap))
            yield latents

    def _summed(
        self, latents: Tensor, t: int, step: int, before: int, progress: Progress | None
    ) -> tuple[Tensor, Tensor]:
        """The sum of the velocities of all windows, and the number of windows of each frame (frames, 1, 1, 1)."""
        windows = self.config.at(step, len(latents))
        total = before + self.config.calls(len(latents), step)

        def report(start: int, done: int) -> None:
            if progress:
                progress(before + min(start + done, len(windows)), total)

        velocity, count = torch.zeros_like(latents), latents.new_zeros(len(latents), 1, 1, 1)
        size = self.ranks.count * WINDOWS_PER_RANK
        for start in range(0, len(windows), size):
            some = windows[start : start + size]
            predictions = self._shared(latents, t, some, partial(report, start))
            if predictions is None:
                self._shorten(len(latents))
                return self._summed(latents, t, step, before, progress)
            for window, prediction in predictions:  # in the order of one process, so that the sums are the same
                places = indices_on(latents.device, window)
                velocity[places] += prediction
                count[places] += 1
        return velocity, count

    def _shared(
        self, latents: Tensor, t: int, windows: list[Window], report: Callable[[int], None]
    ) -> "list[tuple[Window, Tensor]] | None":
        """Windows with their guided velocities (frames, 4, h, w), by all ranks; None if one does not fit its memory.

        If there are more ranks than windows, the two halves of guidance are dealt as well.
        """
        scale, count = self.config.guidance_scale, len(windows)
        halves: list[_Half] = ["conditional", "null"] if scale > 1 and count < self.ranks.count else [None]
        found = latents.new_zeros(len(halves), count, len(windows[0]), *latents.shape[1:])
        failed = False
        try:
            for place, half in enumerate(halves):
                mine = [number for number in range(count) if self.ranks.owns(place * count + number)]
                done = 0
                for predictions in self._predict(latents, t, [windows[number] for number in mine], half):
                    for prediction in predictions:
                        found[place, mine[done]] = prediction
                        done += 1
                    report(mine[done - 1] + 1)
        except _WindowError:
            failed = True
        if self.ranks.any(failed):
            return None
        self.ranks.add_up(found)
        guided = found[0] if len(halves) == 1 else found[1] + scale * (found[0] - found[1])
        return list(zip(windows, guided, strict=True))

    def _predict(self, latents: Tensor, t: int, windows: list[Window], half: _Half) -> Iterator[Tensor]:
        """The velocities of the windows (windows, frames, 4, h, w), as many at a time as memory allows."""
        start = 0
        while start < len(windows):
            some = windows[start : start + self.batch]
            padding = some[-1:] * (self.batch - len(some)) if self.config.same_shapes else []
            try:
                predictions = self._velocities(latents, t, some + padding, half)[: len(some)]
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._make_room(len(some + padding))
                continue
            start += len(some)
            yield predictions

    def _shorten(self, frames: int) -> None:
        config, tried = self.config.smaller(frames), min(self.config.size, frames)
        if config is None:
            raise DeviceError(
                f"a window of {tried} frames does not fit the device's memory; lower `size` or `context_frames`, "
                "or try `offload` or `dtype` bfloat16",
                code="out_of_memory",
            ) from None
        self.config = config
        note(
            "window_shortened",
            "windows of {tried} frames do not fit the device's memory; continuing with {frames}",
            tried=tried,
            frames=config.size,
        )

    def _features(self, key: object) -> DeepFeatures | None:
        """The deep features of a call; None if they are not kept."""
        if self._is_caching and key not in self._deep:
            held = sum(0 if deep.value is None else deep.value.nbytes for deep in self._deep.values())
            if held < FEATURE_BYTES:
                self._deep[key] = DeepFeatures()
        return self._deep.get(key)

    def _make_room(self, tried: int) -> None:
        """Compute the halves of guidance one after the other, or else give up the cache, or else halve the batch."""
        if self._guides_at_once and self.config.guidance_scale > 1:
            self._guides_at_once = False
            note(
                "guidance_batch_dropped",
                "both halves of guidance at once do not fit the device's memory; continuing without `guidance_batch`",
            )
            return
        if not self._deep:
            self._halve(tried)
            return
        self._deep.clear()
        self._is_caching = False
        note("cache_dropped", "the features of `cache` do not fit the device's memory; continuing without")

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

    def _velocities(self, latents: Tensor, t: int, windows: list[Window], half: _Half) -> Tensor:
        """Velocities by classifier-free guidance: one call of the network, or two if the scale is above 1.

        `half` asks for one of the two calls only.
        """
        index = [i for window in windows for i in window]
        # channels last: faster convolutions, and tokens become views
        x = latents[indices_on(latents.device, index)].to(self.dtype, memory_format=torch.channels_last)
        conditions = self.conditions(index)
        timestep, frames = torch.full((1,), t, device=x.device), len(windows[0])

        def velocity(half: _Half) -> Tensor:
            given = conditions.null() if half == "null" else conditions
            deep = self._features((half, *map(tuple, windows)))
            latents = torch.cat([x, x]) if half == "both" else x
            out = self.unet(latents, timestep, given.audio, given.condition, given.portrait, frames, deep=deep)
            return out.float().unflatten(0, (-1, len(windows), frames))

        if half is not None or self.config.guidance_scale <= 1:
            return velocity(half)[0]
        at_once = self._guides_at_once and conditions.audio is not None
        conditional, null = velocity("both") if at_once else (velocity("conditional")[0], velocity("null")[0])
        return null + self.config.guidance_scale * (conditional - null)

"""The engine of every diffusion preset: prepare, denoise, decode."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from echomimic.checkpoints import search_paths
from echomimic.diffusion.conditioning import Drive, PasteBack, Shot, take_shot
from echomimic.diffusion.denoise import LEAST, Conditions, ConditionsOf, Denoiser, Look, Recipe
from echomimic.diffusion.device import choose_device, choose_dtype, resident
from echomimic.diffusion.models import Networks, compile_regions, load_networks, tiny_networks
from echomimic.diffusion.schedule import first_noise
from echomimic.diffusion.vae import FACTOR, decode_latents, encode_picture, picture_tensor
from echomimic.diffusion.whisper import RATE, encode, log_mel, original_frames, windows_of_frames
from echomimic.media import sound_blocks
from echomimic.media.loudness import level_loudness
from echomimic.motion.clip_timing import clip_length
from echomimic.motion.gestures import portrait_gestures
from echomimic.notes import note
from echomimic.options import Options
from echomimic.presets import Preset
from echomimic.types import LandmarkTrack, Motion, Picture, Portrait, Previewing, Progress, Speech

Predict = Callable[[Portrait, Speech, Options], LandmarkTrack]
"""Makes the motion that a preset needs and the user has not given."""
Item = TypeVar("Item")
DECODE_BATCH = 4


class DiffusionEngine:
    """An `Engine` for one preset. Keeps its networks, on their device, for many clips.

    `weights` is the folder of checkpoints, `predict` makes the motion of a landmark preset that is given none, and
    `device` is used where the options say auto.
    """

    def __init__(
        self, preset: Preset, weights: Path | None = None, predict: Predict | None = None, device: str | None = None
    ) -> None:
        self.preset, self._weights, self._predict, self._device = preset, weights, predict, device
        self._loaded: tuple[object, Networks] | None = None

    def frames(
        self,
        portrait: Portrait,
        speech: Speech,
        motion: Motion | None,
        options: Options,
        progress: Progress | None = None,
    ) -> Iterator[Picture]:
        """Yield the frames of the portrait speaking, each as soon as it is decoded.

        `progress` counts windows, then frames; one that is `Previewing` is shown the middle frame after every step,
        but not with `offload`: there is no room then for the autoencoder. Raises WeightsError, DeviceError, FaceError,
        MotionError.
        """
        device = choose_device(self._device if self._device and options.device == "auto" else options.device)
        dtype = choose_dtype(options.dtype, device)
        shot = take_shot(portrait, options, self.preset)
        motion = self._motion(portrait, speech, motion, options)
        run = _Run(self.networks(device, dtype, options.compile), device, dtype, options, self.preset)
        with torch.inference_mode():
            features = run.hear(speech)
            frames = run.length(speech, motion, features)
            conditions = run.conditions(shot, Drive(self.preset, shot, motion, frames, options), features)
        noise = first_noise(
            frames, shot.size[1] // FACTOR, shot.size[0] // FACTOR, options.seed, self.preset.noise_clamp
        )
        told = _Told(progress, run.recipe.calls(frames), frames)
        finish = PasteBack(shot, portrait) if shot.whole is not None else None
        latents = run.denoise(noise.to(device), conditions, told, run.look(progress, finish))
        for picture in run.decode(latents):
            told.decoded()
            yield finish(picture) if finish else picture

    def networks(self, device: torch.device, dtype: torch.dtype, compiled: bool = False) -> Networks:
        """The preset's networks; the last ones are kept. Raises WeightsError."""
        wanted = (device, dtype, compiled)
        if self._loaded is None or self._loaded[0] != wanted:
            self._loaded = None  # the old ones go before the new ones come
            made = (
                load_networks(self.preset, search_paths(self._weights), dtype, device)
                if self.preset.files
                else tiny_networks(self.preset, dtype)
            )
            if compiled:
                compile_regions(made.denoising)
            self._loaded = (wanted, made)
        return self._loaded[1]

    def _motion(self, portrait: Portrait, speech: Speech, motion: Motion | None, options: Options) -> Motion | None:
        """The motion to follow: the user's, else hands that gesture with the voice, else what `predict` makes of it."""
        if motion is not None or self.preset.drive == "mask":
            return motion
        if self.preset.drive == "hands":
            note("gestures_generated", "hands gesture with the voice, since no motion was given")
            return portrait_gestures(portrait, speech, options)
        if not self._predict:
            return None
        return self._predict(portrait, speech, replace(options, framing="crop"))  # on the canvas of the shot


class _Told:
    """Progress over both stages as one count: windows denoised, then frames decoded."""

    def __init__(self, progress: Progress | None, windows: int, frames: int) -> None:
        self._progress, self._clip, self._frames = progress, frames, 0
        self._windows, self._total = windows, windows + frames

    def denoised(self, done: int, windows: int) -> None:
        """So many windows are denoised, of as many as it takes now: there are more where memory makes them shorter."""
        self._windows, self._total = windows, windows + self._clip
        if self._progress:
            self._progress(done, self._total)

    def decoded(self) -> None:
        """One more frame is decoded."""
        self._frames += 1
        if self._progress:
            self._progress(self._windows + self._frames, self._total)


class _Run:
    """The stages of one clip, each with its network on the device."""

    def __init__(
        self, networks: Networks, device: torch.device, dtype: torch.dtype, options: Options, preset: Preset
    ) -> None:
        self.networks, self.device, self.dtype, self.options = networks, device, dtype, options
        self.recipe = recipe_of(options, preset)

    def hear(self, speech: Speech) -> Tensor:
        """Speech features (rows, 5, 384), half a megabyte a second or less."""
        blocks = sound_blocks(speech, RATE)
        mel = log_mel(blocks if self.options.exact else level_loudness(blocks, RATE))
        with resident(self.networks.speech, self.device, self.options.offload):
            return encode(self.networks.speech, mel, exact=self.options.exact).to(self.dtype)

    def length(self, speech: Speech, motion: Motion | None, features: Tensor) -> int:
        """How many frames; exactly, the original makes one or two more than the voice lasts."""
        frames = clip_length(speech, motion, self.options)
        if self.options.exact and not self.options.frames and motion is None:
            return original_frames(len(features), self.options.fps)
        return frames

    def conditions(self, shot: Shot, drive: Drive, features: Tensor) -> ConditionsOf:
        """The conditions of any frames: the portrait's keys and values once, the rest as it is asked for."""
        networks, options = self.networks, self.options
        with resident(networks.vae, self.device, options.offload):
            latents = encode_picture(networks.vae, shot.picture)
        with resident(networks.reference, self.device, options.offload):
            read = networks.reference.features(latents.to(self.device, self.dtype))
        if options.exact:  # the original rounds them, whatever it computes in
            read = [feature.half().to(self.dtype) for feature in read]
        networks.denoising.to(self.device)
        networks.condition.to(self.device)
        portrait = networks.denoising.project(read)

        def driven(frames: Sequence[int]) -> Tensor:
            pictures = picture_tensor(drive.pictures(frames), self.device, self.dtype)
            return cast(Tensor, networks.condition(pictures))

        still = driven([0]) if drive.still else None

        def of(frames: Sequence[int]) -> Conditions:
            heard = windows_of_frames(features, frames, options.fps)
            return Conditions(heard, driven(frames) if still is None else still, portrait)

        return of

    def look(self, progress: Progress | None, finish: Callable[[Picture], Picture] | None) -> Look | None:
        """What shows the middle frame of unfinished latents to a progress that wants to see it."""
        if not isinstance(progress, Previewing) or self.options.offload:
            return None

        def look(latents: Tensor) -> None:
            def make() -> Picture:
                middle = len(latents) // 2
                (picture,) = self.decode(latents[middle : middle + 1])
                return finish(picture) if finish else picture

            progress.preview(make)

        return look

    def denoise(self, noise: Tensor, conditions: ConditionsOf, told: _Told, look: Look | None = None) -> Tensor:
        """The clean latents (frames, 4, h, w)."""
        denoiser = Denoiser(self.networks.denoising, conditions, self.recipe, self.dtype)
        with resident(self.networks.denoising, self.device, self.options.offload):
            return deque(without_gradients(denoiser.run(noise, told.denoised, look)), maxlen=1).pop()

    def decode(self, latents: Tensor) -> Iterator[Picture]:
        """Pictures one by one."""
        vae = self.networks.vae
        if self.options.offload:
            cast(Any, vae).enable_tiling()
        with resident(vae, self.device, self.options.offload):
            yield from without_gradients(decode_latents(vae, latents, DECODE_BATCH, floor=self.options.exact))


def recipe_of(options: Options, preset: Preset) -> Recipe:
    """How the options say to denoise; `exact` is the published loop: closed windows, a forgotten division."""
    return Recipe(
        steps=options.steps,
        guidance=options.guidance,
        size=options.context_frames,
        overlap=options.context_overlap,
        roll=preset.roll,
        batch=options.context_batch,
        windows="closed" if options.exact else options.windows,
        sampler=options.sampler,
        least=options.context_frames if options.exact else LEAST,
        divide=not options.exact or options.guidance > 1 or preset.name.endswith("-acc"),
    )


def without_gradients(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each made in inference mode, which ends before the item is handed on."""
    iterator, end = iter(items), object()
    while True:
        with torch.inference_mode():
            item = next(iterator, end)
        if item is end:
            return
        yield item  # type: ignore[misc]

"""The engine of every diffusion preset: prepare, denoise, decode."""

import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import Tensor

from echomimic.checkpoints import LoraFile, search_paths
from echomimic.diffusion.condition_encoder import BLOCK, FEATURE_BYTES, ConditionFeatures
from echomimic.diffusion.conditioning import (
    ConditioningFrame,
    DrivingFrames,
    fit_motion,
    prepare_reference,
    still_track,
)
from echomimic.diffusion.deep_cache import CachePlan, plan_cache
from echomimic.diffusion.denoise import MIN_WINDOW, Conditions, ConditionsOf, Denoiser, SamplingConfig, StepCallback
from echomimic.diffusion.device import choose_device, choose_dtype, move, resident
from echomimic.diffusion.latent_store import DenoiserState, LatentStore
from echomimic.diffusion.lora import merge_lora_file
from echomimic.diffusion.networks import (
    Networks,
    compile_regions,
    denoising_config,
    fuse_projections,
    load_networks,
    peak_megabytes,
    tiny_networks,
)
from echomimic.diffusion.quantize import quantize_linear, require_torchao
from echomimic.diffusion.ranks import SINGLE, Ranks, launched_ranks
from echomimic.diffusion.schedule import first_noise
from echomimic.diffusion.vae import FACTOR, decode_batches, decode_latents, encode_picture, picture_tensor
from echomimic.diffusion.whisper import RATE, feature_rows, log_mel, original_frames
from echomimic.engines import WHOLE, Part
from echomimic.errors import MotionError
from echomimic.landmarks.crop import Crop, PasteBack
from echomimic.landmarks.face import Face
from echomimic.media import sound_blocks
from echomimic.media.loudness import level_loudness
from echomimic.motion.gestures import portrait_gestures
from echomimic.motion.time_edits import clip_length, fit_to_clip
from echomimic.notes import Note, collect_notes, note
from echomimic.options import Options
from echomimic.presets import Preset
from echomimic.types import LandmarkTrack, Motion, Picture, Portrait, Previewing, Progress, Speech

Predict = Callable[[Portrait, Speech, Options, Face | None], LandmarkTrack]
"""Predicts the face motion that goes with a voice; the face, if known already, is not searched for again."""
Item = TypeVar("Item")
DECODE_BATCH = 4


class DiffusionEngine:
    """An `Engine` for one preset. Keeps its networks, on their device, for many clips.

    `weights` is the folder of checkpoints, `predict` makes the motion of a landmark preset if the user gives none,
    `device` is used if the options say auto, and `lora` adapts the networks to a person. `networks` are used instead of
    loaded ones, as in the middle of training. `ranks` are the processes that share the work of a clip.
    """

    def __init__(
        self,
        preset: Preset,
        weights: Path | None = None,
        predict: Predict | None = None,
        device: str | None = None,
        lora: LoraFile | None = None,
        networks: Networks | None = None,
        ranks: Ranks = SINGLE,
    ) -> None:
        self.preset, self.predict, self._given = preset, predict, networks
        self._weights, self._device, self.lora, self.ranks = weights, device, lora, ranks
        self._loaded: tuple[object, Networks] | None = None

    def prepare(
        self, portrait: Portrait, speech: Speech, motion: Motion | None, options: Options, *, align: bool = False
    ) -> "DiffusionRender":
        """Crop the portrait and fit the motion to it. Raises FaceError, MotionError, DeviceError."""
        with collect_notes() as notes:
            named = self._device if self._device and options.device == "auto" else options.device
            device = self.ranks.device(choose_device(named))
            frame = prepare_reference(portrait, options, self.preset)
            if motion is not None:
                motion = fit_motion(motion, frame, options, self.preset, align=align)
            num_frames = self._num_frames(speech, motion, options)
            if options.quantize != "none":
                _note_quantized(options)
            if options.cache > 1:
                self._note_saving(options, num_frames, frame.size, choose_dtype(options.dtype, device))
        self.ranks.join(device)
        return DiffusionRender(self, speech, motion, options, device, frame, num_frames, tuple(notes))

    def _num_frames(self, speech: Speech, motion: Motion | None, options: Options) -> int:
        """Frames of the clip; with `exact`, the original generates one or two more than the voice lasts."""
        if not options.exact or options.frames or self.preset.conditioning != "mask":
            return clip_length(speech, motion, options)
        mel = log_mel(sound_blocks(speech, RATE))
        return original_frames(feature_rows(mel.shape[1]), options.fps)

    def cache_plan(
        self, options: Options, num_frames: int, size: tuple[int, int], dtype: torch.dtype
    ) -> CachePlan | None:
        """What `cache` saves and takes; None if it is off."""
        config = sampling_config(options, self.preset)
        if config.cache == 1:
            return None
        unet = (
            self._given.denoising.config if self._given else denoising_config(self.preset, search_paths(self._weights))
        )
        return plan_cache(unet, config, num_frames, (size[1] // FACTOR, size[0] // FACTOR), dtype.itemsize)

    def _note_saving(self, options: Options, num_frames: int, size: tuple[int, int], dtype: torch.dtype) -> None:
        """Say how much less is computed because deep features are kept."""
        planned = self.cache_plan(options, num_frames, size, dtype)
        if planned is None:
            note("cache_not_exact", "`cache` is not used with `exact`: every step computes all layers of the network")
            return
        note(
            "cache_saves",
            "with `cache` {cache} denoising takes {done:.2f} of {whole:.2f} TFLOP ({share:.0%})",
            cache=options.cache,
            done=planned.flops / 1e12,
            whole=planned.whole_flops / 1e12,
            share=planned.flops / planned.whole_flops,
        )

    def networks(
        self, device: torch.device, dtype: torch.dtype, compiled: bool = False, quantized: bool = False
    ) -> Networks:
        """The preset's networks; the last ones are kept. Raises WeightsError."""
        if self._given is not None:
            return self._given
        wanted = (device, dtype, compiled, quantized)
        if self._loaded is None or self._loaded[0] != wanted:
            self._loaded = None  # release the old networks before the new ones are loaded
            networks = (
                load_networks(self.preset, search_paths(self._weights), dtype, device)
                if self.preset.files
                else tiny_networks(self.preset, dtype)
            )
            if self.lora:
                parts = {"denoising": networks.denoising, "reference": networks.reference}
                merge_lora_file(parts, self.lora, self.preset.name)
            if quantized:
                quantize_linear(networks.denoising)
                quantize_linear(networks.reference)
            elif device.type != "cpu":
                fuse_projections(networks)
            if compiled:
                compile_regions(networks.denoising)
            self._loaded = (wanted, networks)
        return self._loaded[1]


@dataclass(frozen=True)
class DiffusionRender:
    """A prepared run (`echomimic.engines.Render`); `given` is the user's motion, fitted to the portrait."""

    engine: DiffusionEngine
    speech: Speech
    given: Motion | None
    options: Options
    device: torch.device
    frame: ConditioningFrame
    num_frames: int
    warnings: tuple[Note, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the video."""
        return self.frame.video_size

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.options.fps

    @property
    def crop(self) -> Crop:
        """The part of the portrait that the network sees."""
        return self.frame.crop

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the networks."""
        return choose_dtype(self.options.dtype, self.device)

    @property
    def memory_mb(self) -> int:
        """Estimated peak memory of the device in megabytes."""
        planned = self.engine.cache_plan(self.options, self.num_frames, self.frame.size, self.dtype)
        features = planned.feature_bytes >> 20 if planned else 0
        return features + peak_megabytes(self.engine.preset, self.options, self.device, self.frame.size)

    @cached_property
    def motion(self) -> Motion:
        """The motion that is rendered; the portrait's still face if the voice alone drives the network."""
        return self._driving or still_track(self.frame, self.num_frames, self.fps)

    @cached_property
    def _driving(self) -> Motion | None:
        """The motion that conditions the network, one entry per frame: given, generated, or none."""
        preset = self.engine.preset
        motion = self.given
        if preset.conditioning == "mask" and (motion is None or self.options.exact):
            return None
        if motion is None and preset.uses_hands:
            note("gestures_generated", "hands gesture with the voice, since no motion was given")
            motion = portrait_gestures(self.frame.portrait, self.speech, self.options)
        elif motion is None:
            if self.engine.predict is None:
                raise MotionError(f"preset {preset.name} got no motion; expected a track of face landmarks")
            cropped = replace(self.options, framing="crop")  # in pixels of the conditioning frame
            motion = self.engine.predict(self.frame.portrait, self.speech, cropped, self.frame.face)
        return fit_to_clip(motion, self.num_frames, self.options)

    def frames(self, progress: Progress | None = None, part: Part = WHOLE) -> Iterator[Picture]:
        """Yield the frames of the portrait speaking, each as soon as it is decoded.

        `progress` counts windows, then frames; a `Previewing` one receives the middle frame after every step, but not
        with `offload`, which leaves no memory for the autoencoder. Of several ranks only the first yields frames; the
        others work with it. Raises WeightsError, DeviceError, FaceError, MotionError.
        """
        preset, options, frame = self.engine.preset, self.options, self.frame
        driving = DrivingFrames(preset, frame, self._driving, options)
        networks, ranks = (
            self.engine.networks(self.device, self.dtype, options.compile, options.quantized),
            self.engine.ranks,
        )
        if ranks.is_first:
            ranks.broadcast(json.dumps((part.first, part.last)).encode())
        run = _ClipStages(networks, self.device, self.dtype, options, preset, ranks)
        size = (frame.portrait.width, frame.portrait.height)
        finish = None if frame.whole is None else PasteBack(frame.whole, frame.crop, size)
        two_stages = _TwoStageProgress(progress, run.config.calls(self.num_frames), self.num_frames, part.first)
        store = LatentStore(part.work, run.config.steps, ranks)
        start = store.load()
        if start is not None:
            note("denoising_resumed", "resumes after step {step} of {steps}", step=start.step, steps=run.config.steps)
        if start is not None and start.step == run.config.steps:
            latents = start.latents.to(self.device)
        else:
            with torch.inference_mode():
                speech = run.speech_features(self.speech)
                conditions = run.conditions(frame, driving, speech, self.num_frames)
            width, height = frame.size
            noise = first_noise(self.num_frames, height // FACTOR, width // FACTOR, options.seed, preset.noise_clamp)
            previews = run.previews(progress, finish)
            latents = run.denoise(noise.to(self.device), conditions, two_stages, previews, store, start)
            del conditions, speech
        for picture in run.decode(latents, part):
            two_stages.decoded()
            yield finish(picture) if finish else picture

    def assist(self) -> None:
        """Render, as another rank than the first, what that one renders, until it has no more parts."""
        while text := self.engine.ranks.broadcast():
            for _ in self.frames(part=Part(*json.loads(text))):
                pass  # only the first rank yields frames


def load_engine(
    preset: Preset,
    weights: Path | None,
    device: str | None,
    predict: Predict,
    lora: LoraFile | None = None,
    ranks: bool = False,
) -> DiffusionEngine:
    """The engine of a diffusion preset; its networks are loaded when they are first used.

    With `ranks` it shares the work of a clip with the other processes that torchrun started.
    """
    return DiffusionEngine(preset, weights, predict, device, lora, ranks=launched_ranks() if ranks else SINGLE)


def _note_quantized(options: Options) -> None:
    """Say what `quantize` does. Raises SetupError if its package is missing."""
    if options.quantized:
        require_torchao()
        note("weights_quantized", "weights of linear layers become int8: less memory; the frames change a little")
    else:
        note("quantize_not_exact", "`quantize` is not used with `exact`: weights keep the number format of the network")


class _TwoStageProgress:
    """Progress over both stages as one count: windows denoised, then frames decoded."""

    def __init__(self, progress: Progress | None, windows: int, frames: int, first: int = 0) -> None:
        self._progress, self._clip, self._frames = progress, frames, first
        self._windows, self._total = windows, windows + frames

    def denoised(self, done: int, windows: int) -> None:
        """Report `done` of `windows` denoised windows; their number grows if memory makes them shorter."""
        self._windows, self._total = windows, windows + self._clip
        if self._progress:
            self._progress(done, self._total)

    def decoded(self) -> None:
        """One more frame is decoded."""
        self._frames += 1
        if self._progress:
            self._progress(self._windows + self._frames, self._total)


class _ClipStages:
    """The stages of one clip, each with its network on the device."""

    def __init__(
        self,
        networks: Networks,
        device: torch.device,
        dtype: torch.dtype,
        options: Options,
        preset: Preset,
        ranks: Ranks = SINGLE,
    ) -> None:
        self.networks, self.device, self.dtype, self.options, self.ranks = networks, device, dtype, options, ranks
        self.config = sampling_config(options, preset)

    def speech_features(self, speech: Speech) -> Tensor:
        """Speech features (rows, 5, 384), half a megabyte a second or less."""
        blocks = sound_blocks(speech, RATE)
        if not self.options.exact:
            blocks = level_loudness(blocks, RATE)
        with resident(self.networks.speech, self.device, self.options.offload):
            return self.networks.speech.features(blocks, exact=self.options.exact).to(self.dtype)

    def conditions(
        self, frame: ConditioningFrame, driving: DrivingFrames, features: Tensor, num_frames: int
    ) -> ConditionsOf:
        """The conditions of any frames: the portrait's keys and values once, the rest on demand."""
        networks, options = self.networks, self.options
        with resident(networks.vae, self.device, options.offload):
            latents = encode_picture(networks.vae, frame.picture)
        with resident(networks.reference, self.device, options.offload):
            reference = networks.reference.features(latents.to(self.device, self.dtype))
        if options.exact:  # the original rounds them, whatever it computes in
            reference = [feature.half().to(self.dtype) for feature in reference]
        move(networks.denoising, self.device)
        move(networks.condition, self.device)
        portrait = networks.denoising.project(reference)

        def encoded(frames: Sequence[int]) -> Tensor:
            pictures = picture_tensor(driving.pictures(frames), self.device, self.dtype)
            return cast(Tensor, networks.condition(pictures))

        still = encoded([0]) if driving.still else None
        block_bytes = BLOCK * latents[0, 0].numel() * networks.denoising.config.channels[0] * self.dtype.itemsize
        moving = ConditionFeatures(encoded, num_frames, FEATURE_BYTES // block_bytes)

        def of(frames: Sequence[int]) -> Conditions:
            audio = networks.speech.tokens(features, frames, options.fps)
            return Conditions(audio, moving(frames) if still is None else still, portrait)

        return of

    def previews(self, progress: Progress | None, finish: Callable[[Picture], Picture] | None) -> StepCallback | None:
        """The callback that shows the middle frame of unfinished latents to a progress that accepts previews."""
        if not isinstance(progress, Previewing) or self.options.offload:
            return None

        def show(latents: Tensor) -> None:
            def make() -> Picture:
                middle = len(latents) // 2
                (picture,) = self._decoded(latents[middle : middle + 1])
                return finish(picture) if finish else picture

            progress.preview(make)

        return show

    def denoise(
        self,
        noise: Tensor,
        conditions: ConditionsOf,
        progress: _TwoStageProgress,
        callback: StepCallback | None,
        store: LatentStore,
        start: DenoiserState | None,
    ) -> Tensor:
        """The clean latents (frames, 4, h, w), kept in `store` after every step; `start` is where a run stood."""
        held = store.held(noise, self.config.overlap)
        config = self.config if held is None else replace(self.config, span=(held.first, held.last))
        denoiser = Denoiser(self.networks.denoising, conditions, config, self.dtype, self.ranks)
        with resident(self.networks.denoising, self.device, self.options.offload):
            steps = denoiser.run(noise, progress.denoised, callback, start, held, store.save)
            return deque(without_gradients(steps), maxlen=1).pop()

    def decode(self, latents: Tensor, part: Part = WHOLE) -> Iterator[Picture]:
        """Pictures of a part one by one, decoded in the same groups as those of the whole clip; on the first rank only.

        The groups are dealt to the ranks.
        """
        vae, last = self.networks.vae, part.end(len(latents))
        first = part.first - part.first % DECODE_BATCH
        some = latents[first : last + -last % DECODE_BATCH]
        with resident(vae, self.device, self.options.offload), closing(self._dealt(some)) as pictures:
            yield from islice(pictures, part.first - first, last - first)

    @property
    def _together(self) -> int:
        """Pictures that are decoded together: with `offload` one, which takes the least memory."""
        return 1 if self.options.offload else DECODE_BATCH

    def _dealt(self, latents: Tensor) -> Generator[Picture, None, None]:
        """All pictures on the first rank, none on the others. This process alone decodes while pictures are used."""
        if self.ranks.count == 1:
            batches = decode_batches(self.networks.vae, latents, self._together, floor=self.options.exact)
            with closing(ahead(without_gradients(batches))) as decoded:
                for together in decoded:
                    yield from together
            return
        size = (latents.shape[2] * FACTOR, latents.shape[3] * FACTOR, 3)
        step = DECODE_BATCH * self.ranks.count
        for start in range(0, len(latents), step):
            mine = latents[start : start + step][DECODE_BATCH * self.ranks.rank :][:DECODE_BATCH]
            pictures = self.ranks.gather(list(self._decoded(mine)), DECODE_BATCH, size)
            yield from pictures[: len(latents) - start]

    def _decoded(self, latents: Tensor) -> Iterator[Picture]:
        """Pictures one by one, by this process alone."""
        exact = self.options.exact
        return without_gradients(decode_latents(self.networks.vae, latents, self._together, floor=exact))


def sampling_config(options: Options, preset: Preset) -> SamplingConfig:
    """The denoising loop that the options ask for; `exact` is the published loop: closed windows, no division."""
    return SamplingConfig(
        steps=options.steps,
        guidance_scale=options.guidance_scale,
        size=options.context_frames,
        overlap=options.context_overlap,
        shift=preset.context_shift,
        batch=options.context_batch,
        windows="closed" if options.exact else options.windows,
        sampler=options.sampler,
        min_size=options.context_frames if options.exact else MIN_WINDOW,
        same_shapes=options.compile,
        guidance_batch=options.guidance_batch,
        cache=1 if options.exact else options.cache,
        cache_schedule=options.cache_schedule,
        divide=not options.exact or options.guidance_scale > 1 or preset.name.endswith("-acc"),
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


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """The same items, each computed in another thread while the one before is used."""
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]

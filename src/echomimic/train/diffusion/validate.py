"""Validation during training: loss by noise level, audio gain, and clips rendered by the ordinary engine."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from echomimic.diffusion.engine import DiffusionEngine
from echomimic.diffusion.networks import Networks
from echomimic.diffusion.whisper import RATE
from echomimic.errors import EchoMimicError
from echomimic.media import speech_from_samples, write_clip
from echomimic.options import make_options
from echomimic.train.diffusion.batch import Batch, Sample
from echomimic.train.diffusion.clips import Clips
from echomimic.train.diffusion.encoding import encode_batch
from echomimic.train.diffusion.loop import RunState, mixed_precision
from echomimic.train.diffusion.losses import sample_errors
from echomimic.train.diffusion.randomness import TIMESTEPS
from echomimic.train.diffusion.samples import ClipSamples
from echomimic.train.diffusion.settings import TrainSettings
from echomimic.train.diffusion.starts import Start, export_preset
from echomimic.train.diffusion.trainee import Trainee
from echomimic.types import LandmarkTrack, Motion, Picture, Portrait

Score = Callable[[Path, Path], Mapping[str, float]]
"""Measures a rendered clip against the real one; returns figures by name."""
BINS = 8
"""Noise levels at which the loss is measured."""
GAIN_TIMESTEPS = (300, 500, 700)
GAIN_SAMPLES = 32
LEAST_GAIN, ALARM_FROM = 0.002, 5_000
"""The audio gain below which the voice counts as ignored, and the step from which this gives a warning."""
SMALLEST = 256
SECONDS, STEPS, GUIDANCE = 2.0, 20, 2.5
"""Length of rendered clips, and their sampling settings."""


class Validation:
    """Measures a run between its steps (`loop.AfterStep`); only the first process works, the others wait.

    If there are too few validation clips, training clips are used. `say` receives warnings in one line.
    """

    def __init__(
        self,
        settings: TrainSettings,
        start: Start,
        clips: Clips,
        training: Clips,
        folder: Path,
        score: Score | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._settings, self._start, self._folder, self._score, self._say = settings, start, folder, score, say
        self._clips = clips if len(clips) else training
        self._samples = ClipSamples(self._clips, start.speech, settings, augmented=False)
        several = clips if len(clips) > 1 else training
        self._voices = ClipSamples(several, start.speech, settings, augmented=False)

    def __call__(self, state: RunState, trainee: Trainee) -> list[dict[str, Any]]:
        """The log records of a step; none for most steps."""
        from accelerate import PartialState

        run, records = self._settings.run, list[dict[str, Any]]()
        if not PartialState().is_main_process:
            return records
        if run.alarm_every and state.step % run.alarm_every == 0:
            records.append({"audio_gain": self._gain(state.step, trainee)})
        if run.validate_every and state.step % run.validate_every == 0:
            with averaged(trainee, state.average):
                records.append(self._losses(trainee))
                records += self._render(state.step, trainee)
        return records

    def _gain(self, step: int, trainee: Trainee) -> float:
        samples = [self._voices.sample(n) for n in range(min(GAIN_SAMPLES, 4 * len(self._voices.clips)))]
        with inference(trainee, self._settings):
            gain = audio_gain(trainee, self._start.vae, samples)
        if step >= ALARM_FROM and gain < LEAST_GAIN:
            self._say(
                f"alarm: audio_gain is {gain:.4f} at step {step}: the networks do not use the voice; expected more "
                f"than {LEAST_GAIN}: check the sync of the data, then raise loss.mouth or lower drop.audio"
            )
        return gain

    def _losses(self, trainee: Trainee) -> dict[str, Any]:
        with inference(trainee, self._settings):
            count = self._settings.run.validation_samples
            return timestep_losses(trainee, self._start.vae, self._samples.sample, count)

    def _render(self, step: int, trainee: Trainee) -> Iterator[dict[str, Any]]:
        """Render the first validation clips and yield their scores; a clip that fails gives a record too."""
        engine = live_engine(trainee, self._start, self._settings)
        for index in range(min(self._settings.run.validation_clips, len(self._clips))):
            row = self._clips.rows[index]
            path = self._folder / "validation" / f"{step:08d}" / f"{row.id}.mp4"
            record: dict[str, Any] = {"clip": row.id}
            try:
                with inference(trainee, self._settings):
                    truth = render_clip(engine, self._clips, index, path, self._settings, self._start)
                record |= self._score(path, truth) if self._score else {}
            except EchoMimicError as error:
                record["error"] = str(error)
            yield record


@contextmanager
def averaged(trainee: Trainee, average: Mapping[str, Tensor]) -> Iterator[None]:
    """Use the averaged weights inside the block; afterwards the trained weights are restored exactly."""
    parameters = {name: parameter for name, parameter in trainee.named_parameters() if name in average}
    kept = {name: parameter.detach().to("cpu", copy=True) for name, parameter in parameters.items()}
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(average[name])
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(kept[name])


@contextmanager
def inference(trainee: nn.Module, settings: TrainSettings) -> Iterator[None]:
    """Compute without gradients, in the number format of the run."""
    device = next(trainee.parameters()).device
    with torch.no_grad(), mixed_precision(settings, device):
        yield


def timestep_losses(trainee: Trainee, vae: nn.Module, sample: Callable[[int], Sample], count: int) -> dict[str, float]:
    """Mean loss of the velocity at each of 8 noise levels, as `val_t0062` … `val_t0937`, and their mean `val_loss`.

    Noise and windows are the same every time, so that the values of a run are comparable.
    """
    sums: dict[int, list[float]] = {}
    for n in range(count):
        t = int((n % BINS + 0.5) * TIMESTEPS / BINS)
        batch = _batch([sample(n)], [t], vae, trainee)
        sums.setdefault(t, []).append(float(sample_errors(trainee.schedule, batch, trainee(batch)[1])[0]))
    means = {f"val_t{t:04d}": sum(values) / len(values) for t, values in sorted(sums.items())}
    return {"val_loss": sum(means.values()) / max(1, len(means)), **means}


def audio_gain(trainee: Trainee, vae: nn.Module, samples: Sequence[Sample]) -> float:
    """1 - own / other: how much the own voice lowers the loss of the mouth, compared with another sample's voice.

    0 means that the networks do not use the voice.
    """
    own = other = 0.0
    for i, sample in enumerate(samples):
        t = GAIN_TIMESTEPS[i % len(GAIN_TIMESTEPS)]
        wrong = next((s for s in [*samples[i + 1 :], *samples[:i]] if _clip_of(s) != _clip_of(sample)), None)
        if wrong is None:
            continue
        batch = _batch([sample], [t], vae, trainee)
        own += _mouth_error(trainee, batch)
        other += _mouth_error(trainee, replace(batch, audio=wrong.audio[None].to(batch.audio.device)))
    return 1 - own / other if other else 0.0


def _clip_of(sample: Sample) -> int:
    return -1 if sample.origin is None else int(sample.origin[0])


def _mouth_error(trainee: Trainee, batch: Batch) -> float:
    """Squared error of the velocity in the box of the mouth, or everywhere if nobody speaks."""
    target = trainee.schedule.velocity(batch.latents, batch.noise, batch.timestep)
    inside = (batch.mouth > 1).float() if bool((batch.mouth > 1).any()) else torch.ones_like(batch.mouth)
    errors = ((trainee(batch)[1].float() - target) ** 2).mean(dim=2, keepdim=True)
    return float((errors * inside).sum() / inside.sum())


def _batch(samples: Sequence[Sample], timesteps: Sequence[int], vae: nn.Module, trainee: Trainee) -> Batch:
    """Encoded samples at these timesteps, on the device of the trainee, with all conditions."""
    device = next(trainee.parameters()).device
    batch = encode_batch(vae, Batch.stack(samples).to(device))
    return replace(
        batch, timestep=torch.tensor(timesteps, device=device), keep=torch.ones(len(samples), 3, device=device)
    )


def live_engine(trainee: Trainee, start: Start, settings: TrainSettings) -> DiffusionEngine:
    """The ordinary engine with the networks that are being trained."""
    device = next(trainee.parameters()).device
    networks = Networks(trainee.denoising, trainee.reference, trainee.condition, start.vae, start.speech)
    return DiffusionEngine(export_preset(settings), device=str(device), networks=networks)


def render_clip(
    engine: DiffusionEngine, clips: Clips, index: int, path: Path, settings: TrainSettings, start: Start
) -> Path:
    """Render the first seconds of a clip from its last frame, voice and track; return the path of the real frames."""
    row = clips.rows[index]
    count = min(row.frames, round(SECONDS * row.fps))
    speech = speech_from_samples(clips.sound(index)[: round(count / row.fps * RATE)], RATE)
    truth = path.parent.parent / "real" / path.name
    for folder in (path.parent, truth.parent):
        folder.mkdir(parents=True, exist_ok=True)
    if not truth.is_file():
        write_clip(truth, clips.frames(index, range(count)), row.fps, speech, {})
    portrait = Portrait(enlarge(clips.frames(index, [row.frames - 1])[0]), name=row.id)
    motion = None if engine.preset.conditioning == "mask" else first_frames(clips.track(index), count)
    margin = {"crop_margin": start.geometry.defaults.crop_margin} if start.geometry else {}
    options = make_options(
        {
            **engine.preset.defaults,
            **margin,
            "fps": row.fps,
            "size": settings.data.size,
            "steps": STEPS,
            "guidance_scale": GUIDANCE,
            "seed": 0,
            "frames": count,
            "dtype": "float32",
            "context_frames": max(settings.data.frames, 4),
            "context_overlap": max(settings.data.frames, 4) // 4,
        }
    )
    write_clip(path, engine.prepare(portrait, speech, motion, options).frames(), row.fps, speech, {})
    return truth


def enlarge(picture: Picture) -> Picture:
    """Enlarge a picture to at least 256 pixels a side, so that a face is large enough to be found."""
    factor = math.ceil(SMALLEST / min(picture.shape[:2]))
    size = (factor * picture.shape[1], factor * picture.shape[0])
    return picture if factor == 1 else np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def first_frames(track: Motion, count: int) -> Motion:
    """The first `count` frames of a track."""
    if isinstance(track, LandmarkTrack):
        return replace(track, points=track.points[:count], valid=track.valid[:count], curves=None)
    return replace(track, body=track.body[:count], hands=track.hands[:count], face=track.face[:count])

"""The mini: V1 with landmarks at 64 x 64, trained on a CPU within an hour, to prove the whole chain of training.

Voice first, then voice and landmarks together (Random Landmark Selection). The export is rendered by the ordinary
engine with preset v1-landmarks.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from echomimic.checkpoints import Geometry
from echomimic.diffusion.condition_images import PARTS, draw_landmarks
from echomimic.diffusion.networks import empty_networks
from echomimic.diffusion.small import LinearCodec, MelSpeech
from echomimic.diffusion.vae import FACTOR, SCALE, picture_tensor
from echomimic.landmarks.topology import LIPS
from echomimic.presets import find_preset
from echomimic.train.diffusion.batch import Sample
from echomimic.train.diffusion.export import export_networks
from echomimic.train.diffusion.loop import train
from echomimic.train.diffusion.losses import mouth_weights
from echomimic.train.diffusion.mini_data import FPS, SIDE, MiniClip
from echomimic.train.diffusion.randomness import (
    clip_of_sample,
    drops_of_sample,
    noise_of_sample,
    regions_of_sample,
    timestep_of_sample,
    window_of_sample,
)
from echomimic.train.diffusion.settings import TrainSettings, make_settings
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import Trainee, zero_branches
from echomimic.types import Floats, Picture

PRESET = "v1-landmarks"
FRAMES = 8
GEOMETRY = Geometry(channels=(64, 96), layers=1, heads=4, motion_heads=4, audio_dim=88, encoder_widths=(8, 16, 24, 32))
_CELLS = SIDE // FACTOR
_BRIGHTNESS = 3.0
"""Factor on the first weights of the condition encoder: thin lines are dim at 64 pixels."""
Report = Callable[[dict[str, object]], None]


def mini_settings(steps: int, seed: int = 0, voice_first: float = 0.25) -> TrainSettings:
    """Settings of the mini. During the first `voice_first` of the steps no landmarks are drawn (see `MiniSamples`)."""
    return make_settings(
        {
            "data": {"size": SIDE, "frames": FRAMES, "reference_distance": 1},
            "model": {"variant": "landmarks", "trained": "all"},
            "loss": {"weighting": "v", "mouth": 5.0},
            "landmarks": {"none": 0.25, "all": 0.25, "selected": 0.3, "silent_with_all": 0.6, "jitter": 0.0},
            "optimizer": {
                "rate": 6e-4,
                "schedule": "cosine",
                "warmup": 100,
                "betas": [0.9, 0.99],
                "batch": 4,
                "ema": 0.998,
            },
            "run": {
                "steps": steps,
                "seed": seed,
                "precision": "float32",
                "gradient_checkpointing": False,
                "workers": 0,
                "checkpoint_every": max(1, steps // 4),
                "keep": 1,
            },
        }
    )


@dataclass(frozen=True)
class _Prepared:
    clip: MiniClip
    latents: Tensor
    features: Tensor
    mouth: Tensor


class MiniSamples:
    """Samples of the mini (`loop.Samples`), each a pure function of its number."""

    def __init__(self, clips: Sequence[MiniClip], codec: LinearCodec, settings: TrainSettings, voice_first: float):
        self._settings, self._speech = settings, MelSpeech()
        self._landmarks_from = int(voice_first * settings.run.steps) * settings.optimizer.batch
        self._clips = [self._prepare(clip, codec) for clip in clips if len(clip) > FRAMES + 1]

    def _prepare(self, clip: MiniClip, codec: LinearCodec) -> _Prepared:
        weights = [
            mouth_weights(_mouth_box(points), (_CELLS, _CELLS), self._settings.loss.mouth) for points in clip.points
        ]
        features = self._speech.features([clip.sound])
        return _Prepared(clip, encode_frames(codec, clip), features, torch.stack(weights))

    def sample(self, n: int) -> Sample:
        """Sample `n` of the run."""
        settings, seed = self._settings, self._settings.run.seed
        prepared = self._clips[clip_of_sample(seed, n, len(self._clips))]
        first, reference = window_of_sample(seed, n, len(prepared.clip), FRAMES, settings.data.reference_distance)
        window = list(range(first, first + FRAMES))
        regions = regions_of_sample(seed, n, settings.landmarks) if n >= self._landmarks_from else ()
        silent = settings.landmarks.silent_with_all if regions == tuple(PARTS) else 0.0
        drops = drops_of_sample(seed, n, settings.drop, silent)
        latents = prepared.latents[window]
        return Sample(
            latents=latents,
            reference=prepared.latents[reference],
            audio=self._speech.tokens(prepared.features, window, FPS),
            condition=condition_pictures(prepared.clip, window, regions),
            noise=noise_of_sample(seed, n, tuple(latents.shape)),
            timestep=torch.tensor(timestep_of_sample(seed, n, settings.optimizer.batch)),
            mouth=prepared.mouth[window],
            keep=torch.tensor([not drops.audio, not drops.condition, not drops.reference], dtype=torch.float32),
        )


def encode_frames(codec: LinearCodec, clip: MiniClip) -> Tensor:
    """Scaled latents (T, 4, 8, 8) of a clip."""
    pictures = picture_tensor(clip.frames, torch.device("cpu"), torch.float32) * 2 - 1
    with torch.no_grad():
        return codec.encode(pictures).latent_dist.mean * SCALE


def condition_pictures(clip: MiniClip, frames: Sequence[int], regions: tuple[str, ...]) -> Tensor:
    """Drawn landmarks (F, 3, 64, 64) in 0..1, exactly as the engine draws them."""
    if not regions:
        return torch.zeros(len(frames), 3, SIDE, SIDE)
    size = (SIDE, SIDE)
    pictures = np.stack([draw_landmarks(clip.points[frame], size, size, regions) for frame in frames])
    return picture_tensor(pictures, torch.device("cpu"), torch.float32)


def _mouth_box(points: Floats) -> tuple[int, int, int, int]:
    """The box of the lips and a margin of 0.7 cells, in latent cells: left, top, right, bottom."""
    lips = points[list(LIPS), :2] / FACTOR
    low, high = np.floor(lips.min(0) - 0.7 + 0.5), np.ceil(lips.max(0) + 0.7 - 0.5)
    left, top, right, bottom = (int(np.clip(value, 0, _CELLS)) for value in (*low, *high))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def build_trainee(seed: int) -> Trainee:
    """Networks from scratch; the audio, condition and motion branches start at zero."""
    torch.manual_seed(seed)
    networks = empty_networks(3, GEOMETRY)
    trainee = Trainee(networks.denoising, networks.reference, networks.condition, NoiseSchedule.of_inference())
    zero_branches(trainee)
    with torch.no_grad():
        trainee.condition.conv_in.weight.mul_(_BRIGHTNESS)
        trainee.denoising.conv_out.weight.zero_()
    return trainee


def fit_codec(clips: Sequence[MiniClip]) -> LinearCodec:
    """The linear codec of every sixth frame."""
    frames = np.concatenate([clip.frames[::6] for clip in clips])
    return LinearCodec.fit(picture_tensor(frames, torch.device("cpu"), torch.float32) * 2 - 1)


def train_mini(
    clips: Sequence[MiniClip],
    folder: Path,
    steps: int,
    *,
    seed: int = 0,
    voice_first: float = 0.25,
    resume: bool = False,
    report: Report | None = None,
) -> Path:
    """Train on `clips` for `steps` steps, export into `folder`/weights and return that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = mini_settings(steps, seed)
    codec, trainee = fit_codec(clips), build_trainee(seed)
    samples = MiniSamples(clips, codec, settings, voice_first)
    average = train(trainee, samples, settings, folder, resume=resume, report=report)
    weights = folder / "weights"
    export_networks(
        trainee,
        average,
        find_preset(PRESET),
        weights,
        geometry=GEOMETRY,
        others={"vae": codec, "speech": MelSpeech()},
        dtype=torch.float32,
    )
    return weights


def steps_for_minutes(clips: Sequence[MiniClip], minutes: float, seed: int = 0, trial: int = 12) -> int:
    """How many steps fit into `minutes` on this machine, from the speed of a few trial steps."""
    import tempfile

    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = mini_settings(trial, seed)
        settings = replace(settings, run=replace(settings.run, checkpoint_every=10 * trial))
        samples = MiniSamples(clips[:8], fit_codec(clips[:8]), settings, 0.0)
        train(
            build_trainee(seed),
            samples,
            settings,
            Path(folder),
            report=lambda record: seconds.append(float(str(record["seconds"]))),
        )
    return max(trial, int(60 * minutes / float(np.median(seconds[2:]))))


def save_strip(path: Path, rows: Sequence[Picture]) -> None:
    """Write rows of frames (n, H, W, 3) as one picture, for the eye."""
    strip = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    cv2.imwrite(str(path), cv2.cvtColor(np.ascontiguousarray(strip), cv2.COLOR_RGB2BGR))


def write_figures(path: Path, figures: dict[str, object]) -> None:
    """Write the figures of a mini as JSON."""
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")

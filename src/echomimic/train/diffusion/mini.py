"""The mini: V1 with landmarks, or V2, at 64 x 64, trained on a CPU within an hour to test the whole chain of training.

V1 is conditioned by the voice alone in the first steps, then by voice and landmarks (Random Landmark Selection). The
export is rendered by the ordinary engine with preset v1-landmarks or v2.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from echomimic.checkpoints import Geometry
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.condition_images import PARTS
from echomimic.diffusion.networks import empty_networks
from echomimic.diffusion.small import LinearCodec, MelSpeech
from echomimic.diffusion.vae import picture_tensor
from echomimic.presets import find_preset
from echomimic.train.diffusion.export import export_networks
from echomimic.train.diffusion.loop import train
from echomimic.train.diffusion.mini_data import SIDE, MiniClip
from echomimic.train.diffusion.mini_samples import FRAMES, MiniSamples, condition_pictures
from echomimic.train.diffusion.settings import TrainSettings, make_settings
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import Trainee

PRESET = "v1-landmarks"
_TRIAL = 12
"""Steps by which the speed of this machine is measured."""
VOICE_FIRST = 0.1
"""Fraction of the steps in which no landmarks are drawn."""
GEOMETRY = Geometry(channels=(64, 96), layers=1, heads=4, motion_heads=4, audio_dim=88, encoder_widths=(8, 16, 24, 32))
_CONDITION_SPREAD = 0.5
"""Standard deviation of the condition features at the start."""
Report = Callable[[dict[str, object]], None]


def mini_settings(steps: int, seed: int = 0, preset: str = PRESET) -> TrainSettings:
    """Settings of the mini for a preset: v1-landmarks or v2."""
    variant = "hands" if find_preset(preset).uses_hands else "landmarks"
    return make_settings(
        {
            "data": {"size": SIDE, "frames": FRAMES, "reference_distance": 1},
            "model": {"variant": variant, "trained": "all"},
            "loss": {"weighting": "v", "mouth": 12.0},
            "drop": {"all": 0.08, "audio": 0.04, "reference": 0.03, "condition": 0.03},
            "landmarks": {"none": 0.25, "all": 0.25, "selected": 0.3, "silent_with_all": 0.6, "jitter": 0.0},
            "optimizer": {
                "rate": 1e-3,
                "schedule": "cosine",
                "warmup": max(1, min(100, steps // 10)),
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
                "checkpoint_every": max(1, steps // 8),
                "keep": 1,
            },
        }
    )


def build_trainee(seed: int, conditions: Tensor, geometry: Geometry = GEOMETRY) -> Trainee:
    """Networks from scratch, whose last convolutions and motion branches start at zero.

    The condition encoder is scaled on condition pictures (n, 3, 64, 64) of the clips, see `scale_encoder`.
    """
    torch.manual_seed(seed)
    networks = empty_networks(conditions.shape[1], geometry)
    trainee = Trainee(networks.denoising, networks.reference, networks.condition, NoiseSchedule.of_inference())
    with torch.no_grad():
        for name, parameter in trainee.denoising.named_parameters():
            if name.startswith("conv_out.") or (".motion_modules." in name and ".proj_out." in name):
                parameter.zero_()
    scale_encoder(trainee.condition, conditions)
    return trainee


def scale_encoder(encoder: ConditionEncoder, pictures: Tensor) -> None:
    """Scale each convolution in place so that its output has unit standard deviation (Mishkin and Matas 2016).

    With PyTorch's initial values the signal of a drawing fades over the eight convolutions, and so does the gradient.
    """
    layers = [encoder.conv_in, *encoder.blocks, encoder.conv_out]
    with torch.no_grad():
        x = pictures
        for layer in layers:
            cast(Tensor, layer.bias).zero_()
            spread = layer(x).std().clamp(min=1e-6)
            cast(Tensor, layer.weight).div_(spread if layer is not encoder.conv_out else spread / _CONDITION_SPREAD)
            x = F.silu(layer(x))


def example_conditions(clips: Sequence[MiniClip]) -> Tensor:
    """Drawings of all landmarks (n, 3, 64, 64) in the middle frames of some clips."""
    return torch.cat([condition_pictures(clip, [len(clip) // 2], tuple(PARTS)) for clip in clips[:64]])


def fit_codec(clips: Sequence[MiniClip]) -> LinearCodec:
    """Fit the linear codec on every sixth frame."""
    frames = np.concatenate([clip.frames[::6] for clip in clips])
    return LinearCodec.fit(picture_tensor(frames, torch.device("cpu"), torch.float32) * 2 - 1)


def train_mini(
    clips: Sequence[MiniClip],
    folder: Path,
    steps: int,
    *,
    preset: str = PRESET,
    geometry: Geometry = GEOMETRY,
    seed: int = 0,
    resume: bool = False,
    report: Report | None = None,
) -> Path:
    """Train on `clips` for `steps` steps, export into `folder`/weights and return that folder."""
    settings = mini_settings(steps, seed, preset)
    codec = fit_codec(clips)
    samples = MiniSamples(clips, codec, settings, VOICE_FIRST)
    trainee = build_trainee(seed, example_conditions(clips), geometry)
    average = train(trainee, samples, settings, folder, resume=resume, report=report)
    weights = folder / "weights"
    if resume and weights.exists():
        return weights  # whole, and of this run: it was interrupted afterwards
    others = {"vae": codec, "speech": MelSpeech()}
    to = find_preset(preset), weights
    export_networks(trainee, average, *to, geometry=geometry, others=others, dtype=torch.float32)
    return weights


def steps_for_minutes(clips: Sequence[MiniClip], minutes: float, seed: int = 0) -> int:
    """How many steps fit into `minutes` on this machine, from the speed of a few trial steps."""
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = mini_settings(_TRIAL, seed)
        settings = replace(settings, run=replace(settings.run, checkpoint_every=10 * _TRIAL))
        samples = MiniSamples(clips[:8], fit_codec(clips[:8]), settings, 0.0)
        train(
            build_trainee(seed, example_conditions(clips)),
            samples,
            settings,
            Path(folder),
            report=lambda record: seconds.append(float(str(record["seconds"]))),
        )
    return max(_TRIAL, int(60 * minutes / float(np.median(seconds[2:]))))

"""Samples of the mini: windows of its clips as latents, speech tokens and drawn landmarks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echomimic.diffusion.condition_images import PARTS, draw_motion
from echomimic.diffusion.small import LinearCodec, MelSpeech
from echomimic.diffusion.vae import FACTOR, SCALE, picture_tensor
from echomimic.landmarks.topology import DRAWN_BROWS, DRAWN_EYES, LIPS
from echomimic.train.diffusion.batch import Sample
from echomimic.train.diffusion.mini_data import FPS, SIDE, MiniClip
from echomimic.train.diffusion.randomness import (
    clip_of_sample,
    drops_of_sample,
    noise_of_sample,
    regions_of_sample,
    stream,
    timestep_of_sample,
    window_of_sample,
)
from echomimic.train.diffusion.settings import TrainSettings
from echomimic.types import Floats, LandmarkTrack

FRAMES = 8
CELLS = SIDE // FACTOR
_EYES_AND_BROWS = sorted({index for edges in (*DRAWN_EYES, *DRAWN_BROWS) for edge in edges for index in edge})
_EYES_WEIGHT = 3.0
"""Weight of the loss in the box of eyes and brows."""


@dataclass(frozen=True)
class _Prepared:
    clip: MiniClip
    latents: Tensor
    features: Tensor
    mouth: Tensor


class MiniSamples:
    """Samples of the mini (`loop.Samples`), each a pure function of its number.

    In the first `voice_first` of the steps no landmarks are drawn.
    """

    def __init__(
        self, clips: Sequence[MiniClip], codec: LinearCodec, settings: TrainSettings, voice_first: float
    ) -> None:
        self._settings, self._speech = settings, MelSpeech()
        self._landmarks_from = int(voice_first * settings.run.steps) * settings.optimizer.batch
        self._clips = [self._prepare(clip, codec) for clip in clips if len(clip) > FRAMES + 1]

    def _prepare(self, clip: MiniClip, codec: LinearCodec) -> _Prepared:
        weights = torch.stack([loss_weights(points, self._settings.loss.mouth) for points in clip.points])
        features = self._speech.features([clip.sound])
        return _Prepared(clip, encode_frames(codec, clip), features, weights)

    def sample(self, n: int) -> Sample:
        """Sample `n` of the run."""
        settings, seed = self._settings, self._settings.run.seed
        prepared = self._clips[clip_of_sample(seed, n, len(self._clips))]
        first, reference = window_of_sample(seed, n, len(prepared.clip), FRAMES, settings.data.reference_distance)
        window = list(range(first, first + FRAMES))
        draws_regions = prepared.clip.pose is None and n >= self._landmarks_from
        regions = regions_of_sample(seed, n, settings.landmarks) if draws_regions else ()
        silent = settings.landmarks.silent_with_all if regions == tuple(PARTS) else 0.0
        drops = drops_of_sample(seed, n, settings.drop, silent)
        latents = prepared.latents[window]
        return Sample(
            latents=latents,
            reference=prepared.latents[reference],
            audio=self._speech.tokens(vary_speech(prepared.features, stream("audio", seed, n)), window, FPS),
            condition=condition_pictures(prepared.clip, window, regions),
            noise=noise_of_sample(seed, n, tuple(latents.shape)),
            timestep=torch.tensor(timestep_of_sample(seed, n, settings.optimizer.batch)),
            mouth=prepared.mouth[window],
            keep=torch.tensor([not drops.audio, not drops.condition, not drops.reference], dtype=torch.float32),
        )


def encode_frames(codec: nn.Module, clip: MiniClip) -> Tensor:
    """Scaled latents (T, 4, 8, 8) of a clip."""
    pictures = picture_tensor(clip.frames, torch.device("cpu"), torch.float32) * 2 - 1
    with torch.no_grad():
        return cast(Tensor, cast(Any, codec).encode(pictures) * SCALE)


def condition_pictures(clip: MiniClip, frames: Sequence[int], regions: tuple[str, ...]) -> Tensor:
    """Drawn hands, or drawn landmarks of `regions` (F, 3, 64, 64) in 0..1, exactly as the engine draws them."""
    if clip.pose is None and not regions:
        return torch.zeros(len(frames), 3, SIDE, SIDE)
    motion = clip.pose or LandmarkTrack(clip.points, (SIDE, SIDE), FPS, np.ones(len(clip), bool))
    pictures = np.stack([draw_motion(motion, frame, (SIDE, SIDE), regions) for frame in frames])
    return picture_tensor(pictures, torch.device("cpu"), torch.float32)


def loss_weights(points: Floats, mouth: float) -> Tensor:
    """Loss weights (1, 8, 8) of mean 1 for a frame with landmarks `points`: larger at mouth, eyes and brows."""
    weights = torch.ones(1, CELLS, CELLS)
    for indices, weight in ((_EYES_AND_BROWS, _EYES_WEIGHT), (LIPS, mouth)):
        left, top, right, bottom = _box(points, indices)
        weights[:, top:bottom, left:right] = weight
    return weights / weights.mean()


def _box(points: Floats, indices: Sequence[int]) -> tuple[int, int, int, int]:
    """The box of some landmarks and a margin of 0.7 cells, in latent cells: left, top, right, bottom."""
    part = points[list(indices), :2] / FACTOR
    low, high = np.floor(part.min(0) - 0.7 + 0.5), np.ceil(part.max(0) + 0.7 - 0.5)
    left, top, right, bottom = (int(np.clip(value, 0, CELLS)) for value in (*low, *high))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def vary_speech(features: Tensor, draw: np.random.Generator) -> Tensor:
    """Vary log-mel rows (rows, 1, 80) as if by another voice, microphone or room; their timing is not changed.

    The bands are stretched as by another vocal tract, their level is tilted smoothly, their range changes, and noise is
    added, each in a random fraction of the samples.
    """
    rows = features[:, 0]
    stretch, tilt, gain, noise = draw.random(4) < (0.7, 0.7, 0.5, 0.5)
    if stretch:
        places = (torch.arange(rows.shape[1]) * float(draw.uniform(0.84, 1.18))).clamp(max=rows.shape[1] - 1)
        low = places.floor().long()
        rows = torch.lerp(rows[:, low], rows[:, (low + 1).clamp(max=rows.shape[1] - 1)], places - low)
    if tilt:
        knots = torch.from_numpy(draw.normal(0, 0.4, (1, 1, 8)).astype(np.float32))
        rows = rows + F.interpolate(knots, rows.shape[1], mode="linear", align_corners=True)[0]
    if gain:
        rows = rows * float(draw.uniform(0.7, 1.3))
    if noise:
        rows = rows + float(draw.uniform(0, 0.5)) * torch.from_numpy(draw.normal(size=rows.shape).astype(np.float32))
    return rows[:, None]

"""Networks and samples small enough to train in a test."""

from dataclasses import replace

import numpy as np
import torch

from echomimic.diffusion.attention import UNetConfig
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.unet import UNet
from echomimic.train.diffusion.batch import Batch, Sample
from echomimic.train.diffusion.losses import mouth_weights
from echomimic.train.diffusion.randomness import drops_of_sample, noise_of_sample, timestep_of_sample
from echomimic.train.diffusion.settings import TrainSettings, make_settings
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import Trainee

CONFIG = UNetConfig(channels=(32, 32), layers=1, heads=2, motion_heads=2, audio_dim=16, groups=8)
ONE_LEVEL = replace(CONFIG, channels=(32,))
"""For whole runs: their time goes with the number of tensors. It has attention in the middle only."""

SIDE, FRAMES, TOKENS = 4, 3, 5


def make_trainee(seed: int = 0, channels: int = 1, config: UNetConfig = CONFIG) -> Trainee:
    torch.manual_seed(seed)
    reference = replace(config, audio_dim=None, motion=False, head=False)
    encoder = ConditionEncoder(channels, config.channels[0], (4, 4, 4, 4))
    return Trainee(UNet(config), UNet(reference), encoder, NoiseSchedule.of_inference())


def small_settings(**groups: dict[str, object]) -> TrainSettings:
    values: dict[str, dict[str, object]] = {
        "optimizer": {"batch": 2, "warmup": 2, "rate": 1e-3},
        "run": {"steps": 6, "precision": "float32", "workers": 0, "checkpoint_every": 2},
        "model": {"trained": "all"},
    }
    values["run"]["gradient_checkpointing"] = False
    for group, fields in groups.items():
        values[group] = {**values.get(group, {}), **fields}
    return make_settings(values)


class SmallSamples:
    """Random latents that depend on the sample number alone."""

    def __init__(self, settings: TrainSettings, channels: int = 1) -> None:
        self.settings, self.channels = settings, channels

    def sample(self, n: int) -> Sample:
        draw = np.random.default_rng([7, n])
        seed, batch = self.settings.run.seed, self.settings.optimizer.batch
        drops = drops_of_sample(seed, n, self.settings.drop)

        def normal(*shape: int) -> torch.Tensor:
            return torch.from_numpy(draw.standard_normal(shape, np.float32))

        return Sample(
            latents=normal(FRAMES, 4, SIDE, SIDE),
            reference=normal(4, SIDE, SIDE),
            audio=normal(FRAMES, TOKENS, 16),
            condition=normal(1, self.channels, 8 * SIDE, 8 * SIDE).abs(),
            noise=noise_of_sample(seed, n, (FRAMES, 4, SIDE, SIDE)),
            timestep=torch.tensor(timestep_of_sample(seed, n, batch)),
            mouth=mouth_weights((1, 1, 3, 3), (SIDE, SIDE), 3.0).expand(FRAMES, -1, -1, -1).contiguous(),
            keep=torch.tensor([not drops.audio, not drops.condition, not drops.reference], dtype=torch.float32),
        )


def small_batch(count: int = 2, first: int = 0) -> Batch:
    samples = SmallSamples(small_settings())
    return Batch.stack([samples.sample(first + n) for n in range(count)])

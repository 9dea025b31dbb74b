"""Replacements of the autoencoder and of Whisper for small networks that were trained on a CPU."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echomimic.diffusion.vae import FACTOR, SCALE
from echomimic.diffusion.whisper import log_mel, windows_of_frames

_ROWS = 10
_RATES = (0.3, 0.6, 1.2, 2.4)
_FLOOR, _LOUD = 1e-4, 0.7
"""Noise floor 40 dB below the loud frames, which are those above this quantile of the power."""


class LinearCodec(nn.Module):
    """A linear autoencoder of 8 x 8 blocks: principal components, as a stand-in for Stable Diffusion's autoencoder.

    It has the methods `encode` and `decode` of `Autoencoder`.
    """

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        values = 3 * FACTOR**2
        self.mean = nn.Parameter(torch.zeros(values))
        self.basis = nn.Parameter(torch.zeros(values, channels))
        self.scale = nn.Parameter(torch.ones(channels))

    @classmethod
    def fit(cls, pictures: Tensor, channels: int = 4) -> "LinearCodec":
        """Fit the components to pictures (n, 3, H, W) in -1..1; scaled latents then have unit power on average."""
        blocks = F.pixel_unshuffle(pictures, FACTOR).permute(0, 2, 3, 1).flatten(0, 2).double()
        mean = blocks.mean(0)
        values, vectors = torch.linalg.eigh((blocks - mean).T @ (blocks - mean) / len(blocks))
        spread = values.flip(0)[:channels].clamp(min=1e-8).sqrt()
        codec = cls(channels)
        with torch.no_grad():
            codec.mean.copy_(mean)
            codec.basis.copy_(vectors.flip(1)[:, :channels])
            # half whitened: each component is divided by the root of its spread
            codec.scale.copy_(spread.sqrt() * spread.mean().sqrt() * SCALE)
        return codec.requires_grad_(False).eval()

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in -1..1 to latents (n, channels, H/8, W/8)."""
        blocks = F.pixel_unshuffle(pictures, FACTOR).permute(0, 2, 3, 1)
        latents = ((blocks - self.mean) @ self.basis) / self.scale
        return latents.permute(0, 3, 1, 2).contiguous()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pictures in about -1..1."""
        blocks = (latents.permute(0, 2, 3, 1) * self.scale) @ self.basis.T + self.mean
        return F.pixel_shuffle(blocks.permute(0, 3, 1, 2), FACTOR)


class MelSpeech(nn.Module):
    """Speech features without a network: normalized log-mel rows at 50 Hz, and their position around a frame."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        with torch.device("cpu"):  # on the meta device this arithmetic would import the compiler of PyTorch
            angles = torch.arange(_ROWS)[:, None] * torch.tensor(_RATES)
            positions = torch.cat([angles.sin(), angles.cos()], dim=1)
        self.register_buffer("positions", positions.to(torch.get_default_device()))

    def features(self, blocks: Iterable[npt.NDArray[np.float32]], *, exact: bool = False) -> Tensor:
        """Mono 16 kHz sound to (rows, 1, 80): bands of zero mean and unit spread over the sound.

        A noise floor hides in what recordings and synthesizers differ most: how silent their pauses are.
        """
        power = 10 ** (4 * log_mel(blocks).T - 4)
        energy = power.mean(dim=1)
        loud = energy[energy >= energy.quantile(_LOUD)].mean()
        mel = (power + _FLOOR * loud).log10()
        rows = F.pad(mel, (0, 0, 0, len(mel) % 2)).view(-1, 2, mel.shape[1]).mean(dim=1)
        return ((rows - rows.mean(0)) / (rows.std(0) + 0.1))[:, None]

    def tokens(self, features: Tensor, frames: Sequence[int], fps: float) -> Tensor:
        """The speech tokens of video frames: (frames, 10, 88)."""
        windows = windows_of_frames(features, frames, fps)
        positions = self.positions.to(windows, non_blocking=True)
        return torch.cat([windows, positions.expand(len(windows), -1, -1)], dim=-1)

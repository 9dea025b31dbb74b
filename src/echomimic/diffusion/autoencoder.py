"""The autoencoder (VAE) of Stable Diffusion (Rombach et al., 2022), with the tensor names of its published file."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

_EPS = 1e-6
_LARGE = 2**31
"""PyTorch repeats pixels of tensors with more elements correctly only if they are contiguous (PyTorch #141831)."""


@dataclass(frozen=True)
class VaeConfig:
    """Channels at each resolution, residual blocks for each, groups of the norms; as published unless given."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    layers: int = 2
    groups: int = 32


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, dim: int, out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, dim, eps=_EPS)
        self.conv1 = nn.Conv2d(dim, out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out, eps=_EPS)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(dim, out, 1) if dim != out else None

    def forward(self, x: Tensor) -> Tensor:
        """(n, dim, h, w) to (n, out, h, w)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return cast(Tensor, (x if self.conv_shortcut is None else self.conv_shortcut(x)) + h)


class PixelAttention(nn.Module):
    """Attention of one head among all pixels of a picture."""

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, dim, eps=_EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        """(n, dim, h, w) to the same shape."""
        tokens = self.group_norm(x.flatten(2)).transpose(1, 2)
        q, k, v = (project(tokens)[:, None] for project in (self.to_q, self.to_k, self.to_v))
        attended = self.to_out[0](F.scaled_dot_product_attention(q, k, v)[:, 0])
        return cast(Tensor, attended.transpose(1, 2).reshape(x.shape) + x)


class Downsampling(nn.Module):
    """Halves the size."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, dim, h, w) to (n, dim, h/2, w/2)."""
        return cast(Tensor, self.conv(F.pad(x, (0, 1, 0, 1))))


class Upsampling(nn.Module):
    """Doubles the size."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, dim, h, w) to (n, dim, 2h, 2w)."""
        x = x.contiguous() if 4 * x.numel() >= _LARGE else x
        return cast(Tensor, self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest")))


class Stage(nn.Module):
    """The residual blocks at one resolution, with attention after the first or a change of size at the end."""

    def __init__(self, dim: int, out: int, layers: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResidualBlock(out if i else dim, out, groups) for i in range(layers))
        self.attentions, self.downsamplers, self.upsamplers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()

    def forward(self, x: Tensor) -> Tensor:
        """(n, dim, h, w) to (n, out, h, w), half or twice as large where it has a sampler."""
        x = self.resnets[0](x)
        for layer in (*self.attentions, *list(self.resnets)[1:], *self.downsamplers, *self.upsamplers):
            x = layer(x)
        return x


def _middle(dim: int, groups: int) -> Stage:
    stage = Stage(dim, dim, 2, groups)
    stage.attentions.append(PixelAttention(dim, groups))
    return stage


class Encoder(nn.Module):
    """Pictures to mean and log-variance of latents."""

    def __init__(self, config: VaeConfig, latent_channels: int) -> None:
        super().__init__()
        widths = config.channels
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        stages = _stages(widths, config.layers, config.groups)
        for stage, width in zip(stages[:-1], widths, strict=False):
            stage.downsamplers.append(Downsampling(width))
        self.down_blocks = nn.ModuleList(stages)
        self.mid_block = _middle(widths[-1], config.groups)
        self.conv_norm_out = nn.GroupNorm(config.groups, widths[-1], eps=_EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, H, W) to (n, 2 * latent channels, H/8, W/8)."""
        x = self.conv_in(x)
        for stage in (*self.down_blocks, self.mid_block):
            x = stage(x)
        return cast(Tensor, self.conv_out(F.silu(self.conv_norm_out(x))))


class Decoder(nn.Module):
    """Latents to pictures."""

    def __init__(self, config: VaeConfig, latent_channels: int) -> None:
        super().__init__()
        widths = config.channels[::-1]
        self.conv_in = nn.Conv2d(latent_channels, widths[0], 3, padding=1)
        self.mid_block = _middle(widths[0], config.groups)
        stages = _stages(widths, config.layers + 1, config.groups)
        for stage, width in zip(stages[:-1], widths, strict=False):
            stage.upsamplers.append(Upsampling(width))
        self.up_blocks = nn.ModuleList(stages)
        self.conv_norm_out = nn.GroupNorm(config.groups, widths[-1], eps=_EPS)
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, latent channels, h, w) to (n, 3, 8h, 8w)."""
        x = self.conv_in(x)
        for stage in (self.mid_block, *self.up_blocks):
            x = stage(x)
        return cast(Tensor, self.conv_out(F.silu(self.conv_norm_out(x))))


def _stages(widths: Sequence[int], layers: int, groups: int) -> list[Stage]:
    return [Stage(dim, out, layers, groups) for dim, out in pairwise((widths[0], *widths))]


class Autoencoder(nn.Module):
    """Encoder and decoder."""

    def __init__(self, config: VaeConfig = VaeConfig(), latent_channels: int = 4) -> None:
        super().__init__()
        self.encoder = Encoder(config, latent_channels)
        self.decoder = Decoder(config, latent_channels)
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in -1..1 to the mean of their latents (n, latent channels, H/8, W/8)."""
        return cast(Tensor, self.quant_conv(self.encoder(pictures)).chunk(2, dim=1)[0])

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pictures in about -1..1."""
        return cast(Tensor, self.decoder(self.post_quant_conv(latents)))

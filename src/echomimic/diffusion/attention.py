"""Attention of the denoising network: within a frame and to the portrait, to the speech, and along time.

Attribute names are the keys of the published checkpoints. Tokens are (frames, tokens, channels).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echomimic.diffusion.kernels import (
    MLP_ROWS,
    USUAL,
    Kernels,
    attend_tokens,
    attend_with_portrait,
    on_eager_cpu,
    onednn_gated,
    onednn_linear,
)


@dataclass(frozen=True)
class UNetConfig:
    """The geometry of a UNet; the defaults are the denoising network of V1 and V2 (Stable Diffusion 1.5's).

    `heads` is a count at every level. Without `audio_dim` there is no attention to speech, without `motion` none along
    time, without `head` no last convolution: the reference network has none of the three.
    """

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: int = 2
    heads: int = 8
    motion_heads: int = 8
    groups: int = 32
    in_channels: int = 4
    audio_dim: int | None = 384
    audio_scale: float = 3.0
    motion: bool = True
    max_frames: int = 32
    head: bool = True


class Linear(nn.Linear):
    """A linear layer with a fast path on a CPU: oneDNN in float32, one product in other formats."""

    kernels: Kernels = USUAL

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        if not on_eager_cpu(x):
            return super().forward(x)
        if self.kernels.onednn and x.dtype == torch.float32 and x.device.type == "cpu":
            return onednn_linear(x, self.weight, self.bias)
        # for a transposed input PyTorch computes a batch of products, each with its own copy of the weights
        return super().forward(x.contiguous())


class KeysValues(NamedTuple):
    """Keys and values of the portrait for one attention layer, each (1, tokens, channels)."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    """Multi-head attention of `x` to itself or to a context, and to precomputed keys and values."""

    kernels: Kernels = USUAL
    fused: Tensor | None = None

    def __init__(self, dim: int, heads: int, context_dim: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = Linear(dim, dim, bias=False)
        self.to_k = Linear(context_dim or dim, dim, bias=False)
        self.to_v = Linear(context_dim or dim, dim, bias=False)
        self.to_out = nn.ModuleList([Linear(dim, dim)])

    def project(self, context: Tensor) -> KeysValues:
        """Keys and values of `context` (frames, tokens, context channels)."""
        return KeysValues(self.to_k(context), self.to_v(context))

    def forward(self, x: Tensor, context: Tensor | None = None, portrait: KeysValues | None = None) -> Tensor:
        """Attend; `portrait` is appended to the keys and values of every frame."""
        return cast(Tensor, self.to_out[0](self._attended(x, context, portrait)))

    def _attended(self, x: Tensor, context: Tensor | None, portrait: KeysValues | None) -> Tensor:
        """The outputs of the heads, before the last layer; its caller holds no queries, keys or values any more."""
        if self.fused is not None and context is None:
            queries, keys, values = F.linear(x, self.fused).chunk(3, dim=-1)
        else:
            queries, (keys, values) = self.to_q(x), self.project(x if context is None else context)
        if portrait is None:
            return attend_tokens(queries, keys, values, self.heads, self.kernels)
        return attend_with_portrait(queries, keys, values, portrait, self.heads, self.kernels)

    def fuse(self) -> None:
        """Keep the weights of queries, keys and values in one tensor, of which the layers' own become views."""
        layers = (self.to_q, self.to_k, self.to_v)
        self.fused = torch.cat([layer.weight for layer in layers])
        for layer, part in zip(layers, self.fused.chunk(3), strict=True):
            layer.weight = nn.Parameter(part, requires_grad=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Attention":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.fused is not None:  # moved layers are apart again
            self.fuse()
        return self

    def of_silence(self) -> Tensor:
        """The output for an all-zero context: keys and values have no bias, so only the bias of the output remains."""
        return cast(Tensor, self.to_out[0].bias)


class GEGLU(nn.Module):
    """A linear layer half of whose outputs gate the other half (Shazeer, 2020)."""

    kernels: Kernels = USUAL

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.proj = Linear(dim, hidden * 2)

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) to (…, hidden)."""
        if self.kernels.gelu and on_eager_cpu(x):
            return onednn_gated(x, self.proj.weight, self.proj.bias)
        value, gate = self.proj(x).chunk(2, dim=-1)
        return cast(Tensor, value * F.gelu(gate))


class FeedForward(nn.Module):
    """The MLP of a transformer block, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GEGLU(dim, 4 * dim), nn.Identity(), Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) to the same shape; on a CPU some tokens at a time."""
        if not on_eager_cpu(x) or x.shape[:-1].numel() <= MLP_ROWS:
            return cast(Tensor, self.net[2](self.net[0](x)))
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        tokens, done = x.flatten(0, -2), out.flatten(0, -2)
        for start in range(0, len(tokens), MLP_ROWS):
            done[start : start + MLP_ROWS] = self.net[2](self.net[0](tokens[start : start + MLP_ROWS]))
        return out


class SpatialBlock(nn.Module):
    """Attention of a frame's pixels to each other and the portrait's, then to speech, then an MLP."""

    def __init__(self, dim: int, config: UNetConfig) -> None:
        super().__init__()
        self.audio_scale = config.audio_scale
        self.has_audio = config.audio_dim is not None
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, config.heads)
        if self.has_audio:
            self.norm2 = nn.LayerNorm(dim)
            self.attn2 = Attention(dim, config.heads, config.audio_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def forward(
        self,
        x: Tensor,
        audio: Tensor | None,
        portrait: KeysValues | None,
        keep: list[Tensor] | None = None,
        audio_mask: Tensor | None = None,
        conditional: int | None = None,
    ) -> Tensor:
        """(frames, tokens, dim) to the same; the normed input, which is a reference feature, is appended to `keep`.

        `audio_mask` (frames, tokens, 1) in 0..1 blends from silence to speech, token by token. The first `conditional`
        frames have all conditions, the others the null condition: no portrait and no speech.
        """
        normed = self.norm1(x)
        if keep is not None:
            keep.append(normed)
        attended = self.attn1(normed[:conditional], portrait=portrait)
        if conditional is not None:
            attended = torch.cat([attended, self.attn1(normed[conditional:])])
        x = x + attended
        if self.has_audio:
            silence = self.attn2.of_silence()
            speech = silence if audio is None else self.attn2(self.norm2(x[:conditional]), audio)
            if audio is not None and audio_mask is not None:
                speech = torch.lerp(silence.to(speech).expand_as(speech), speech, audio_mask.to(speech))
            if conditional is not None:
                speech = torch.cat([speech, silence.expand_as(x[conditional:])])
            x = x + self.audio_scale * speech
        return cast(Tensor, x + self.ff(self.norm3(x)))


class SpatialTransformer(nn.Module):
    """A spatial block between 1×1 convolutions, added to its input."""

    def __init__(self, dim: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.groups, dim, eps=1e-6)
        self.proj_in = nn.Conv2d(dim, dim, 1)
        self.transformer_blocks = nn.ModuleList([SpatialBlock(dim, config)])
        self.proj_out = nn.Conv2d(dim, dim, 1)

    @property
    def block(self) -> SpatialBlock:
        """The only block; the checkpoints keep it in a list."""
        return cast(SpatialBlock, self.transformer_blocks[0])

    def forward(
        self,
        x: Tensor,
        audio: Tensor | None,
        portrait: KeysValues | None,
        keep: list[Tensor] | None = None,
        audio_mask: Tensor | None = None,
        conditional: int | None = None,
    ) -> Tensor:
        """(frames, dim, h, w) to the same shape; `audio_mask` (frames, 1, H, W) of any size is pooled to (h, w)."""
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        if audio_mask is not None:
            audio_mask = F.interpolate(audio_mask, size=x.shape[-2:], mode="area").flatten(2).transpose(1, 2)
        tokens = self.block(tokens, audio, portrait, keep, audio_mask, conditional)
        return cast(Tensor, x + self.proj_out(tokens.transpose(1, 2).unflatten(-1, x.shape[-2:])))


def frame_positions(max_frames: int, dim: int) -> Tensor:
    """Sinusoidal positions (1, max_frames, dim): sines at even channels, cosines at odd (Vaswani et al., 2017)."""
    with torch.device("cpu"):  # on the meta device this arithmetic would import the compiler of PyTorch
        rates = torch.exp(-math.log(10_000) * torch.arange(0, dim, 2) / dim)
        angles = torch.arange(max_frames)[:, None] * rates
        positions = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[None]
    return positions.to(torch.get_default_device())


class FramePosition(nn.Module):
    """Adds the position of each frame inside its window."""

    pe: Tensor

    def __init__(self, dim: int, max_frames: int) -> None:
        super().__init__()
        self.register_buffer("pe", frame_positions(max_frames, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(pixels, frames, dim) to the same shape."""
        return x + self.pe[:, : x.shape[1]]


class TemporalAttention(Attention):
    """Attention of a pixel to itself in the other frames of the window."""

    def __init__(self, dim: int, config: UNetConfig) -> None:
        super().__init__(dim, config.motion_heads)
        self.pos_encoder = FramePosition(dim, config.max_frames)

    def forward(self, x: Tensor, context: Tensor | None = None, portrait: KeysValues | None = None) -> Tensor:
        """(pixels, frames, dim) to the same shape."""
        return super().forward(self.pos_encoder(x), context, portrait)


class TemporalBlock(nn.Module):
    """Two attentions along time, then an MLP."""

    def __init__(self, dim: int, config: UNetConfig) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(TemporalAttention(dim, config) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.ff = FeedForward(dim)
        self.ff_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(pixels, frames, dim) to the same shape."""
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            x = x + attention(norm(x))
        return cast(Tensor, x + self.ff(self.ff_norm(x)))


class TemporalTransformer(nn.Module):
    """A temporal block between linear layers, added to its input."""

    def __init__(self, dim: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, dim, eps=1e-6)
        self.proj_in = Linear(dim, dim)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(dim, config)])
        self.proj_out = Linear(dim, dim)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(windows · frames, dim, h, w) to the same shape; windows do not see each other."""
        height, width = x.shape[-2:]
        windowed = self.norm(x).unflatten(0, (-1, frames))  # (windows, frames, dim, h, w)
        tokens = self.proj_in(windowed.permute(0, 3, 4, 1, 2).flatten(0, 2))  # (windows · h · w, frames, dim)
        tokens = self.proj_out(self.transformer_blocks[0](tokens))
        return cast(Tensor, x + tokens.unflatten(0, (-1, height, width)).permute(0, 3, 4, 1, 2).flatten(0, 1))


class MotionModule(nn.Module):
    """Temporal attention that makes an image network a video network (AnimateDiff: Guo et al., 2023)."""

    def __init__(self, dim: int, config: UNetConfig) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(dim, config)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(windows · frames, dim, h, w) to the same shape."""
        return cast(Tensor, self.temporal_transformer(x, frames))

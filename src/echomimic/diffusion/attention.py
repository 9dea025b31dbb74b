"""Attention of the denoising network: within a frame and to the portrait, to the speech, and along time.

Attribute names are the keys of the published checkpoints. Tokens are (frames, tokens, channels).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 256
"""Queries in a slice of attention, so that its weights stay in the processor's cache."""
HAS_ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


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
    """A linear layer with a fast path on a CPU: oneDNN in float32, one product in other formats.

    PyTorch uses MKL for such products, which uses only half of AVX-512 on processors that are not Intel's; oneDNN took
    0.4 to 0.6 of the time on a Zen 5 core. Training and every other device and dtype use the default path.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        if not on_eager_cpu(x):
            return super().forward(x)
        if HAS_ONEDNN and x.dtype == torch.float32:
            return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], ""))
        # for a transposed input PyTorch computes a batch of products, each with its own copy of the weights
        return super().forward(x.contiguous())


def on_eager_cpu(x: Tensor) -> bool:
    """Whether the fast paths apply: on a CPU, neither training, being compiled, nor under autocast."""
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return not torch.is_autocast_enabled("cpu")


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention over (n, heads, tokens, channels).

    In bfloat16 on a CPU it runs in slices of plain products, which took 0.6 of the time of PyTorch's own kernel.
    """
    if queries.dtype != torch.bfloat16 or queries.shape[2] < ROWS // 4 or not on_eager_cpu(queries):
        return F.scaled_dot_product_attention(queries, keys, values)
    out = torch.empty_like(queries)
    queries = queries * queries.shape[-1] ** -0.5
    for i, (query, key, value) in enumerate(zip(queries, keys, values, strict=True)):
        key, value = key.contiguous().transpose(-1, -2), value.contiguous()  # once, not for every slice
        for start in range(0, query.shape[1], ROWS):
            weights = torch.softmax(query[:, start : start + ROWS] @ key, dim=-1)
            torch.matmul(weights, value, out=out[i, :, start : start + ROWS])
    return out


class KeysValues(NamedTuple):
    """Keys and values of the portrait for one attention layer, each (1, tokens, channels)."""

    keys: Tensor
    values: Tensor


class Attention(nn.Module):
    """Multi-head attention of `x` to itself or to a context, and to precomputed keys and values."""

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
        keys, values = self.project(x if context is None else context)
        if portrait is not None:
            keys = torch.cat([keys, portrait.keys.expand(len(x), -1, -1)], dim=1)
            values = torch.cat([values, portrait.values.expand(len(x), -1, -1)], dim=1)
        queries, keys, values = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.to_q(x), keys, values)
        )
        out = attend(queries, keys, values)
        return cast(Tensor, self.to_out[0](out.transpose(1, 2).flatten(2)))

    def of_silence(self) -> Tensor:
        """The output for an all-zero context: keys and values have no bias, so only the bias of the output remains."""
        return cast(Tensor, self.to_out[0].bias)


class GEGLU(nn.Module):
    """A linear layer half of whose outputs gate the other half (Shazeer, 2020)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.proj = Linear(dim, hidden * 2)

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) to (…, hidden)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return cast(Tensor, value * F.gelu(gate))


class FeedForward(nn.Module):
    """The MLP of a transformer block, four times as wide inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GEGLU(dim, 4 * dim), nn.Identity(), Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) to the same shape."""
        return cast(Tensor, self.net[2](self.net[0](x)))


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
    ) -> Tensor:
        """(frames, tokens, dim) to the same; the normed input, which is a reference feature, is appended to `keep`.

        `audio_mask` (frames, tokens, 1) in 0..1 blends from silence to speech, token by token.
        """
        normed = self.norm1(x)
        if keep is not None:
            keep.append(normed)
        x = x + self.attn1(normed, portrait=portrait)
        if self.has_audio:
            speech = self.attn2.of_silence() if audio is None else self.attn2(self.norm2(x), audio)
            if audio is not None and audio_mask is not None:
                speech = torch.lerp(self.attn2.of_silence().to(speech).expand_as(speech), speech, audio_mask.to(speech))
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
    ) -> Tensor:
        """(frames, dim, h, w) to the same shape; `audio_mask` (frames, 1, H, W) of any size is pooled to (h, w)."""
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        if audio_mask is not None:
            audio_mask = F.interpolate(audio_mask, size=x.shape[-2:], mode="area").flatten(2).transpose(1, 2)
        tokens = self.block(tokens, audio, portrait, keep, audio_mask)
        return cast(Tensor, x + self.proj_out(tokens.transpose(1, 2).unflatten(-1, x.shape[-2:])))


def frame_positions(max_frames: int, dim: int) -> Tensor:
    """Sinusoidal positions (1, max_frames, dim): sines at even channels, cosines at odd (Vaswani et al., 2017)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(0, dim, 2) / dim)
    angles = torch.arange(max_frames)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[None]


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

"""The reference and the denoising network of EchoMimic V1 and V2: one class, two configurations.

A Stable Diffusion 1.5 UNet inflated over frames. Its spatial attention also attends to reference features of the
portrait, which a second copy of the UNet (the reference network) has computed; its cross-attention attends to speech.
Attribute names are the checkpoints' keys; shapes are (frames, channels, h, w), windows one after another.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echomimic.diffusion.attention import KeysValues, MotionModule, SpatialTransformer, UNetConfig

REFERENCE = UNetConfig(audio_dim=None, motion=False, head=False)
DENOISING = UNetConfig()


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """Sinusoidal embedding (n, dim) float32 of the diffusion timesteps `t` (n,), cosines first."""
    rates = torch.exp(-math.log(10_000) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angles = t.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimestepMLP(nn.Module):
    """Two linear layers over the timestep's embedding."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(dim, out)
        self.linear_2 = nn.Linear(out, out)

    def forward(self, x: Tensor) -> Tensor:
        """(n, dim) to (n, out)."""
        return cast(Tensor, self.linear_2(F.silu(self.linear_1(x))))


class ResnetBlock(nn.Module):
    """Two convolutions with the timestep added between them."""

    def __init__(self, dim: int, out: int, time_dim: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, dim, eps=1e-5)
        self.conv1 = nn.Conv2d(dim, out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_dim, out)
        self.norm2 = nn.GroupNorm(groups, out, eps=1e-5)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.reshapes = dim != out
        if self.reshapes:
            self.conv_shortcut = nn.Conv2d(dim, out, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(frames, dim, h, w) to (frames, out, h, w)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time_emb_proj(F.silu(emb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return cast(Tensor, h + (self.conv_shortcut(x) if self.reshapes else x))


class ResampleConv(nn.Module):
    """Halves the size by a stride of 2, or reaches a given size by repeating pixels."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, stride=stride, padding=1)

    def forward(self, x: Tensor, size: torch.Size | None = None) -> Tensor:
        """(frames, dim, h, w) to half of it, or to `size`, which need not be twice as large: sizes may be odd."""
        return cast(Tensor, self.conv(x if size is None else F.interpolate(x, size=size, mode="nearest")))


OUTER_LAYERS = 2
"""Layers at the end of the network that are computed in every step if deep features are kept; one less at its start."""


@dataclass
class DeepFeatures:
    """What the outer layers of the network read from the deeper ones, to be used again in later steps.

    Deep features change little from step to step (DeepCache: Ma et al., 2023). A call fills `value` if it is None.
    """

    value: Tensor | None = None


@dataclass(frozen=True)
class StageInputs:
    """The inputs of all layers besides the latents: see `UNet.forward`. `portrait` yields in layer order.

    The first `conditional` frames have all conditions, the others the null condition.
    """

    emb: Tensor
    audio: Tensor | None
    portrait: Iterator[KeysValues | None]
    frames: int
    keep: list[Tensor] | None = None
    audio_mask: Tensor | None = None
    conditional: int | None = None


class Stage(nn.Module):
    """The layers at one resolution: resnet, attention inside a frame, motion; repeated."""

    def __init__(self, dims: Sequence[tuple[int, int]], config: UNetConfig, attentions: int, motions: int) -> None:
        super().__init__()
        out, time_dim = dims[0][1], 4 * config.channels[0]
        self.resnets = nn.ModuleList(ResnetBlock(a, b, time_dim, config.groups) for a, b in dims)
        self.attentions = nn.ModuleList(SpatialTransformer(out, config) for _ in range(attentions))
        self.motion_modules = nn.ModuleList(MotionModule(out, config) for _ in range(motions if config.motion else 0))

    def layer(self, i: int, x: Tensor, inputs: StageInputs) -> Tensor:
        """The `i`-th resnet, with the attention and the motion module that follow it, if any."""
        x = self.resnets[i](x, inputs.emb)
        if i < len(self.attentions):
            portrait = next(inputs.portrait)
            x = self.attentions[i](x, inputs.audio, portrait, inputs.keep, inputs.audio_mask, inputs.conditional)
        return self.motion_modules[i](x, inputs.frames) if i < len(self.motion_modules) else x


class DownStage(Stage):
    """A stage that halves the size at its end, unless it is the last."""

    def __init__(self, dim: int, width: int, config: UNetConfig, last: bool) -> None:
        dims = [(dim, width)] + [(width, width)] * (config.layers - 1)
        super().__init__(dims, config, 0 if last else config.layers, config.layers)
        if not last:
            self.downsamplers = nn.ModuleList([ResampleConv(width, 2)])

    def forward(self, x: Tensor, inputs: StageInputs) -> list[Tensor]:
        """The outputs of every layer, for the skip connections; the last is the stage's own."""
        outputs = []
        for i in range(len(self.resnets)):
            outputs.append(x := self.layer(i, x, inputs))
        if hasattr(self, "downsamplers"):
            outputs.append(self.downsamplers[0](x))
        return outputs


class MidStage(Stage):
    """The stage at the lowest resolution."""

    def __init__(self, dim: int, config: UNetConfig) -> None:
        super().__init__([(dim, dim)] * 2, config, 1, 1)

    def forward(self, x: Tensor, inputs: StageInputs) -> Tensor:
        """(frames, dim, h, w) to the same shape."""
        return cast(Tensor, self.resnets[1](self.layer(0, x, inputs), inputs.emb))


class UpStage(Stage):
    """A stage that reads the skips of its down stage and doubles the size at its end, unless it is the last."""

    def __init__(self, dim: int, skips: Sequence[int], width: int, config: UNetConfig, first: bool, last: bool) -> None:
        ins = [dim] + [width] * (len(skips) - 1)
        dims = [(a + skip, width) for a, skip in zip(ins, skips, strict=True)]
        super().__init__(dims, config, 0 if first else len(dims), len(dims))
        if not last:
            self.upsamplers = nn.ModuleList([ResampleConv(width, 1)])

    def forward(self, x: Tensor, skips: list[Tensor], inputs: StageInputs, deep: DeepFeatures | None = None) -> Tensor:
        """Takes its skips from the end of `skips`; the size of the next skip there is its output size.

        What the outer layers read is left in `deep`; if it is there already, it replaces `x` and the other layers.
        """
        outer = len(self.resnets) - OUTER_LAYERS
        known = None if deep is None else deep.value
        for i in range(0 if known is None else outer, len(self.resnets)):
            if deep is not None and i == outer:
                x = deep.value = x if known is None else known
            x = self.layer(i, torch.cat([x, skips.pop()], dim=1), inputs)
        return self.upsamplers[0](x, skips[-1].shape[-2:]) if hasattr(self, "upsamplers") else x


def _added(x: Tensor, condition: Tensor, conditional: int | None) -> Tensor:
    """Add the features of the condition picture to the first `conditional` frames."""
    added = x[:conditional] + condition
    return added if conditional is None else torch.cat([added, x[conditional:]])


class UNet(nn.Module):
    """The denoising network, or with `REFERENCE` the reference network."""

    def __init__(self, config: UNetConfig = DENOISING) -> None:
        super().__init__()
        self.config = config
        widths, count = config.channels, config.layers
        bottom = len(widths) - 1
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepMLP(widths[0], 4 * widths[0])
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        skips, dim = [widths[0]], widths[0]
        for level, width in enumerate(widths):
            self.down_blocks.append(DownStage(dim, width, config, last=level == bottom))
            skips += [width] * (count if level == bottom else count + 1)
            dim = width
        self.mid_block = MidStage(dim, config)
        for level, width in enumerate(reversed(widths)):
            mine = [skips.pop() for _ in range(count + 1)]
            self.up_blocks.append(UpStage(dim, mine, width, config, first=level == 0, last=level == bottom))
            dim = width
        if config.head:
            self.conv_norm_out = nn.GroupNorm(config.groups, widths[0], eps=1e-5)
            self.conv_out = nn.Conv2d(widths[0], config.in_channels, 3, padding=1)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        audio: Tensor | None = None,
        condition: Tensor | None = None,
        portrait: Sequence[KeysValues] | None = None,
        frames: int | None = None,
        keep: list[Tensor] | None = None,
        audio_mask: Tensor | None = None,
        deep: DeepFeatures | None = None,
    ) -> Tensor:
        """Predict the velocity of one or more windows of noisy latents.

        Args:
            x: latents (windows · frames, 4, h, w).
            t: timestep, (1,) or one for each frame.
            audio: speech around each frame (windows · frames, tokens, audio_dim); None is silence, at no cost. If it
                has fewer frames than x, the others have the null condition: the second half of guidance.
            condition: features of the driving picture (1 | windows · frames, channels[0], h, w).
            portrait: what `project` returned; None leaves the portrait out.
            frames: how many frames a window has; default: x is one window.
            keep: receives the attention layers' normed inputs, in network order.
            audio_mask: where the speech is heard (windows · frames, 1, h, w) in 0..1, pooled to every resolution; None
                is everywhere. Only training V2 uses it.
            deep: deep features of an earlier step, with which only the outer layers are computed; None computes all.
        """
        emb = self.time_embedding(timestep_embedding(t, self.config.channels[0]).to(x.dtype))
        known = deep is not None and deep.value is not None
        if known and portrait is not None:
            portrait = [*portrait[: OUTER_LAYERS - 1], *portrait[-OUTER_LAYERS:]]
        source = iter(portrait) if portrait is not None else repeat(None)
        conditional = None if audio is None or len(audio) == len(x) else len(audio)
        inputs = StageInputs(emb, audio, source, frames or len(x), keep, audio_mask, conditional)
        x = self.conv_in(x)
        skips = [x if condition is None else _added(x, condition, conditional)]
        if known:
            for i in range(OUTER_LAYERS - 1):
                skips.append(cast(Stage, self.down_blocks[0]).layer(i, skips[-1], inputs))
            x = self.up_blocks[-1](x, skips, inputs, deep)
        else:
            for stage in self.down_blocks:
                skips += stage(skips[-1], inputs)
            x = self.mid_block(skips[-1], inputs)
            for stage in self.up_blocks:
                x = stage(x, skips, inputs, deep if stage is self.up_blocks[-1] else None)
        return self.conv_out(F.silu(self.conv_norm_out(x))) if self.config.head else x

    def features(self, latents: Tensor) -> list[Tensor]:
        """The reference features (1, tokens, channels) of each layer, of a portrait's clean latents (1, 4, h, w)."""
        keep: list[Tensor] = []
        self(latents, latents.new_zeros(1), keep=keep)
        return keep

    def project(self, features: Sequence[Tensor]) -> list[KeysValues]:
        """Keys and values of the reference features for every layer: constant over frames, windows and steps."""
        layers = [cast(SpatialTransformer, layer) for stage in self.stages() for layer in stage.attentions]
        return [layer.block.attn1.project(feature) for layer, feature in zip(layers, features, strict=True)]

    def stages(self) -> Iterator[Stage]:
        """The stages in the order in which latents pass them."""
        for stage in (*self.down_blocks, self.mid_block, *self.up_blocks):
            yield cast(Stage, stage)

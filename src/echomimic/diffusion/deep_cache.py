"""Deep features kept over steps (DeepCache: Ma et al., 2023): which steps compute them, and what that saves."""

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from echomimic.diffusion.attention import UNetConfig
from echomimic.diffusion.unet import OUTER_LAYERS

if TYPE_CHECKING:
    from echomimic.diffusion.denoise import SamplingConfig

FEATURE_BYTES = 4 << 30
"""Memory for the deep features that are kept; windows whose features do not fit compute all layers in every step."""
CacheSchedule = Literal["uniform", "quadratic"]
_CENTRE, _POWER = 0.3, 1.4
"""Where full steps are closest together, as a share of all steps, and the power by which they spread (Ma et al.)."""
_AUDIO_TOKENS = 50


def full_steps(steps: int, every: int, schedule: CacheSchedule = "uniform") -> list[int]:
    """The steps that compute the whole network: the first, and in all one of `every`."""
    if every == 1 or schedule == "uniform":
        return list(range(0, steps, every))
    centre, count = _CENTRE * steps, -(-steps // every)
    places = np.linspace(-(centre ** (1 / _POWER)), (steps - centre) ** (1 / _POWER), count, endpoint=False)
    found, order = np.round(np.sign(places) * np.abs(places) ** _POWER + centre), np.arange(count)
    found = np.maximum.accumulate(found - order) + order  # no step twice
    return [int(step) for step in np.minimum(found, steps - count + order)]


@dataclass(frozen=True)
class CachePlan:
    """FLOP of a denoising with kept deep features, FLOP without them, and the memory that the features take."""

    flops: int
    whole_flops: int
    feature_bytes: int


def plan_cache(
    unet: UNetConfig, sampling: "SamplingConfig", frames: int, cells: tuple[int, int], itemsize: int
) -> CachePlan:
    """What keeping deep features saves and takes for a clip of `frames` latents of `cells` (height, width)."""
    size, halves = min(sampling.size, frames), [True, False] if sampling.guidance_scale > 1 else [True]
    costs = [window_flops(unet, size, cells, half) for half in halves]
    whole, outer = (sum(cost[i] for cost in costs) for i in (0, 1))
    width = unet.channels[0 if unet.layers >= OUTER_LAYERS else 1]
    features = len(halves) * size * width * math.prod(cells) * itemsize
    most = -(-FEATURE_BYTES // features)
    windows = [len(sampling.at(step, frames)) for step in range(sampling.steps)]
    kept = sum(min(most, count) for step, count in enumerate(windows) if step not in sampling.full_steps)
    total = whole * sum(windows)
    return CachePlan(total - kept * (whole - outer), total, min(most, max(windows)) * features)


def window_flops(config: UNetConfig, frames: int, cells: tuple[int, int], conditional: bool) -> tuple[int, int]:
    """FLOP of a window of `frames` latents of `cells` (height, width): of the whole network, and of its outer layers.

    `conditional` false is the null half of guidance. Counts the multiplications and additions of matrix products.
    """
    widths, count = config.channels, config.layers
    pixels = [-(-cells[0] // 2**level) * -(-cells[1] // 2**level) for level in range(len(widths))]
    layer = partial(_layer_flops, config, frames, conditional)
    ends = 36 * pixels[0] * config.in_channels * widths[0]
    total, dim, skips = ends, widths[0], [widths[0]]
    for level, width in enumerate(widths):
        for i in range(count):
            total += layer(pixels[level], width if i else dim, width, attention=level < len(widths) - 1)
        skips += [width] * count
        if level < len(widths) - 1:
            total += 18 * pixels[level + 1] * width**2
            skips.append(width)
        dim = width
    total += layer(pixels[-1], dim, dim) + layer(pixels[-1], dim, dim, attention=False, motion=False)
    for level, width in reversed([*enumerate(widths)]):
        for _ in range(count + 1):
            total += layer(pixels[level], dim + skips.pop(), width, attention=level < len(widths) - 1)
            dim = width
        total += 18 * pixels[level - 1] * width**2 if level else 0
    first, last = layer(pixels[0], widths[0], widths[0]), layer(pixels[0], 2 * widths[0], widths[0])
    return frames * total, frames * (ends + (OUTER_LAYERS - 1) * first + OUTER_LAYERS * last)


def _layer_flops(
    config: UNetConfig,
    frames: int,
    conditional: bool,
    pixels: int,
    dim: int,
    out: int,
    attention: bool = True,
    motion: bool = True,
) -> int:
    """FLOP for one frame of a resnet, and of the attention and the motion module that follow it."""
    flops = pixels * out * (18 * (dim + out) + 2 * dim * (dim != out))
    if attention:
        flops += pixels * out * (36 * out + 4 * pixels * (1 + conditional))
    if attention and conditional and config.audio_dim:
        flops += out * (pixels * 4 * (out + _AUDIO_TOKENS) + 4 * _AUDIO_TOKENS * config.audio_dim)
    return flops + (pixels * out * (44 * out + 8 * frames) if motion else 0)

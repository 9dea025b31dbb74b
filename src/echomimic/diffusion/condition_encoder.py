"""The condition encoder: features of a face mask (1 channel), or of drawn landmarks or hands (3 channels)."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 12
"""Condition pictures that are encoded together."""
FEATURE_BYTES = 512 << 20
"""Memory of the device for features of condition pictures, so that each is encoded once and not at every step."""


class ConditionEncoder(nn.Module):
    """Eight convolutions to an eighth of the size: FaceLocator in V1's files, PoseEncoder in V2's."""

    def __init__(self, channels: int = 3, out: int = 320, widths: tuple[int, ...] = (16, 32, 96, 256)) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for a, b in pairwise(widths):
            self.blocks += [nn.Conv2d(a, a, 3, padding=1), nn.Conv2d(a, b, 3, padding=1, stride=2)]
        self.conv_out = nn.Conv2d(widths[-1], out, 3, padding=1)

    @property
    def channels(self) -> int:
        """Channels of the condition picture: 1 or 3."""
        return int(self.conv_in.in_channels)

    def forward(self, pictures: Tensor) -> Tensor:
        """(frames, channels, H, W) in 0..1 to (frames, out, H/8, W/8)."""
        x = F.silu(self.conv_in(pictures))
        for block in self.blocks:
            x = F.silu(block(x))
        return self.conv_out(x)


class ConditionFeatures:
    """Features of the condition pictures of a clip, encoded once for all windows that share a frame.

    `encode` gives the features (frames, channels, h, w) of some frames. It gets the same blocks of neighbouring frames
    whatever is asked for, so that a resumed render has the same features. The `most` last blocks are kept.
    """

    def __init__(self, encode: Callable[[Sequence[int]], Tensor], frames: int, most: int) -> None:
        def block(number: int) -> Tensor:
            return encode(range(number * BLOCK, min((number + 1) * BLOCK, frames)))

        self._block = lru_cache(max(most, 3))(block)

    def __call__(self, frames: Sequence[int]) -> Tensor:
        """The features of some frames."""
        return torch.stack([self._block(frame // BLOCK)[frame % BLOCK] for frame in frames])

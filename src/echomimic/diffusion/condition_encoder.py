"""The condition encoder: features of a face mask (1 channel), or of drawn landmarks or hands (3 channels)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


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

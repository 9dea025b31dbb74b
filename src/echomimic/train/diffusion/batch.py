"""A batch of training samples: B clips of F frames each, as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """One training sample of F frames.

    Attributes:
        latents: clean latents (F, c, h, w) float32.
        reference: clean latents of the reference picture (c, h, w).
        audio: speech features around each frame (F, tokens, dim).
        condition: condition pictures (1 | F, channels, H, W) in 0..1.
        noise: Gaussian noise (F, c, h, w).
        timestep: () int64.
        mouth: loss weights (F, 1, h, w) of mean 1 over the map.
        keep: (3,) float32, 0 where audio, condition, reference are dropped, else 1.
    """

    latents: Tensor
    reference: Tensor
    audio: Tensor
    condition: Tensor
    noise: Tensor
    timestep: Tensor
    mouth: Tensor
    keep: Tensor


@dataclass(frozen=True)
class Batch(Sample):
    """Samples stacked along a new first axis."""

    @classmethod
    def stack(cls, samples: Sequence[Sample]) -> "Batch":
        return cls(**{field.name: torch.stack([getattr(s, field.name) for s in samples]) for field in fields(Sample)})

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`."""
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def __len__(self) -> int:
        return len(self.latents)

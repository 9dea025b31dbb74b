"""A batch of training samples: B clips of F frames each, as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

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
        audio_mask: where the audio is heard (F, 1, h, w) in 0..1; None for everywhere.
        crop: the part of a frame that losses on pictures decode: frame, top, left, height, width in latent cells,
            (5,) int64; None where there are no such losses.
        crop_picture: pixels of the crop (3, 8 * height, 8 * width) in -1..1.
        pictures: pixels (F, 3, H, W) uint8, still to be encoded into `latents`; None if `latents` are given.
        reference_picture: pixels of the reference (3, H, W) uint8, still to be encoded into `reference`.
        origin: index of the clip in the data set and first frame of the window, (2,) int64.
    """

    latents: Tensor
    reference: Tensor
    audio: Tensor
    condition: Tensor
    noise: Tensor
    timestep: Tensor
    mouth: Tensor
    keep: Tensor
    audio_mask: Tensor | None = None
    crop: Tensor | None = None
    crop_picture: Tensor | None = None
    pictures: Tensor | None = None
    reference_picture: Tensor | None = None
    origin: Tensor | None = None


@dataclass(frozen=True)
class Batch(Sample):
    """Samples stacked along a new first axis."""

    @classmethod
    def stack(cls, samples: Sequence[Sample]) -> "Batch":
        """The batch of `samples`, which all have the same fields and shapes."""
        columns = {field.name: [getattr(sample, field.name) for sample in samples] for field in fields(Sample)}
        stacked: dict[str, Any] = {
            name: None if values[0] is None else torch.stack(values) for name, values in columns.items()
        }
        return cls(**stacked)

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: None if value is None else value.to(device) for name, value in values.items()}
        return Batch(**moved)

    def __len__(self) -> int:
        return len(self.latents)

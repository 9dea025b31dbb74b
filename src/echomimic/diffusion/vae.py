"""Pictures to latents and back, with any autoencoder."""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from echomimic.diffusion.device import is_out_of_memory
from echomimic.errors import DeviceError
from echomimic.types import Picture

SCALE = 0.18215
FACTOR = 8
"""Pixels per latent, in each direction."""

LEGACY = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def modern_names(name: str) -> str:
    """The name of a tensor in `Autoencoder`; sd-vae-ft-mse is published with older names of its attention."""
    parts = name.split(".")
    return ".".join(LEGACY.get(part, part) for part in parts) if "attentions" in parts else name


def picture_tensor(pictures: Picture, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(frames, H, W, channels) uint8 to (frames, channels, H, W) in 0..1."""
    tensor = torch.from_numpy(np.ascontiguousarray(pictures)).to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2).to(dtype) / 255


def encode_picture(vae: nn.Module, picture: Picture) -> Tensor:
    """(H, W, 3) uint8 to scaled latents (1, 4, H/8, W/8) float32: the mean, not a sample."""
    weight = next(vae.parameters())
    encoded = cast(Any, vae).encode(picture_tensor(picture[None], weight.device, weight.dtype) * 2 - 1)
    return cast(Tensor, (encoded * SCALE).float())


def decode_latents(vae: nn.Module, latents: Tensor, batch: int = 4, *, floor: bool = False) -> Iterator[Picture]:
    """Yield (H, W, 3) uint8 of scaled latents (frames, 4, h, w), decoded `batch` at a time; `floor` truncates.

    If memory runs out the batch is halved. Raises DeviceError if a single frame does not fit.
    """
    for pictures in decode_batches(vae, latents, batch, floor=floor):
        yield from pictures


def decode_batches(vae: nn.Module, latents: Tensor, batch: int, *, floor: bool = False) -> Iterator[Picture]:
    """The same pictures, those that are decoded together as one array (frames, H, W, 3)."""
    start = 0
    while start < len(latents):
        some = latents[start : start + batch]
        try:
            pictures = _decoded(vae, some, floor)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(some) == 1:
                raise DeviceError(
                    "a frame does not fit the device's memory; lower `size` or try `offload`", code="out_of_memory"
                ) from None
            batch = len(some) // 2
            continue
        start += len(some)
        yield pictures


def _decoded(vae: nn.Module, latents: Tensor, floor: bool) -> Picture:
    weight = next(vae.parameters())
    decoded = cast(Any, vae).decode((latents / SCALE).to(weight.device, weight.dtype)).float()
    shades = (decoded / 2 + 0.5).clamp(0, 1) * 255
    shades = (shades.floor() if floor else shades.round()).to(torch.uint8)
    return cast(Picture, shades.permute(0, 2, 3, 1).cpu().numpy())

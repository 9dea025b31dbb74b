"""Encoding of pictures to latents on the training device, for each batch or once for all clips."""

from dataclasses import replace
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from echomimic.diffusion.vae import SCALE
from echomimic.media import atomic_path
from echomimic.media.output import writing
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.clips import Clips
from echomimic.train.diffusion.samples import LATENTS

_TOGETHER = 4
"""Number of pictures in one call of the autoencoder."""


def encode_batch(vae: nn.Module, batch: Batch) -> Batch:
    """The batch with latents instead of pictures; the same batch if it has no pictures."""
    if batch.pictures is None or batch.reference_picture is None:
        return batch
    latents = encode_pictures(vae, batch.pictures.flatten(0, 1)).view_as(batch.latents)
    reference = encode_pictures(vae, batch.reference_picture)
    return replace(batch, latents=latents, reference=reference, pictures=None, reference_picture=None)


def encode_pictures(vae: nn.Module, pictures: Tensor) -> Tensor:
    """Scaled latents (n, 4, h, w) float32 of pictures (n, 3, H, W) uint8, on their device."""
    device = pictures.device
    if next(vae.parameters()).device != device:
        nn.Module.to(vae, device)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        parts = torch.split(pictures, _TOGETHER)
        encoded = [cast(Any, vae).encode(some.float() / 127.5 - 1) for some in parts]
    return torch.cat(encoded) * SCALE


def cache_latents(clips: Clips, vae: nn.Module, device: torch.device, process: int = 0, processes: int = 1) -> None:
    """Write the latents of every clip that has none yet, each file whole or not at all; processes share the clips."""
    for index in range(process, len(clips), processes):
        path = clips.folder / LATENTS / f"{clips.rows[index].id}.safetensors"
        if not path.is_file():
            frames = torch.from_numpy(clips.frames(index, range(clips.rows[index].frames))).permute(0, 3, 1, 2)
            latents = torch.cat(
                [encode_pictures(vae, some.to(device)).half().cpu() for some in torch.split(frames, 16)]
            )
            with writing():
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_path(path) as part:
                    save_file({"mean": latents.contiguous()}, part)

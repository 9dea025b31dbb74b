"""Memory of a training step: bytes that autograd keeps, counted on the meta device, and bytes of weights and optimizer.

Nothing is computed: tensors have shapes and no values. Attention counts as the fused kernel, which keeps queries, keys,
values, the result and one number a query. Activations are in bfloat16; `--autocast` measures on a small network by how
much bfloat16 autocast keeps more.

    python benchmarks/training_memory.py
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echomimic.diffusion.attention import MotionModule, SpatialTransformer, UNetConfig
from echomimic.diffusion.autoencoder import Autoencoder
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.networks import on_meta
from echomimic.diffusion.unet import DENOISING, ResnetBlock, UNet
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.losses import decoder_layers
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import Trainee, count_parameters, select_parameters

GIB = 2**30
LAYERS = (ResnetBlock, SpatialTransformer, MotionModule)
ADAM, ADAM_8BIT, FROZEN, CAST = 16, 10, 2, 2
"""Bytes a parameter: weight, gradient and moments in float32; with 8-bit moments; frozen; autocast's copy."""


class FusedAttention(torch.autograd.Function):
    """Scaled dot-product attention that keeps what a fused kernel keeps; on the meta device, without values."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


@dataclass
class Kept:
    """Storages that the backward pass needs: by layer of a network, and outside of all."""

    bytes_of: dict[int, int] = field(default_factory=dict)
    layer_of: dict[int, int] = field(default_factory=dict)
    inputs: dict[int, int] = field(default_factory=dict)
    alive: list[Tensor] = field(default_factory=list)
    layer: int = -1

    def add(self, tensor: Tensor, layer: int) -> None:
        storage = tensor.untyped_storage()._cdata
        if storage not in self.bytes_of:
            self.bytes_of[storage], self.layer_of[storage] = tensor.untyped_storage().nbytes(), layer
            self.alive.append(tensor)

    @property
    def plain(self) -> int:
        """Bytes without checkpointing."""
        return sum(self.bytes_of.values())

    @property
    def checkpointed(self) -> int:
        """Bytes with checkpointing by layer: inputs of layers, what is kept between them, and the widest layer."""
        inside: dict[int, int] = {}
        outside = dict(self.inputs)
        for storage, size in self.bytes_of.items():
            layer = self.layer_of[storage]
            if layer < 0:
                outside[storage] = size
            elif storage not in self.inputs:
                inside[layer] = inside.get(layer, 0) + size
        return sum(outside.values()) + max(inside.values(), default=0)


@contextmanager
def counted(modules: tuple[nn.Module, ...], layers: tuple[type, ...] = LAYERS) -> Iterator[Kept]:
    """Count what the backward pass keeps of the work inside the block; weights do not count."""
    kept = Kept()
    weights = {t.untyped_storage()._cdata for m in modules for t in (*m.parameters(), *m.buffers())}
    hooks = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in weights:
            kept.add(tensor, kept.layer)
        return tensor

    def enter(number: int) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            kept.layer = number
            for tensor in arguments:
                if isinstance(tensor, Tensor):
                    kept.alive.append(tensor)
                    kept.inputs[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()

        return hook

    def leave(*_: object) -> None:
        kept.layer = -1

    for number, layer in enumerate(m for module in modules for m in module.modules() if isinstance(m, layers)):
        hooks += [layer.register_forward_pre_hook(enter(number)), layer.register_forward_hook(leave)]
    original, F.scaled_dot_product_attention = F.scaled_dot_product_attention, _fused
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield kept
    finally:
        F.scaled_dot_product_attention = original
        for hook in hooks:
            hook.remove()


def _fused(q: Tensor, k: Tensor, v: Tensor, *_: object, **__: object) -> Tensor:
    return FusedAttention.apply(q, k, v)  # type: ignore[no-any-return]


def meta_trainee(config: UNetConfig = DENOISING, channels: int = 1) -> Trainee:
    """Networks of the given geometry in bfloat16, without values."""
    reference = replace(config, audio_dim=None, motion=False, head=False)
    schedule = NoiseSchedule(torch.empty(1000, device="meta"), torch.empty(1000, device="meta"))
    trainee = on_meta(
        lambda: Trainee(UNet(config), UNet(reference), ConditionEncoder(channels, config.channels[0]), schedule)
    )
    return trainee.bfloat16()


def meta_batch(clips: int, frames: int, side: int, config: UNetConfig = DENOISING, channels: int = 1) -> Batch:
    """A batch of clips of `side` pixels, without values."""
    with torch.device("meta"):
        cells, dtype = side // 8, torch.bfloat16
        latents = torch.empty(clips, frames, 4, cells, cells, dtype=dtype)
        return Batch(
            latents=latents,
            reference=latents[:, 0],
            audio=torch.empty(clips, frames, 50, config.audio_dim or 384, dtype=dtype),
            condition=torch.empty(clips, 1 if channels == 1 else frames, channels, side, side, dtype=dtype),
            noise=latents,
            timestep=torch.empty(clips, dtype=torch.int64),
            mouth=torch.empty(clips, frames, 1, cells, cells),
            keep=torch.empty(clips, 3, dtype=dtype),
        )


def kept_by_step(trainee: Trainee, batch: Batch) -> Kept:
    """What one forward pass keeps."""
    rows = torch.arange(len(batch), device="meta")
    with counted((trainee,)) as kept:
        trainee._predict(batch, batch.latents, rows, True)
    return kept


CASES: tuple[tuple[str, str, int, int, int, int], ...] = (
    ("512, 1 frame", "picture", 1, 1, 512, 1),
    ("512, batch 4 of 1 frame", "picture", 4, 1, 512, 1),
    ("512, 12 frames, motion and audio", "motion+audio", 1, 12, 512, 1),
    ("512, 12 frames, all", "all", 1, 12, 512, 1),
    ("768, batch 4 of 1 frame", "pose-picture", 4, 1, 768, 3),
    ("768, 12 frames, attention", "attention", 1, 12, 768, 3),
    ("768, 24 frames, motion and audio", "motion+audio", 1, 24, 768, 3),
)
"""Name, `model.trained`, clips, frames, pixels, channels of the condition picture."""


def activation_rows(config: UNetConfig = DENOISING, scale: int = 1) -> Iterator[tuple[str, float, float]]:
    """Name, GiB kept, GiB kept with checkpointing, of each case; `scale` divides the pixels."""
    for name, trained, clips, frames, side, channels in CASES:
        one = replace(config, motion=frames > 1)
        trainee = meta_trainee(one, channels)
        select_parameters(trainee, trained)  # type: ignore[arg-type]
        kept = kept_by_step(trainee, meta_batch(clips, frames, side // scale, one, channels))
        yield name, kept.plain / GIB, kept.checkpointed / GIB


def decoder_rows() -> Iterator[tuple[str, float, float]]:
    """The same of decoding pictures with a gradient to the latents, in float32, as the loss on pictures does."""
    vae = on_meta(Autoencoder).requires_grad_(False)
    layers = tuple({type(layer) for layer in decoder_layers(vae.decoder)})
    for name, count, side in (("256", 1, 256), ("512", 1, 512), ("768", 1, 768), ("512, 12 frames", 12, 512)):
        latents = torch.empty(count, 4, side // 8, side // 8, device="meta", requires_grad=True)
        with counted((vae.decoder,), layers) as kept:
            vae.decode(latents)
        yield f"decoder, {name}", kept.plain / GIB, kept.checkpointed / GIB


def fixed_rows() -> Iterator[tuple[str, float, float, float]]:
    """Name, parameters trained in millions, GiB of weights and optimizer, and the same with 8-bit Adam."""
    for trained in ("picture", "motion+audio", "all", "attention"):
        trainee = meta_trainee(replace(DENOISING, motion=trained != "picture"))
        select_parameters(trainee, trained)  # type: ignore[arg-type]
        counts = count_parameters(trainee).values()
        learnt, total = sum(count[0] for count in counts), sum(count[1] for count in counts)
        frozen = FROZEN * (total - learnt) + CAST * learnt
        yield trained, learnt / 1e6, (ADAM * learnt + frozen) / GIB, (ADAM_8BIT * learnt + frozen) / GIB


def autocast_ratio() -> float:
    """Bytes kept under bfloat16 autocast with float32 weights, over those in plain bfloat16, on a small network."""
    config = UNetConfig(channels=(32, 64, 128, 128), audio_dim=64)
    sums = []
    for autocast in (True, False):
        torch.manual_seed(0)
        net = UNet(config).to(torch.float32 if autocast else torch.bfloat16)
        dtype = torch.float32 if autocast else torch.bfloat16
        latents, audio = torch.randn(4, 4, 32, 32, dtype=dtype), torch.randn(4, 50, 64, dtype=dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast, cache_enabled=False), counted((net,)) as kept:
            net(latents, torch.zeros(4), audio=audio, frames=4)
        sizes = {t.shape for t in net.parameters()}
        sums.append(sum(t.untyped_storage().nbytes() for t in _unique(kept) if t.shape not in sizes))
    return sums[0] / sums[1]


def _unique(kept: Kept) -> list[Tensor]:
    """Kept tensors, one of each storage."""
    return list({tensor.untyped_storage()._cdata: tensor for tensor in kept.alive}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--autocast", action="store_true", help="measure the ratio of autocast too (some seconds)")
    chosen = parser.parse_args()
    print("| kept for the backward pass, GiB | all | checkpointed |\n|---|---|---|")
    for name, plain, checkpointed in (*activation_rows(), *decoder_rows()):
        print(f"| {name} | {plain:.1f} | {checkpointed:.1f} |", flush=True)
    print("\n| trained | M parameters | AdamW, GiB | 8-bit AdamW, GiB |\n|---|---|---|---|")
    for name, learnt, full, small in fixed_rows():
        print(f"| {name} | {learnt:.0f} | {full:.1f} | {small:.1f} |")
    if chosen.autocast:
        print(f"\nautocast keeps {autocast_ratio():.2f} times the bytes of plain bfloat16 (small network, CPU)")


if __name__ == "__main__":
    main()

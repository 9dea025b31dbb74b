"""The networks that are trained, as one module whose forward pass is the velocity prediction of a batch.

The null branch of guidance is imitated exactly: dropped audio is all zeros (equal to no audio, since keys and values
have no bias), a dropped condition has zero features after the encoder, and samples without reference are computed in a
separate call without portrait keys.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from echomimic.diffusion.attention import KeysValues, MotionModule, SpatialTransformer
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.unet import ResnetBlock, UNet
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.settings import Trained
from echomimic.train.diffusion.targets import NoiseSchedule

_AUDIO = (".attn2.", ".norm2.")
_SELF = ".attn1."
_MOTION = ".motion_modules."


class Trainee(nn.Module):
    """The denoising network, the reference network and the condition encoder."""

    def __init__(self, denoising: UNet, reference: UNet, condition: ConditionEncoder, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.denoising, self.reference, self.condition = denoising, reference, condition
        self.schedule = schedule

    def forward(self, batch: Batch, noisy: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noisy latents and predicted velocity, both (B, F, c, h, w); `noisy` replaces the batch's own."""
        count = len(batch.latents)
        if noisy is None:
            noisy = self.schedule.add_noise(batch.latents, batch.noise, batch.timestep)
        velocity = torch.empty_like(noisy)
        has_reference = batch.keep[:, 2] > 0
        for with_reference in (True, False):
            rows = torch.arange(count, device=noisy.device)[has_reference == with_reference]
            if len(rows):
                predicted = self._predict(batch, noisy, rows, with_reference)
                velocity = velocity.index_copy(0, rows, predicted.to(velocity.dtype))
        if not bool(has_reference.any()):
            velocity = velocity + self._no_reference()
        return noisy, velocity

    def _no_reference(self) -> Tensor | float:
        """Zero, with a zero gradient for every trained parameter of the reference network, for which processes wait."""
        trained = [parameter for parameter in self.reference.parameters() if parameter.requires_grad]
        if not trained or not torch.is_grad_enabled():
            return 0.0
        return 0 * torch.stack([parameter.flatten()[0].float() for parameter in trained]).sum()

    def _predict(self, batch: Batch, noisy: Tensor, rows: Tensor, with_reference: bool) -> Tensor:
        frames = noisy.shape[1]
        portrait = self._portrait(batch.reference[rows], frames) if with_reference else None
        audio = batch.audio[rows] * batch.keep[rows, 0].view(-1, 1, 1, 1)
        out = self.denoising(
            noisy[rows].flatten(0, 1),
            batch.timestep[rows].repeat_interleave(frames),
            audio=audio.flatten(0, 1),
            condition=self._condition(batch, rows, frames),
            portrait=portrait,
            frames=frames,
            audio_mask=None if batch.audio_mask is None else batch.audio_mask[rows].flatten(0, 1),
        )
        return cast(Tensor, out.unflatten(0, (-1, frames)))

    def _portrait(self, reference: Tensor, frames: int) -> list[KeysValues]:
        """Keys and values (B * F, tokens, channels) of every layer; each frame has those of its sample's portrait."""
        kept: list[Tensor] = []
        self.reference(reference, reference.new_zeros(len(reference)), frames=1, keep=kept)
        return [
            KeysValues(pair.keys.repeat_interleave(frames, 0), pair.values.repeat_interleave(frames, 0))
            for pair in self.denoising.project(kept)
        ]

    def _condition(self, batch: Batch, rows: Tensor, frames: int) -> Tensor:
        pictures = batch.condition[rows]
        features = self.condition(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        features = features * batch.keep[rows, 1].view(-1, 1, 1, 1, 1).to(features)
        return cast(Tensor, features.expand(-1, frames, -1, -1, -1).flatten(0, 1))

    def networks(self) -> dict[str, nn.Module]:
        """The networks by their part of the preset."""
        return {"denoising": self.denoising, "reference": self.reference, "condition": self.condition}


def unused_reference_names(reference: UNet) -> frozenset[str]:
    """Parameters of a reference network after its last kept feature, which never get a gradient."""
    stage = reference.up_blocks[-1]
    last = len(cast(nn.ModuleList, stage.attentions)) - 1
    prefix = f"up_blocks.{len(reference.up_blocks) - 1}.attentions.{last}"
    after = ("transformer_blocks.0.attn1", "transformer_blocks.0.norm3", "transformer_blocks.0.ff", "proj_out")
    return frozenset(
        name for name, _ in reference.named_parameters() if any(name.startswith(f"{prefix}.{part}.") for part in after)
    )


def select_parameters(trainee: Trainee, trained: Trained) -> dict[str, nn.Parameter]:
    """Freeze all parameters except those of a training stage, and return the trained ones by name.

    "picture": denoising network without motion, reference network, condition encoder. "motion": motion modules.
    "motion+audio": motion modules and audio attention. "denoising": the denoising network. "all": everything.
    Of V2: "pose-picture": as "picture" without audio attention; "pose-video": the denoising network without audio
    attention, and the condition encoder; "attention": self-attention, audio attention and motion of the denoising
    network, and the condition encoder.
    """
    chosen: dict[str, nn.Parameter] = {}
    unused = unused_reference_names(trainee.reference)
    for name, parameter in trainee.named_parameters():
        network, _, inner = name.partition(".")
        is_trained = learns(network, inner, trained) and not (network == "reference" and inner in unused)
        parameter.requires_grad_(is_trained)
        if is_trained:
            chosen[name] = parameter
    return chosen


def learns(network: str, name: str, trained: Trained) -> bool:
    """Whether a stage of training changes the parameter `name` of a network; see `select_parameters`."""
    is_denoising = network == "denoising"
    is_motion = is_denoising and _MOTION in f".{name}"
    is_audio = is_denoising and any(part in name for part in _AUDIO)
    is_self_attention = is_denoising and _SELF in name
    is_encoder = network == "condition"
    return {
        "all": True,
        "denoising": is_denoising,
        "picture": not is_motion,
        "motion": is_motion,
        "motion+audio": is_motion or is_audio,
        "pose-picture": not (is_motion or is_audio),
        "pose-video": is_encoder or (is_denoising and not is_audio),
        "attention": is_encoder or is_motion or is_audio or is_self_attention,
    }[trained]


def checkpoint_layers(network: nn.Module) -> None:
    """Recompute the layers of `network` in the backward pass instead of keeping their activations."""
    for layer in network.modules():
        if isinstance(layer, (ResnetBlock, SpatialTransformer, MotionModule)):
            layer.forward = checkpointed(layer.forward)  # type: ignore[method-assign]


def checkpointed(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A forward pass that keeps only its inputs, and runs again in the backward pass."""

    def run(*arguments: Any, **named: Any) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*arguments, **named)
        return cast(Tensor, checkpoint(forward, *arguments, use_reentrant=False, **named))

    return run


def freeze_in(trainee: Trainee, dtype: torch.dtype) -> None:
    """Store the frozen matrices in `dtype`; norms and biases, which are small, keep their format."""
    for parameter in trainee.parameters():
        if not parameter.requires_grad and parameter.ndim > 1:
            parameter.data = parameter.data.to(dtype)


def count_parameters(trainee: Trainee) -> dict[str, tuple[int, int]]:
    """Numbers of trained and of all parameters of each network."""
    return {
        name: (
            sum(p.numel() for p in module.parameters() if p.requires_grad),
            sum(p.numel() for p in module.parameters()),
        )
        for name, module in trainee.networks().items()
    }


def zero_branches(trainee: Trainee) -> None:
    """Start values of new branches: audio attention and condition encoder contribute nothing at first."""
    with torch.no_grad():
        for name, parameter in trainee.denoising.named_parameters():
            if ".attn2.to_out." in name or (_MOTION in name and name.endswith(("proj_out.weight", "proj_out.bias"))):
                parameter.zero_()
        trainee.condition.conv_out.weight.zero_()
        cast(nn.Parameter, trainee.condition.conv_out.bias).zero_()

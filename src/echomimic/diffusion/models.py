"""The networks of a preset: built without memory, loaded strictly, or small and random for `tiny`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from echomimic.checkpoints import FILES, WeightFile, read_tensors, release_pages, require
from echomimic.diffusion.attention import MotionModule, SpatialTransformer
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.device import picture_dtype
from echomimic.diffusion.loading import Shapes, load_strictly, on_meta, require_same, shapes_of
from echomimic.diffusion.tiny import fill_by_rule
from echomimic.diffusion.unet import DENOISING, REFERENCE, ResnetBlock, UNet
from echomimic.diffusion.vae import SD_VAE, build_vae, modern_names
from echomimic.diffusion.whisper import SpeechEncoder
from echomimic.presets import Preset

TINY_WIDTHS = (32, 64, 96, 96)
TINY_VAE: dict[str, Any] = {
    **SD_VAE,
    "block_out_channels": (16, 16, 32, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
_MOTION = ".motion_modules."


@dataclass(frozen=True)
class Networks:
    """The five networks that make a clip."""

    denoising: UNet
    reference: UNet
    condition: ConditionEncoder
    vae: nn.Module
    speech: SpeechEncoder


def condition_channels(preset: Preset) -> int:
    """A mask has one channel, drawings have three."""
    return 1 if preset.drive == "mask" else 3


def tiny_networks(preset: Preset, dtype: torch.dtype = torch.float32) -> Networks:
    """Small networks with weights by rule: the same on every machine."""

    def fill(network: Any, dtype: torch.dtype = dtype) -> Any:
        fill_by_rule(network)
        return nn.Module.to(network.requires_grad_(False).eval(), dtype)  # diffusers' own `to` warns

    return Networks(
        fill(UNet(replace(DENOISING, channels=TINY_WIDTHS))),
        fill(UNet(replace(REFERENCE, channels=TINY_WIDTHS))),
        fill(ConditionEncoder(condition_channels(preset), TINY_WIDTHS[0])),
        fill(build_vae(TINY_VAE)),
        fill(SpeechEncoder(), torch.float32),
    )


def load_networks(preset: Preset, places: list[Path], dtype: torch.dtype, device: torch.device) -> Networks:
    """The networks of a preset from the first of `places` that has each file, on the CPU, in `dtype`.

    Tensors that have that format already stay mapped from their file. Raises WeightsError.
    """
    paths = {part: require(FILES[name], places, preset.name) for part, name in preset.files.items()}

    def load(module: nn.Module, *parts: str, dtype: torch.dtype = dtype) -> Any:
        tensors: dict[str, Tensor] = {}
        for part in parts:
            tensors |= in_format(named_tensors(FILES[preset.files[part]], paths[part]), dtype)
        source = " + ".join(str(paths[part]) for part in parts)
        return load_strictly(module, tensors, source, mend_of(preset.name))

    return Networks(
        load(on_meta(lambda: UNet(DENOISING)), "denoising", "motion"),
        load(on_meta(lambda: UNet(REFERENCE)), "reference"),
        load(on_meta(lambda: ConditionEncoder(condition_channels(preset))), "condition"),
        load(on_meta(build_vae), "vae", dtype=picture_dtype(dtype, device)),
        load(on_meta(SpeechEncoder), "speech", dtype=torch.float32),
    )


def in_format(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The same tensors in `dtype`; each old one is given back as soon as its copy is there."""
    made = {}
    for name, tensor in tensors.items():
        made[name] = tensor.to(dtype)
        if made[name] is not tensor:
            release_pages(tensor)
    return made


def mend_of(name: str) -> str:
    """What to do about a file of another network."""
    return f"expected the published one: echomimic weights fetch {name}"


def named_tensors(file: WeightFile, path: Path) -> dict[str, Tensor]:
    """The tensors of a published file under the names that our modules use."""
    tensors = read_tensors(path, file.prefix)
    return {modern_names(name): tensor for name, tensor in tensors.items()} if file.name == "vae" else tensors


def expected_shapes(file: WeightFile) -> Shapes:
    """Names and shapes of the tensors that a published file must have."""
    stem = file.stem if file.family else file.name
    kinds: dict[str, Callable[[], nn.Module]] = {
        "denoising_unet": lambda: UNet(DENOISING),
        "motion_module": lambda: UNet(DENOISING),
        "reference_unet": lambda: UNet(REFERENCE),
        "face_locator_pose": lambda: ConditionEncoder(3),
        "face_locator": lambda: ConditionEncoder(1),
        "pose_encoder": lambda: ConditionEncoder(3),
        "vae": build_vae,
        "whisper": SpeechEncoder,
    }
    kind = next(name for name in kinds if stem.startswith(name))
    shapes = shapes_of(on_meta(kinds[kind]).state_dict())
    if kind in ("denoising_unet", "motion_module"):
        shapes = {name: shape for name, shape in shapes.items() if (_MOTION in name) == (kind == "motion_module")}
    return shapes


def check_file(file: WeightFile, path: Path) -> str:
    """The path and what is in it, if it is exactly the published file's tensors; WeightsError if not."""
    tensors = named_tensors(file, path)
    require_same(expected_shapes(file), shapes_of(tensors), str(path), mend_of("PRESET"))
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    return f"{path}  {len(tensors)} tensors, {', '.join(kinds)}"


def compile_regions(unet: UNet) -> None:
    """Compile every layer once for each shape; windows have a constant one, so nothing is compiled again."""
    import torch._dynamo

    # a layer counts as one function however many shapes its copies have
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    for layer in unet.modules():
        if isinstance(layer, (ResnetBlock, SpatialTransformer, MotionModule)):
            cast(nn.Module, layer).compile(dynamic=False)

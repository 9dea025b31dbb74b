"""The networks of a preset: built without memory, loaded strictly, or small and random; how much memory they take."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from echomimic.checkpoints import (
    FILES,
    Geometry,
    WeightFile,
    locate,
    read_geometry,
    read_tensors,
    release_pages,
    require,
)
from echomimic.diffusion.attention import GEGLU, Attention, Linear, MotionModule, SpatialTransformer, UNetConfig
from echomimic.diffusion.autoencoder import Autoencoder, VaeConfig
from echomimic.diffusion.condition_encoder import FEATURE_BYTES, ConditionEncoder
from echomimic.diffusion.device import choose_dtype, picture_dtype
from echomimic.diffusion.kernels import Kernels, choose_kernels
from echomimic.diffusion.quantize import QUANTIZED
from echomimic.diffusion.small import LinearCodec, MelSpeech
from echomimic.diffusion.unet import DENOISING, REFERENCE, ResnetBlock, UNet
from echomimic.diffusion.vae import FACTOR, modern_names
from echomimic.diffusion.whisper import SpeechEncoder
from echomimic.errors import WeightsError
from echomimic.files import user_cache
from echomimic.options import Options
from echomimic.presets import Preset

Module = TypeVar("Module", bound=nn.Module)
Built = TypeVar("Built")
Shapes = Mapping[str, tuple[int, ...]]
TINY_WIDTHS = (32, 64, 96, 96)
TINY_VAE = VaeConfig((16, 16, 32, 32), layers=1, groups=8)
DECODED = 4
"""Pictures that are decoded together."""
NETWORK_WIDTH = 2560 + 1280 + 4 * 320
"""Values per latent pixel at the widest layer: both halves of the gate, its product, and the skip connections."""
DECODER_WIDTH = 4 * 256
"""Values per picture pixel at the decoder's widest layer."""
_MOTION = ".motion_modules."


@dataclass(frozen=True)
class Networks:
    """The five networks of a preset."""

    denoising: UNet
    reference: UNet
    condition: ConditionEncoder
    vae: nn.Module
    speech: SpeechEncoder | MelSpeech


def condition_channels(preset: Preset) -> int:
    """A mask has one channel, drawings have three."""
    return 1 if preset.conditioning == "mask" else 3


def tiny_networks(preset: Preset, dtype: torch.dtype = torch.float32) -> Networks:
    """Small networks with weights by rule: the same on every machine."""

    def fill(network: Any, dtype: torch.dtype = dtype) -> Any:
        fill_by_rule(network)
        return network.requires_grad_(False).eval().to(dtype)

    return Networks(
        fill(UNet(replace(DENOISING, channels=TINY_WIDTHS))),
        fill(UNet(replace(REFERENCE, channels=TINY_WIDTHS))),
        fill(ConditionEncoder(condition_channels(preset), TINY_WIDTHS[0])),
        fill(Autoencoder(TINY_VAE)),
        fill(SpeechEncoder(), torch.float32),
    )


def load_networks(preset: Preset, places: list[Path], dtype: torch.dtype, device: torch.device) -> Networks:
    """The networks of a preset from the first of `places` that has each file, on the CPU, in `dtype`.

    Large networks use the kernels that were measured to be the quickest on `device`. Tensors that have that
    format already stay mapped from their file. Raises WeightsError.
    """
    paths = {part: require(FILES[name], places, preset.name) for part, name in preset.files.items()}

    def load(module: nn.Module, *parts: str, dtype: torch.dtype = dtype) -> Any:
        tensors: dict[str, Tensor] = {}
        for part in parts:
            tensors |= in_format(named_tensors(FILES[preset.files[part]], paths[part]), dtype)
        source = " + ".join(str(paths[part]) for part in parts)
        return load_strictly(module, tensors, source, fix_of(preset.name))

    empty = on_meta(lambda: empty_networks(condition_channels(preset), read_geometry(paths["denoising"])))
    denoising, reference = load(empty.denoising, "denoising", "motion"), load(empty.reference, "reference")
    if denoising.config.channels[0] >= DENOISING.channels[0]:
        kernels = choose_kernels(device, dtype)
        use_kernels(denoising, kernels)
        use_kernels(reference, kernels)
    return Networks(
        denoising,
        reference,
        load(empty.condition, "condition"),
        load(empty.vae, "vae", dtype=picture_dtype(dtype, device)),
        load(empty.speech, "speech", dtype=torch.float32),
    )


def empty_networks(channels: int, geometry: Geometry | None = None) -> Networks:
    """Networks of the published sizes or of `geometry`, whose condition pictures have `channels` channels."""
    if geometry is None:
        return Networks(UNet(DENOISING), UNet(REFERENCE), ConditionEncoder(channels), Autoencoder(), SpeechEncoder())
    config = _config_of(geometry)
    return Networks(
        UNet(config),
        UNet(replace(config, audio_dim=None, motion=False, head=False)),
        ConditionEncoder(channels, geometry.channels[0], geometry.encoder_widths),
        LinearCodec() if geometry.codec == "linear" else Autoencoder(),
        MelSpeech() if geometry.speech == "mel" else SpeechEncoder(),
    )


def _config_of(geometry: Geometry) -> UNetConfig:
    """The denoising network of a geometry."""
    return UNetConfig(
        channels=geometry.channels,
        layers=geometry.layers,
        heads=geometry.heads,
        motion_heads=geometry.motion_heads,
        groups=geometry.groups,
        audio_dim=geometry.audio_dim,
        max_frames=geometry.max_frames,
    )


def denoising_config(preset: Preset, places: list[Path]) -> UNetConfig:
    """The denoising network of a preset, without its weights; the published one if its file is not in `places`."""
    if not preset.files:
        return replace(DENOISING, channels=TINY_WIDTHS)
    path = locate(FILES[preset.files["denoising"]], places)
    geometry = read_geometry(path) if path else None
    return DENOISING if geometry is None else _config_of(geometry)


def use_kernels(network: nn.Module, kernels: Kernels) -> None:
    """Set the kernels of all layers of a network."""
    for layer in network.modules():
        if isinstance(layer, (Linear, Attention, GEGLU)):
            layer.kernels = kernels


def fuse_projections(networks: Networks) -> None:
    """Compute queries, keys and values of self-attention in one product; names of the weights stay."""
    for network in (networks.denoising, networks.reference):
        for layer in network.modules():
            if isinstance(layer, Attention) and layer.to_k.in_features == layer.to_q.in_features:
                layer.fuse()


def in_format(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The same tensors in `dtype`; each old one is given back as soon as its copy is there.

    Weights of convolutions get channels last, so that oneDNN need not reorder the small pictures' large weights twice.
    """
    made = {}
    for name, tensor in tensors.items():
        channels_last = tensor.ndim == 4 and tensor.shape[-1] > 1
        made[name] = tensor.to(dtype, memory_format=torch.channels_last if channels_last else torch.preserve_format)
        if made[name] is not tensor:
            release_pages(tensor)
    return made


def fix_of(name: str) -> str:
    """The advice for a file of another network."""
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
        "vae": Autoencoder,
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
    require_same(expected_shapes(file), shapes_of(tensors), str(path), fix_of("PRESET"))
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()})
    return f"{path}  {len(tensors)} tensors, {', '.join(kinds)}"


def compile_regions(unet: UNet) -> None:
    """Compile every layer once for each shape; calls have a constant one, so nothing is compiled again.

    What is compiled stays in the user's cache, for other processes.
    """
    import torch._dynamo

    place = user_cache("compiled")
    with suppress(OSError):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(place))
    # a layer counts as one function however many shapes its copies have
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    for layer in unet.modules():
        if isinstance(layer, (ResnetBlock, SpatialTransformer, MotionModule)):
            cast(nn.Module, layer).compile(dynamic=False)


class MismatchError(WeightsError):
    """A file does not hold what the network needs; `missing`, `unexpected` and `misshapen` are complete."""

    code = "weights_mismatch"

    def __init__(self, source: str, missing: list[str], unexpected: list[str], misshapen: list[str], fix: str) -> None:
        self.missing, self.unexpected, self.misshapen = missing, unexpected, misshapen
        found = ", ".join(
            f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
            if names
        )
        super().__init__(f"{source}: tensors are not those of this network: {found}; {fix}")


def on_meta(build: Callable[[], Built]) -> Built:
    """What `build` makes, without memory for its weights."""
    with torch.device("meta"):
        return build()


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    """The shape of each tensor, by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def require_same(ours: Shapes, theirs: Shapes, source: str, fix: str) -> None:
    """Raise MismatchError unless names and shapes of a file are exactly those of the network."""
    misshapen = [
        f"{name} {list(theirs[name])} instead of {list(shape)}"
        for name, shape in ours.items()
        if name in theirs and theirs[name] != shape
    ]
    missing, unexpected = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    if missing or unexpected or misshapen:
        raise MismatchError(source, missing, unexpected, misshapen, fix)


def load_strictly(
    module: Module, tensors: Mapping[str, Tensor], source: str, fix: str = "expected the published file"
) -> Module:
    """Put `tensors` in place of the module's own, which may be on the meta device; the same tensors, no copies."""
    require_same(shapes_of(module.state_dict()), shapes_of(tensors), source, fix)
    module.load_state_dict(dict(tensors), strict=True, assign=True)
    return module.requires_grad_(False).eval()


def fill_by_rule(module: nn.Module) -> None:
    """Fill every weight of `module` in place from numpy's legacy generator, seeded by the weight's rank by name.

    Positions keep their sinusoids. Scales are gentle: norms about 1, biases about 0, layers that keep the variance.
    """
    with torch.no_grad():
        for rank, (name, tensor) in enumerate(sorted(module.state_dict().items())):
            if name.endswith((".pe", "positional_embedding")):
                continue
            values = np.random.RandomState(rank).standard_normal(tensor.numel()).reshape(tensor.shape)
            if tensor.ndim > 1:
                values /= np.sqrt(tensor.numel() / len(tensor))
            else:
                values = 0.1 * values + (1 if name.endswith(".weight") else 0)
            tensor.copy_(torch.from_numpy(values))


def peak_megabytes(preset: Preset, options: Options, device: torch.device, size: tuple[int, int]) -> int:
    """Estimated peak memory of the device in megabytes, for pictures of `size` (width, height).

    The weights and the widest layer of what runs at one time; with `offload` only the largest network counts.
    """
    width, height = size
    dtype = choose_dtype(options.dtype, device)
    sizes = [FILES[name].elements * dtype.itemsize for name in preset.files.values()]
    if options.quantized:
        smaller = (QUANTIZED.get(part, 0) * (dtype.itemsize - 1) for part in preset.files)
        sizes = [size - less for size, less in zip(sizes, smaller, strict=True)]
    weights = max(sizes, default=0) * 2 if options.offload else sum(sizes)
    halves = 2 if options.guidance_batch and options.guidance_scale > 1 else 1
    windows = halves * options.context_frames * options.context_batch
    denoising = windows * (width // FACTOR) * (height // FACTOR) * NETWORK_WIDTH * dtype.itemsize
    decoding = DECODED * width * height * DECODER_WIDTH * picture_dtype(dtype, device).itemsize
    conditions = 0 if preset.conditioning == "mask" else FEATURE_BYTES
    return (weights + max(denoising + conditions, decoding)) // 2**20

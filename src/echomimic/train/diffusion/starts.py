"""Start values of a training run, loaded strictly by name.

They come from published checkpoints or exports, or from Stable Diffusion, and from AnimateDiff.

New branches contribute nothing at first: the last layer of the audio attention, of new motion modules and of a new
condition encoder is zero.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from echomimic.checkpoints import FILES, Geometry, locate, read_geometry, read_tensors, require, search_paths
from echomimic.diffusion.attention import UNetConfig
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.networks import (
    condition_channels,
    empty_networks,
    load_strictly,
    named_tensors,
    on_meta,
    require_same,
    shapes_of,
)
from echomimic.diffusion.small import MelSpeech
from echomimic.diffusion.unet import UNet
from echomimic.diffusion.whisper import SpeechEncoder
from echomimic.errors import OptionError, WeightsError
from echomimic.presets import Preset, find_preset
from echomimic.train.diffusion.settings import TrainSettings
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import Trainee, zero_branches

VARIANT_PRESETS = {"mask": "v1", "landmarks": "v1-landmarks", "hands": "v2"}
"""The preset whose files a variant becomes when it is exported."""
NEW = "new"
_MOTION = ".motion_modules."
_AUDIO = (".attn2.to_k.", ".attn2.to_v.", ".attn2.to_out.")
_NOT_IN_REFERENCE = (".attn2.", ".transformer_blocks.0.norm2.", "conv_norm_out.", "conv_out.")
_UNET_FILES = tuple(
    f"{folder}diffusion_pytorch_model{ending}" for folder in ("", "unet/") for ending in (".safetensors", ".bin")
)


@dataclass(frozen=True)
class Start:
    """The networks of a run: the trained ones, the frozen autoencoder and speech network, and where they come from.

    `geometry` is that of networks smaller than the published ones; None for the published sizes.
    """

    trainee: Trainee
    vae: nn.Module
    speech: SpeechEncoder | MelSpeech
    geometry: Geometry | None
    origin: tuple[str, ...]


def export_preset(settings: TrainSettings) -> Preset:
    """The preset whose files a run makes."""
    return find_preset(VARIANT_PRESETS[settings.model.variant])


def load_start(settings: TrainSettings) -> Start:
    """Build the networks of a run and load their start values. Raises WeightsError or OptionError in one line."""
    model, preset = settings.model, export_preset(settings)
    if bool(model.start) == bool(model.stable_diffusion):
        raise OptionError(
            "a run needs start values; expected model.start (a folder of published checkpoints or of an export) or "
            "model.stable_diffusion (a folder of Stable Diffusion 1.5), and not both"
        )
    places = search_paths(Path(model.start)) if model.start else []
    source = find_preset(model.start_preset) if model.start_preset else preset
    geometry = read_geometry(require(FILES[source.files["denoising"]], places, source.name)) if places else None
    torch.manual_seed(settings.run.seed)
    empty = on_meta(lambda: empty_networks(condition_channels(preset), geometry))
    trainee, origin = _build(settings, empty.denoising.config, geometry, preset), list[str]()
    loader = _Loader(places, source, origin)
    if model.start:
        loader.load_preset(trainee, preset)
    else:
        load_stable_diffusion(trainee, Path(model.stable_diffusion))
        origin.append(f"denoising, reference: {model.stable_diffusion}; audio attention and condition encoder: new")
    if trainee.denoising.config.motion:
        loader.load_motion(trainee.denoising, model.motion_module)
    vae = loader.frozen(empty.vae, "vae")
    speech = cast(SpeechEncoder | MelSpeech, loader.frozen(empty.speech, "speech"))
    return Start(trainee, vae, speech, geometry, tuple(origin))


def _build(settings: TrainSettings, config: UNetConfig, geometry: Geometry | None, preset: Preset) -> Trainee:
    """Build a trainee with random weights and zero branches; without motion modules if single pictures are trained."""
    config = replace(config, motion=settings.model.trained not in ("picture", "pose-picture"))
    reference = replace(config, audio_dim=None, motion=False, head=False)
    widths = (geometry.encoder_widths,) if geometry else ()
    condition = ConditionEncoder(condition_channels(preset), config.channels[0], *widths)
    trainee = Trainee(UNet(config), UNet(reference), condition, NoiseSchedule.of_inference())
    zero_branches(trainee)
    return trainee


class _Loader:
    """Loads the files of one start folder and lists which network came from which file."""

    def __init__(self, places: list[Path], source: Preset, origin: list[str]) -> None:
        self._places, self._source, self._origin = places, source, origin

    def load_preset(self, trainee: Trainee, preset: Preset) -> None:
        """Load denoising and reference network, and the condition encoder if its condition pictures are the same."""
        fill(trainee.denoising, *self._read("denoising"), lambda name: _MOTION not in name)
        fill(trainee.reference, *self._read("reference"))
        if self._source.conditioning == preset.conditioning:
            fill(trainee.condition, *self._read("condition"))
        else:
            self._origin.append("condition encoder: new")

    def load_motion(self, denoising: UNet, given: str) -> None:
        """Load the motion modules from AnimateDiff's file or the start folder, unless new ones are requested."""
        if given == NEW:
            self._origin.append("motion modules: new")
            return
        if given:
            path = Path(given)
            tensors = {name.removeprefix("module."): tensor for name, tensor in read_tensors(path).items()}
            tensors = {name: tensor for name, tensor in tensors.items() if _MOTION in name}
            self._origin.append(f"motion modules: {path}")
            fill(denoising, tensors, str(path), lambda name: _MOTION in name)
            return
        if locate(FILES[self._source.files["motion"]], self._places) is None:
            raise WeightsError(
                "model.start has no motion modules; expected model.motion_module: the file mm_sd_v15_v2.ckpt of "
                "AnimateDiff, or new"
            )
        fill(denoising, *self._read("motion"), lambda name: _MOTION in name)

    def frozen(self, module: nn.Module, part: str) -> nn.Module:
        """The autoencoder or the speech network, from the start folder or else from where checkpoints are searched."""
        file = FILES[self._source.files[part]]
        path = require(file, [*self._places, *search_paths()], self._source.name)
        self._origin.append(f"{part}: {path}")
        tensors = {name: tensor.float() for name, tensor in named_tensors(file, path).items()}
        return load_strictly(module, tensors, str(path))

    def _read(self, part: str) -> tuple[dict[str, Tensor], str]:
        file = FILES[self._source.files[part]]
        path = require(file, self._places, self._source.name)
        self._origin.append(f"{part}: {path}")
        return named_tensors(file, path), str(path)


def fill(
    module: nn.Module, tensors: Mapping[str, Tensor], source: str, mine: Callable[[str], bool] = lambda name: True
) -> None:
    """Copy `tensors` into the tensors of `module` that are listed in `mine`. Raises MismatchError unless all fit."""
    state = module.state_dict()
    wanted = {name: tensor for name, tensor in state.items() if mine(name)}
    require_same(shapes_of(wanted), shapes_of(tensors), source, "expected the file of this network")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(tensors[name])


def load_stable_diffusion(trainee: Trainee, folder: Path) -> None:
    """Load both UNets from Stable Diffusion 1.5 in the layout of diffusers; audio attention keeps its new weights.

    Names differ only in the cross-attention, whose keys and values have a different size. Raises WeightsError.
    """
    path = next((folder / name for name in _UNET_FILES if (folder / name).is_file()), None)
    if path is None:
        raise WeightsError(
            f"{folder} holds no Stable Diffusion; expected unet/diffusion_pytorch_model.safetensors or .bin of "
            "sd-image-variations-diffusers or stable-diffusion-v1-5"
        )
    tensors = read_tensors(path)
    shared = {name: tensor for name, tensor in tensors.items() if not _any_in(name, _AUDIO)}
    fill(trainee.denoising, shared, str(path), lambda name: _MOTION not in name and not _any_in(name, _AUDIO))
    spatial = {name: tensor for name, tensor in tensors.items() if not _any_in(name, _NOT_IN_REFERENCE)}
    fill(trainee.reference, spatial, str(path))


def _any_in(name: str, parts: tuple[str, ...]) -> bool:
    return any(part in f".{name}" if part.startswith(".") else name.startswith(part) for part in parts)

"""The presets as data (an engine with its settings), and the choice of `auto`."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from echomimic.checkpoints import FILES, LoraFile, cached_checksum, locate, read_geometry, require, search_paths
from echomimic.errors import OptionError, SetupError
from echomimic.installation import missing_package
from echomimic.types import LandmarkTrack, Motion, PoseTrack

Conditioning = Literal["none", "mask", "landmarks", "hands"]


@dataclass(frozen=True)
class Preset:
    """An engine, what conditions it besides the voice, and its default options.

    `conditioning` is the condition picture: a `mask` of the face, drawn `landmarks`, or drawn `hands`. `context_shift`
    is how many frames the context windows move each step; `noise_clamp` bounds the initial noise. `files` are the
    checkpoints by part, named as in `checkpoints.FILES`; a diffusion preset without files has random weights.
    """

    name: str
    engine: Literal["mesh", "diffusion"]
    summary: str
    conditioning: Conditioning = "none"
    context_shift: int = 0
    noise_clamp: float | None = None
    defaults: dict[str, object] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def uses_hands(self) -> bool:
        """Whether the motion is a `PoseTrack` rather than a `LandmarkTrack`."""
        return self.conditioning == "hands"


def _pair(
    name: str,
    summary: str,
    *,
    conditioning: Conditioning,
    context_shift: int,
    noise_clamp: float | None,
    defaults: dict[str, object],
    condition: str,
) -> Iterator[Preset]:
    """A preset and its accelerated form, which share the reference network and the encoder `condition`."""
    family, kind = name[:2], "_pose" if conditioning == "landmarks" else ""
    for is_fast, steps, guidance in ((False, 30, 2.5), (True, 6, 1.0)):
        acc = "_acc" if is_fast else ""
        files = {
            "denoising": f"{family}/denoising_unet{kind}{acc}",
            "motion": f"{family}/motion_module{kind}{acc}",
            "reference": f"{family}/reference_unet{kind}",
            "condition": f"{family}/{condition}{kind}",
            "vae": "vae",
            "speech": "whisper",
        }
        own = {"fps": 24.0, "steps": steps, "guidance_scale": guidance, **defaults}
        yield Preset(
            name + ("-acc" if is_fast else ""),
            "diffusion",
            f"{summary}; {steps} steps",
            conditioning=conditioning,
            context_shift=context_shift,
            noise_clamp=noise_clamp,
            defaults=own,
            files=files,
        )


_FACE: dict[str, object] = {"size": 512, "framing": "crop"}
_TINY: dict[str, object] = {"fps": 24.0, "steps": 2, "guidance_scale": 1.5, "size": 64, "framing": "crop"}
_ALL = (
    Preset("mesh", "mesh", "any CPU, nothing to fetch: warps the photo itself"),
    *_pair(
        "v1",
        "a talking head",
        conditioning="mask",
        context_shift=2,
        noise_clamp=1.5,
        defaults=_FACE,
        condition="face_locator",
    ),
    *_pair(
        "v1-landmarks",
        "a talking head that follows face landmarks",
        conditioning="landmarks",
        context_shift=3,
        noise_clamp=None,
        defaults=_FACE,
        condition="face_locator",
    ),
    *_pair(
        "v2",
        "a half body with hands",
        conditioning="hands",
        context_shift=3,
        noise_clamp=1.5,
        defaults={"size": 768},
        condition="pose_encoder",
    ),
    Preset(
        "tiny",
        "diffusion",
        "noise from small random weights, to test the pipeline",
        conditioning="mask",
        context_shift=2,
        noise_clamp=1.5,
        defaults=_TINY,
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
BEST: dict[type | None, tuple[str, ...]] = {
    None: ("v1", "v1-acc", "v1-landmarks", "v1-landmarks-acc"),
    LandmarkTrack: ("v1-landmarks", "v1-landmarks-acc"),
    PoseTrack: ("v2", "v2-acc"),
}
"""The presets that `auto` prefers to mesh, the best first, by the kind of the given motion."""
PACKAGES: dict[str, tuple[str, ...]] = {"mesh": (), "diffusion": ("torch", "diffusers")}
"""The packages that an engine needs beyond those of the base installation."""


def find_preset(name: str) -> Preset:
    """The preset called `name`. Raises OptionError that lists the presets."""
    if name not in PRESETS:
        raise OptionError(
            f"unknown preset {name!r}; expected auto or one of {', '.join(PRESETS)}", code="preset_unknown"
        )
    return PRESETS[name]


def resolve_preset(name: str, motion: Motion | None = None, weights: Path | None = None) -> tuple[Preset, str]:
    """The preset to use and the reason: the named one, or for `auto` the best that can run here.

    Raises OptionError for an unknown name, WeightsError for a folder that does not exist.
    """
    if name != "auto":
        return _with_own_defaults(find_preset(name), weights), "asked for"
    ready = [preset for preset in BEST[None if motion is None else type(motion)] if not missing_files(preset, weights)]
    if not ready:
        return find_preset("mesh"), "no checkpoints are here that it could use instead"
    if not accelerators():
        reason = f"the files of {ready[0]} are here but no GPU: `preset` {ready[0]} uses them all the same"
        return find_preset("mesh"), reason
    return find_preset(ready[0]), "its files are here and a GPU to run it"


def _with_own_defaults(preset: Preset, weights: Path | None) -> Preset:
    """The preset with the default options of small networks, if its files hold such networks."""
    if "denoising" not in preset.files:
        return preset
    path = locate(FILES[preset.files["denoising"]], search_paths(weights))
    geometry = None if path is None else read_geometry(path)
    return preset if geometry is None else replace(preset, defaults={**preset.defaults, **asdict(geometry.defaults)})


def missing_files(name: str, weights: Path | None = None) -> list[str]:
    """Names of the checkpoint files of a preset that are in none of the search folders."""
    places = search_paths(weights)
    return [file for file in dict.fromkeys(find_preset(name).files.values()) if locate(FILES[file], places) is None]


def require_files(preset: Preset, weights: Path | None = None) -> None:
    """Raise WeightsError if a checkpoint file of the preset is missing."""
    for file in preset.files.values():
        require(FILES[file], search_paths(weights), preset.name)


def file_checksums(preset: Preset, weights: Path | None, lora: LoraFile | None = None) -> dict[str, str]:
    """The SHA-256 of the preset's checkpoint files by part, and of the LoRA with its strength."""
    places = search_paths(weights)
    files = {part: locate(FILES[name], places) for part, name in preset.files.items()}
    if lora is not None:
        files[f"lora * {lora.strength:g}"] = lora.path
    return {part: cached_checksum(path) for part, path in files.items() if path is not None}


def require_packages(preset: Preset) -> None:
    """Raise SetupError if a package that the preset's engine needs is not installed."""
    missing = [name for name in PACKAGES[preset.engine] if find_spec(name) is None]
    if missing:
        raise SetupError(missing_package(missing[0], "diffusion", f"preset {preset.name} needs"))


def accelerators() -> list[str]:
    """The names of this machine's GPUs for the option `device`."""
    if find_spec("torch") is None:
        return []
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    return [] if found is None else [f"{found.type}:{number}" for number in range(torch.accelerator.device_count())]

"""The published files, and where they are searched: in our, the official, a ComfyUI or a diffusers layout."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from echomimic.errors import WeightsError

VARIABLE = "ECHOMIMIC_WEIGHTS"
V1, V2 = "BadToBest/EchoMimic", "BadToBest/EchoMimicV2"
VAE_REPOSITORY = "stabilityai/sd-vae-ft-mse"


@dataclass(frozen=True)
class WeightFile:
    """A published file: `path` inside the `repository` on the Hugging Face hub, with `elements` values in its tensors.

    `family` is v1 or v2, or "" for files that both use. `prefix` is removed from the names of the tensors.
    """

    name: str
    family: str
    repository: str
    path: str
    elements: int
    prefix: str = ""

    @property
    def stem(self) -> str:
        """The name of a network file without its ending."""
        return Path(self.path).stem


def _network(family: str, repository: str, stem: str) -> WeightFile:
    kinds = {"denoising": 849_936_324, "motion": 454_417_600, "reference": 815_521_280, "pose": 1_086_480}
    elements = kinds.get(stem.split("_")[0], 1_086_480 if stem.endswith("_pose") else 1_086_192)
    return WeightFile(f"{family}/{stem}", family, repository, f"{stem}.pth", elements)


_V1_STEMS = [
    f"{part}{kind}" for part in ("denoising_unet", "motion_module") for kind in ("", "_acc", "_pose", "_pose_acc")
]
_V1_STEMS += ["reference_unet", "reference_unet_pose", "face_locator", "face_locator_pose"]
_V2_STEMS = [
    "denoising_unet",
    "denoising_unet_acc",
    "motion_module",
    "motion_module_acc",
    "reference_unet",
    "pose_encoder",
]

FILES: dict[str, WeightFile] = {
    file.name: file
    for file in (
        *(_network("v1", V1, stem) for stem in _V1_STEMS),
        *(_network("v2", V2, stem) for stem in _V2_STEMS),
        WeightFile("vae", "", VAE_REPOSITORY, "diffusion_pytorch_model.safetensors", 83_653_863),
        WeightFile("whisper", "", V1, "audio_processor/whisper_tiny.pt", 37_760_640, prefix="encoder."),
    )
}

_FAMILY_FOLDERS = {"v1": ("v1", "EchoMimic", "echomimic_v1"), "v2": ("v2", "EchoMimicV2", "echomimic_v2")}
_MARKS = {"v1": ("face_locator", "face_locator_pose"), "v2": ("pose_encoder",)}
_MODELS = ("", "pretrained_weights", "echo_mimic", "models/echo_mimic", "models/echomimic")
_ENDINGS = (".safetensors", ".pth", ".bin", ".pt")
_VAE_PLACES = ("vae", "sd-vae-ft-mse", "models/vae", "../vae")
_VAE_STEMS = ("vae", "diffusion_pytorch_model", "sd-vae-ft-mse")
_WHISPER_STEMS = (
    "whisper",
    "whisper/audio_processor/whisper_tiny",
    "audio_processor/whisper_tiny",
    "audio_processor/tiny",
    "whisper_tiny",
    "tiny",
)


def default_folder() -> Path:
    """The folder that `fetch` uses by default."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "echomimic" / "weights"


def search_paths(given: Path | None = None) -> list[Path]:
    """The folders that are searched: the given one, else those of ECHOMIMIC_WEIGHTS, else the default one."""
    if given is not None:
        if not given.is_dir():
            raise WeightsError(
                f"{given} is no folder; expected one with checkpoints, or: echomimic weights fetch --to {given}"
            )
        return [given]
    named = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return named or [default_folder()]


def locate(file: WeightFile, places: Iterable[Path]) -> Path | None:
    """The path of a file in the first of these folders that has it, in any of the layouts; None if none has."""
    return next((path for place in places for path in _candidates(file, place) if path.is_file()), None)


def require(file: WeightFile, places: Iterable[Path], preset: str) -> Path:
    """The path of a file. Raises WeightsError that names the command which fetches it."""
    places = list(places)
    path = locate(file, places)
    if path is not None:
        return path
    where = " or ".join(str(place) for place in places)
    other = {"v1": "v2", "v2": "v1"}.get(file.family)
    if other and any(_holds(other, place) for place in places):
        raise WeightsError(
            f"{where} holds files of {other.upper()}; preset {preset} needs {file.name} of {file.family.upper()}: "
            f"echomimic weights fetch {preset}"
        )
    raise WeightsError(f"{file.name} is not in {where}; preset {preset} needs it: echomimic weights fetch {preset}")


def _candidates(file: WeightFile, place: Path) -> Iterator[Path]:
    """Every path that a layout gives the file, ours first."""
    for models in _MODELS:
        folder = place / models
        if not folder.is_dir():
            continue
        if file.name == "vae":
            yield from (
                folder / sub / (stem + end) for sub in ("", *_VAE_PLACES) for stem in _VAE_STEMS for end in _ENDINGS
            )
        elif file.name == "whisper":
            yield from (folder / (stem + end) for stem in _WHISPER_STEMS for end in _ENDINGS)
            yield from (folder / sub / "audio_processor/whisper_tiny.pt" for sub in _FAMILY_FOLDERS["v1"])
        else:
            yield from _network_candidates(file, folder)


def _network_candidates(file: WeightFile, folder: Path) -> Iterator[Path]:
    """A network's file in the folder of its family, or in `folder` itself unless that belongs to the other family."""
    homes = [folder / name for name in _FAMILY_FOLDERS[file.family]]
    other = "v2" if file.family == "v1" else "v1"
    if _marked(file.family, folder) or not _marked(other, folder):
        homes.append(folder)
    for home in homes:
        yield from (home / (file.stem + end) for end in _ENDINGS)
        yield home / file.stem / "diffusion_pytorch_model.safetensors"


def _marked(family: str, folder: Path) -> bool:
    """Whether the condition encoder in a folder, which differs between the families, is of this family."""
    return any((folder / (stem + end)).is_file() for stem in _MARKS[family] for end in _ENDINGS)


def _holds(family: str, place: Path) -> bool:
    homes = [place / models for models in _MODELS]
    homes += [home / name for home in list(homes) for name in _FAMILY_FOLDERS[family]]
    return any(_marked(family, home) for home in homes)

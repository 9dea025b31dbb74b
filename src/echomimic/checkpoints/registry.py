"""The published files: their search (in our, the official, a ComfyUI or a diffusers layout) and their download.

A download from the Hugging Face hub is resumable, and verified against the size and SHA-256 that the hub states.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from echomimic.checkpoints.reading import checksum, default_folder, read_tensors
from echomimic.errors import EchoMimicError, SetupError, WeightsError
from echomimic.installation import missing_package
from echomimic.types import Progress

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
_V2_STEMS = [f"{part}{kind}" for part in ("denoising_unet", "motion_module") for kind in ("", "_acc")]
_V2_STEMS += ["reference_unet", "pose_encoder"]

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


def search_paths(given: Path | None = None) -> list[Path]:
    """The folders that are searched: the given one, else those of ECHOMIMIC_WEIGHTS, else the default one."""
    if given is not None:
        if not given.is_dir():
            raise WeightsError(
                f"{given} is not a folder; expected one with checkpoints, or: echomimic weights fetch --to {given}"
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
    """Every path that the file has in one of the layouts, ours first."""
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
    """Whether the condition encoder in a folder, which differs between the families, belongs to this family."""
    return any((folder / (stem + end)).is_file() for stem in _MARKS[family] for end in _ENDINGS)


def _holds(family: str, place: Path) -> bool:
    homes = [place / models for models in _MODELS]
    homes += [home / name for home in list(homes) for name in _FAMILY_FOLDERS[family]]
    return any(_marked(family, home) for home in homes)


Say = Callable[[str], None]
Report = Callable[[int], None]


@dataclass(frozen=True)
class Published:
    """Size and checksum of a file on the hub."""

    size: int
    sha256: str | None


class Hub:
    """The Hugging Face hub, accessed by huggingface-hub, which reads HF_ENDPOINT and HF_TOKEN."""

    @cached_property
    def _hub(self) -> Any:
        try:
            import huggingface_hub
        except ImportError as error:
            raise SetupError(missing_package(error.name, "diffusion")) from None
        return huggingface_hub

    def licence(self, repository: str) -> str:
        """The licence that the repository's page names."""
        card = self._hub.HfApi().model_info(repository).card_data
        return str(getattr(card, "license", None) or "none named")

    def describe(self, repository: str, path: str) -> Published:
        """Size and checksum of a file."""
        (info,) = self._hub.HfApi().get_paths_info(repository, [path])
        return Published(info.size, info.lfs.sha256 if info.lfs else None)

    def download(self, repository: str, path: str, folder: Path, report: Report | None) -> Path:
        """Download a file into `folder`, resuming a partial download; `report` gets the number of bytes so far."""
        download, more = self._hub.hf_hub_download, {}
        if report is not None and "tqdm_class" in signature(download).parameters:
            more["tqdm_class"] = _reporting_bar(self._hub.utils.tqdm, report)
        return Path(download(repository, path, local_dir=folder, **more))


def _reporting_bar(base: Any, report: Report) -> Any:
    """The progress bar of huggingface-hub, which also reports."""

    class ReportingBar(base):  # type: ignore[misc]
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            self._bytes = int(named.get("initial") or 0)

        def update(self, n: float | None = 1) -> Any:
            self._bytes += int(n or 0)
            report(self._bytes)
            return super().update(n)

    return ReportingBar


def target_of(file: WeightFile, folder: Path) -> Path:
    """The path of a downloaded file: `folder`/v1/denoising_unet.pth and so on."""
    return folder / (file.family or file.name) / file.path


def fetch(
    files: Iterable[WeightFile], folder: Path, say: Say, hub: Hub | None = None, progress: Progress | None = None
) -> list[Path]:
    """Download and verify the files that are not in `folder` yet; the licences are printed first.

    `progress` counts the bytes of all files. Raises WeightsError if the hub cannot be reached or a file differs from
    what the hub states.
    """
    wanted = list(files)
    hub = hub or Hub()
    for repository in dict.fromkeys(file.repository for file in wanted):
        licence = _request(partial(hub.licence, repository), repository)
        say(f"https://huggingface.co/{repository}  licence: {licence}")
    published = [_request(partial(hub.describe, file.repository, file.path), file.repository) for file in wanted]
    total, done, paths = sum(each.size for each in published), 0, []
    for file, each in zip(wanted, published, strict=True):
        report: Report | None = progress and (lambda size, before=done: progress(before + size, total))
        paths.append(_fetch_one(file, each, folder, say, hub, report))
        done += each.size
    return paths


def _fetch_one(file: WeightFile, published: Published, folder: Path, say: Say, hub: Hub, report: Report | None) -> Path:
    target = target_of(file, folder)
    if target.is_file() and target.stat().st_size == published.size:
        say(f"{file.name}: already present ({published.size / 1e6:.0f} MB)")
        return target
    say(f"{file.name}: {published.size / 1e6:.0f} MB")
    home = folder / (file.family or file.name)
    path: Path = _request(partial(hub.download, file.repository, file.path, home, report), file.repository)
    _compare(path, published)
    return path


def _compare(path: Path, published: Published) -> None:
    size = path.stat().st_size
    if size != published.size:
        raise WeightsError(f"{path} has {size} bytes, the published file {published.size}; run the same command again")
    if published.sha256 and checksum(path) != published.sha256:
        path.unlink()
        raise WeightsError(f"{path} had another SHA-256 than published and is removed; run the same command again")


def _request(question: Callable[[], Any], repository: str) -> Any:
    """The answer of the hub. Raises WeightsError for every failure."""
    try:
        return question()
    except EchoMimicError:
        raise
    except Exception as error:  # the errors of the hub's client have no common base class
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise WeightsError(
            f"huggingface.co/{repository} did not answer ({reason}); check the network and try again"
        ) from None


Format = Literal["stored", "float16", "bfloat16"]


def convert_file(file: WeightFile, source: Path, folder: Path, dtype: Format = "bfloat16") -> Path:
    """Write `source` as `folder`/NAME.safetensors and return that path; the old file stays.

    Only the tensors are written: V2's pose_encoder.pth has 1.7 GB of buffers and 2 MB of tensors. `stored` keeps the
    number format. Whole or not at all.
    """
    import torch
    from safetensors.torch import save_file

    target = folder / f"{file.name}.safetensors"
    if target.exists() and target.samefile(source):
        raise WeightsError(f"{target} would overwrite itself; give another folder with `to`")
    wanted = None if dtype == "stored" else {"float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
    tensors = {
        file.prefix + name: (
            tensor.to(wanted) if wanted and tensor.is_floating_point() else tensor.clone()
        ).contiguous()
        for name, tensor in read_tensors(source, file.prefix).items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        save_file(tensors, part, metadata={"format": "pt", "made_from": source.name})
        part.replace(target)
    except OSError as error:
        raise WeightsError(
            f"{target} cannot be written: {error.strerror or error}; free some space or give another folder with `to`"
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return target

"""Download from the Hugging Face hub: resumable, verified against the size and SHA-256 that the hub states."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from echomimic.checkpoints.reading import checksum
from echomimic.checkpoints.registry import WeightFile
from echomimic.errors import EchoMimicError, SetupError, WeightsError
from echomimic.installation import missing_package

Say = Callable[[str], None]


@dataclass(frozen=True)
class Published:
    """Size and checksum of a file on the hub."""

    size: int
    sha256: str | None


class Hub(Protocol):
    """A source of files; tests have their own."""

    def licence(self, repository: str) -> str:
        """The licence that the repository's page names."""
        ...

    def describe(self, repository: str, path: str) -> Published:
        """Size and checksum of a file."""
        ...

    def download(self, repository: str, path: str, folder: Path) -> Path:
        """Download a file into `folder`, resuming a partial download."""
        ...


class HuggingFace:
    """The Hugging Face hub by huggingface-hub, which reads HF_ENDPOINT and HF_TOKEN."""

    def __init__(self) -> None:
        try:
            import huggingface_hub
        except ImportError as error:
            raise SetupError(missing_package(error.name, "diffusion")) from None
        self._hub: Any = huggingface_hub

    def licence(self, repository: str) -> str:
        """The licence that the repository's page names."""
        card = self._hub.HfApi().model_info(repository).card_data
        return str(getattr(card, "license", None) or "none named")

    def describe(self, repository: str, path: str) -> Published:
        """Size and checksum of a file."""
        (info,) = self._hub.HfApi().get_paths_info(repository, [path])
        return Published(info.size, info.lfs.sha256 if info.lfs else None)

    def download(self, repository: str, path: str, folder: Path) -> Path:
        """Download a file into `folder`, resuming a partial download."""
        return Path(self._hub.hf_hub_download(repository, path, local_dir=folder))


def target_of(file: WeightFile, folder: Path) -> Path:
    """The path of a downloaded file: `folder`/v1/denoising_unet.pth and so on."""
    return folder / (file.family or file.name) / file.path


def fetch(files: Iterable[WeightFile], folder: Path, say: Say, hub: Hub | None = None) -> list[Path]:
    """Download and verify the files that are not in `folder` yet; the licences are printed first.

    Raises WeightsError if the hub cannot be reached or a file differs from what the hub states.
    """
    wanted = list(files)
    hub = hub or HuggingFace()
    for repository in dict.fromkeys(file.repository for file in wanted):
        licence = _request(partial(hub.licence, repository), repository)
        say(f"https://huggingface.co/{repository}  licence: {licence}")
    return [_fetch_one(file, folder, say, hub) for file in wanted]


def _fetch_one(file: WeightFile, folder: Path, say: Say, hub: Hub) -> Path:
    target = target_of(file, folder)
    published: Published = _request(partial(hub.describe, file.repository, file.path), file.repository)
    if target.is_file() and target.stat().st_size == published.size:
        say(f"{file.name}: here already ({published.size / 1e6:.0f} MB)")
        return target
    say(f"{file.name}: {published.size / 1e6:.0f} MB")
    home = folder / (file.family or file.name)
    path: Path = _request(partial(hub.download, file.repository, file.path, home), file.repository)
    _compare(path, published)
    return path


def _compare(path: Path, published: Published) -> None:
    size = path.stat().st_size
    if size != published.size:
        raise WeightsError(f"{path} has {size} bytes, published are {published.size}; run the same command again")
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
            f"huggingface.co/{repository} gave no answer ({reason}); check the network and try again"
        ) from None

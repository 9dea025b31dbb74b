"""Networks that the user supplies, loaded as functions from numpy to numpy; torch is imported on use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from echomimic.checkpoints.reading import default_folder, read_tensors
from echomimic.checkpoints.registry import Hub, WeightFile, fetch
from echomimic.errors import OptionError, SetupError, WeightsError
from echomimic.evaluate.catalogue import LEARNED
from echomimic.evaluate.learned_metrics import Network
from echomimic.evaluate.manifest import file_digest
from echomimic.evaluate.sync import SyncNet
from echomimic.installation import missing_package
from echomimic.notes import Note, note
from echomimic.types import Floats

if TYPE_CHECKING:
    from types import ModuleType

    import torch


_HUB = "hub:"


EXPECTED: Mapping[str, tuple[str, str]] = {
    "fid": ("inception-2015-12-05.pt", "TorchScript of NVIDIA's stylegan2-ada-pytorch, NVIDIA's licence"),
    "fvd": ("i3d_torchscript.pt", "TorchScript of I3D on Kinetics-400, the port of StyleGAN-V"),
    "lpips": ("vgg16.pt", "TorchScript of NVIDIA's stylegan2-ada-pytorch with LPIPS v0.1 weights"),
    "syncnet": ("syncnet_v2.model", "weights of joonson/syncnet_python (or the same as safetensors)"),
    "csim": ("face_recognition_sface_2021dec.onnx", "OpenCV Zoo, Apache-2.0; an ArcFace .onnx is taken too"),
    "efid": ("a TorchScript", "3DMM expression coefficients (n, k) from RGB crops (n, 3, 224, 224) in 0..1"),
}
"""The file that a metric expects, and where it is published or under which licence."""


@dataclass(frozen=True)
class MetricNetworks:
    """Loaded networks by group, and the sha256 of each file."""

    plain: Mapping[str, Network] = field(default_factory=dict)
    syncnet: SyncNet | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


def parse_weights(given: list[str], hub: Hub | None = None) -> dict[str, tuple[Path, str | None]]:
    """`fid=FILE` or `fid=FILE@SHA256`, parsed to (file, expected digest). Raises OptionError for anything else.

    A FILE such as `hub:owner/repository/path` is fetched from the Hugging Face hub and checked against its own sha256.
    """
    wanted: dict[str, tuple[Path, str | None]] = {}
    for text in given:
        name, _, rest = text.partition("=")
        if name not in LEARNED or not rest:
            raise OptionError(
                f"weights {text!r}; expected NAME=FILE with one of {', '.join(LEARNED)}: fid=inception.pt"
            )
        path, at, digest = rest.rpartition("@")
        is_digest = bool(at) and len(digest) == 64 and set(digest.lower()) <= set("0123456789abcdef")
        place, sha256 = (path, digest.lower()) if is_digest else (rest, None)
        wanted[name] = (_fetched(place.removeprefix(_HUB), hub) if place.startswith(_HUB) else Path(place), sha256)
    return wanted


def _fetched(place: str, hub: Hub | None) -> Path:
    """Path of a file of the Hugging Face hub in the weights folder; fetched if missing."""
    owner, _, rest = place.partition("/")
    repository, _, path = rest.partition("/")
    if not path:
        raise OptionError(f"{_HUB}{place}; expected {_HUB}OWNER/REPOSITORY/FILE")
    file = WeightFile(Path(path).stem, "evaluate", f"{owner}/{repository}", path, 0)
    return fetch([file], default_folder(), lambda line: note("network_fetched", "{line}", line=line), hub)[0]


def load_networks(wanted: Mapping[str, tuple[Path, str | None]], device: str = "cpu") -> MetricNetworks:
    """Load and check the named files. Raises WeightsError if one is missing, has another digest or another format."""
    digests = {name: _checked(name, path, digest) for name, (path, digest) in wanted.items()}
    plain = {name: _load(name, path, device) for name, (path, _) in wanted.items() if name != "syncnet"}
    syncnet = _load_syncnet(wanted["syncnet"][0], device) if "syncnet" in wanted else None
    return MetricNetworks(plain, syncnet, digests)


def missing_network(name: str) -> Note:
    """One line for a group of metrics whose network was not supplied."""
    file, about = EXPECTED[name]
    return Note.make(
        "metric_network_missing",
        "{name} is left out: its network is not here; supply {file} ({about}): --weights {name}=FILE",
        name=name,
        file=file,
        about=about,
    )


def _checked(name: str, path: Path, wanted: str | None) -> str:
    digest = file_digest(path)
    if digest is None:
        raise WeightsError(f"{path} cannot be read; expected {EXPECTED[name][0]} for {name}: check the path")
    if wanted is not None and digest != wanted:
        raise WeightsError(f"{path} has sha256 {digest}; expected {wanted}: fetch it again")
    return digest


def _load(name: str, path: Path, device: str) -> Network:
    if path.suffix.lower() == ".onnx":
        return _onnx(path)
    extra: dict[str, dict[str, Any]] = {
        "fid": {"return_features": True},
        "fvd": {"rescale": True, "resize": True, "return_features": True},
        "lpips": {"resize_images": False, "return_lpips": True},
    }
    return torch_network(_script(path, device), device, extra.get(name, {}))


def torch_network(module: "Callable[..., torch.Tensor]", device: str, arguments: Mapping[str, Any]) -> Network:
    """A torch function as a `Network`."""
    import torch

    def run(batch: Floats) -> Floats:
        with torch.inference_mode():
            found = module(torch.from_numpy(batch).to(device), **arguments)
        return np.asarray(found.float().cpu().numpy(), np.float32)

    return run


def _torch() -> "ModuleType":
    try:
        import torch
    except ImportError:
        raise SetupError(missing_package("torch", "evaluate", "metrics with weights need")) from None
    return torch


def _script(path: Path, device: str) -> "Callable[..., torch.Tensor]":
    torch = _torch()
    try:
        module: Callable[..., Any] = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError):
        raise WeightsError(f"{path} is not a TorchScript file; expected one: see docs/evaluation.md") from None
    return module


def _load_syncnet(path: Path, device: str) -> SyncNet:
    torch = _torch()
    from echomimic.evaluate.syncnet_model import load_syncnet

    try:
        model = load_syncnet(read_tensors(path), torch.device(device))
    except Exception as error:
        raise WeightsError(
            f"{path} does not hold SyncNet's weights ({type(error).__name__}); expected {EXPECTED['syncnet'][0]}"
        ) from None
    return SyncNet(torch_network(model.lips, device, {}), torch_network(model.voice, device, {}))


def _onnx(path: Path) -> Network:
    """An ONNX face network by OpenCV. SFace takes RGB 0..255; ArcFace files take -1..1, as their names say."""
    import cv2

    try:
        net = cv2.dnn.readNetFromONNX(str(path))
    except cv2.error:
        raise WeightsError(f"{path} is not an ONNX file that OpenCV reads; expected {EXPECTED['csim'][0]}") from None
    centred = "sface" not in path.name.lower()

    def run(batch: Floats) -> Floats:
        rows = []
        for item in (batch - np.float32(127.5)) / np.float32(127.5) if centred else batch:
            net.setInput(item[None])  # one by one: published files have a batch of one written into them
            rows.append(np.asarray(net.forward(), np.float32).ravel())
        return np.stack(rows)

    return run

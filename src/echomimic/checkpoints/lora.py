"""LoRA files: low-rank changes of the linear layers of a preset's networks (Hu et al., 2021).

A file holds for each changed layer `lora.<network>.<layer>.A` (rank, in) and `.B` (out, rank); the layer's weight
becomes `weight + strength * alpha / rank * B @ A`. `<network>` is denoising or reference, `<layer>` the published name
without `.weight`. The metadata names the preset and the person shown, and states the consent.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echomimic.checkpoints.reading import missing_tensor_package, refuse_placeholders
from echomimic.errors import OptionError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "lora."
EXPECTED = "expected a LoRA file that `echomimic train export` wrote"
STRONGEST = 2.0


@dataclass(frozen=True)
class LoraMetadata:
    """What a LoRA file says about itself: see the module."""

    preset: str
    rank: int
    alpha: float
    subject: str
    consent: str


@dataclass(frozen=True)
class Lora:
    """The factors A (rank, in) and B (out, rank) by `<network>.<layer>`."""

    metadata: LoraMetadata
    factors: "Mapping[str, tuple[Tensor, Tensor]]"

    @property
    def scale(self) -> float:
        """The number by which the product of both factors is multiplied."""
        return self.metadata.alpha / self.metadata.rank


@dataclass(frozen=True)
class LoraFile:
    """A LoRA file and its strength: 1 as it was trained, 0 for no effect. Raises OptionError."""

    path: Path
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= STRONGEST:
            raise OptionError(
                f"the strength of the LoRA is {self.strength:g}; expected a number from 0 to {STRONGEST:g}: "
                "`lora_strength` 1 is as it was trained"
            )


def read_lora_metadata(path: Path) -> LoraMetadata:
    """The metadata of a LoRA file. Raises WeightsError in one line."""
    return _parse_metadata(path, _read(path, tensors=False)[0])


def read_lora(path: Path) -> Lora:
    """Read a LoRA file. Raises WeightsError for other files, and for factors that do not fit each other."""
    import torch

    values, tensors = _read(path, tensors=True)
    metadata = _parse_metadata(path, values)
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, factor = name.removeprefix(PREFIX).rpartition(".")
        if not name.startswith(PREFIX) or factor not in ("A", "B") or tensor.ndim != 2:
            raise WeightsError(f"{path} holds {name!r}, which is not a factor of a LoRA; {EXPECTED}")
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path} holds values that are not finite in {name!r}; {EXPECTED}")
        pairs.setdefault(layer, {})[factor] = tensor
    for layer, pair in pairs.items():
        if len(pair) != 2 or len(pair["A"]) != metadata.rank or pair["B"].shape[1] != metadata.rank:
            raise WeightsError(f"{path}: the factors of {layer} are not those of rank {metadata.rank}; {EXPECTED}")
    return Lora(metadata, {layer: (pair["A"], pair["B"]) for layer, pair in pairs.items()})


def write_lora(path: Path, lora: Lora) -> None:
    """Write a LoRA file in float32; the caller passes a temporary name and renames it. Raises OSError."""
    from safetensors.torch import save_file

    tensors = {
        f"{PREFIX}{layer}.{factor}": tensor.float().contiguous()
        for layer, pair in lora.factors.items()
        for factor, tensor in zip("AB", pair, strict=True)
    }
    save_file(tensors, path, metadata={name: str(value) for name, value in asdict(lora.metadata).items()})


def other_preset(path: Path, made_for: str, preset: str) -> str:
    """The message for a LoRA file that was trained for another preset."""
    return (
        f"{path} was trained for preset {made_for} and the preset is {preset}; expected a LoRA of {preset}, "
        f"or preset {made_for}"
    )


def _read(path: Path, *, tensors: bool) -> "tuple[dict[str, str], dict[str, Tensor]]":
    """Metadata and, if asked for, tensors of a safetensors file."""
    refuse_placeholders(path, EXPECTED)
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise missing_tensor_package(error) from None
    opener: Any = safe_open
    try:
        with opener(path, framework="pt" if tensors else "np") as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys() if tensors}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError):
        raise WeightsError(f"{path} is truncated or not a safetensors file; {EXPECTED}") from None


def _parse_metadata(path: Path, values: Mapping[str, str]) -> LoraMetadata:
    try:
        metadata = LoraMetadata(
            values["preset"], int(values["rank"]), float(values["alpha"]), values["subject"], values["consent"]
        )
    except (KeyError, ValueError):
        raise WeightsError(f"{path} does not state its preset and rank; {EXPECTED}") from None
    if not 1 <= metadata.rank <= 4096 or not abs(metadata.alpha) < 1e6:
        raise WeightsError(f"{path} says rank {metadata.rank} and alpha {metadata.alpha:g}; {EXPECTED}")
    return metadata

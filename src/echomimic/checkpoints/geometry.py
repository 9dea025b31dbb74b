"""The geometry of networks that are smaller than the published ones: `networks.json` beside their files."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from echomimic.errors import WeightsError

NAME = "networks.json"
Width = Annotated[int, Field(ge=4, le=2048)]
Count = Annotated[int, Field(ge=1, le=64)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SmallDefaults:
    """Default options of a preset with these networks."""

    size: Annotated[int, Field(ge=64, le=1024)] = 64
    fps: Annotated[float, Field(gt=0, le=60)] = 24.0
    steps: Annotated[int, Field(ge=1, le=100)] = 8
    guidance_scale: Annotated[float, Field(ge=0, le=20)] = 2.5
    crop_margin: Annotated[float, Field(ge=0, le=2)] = 0.15
    context_frames: Annotated[int, Field(ge=4, le=32)] = 8
    context_overlap: Annotated[int, Field(ge=0, le=16)] = 2


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Geometry:
    """Shapes of the networks of a preset, as `UNetConfig` and `ConditionEncoder` take them.

    `codec` is Stable Diffusion's autoencoder or a linear one; `speech` is Whisper's encoder or log-mel rows.
    """

    channels: tuple[Width, ...]
    layers: Count
    heads: Count
    motion_heads: Count
    audio_dim: Width
    encoder_widths: tuple[Width, Width, Width, Width]
    groups: Count = 32
    max_frames: Count = 32
    codec: Literal["stable-diffusion", "linear"] = "linear"
    speech: Literal["whisper", "mel"] = "mel"
    defaults: SmallDefaults = field(default_factory=SmallDefaults)


def read_geometry(file: Path) -> Geometry | None:
    """Read the geometry beside a network file; None for networks of the published size. Raises WeightsError."""
    path = file.with_name(NAME)
    if not path.is_file():
        return None
    try:
        return TypeAdapter(Geometry).validate_json(path.read_bytes()[:65_536])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise WeightsError(f"{path}: {place}: {first['msg']}; expected what `train export` wrote") from None


def write_geometry(folder: Path, geometry: Geometry) -> None:
    """Write `networks.json` into `folder`."""
    (folder / NAME).write_bytes(TypeAdapter(Geometry).dump_json(geometry, indent=1) + b"\n")

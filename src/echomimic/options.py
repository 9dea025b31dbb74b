"""Every option, written once: command line, web page, ComfyUI and HTTP door are built from these fields."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from echomimic.errors import OptionError

GROUPS = {"picture": "Picture and length", "motion": "Motion", "diffusion": "Diffusion", "machine": "Machine"}


def _option(
    group: str,
    help: str,  # noqa: A002 - the word every door uses
    *,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
) -> Any:
    """The metadata of one option: its group, one sentence of help, its range and the step of a slider."""
    return Field(description=help, ge=low, le=high, json_schema_extra={"group": group, "step": step})


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Options:
    """How to render. A preset brings defaults of its own; what the user gives wins."""

    size: Annotated[
        int | None,
        _option(
            "picture",
            "longer side of the video in pixels (framing 'crop' or a diffusion preset: the square's side); "
            "default: the picture's own, at most 1024",
            low=64,
            high=4096,
            step=8,
        ),
    ] = None
    fps: Annotated[float, _option("picture", "frames a second", low=1, high=120, step=1)] = 25.0
    frames: Annotated[
        int,
        _option("picture", "how many frames to make; 0 covers the whole voice", low=0, high=10_000_000, step=1),
    ] = 0
    framing: Annotated[
        Literal["full", "crop"],
        _option("picture", "'full' keeps the whole picture, 'crop' gives a square round the head"),
    ] = "full"
    face: Annotated[
        int | None,
        _option(
            "picture",
            "which face, counted from the left, starting at 1; default: the largest",
            low=1,
            high=99,
            step=1,
        ),
    ] = None
    face_box: Annotated[
        tuple[float, float, float, float] | None,
        _option("picture", "where the face is, x,y,w,h in pixels of the picture, when it is not found by itself"),
    ] = None
    crop_margin: Annotated[
        float, _option("picture", "room round the face of a crop, in face sizes", low=0, high=3, step=0.05)
    ] = 0.5
    seed: Annotated[int, _option("motion", "same inputs and seed: the same frames", low=0, high=2**31 - 1, step=1)] = 0
    motion_strength: Annotated[
        float,
        _option("motion", "how much the head and brows move; 0 holds them still", low=0, high=2, step=0.05),
    ] = 1.0
    mouth_strength: Annotated[float, _option("motion", "how wide the mouth moves", low=0, high=2, step=0.05)] = 1.0
    blink_rate: Annotated[float, _option("motion", "blinks a minute; 0 for none", low=0, high=60, step=1)] = 16.0
    still_background: Annotated[
        bool, _option("motion", "keep what is behind the person still while the head moves")
    ] = True
    steps: Annotated[int, _option("diffusion", "denoising steps", low=1, high=1000, step=1)] = 30
    guidance: Annotated[
        float,
        _option(
            "diffusion",
            "how strongly the conditions steer; at 1 or less it costs half",
            low=0,
            high=30,
            step=0.1,
        ),
    ] = 2.5
    context_frames: Annotated[
        int, _option("diffusion", "frames that are denoised together", low=2, high=32, step=1)
    ] = 12
    context_overlap: Annotated[
        int, _option("diffusion", "frames that neighbouring windows share", low=0, high=31, step=1)
    ] = 3
    context_batch: Annotated[
        int,
        _option(
            "diffusion",
            "windows in one call of the network; more is faster and takes more memory",
            low=1,
            high=64,
            step=1,
        ),
    ] = 1
    sampler: Annotated[Literal["ddim", "dpm++", "unipc"], _option("diffusion", "how the noise is removed")] = "ddim"
    windows: Annotated[
        Literal["open", "closed"],
        _option("diffusion", "'closed' joins the last frame to the first, for loops; 'open' does not"),
    ] = "open"
    motion_end: Annotated[
        Literal["loop", "hold", "stop"],
        _option(
            "motion",
            "when a motion is shorter than the voice: run it back and forth, hold its last frame, or stop",
        ),
    ] = "loop"
    mask_margin: Annotated[
        float,
        _option(
            "diffusion",
            "room round the face of the mask that drives 'v1', in face sizes",
            low=0,
            high=3,
            step=0.05,
        ),
    ] = 0.1
    exact: Annotated[bool, _option("diffusion", "the original's behaviour, its faults included")] = False
    device: Annotated[str, _option("machine", "auto, cpu, cuda, cuda:1, mps or xpu")] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], _option("machine", "number format of the network")
    ] = "auto"
    offload: Annotated[bool, _option("machine", "keep weights off the device between stages: slower, less memory")] = (
        False
    )
    compile: Annotated[bool, _option("machine", "compile the network: slow to start, faster for many clips")] = False
    workers: Annotated[int, _option("machine", "threads that render; 0 takes one per core", low=0, high=64, step=1)] = 0

    @field_validator("face_box", mode="before")
    @classmethod
    def _box_from_text(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _windows_overlap_less_than_their_length(self) -> "Options":
        if self.context_overlap >= self.context_frames:
            raise ValueError(
                f"`context_overlap` is {self.context_overlap} and `context_frames` {self.context_frames}; "
                "expected the overlap to be smaller: lower it"
            )
        return self


class OptionsDict(TypedDict, total=False):
    """The fields of `Options` as keyword arguments; None leaves an option to the preset."""

    size: int | None
    fps: float | None
    frames: int | None
    framing: Literal["full", "crop"] | None
    face: int | None
    face_box: tuple[float, float, float, float] | str | None
    crop_margin: float | None
    seed: int | None
    motion_strength: float | None
    mouth_strength: float | None
    blink_rate: float | None
    still_background: bool | None
    steps: int | None
    guidance: float | None
    context_frames: int | None
    context_overlap: int | None
    context_batch: int | None
    sampler: Literal["ddim", "dpm++", "unipc"] | None
    windows: Literal["open", "closed"] | None
    motion_end: Literal["loop", "hold", "stop"] | None
    mask_margin: float | None
    exact: bool | None
    device: str | None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None
    offload: bool | None
    compile: bool | None
    workers: int | None


_EXPECTED = {"face_box": "expected four numbers in pixels of the picture, x,y,w,h: `face_box` 120,80,200,240"}

OPTION_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Options))


def make_options(values: Mapping[str, object], defaults: Mapping[str, object] | None = None) -> Options:
    """Options from what the user gave over what the preset brings; OptionError in one line where that fails."""
    given = {name: value for name, value in values.items() if value is not None}
    unknown = sorted(given.keys() - set(OPTION_NAMES))
    if unknown:
        raise OptionError(
            f"unknown option {unknown[0]!r}; expected one of {', '.join(OPTION_NAMES)}", code="option_unknown"
        )
    try:
        return Options(**{**(defaults or {}), **given})  # type: ignore[arg-type]
    except ValidationError as error:
        raise OptionError(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    """The first fault of a validation error as a message of this package."""
    fault = error.errors()[0]
    if not fault["loc"]:
        return str(fault["msg"]).removeprefix("Value error, ")
    name = str(fault["loc"][0])
    return f"option `{name}` is {_as_given(fault['input'])}; {_EXPECTED.get(name) or _expected(name, fault)}"


def _as_given(value: object) -> str:
    """A value as the user wrote it; text that is no number is quoted."""
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    number = isinstance(value, str) and value.removeprefix("-").replace(".", "", 1).isdigit()
    return str(value) if number else repr(value)


def _expected(name: str, fault: Any) -> str:
    """What an option accepts: its range if it is a number."""
    bounds = [getattr(item, end) for item in _metadata(name) for end in ("ge", "le") if hasattr(item, end)]
    if len(bounds) == 2:
        kind = {"int": "a whole number from ", "float": "a number from "}.get(fault["type"].split("_")[0], "")
        return f"expected {kind}{bounds[0]} to {bounds[1]}"
    message = str(fault["msg"]).replace("Input should be", "expected")
    return f"{message[0].lower()}{message[1:]}"


def _metadata(name: str) -> list[Any]:
    return Options.__pydantic_fields__[name].metadata  # type: ignore[attr-defined]

"""All options: the command line, the web page, ComfyUI and the HTTP API are built from these fields."""

from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Any, Literal, cast

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs
from typing_extensions import TypedDict

from echomimic.errors import OptionError
from echomimic.notes import note

GROUPS = {"picture": "Picture and length", "motion": "Motion", "diffusion": "Diffusion", "machine": "Machine"}


def _option(default: object, group: str, text: str, scale: tuple[float, float, float] | None = None) -> Any:
    """One option: its default, its group and one sentence of help.

    `scale` of a number is (lowest, highest, step of the slider).
    """
    low, high, step = scale or (None, None, None)
    extra: dict[str, Any] = {"group": group, "step": step}
    return Field(default=default, description=text, ge=low, le=high, json_schema_extra=extra)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Options:
    """The options of a render. A preset has its own defaults, which values of the user replace. Raises OptionError."""

    size: int | None = _option(
        None,
        "picture",
        "longer side of the video in pixels (framing 'crop' or a diffusion preset: the square's side); "
        "default: the picture's own, at most 1024",
        scale=(64, 4096, 8),
    )
    fps: float = _option(25.0, "picture", "frames a second", scale=(1, 120, 1))
    frames: int = _option(
        0, "picture", "number of frames to render; 0 covers the whole voice", scale=(0, 10_000_000, 1)
    )
    framing: Literal["full", "crop"] = _option(
        "full", "picture", "'full' keeps the whole picture, 'crop' gives a square around the head"
    )
    face: int | None = _option(
        None, "picture", "which face, counted from the left, starting at 1; default: the largest", scale=(1, 99, 1)
    )
    face_box: tuple[float, float, float, float] | None = _option(
        None, "picture", "where the face is, x,y,w,h in pixels of the picture, if it is not found automatically"
    )
    crop_margin: float = _option(0.5, "picture", "margin around the face of a crop, in face sizes", scale=(0, 3, 0.05))
    mark: bool = _option(
        True, "picture", "put an imperceptible mark into the frames, which says that they are AI-generated"
    )
    seed: int = _option(0, "motion", "same inputs and seed: the same frames", scale=(0, 2**31 - 1, 1))
    motion_strength: float = _option(
        1.0, "motion", "how much the head and brows move; 0 holds them still", scale=(0, 2, 0.05)
    )
    mouth_strength: float = _option(1.0, "motion", "how wide the mouth moves", scale=(0, 2, 0.05))
    blink_rate: float = _option(16.0, "motion", "blinks a minute; 0 for none", scale=(0, 60, 1))
    still_background: bool = _option(True, "motion", "keep the background still while the head moves")
    steps: int = _option(30, "diffusion", "denoising steps", scale=(1, 1000, 1))
    guidance_scale: float = _option(
        2.5,
        "diffusion",
        "classifier-free guidance scale; 1 or less disables it and halves the cost",
        scale=(0, 30, 0.1),
    )
    context_frames: int = _option(
        12, "diffusion", "frames in a context window, which are denoised together", scale=(2, 32, 1)
    )
    context_overlap: int = _option(3, "diffusion", "frames that neighbouring context windows share", scale=(0, 31, 1))
    context_batch: int = _option(
        1, "diffusion", "windows in one call of the network; more is faster and takes more memory", scale=(1, 64, 1)
    )
    sampler: Literal["ddim", "dpm++", "unipc"] = _option("ddim", "diffusion", "sampling method of the denoising steps")
    windows: Literal["open", "closed"] = _option(
        "open", "diffusion", "'closed' joins the last frame to the first, for loops; 'open' does not"
    )
    motion_end: Literal["loop", "hold", "stop"] = _option(
        "loop", "motion", "when a motion is shorter than the voice: run it back and forth, hold its last frame, or stop"
    )
    mask_margin: float = _option(
        0.1, "diffusion", "margin around the face of the mask that conditions 'v1', in face sizes", scale=(0, 3, 0.05)
    )
    exact: bool = _option(False, "diffusion", "reproduce the published pipelines, including their faults")
    cache: int = _option(
        1,
        "diffusion",
        "compute the inner layers of the network only in every Nth step: faster, less exact; 1 is off",
        scale=(1, 10, 1),
    )
    cache_schedule: Literal["uniform", "quadratic"] = _option(
        "uniform",
        "diffusion",
        "with cache, which steps compute all layers: evenly spaced, or denser around the first third",
    )
    guidance_batch: bool = _option(
        False, "diffusion", "compute both halves of guidance in one call of the network: fewer calls, more memory"
    )
    device: str = _option("auto", "machine", "auto, cpu, cuda, cuda:1, mps or xpu")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = _option(
        "auto", "machine", "number format of the network"
    )
    offload: bool = _option(False, "machine", "keep weights off the device between stages: slower, less memory")
    compile: bool = _option(False, "machine", "compile the network: slow to start, faster for many clips")
    quantize: Literal["none", "int8"] = _option(
        "none", "machine", "'int8' keeps weights of linear layers in int8: less memory, less exact; needs torchao"
    )
    workers: int = _option(0, "machine", "threads that render; 0 uses one per core", scale=(0, 64, 1))

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, data: Any, handler: Any) -> "Options":
        """Accept old names, and raise OptionError in one line instead of pydantic's error."""
        if isinstance(data, ArgsKwargs):
            data = ArgsKwargs(data.args, current_names(data.kwargs or {}))
        try:
            return cast("Options", handler(data))
        except ValidationError as error:
            raise _option_error(error) from None

    @property
    def quantized(self) -> bool:
        """Whether weights become int8; never with `exact`."""
        return self.quantize == "int8" and not self.exact

    @field_validator("face_box", mode="before")
    @classmethod
    def _box_from_text(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("fps", mode="before")
    @classmethod
    def _rate(cls, value: object) -> object:
        return parse_rate(value) if isinstance(value, (str, int, float, Fraction)) else value

    @model_validator(mode="after")
    def _windows_overlap_less_than_their_length(self) -> "Options":
        if self.context_overlap >= self.context_frames:
            raise OptionError(
                f"`context_overlap` is {self.context_overlap} and `context_frames` {self.context_frames}; "
                "expected the overlap to be smaller: lower it"
            )
        return self


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class WorkOptions:
    """How a render uses the work folder beside its output. These options do not change what is rendered."""

    keep: bool = Field(
        default=False, description="keep the finished parts of the video beside it, to render a span again"
    )
    resume: bool = Field(default=False, description="only resume an interrupted render; refuse to start over")
    start: float | None = Field(
        default=None, description="render only a span of a video with kept work again, from this second on"
    )
    end: float | None = Field(default=None, description="up to this second")

    @property
    def is_span(self) -> bool:
        """Whether only a span is to be rendered again."""
        return self.start is not None or self.end is not None

    def span(self, seconds: float) -> tuple[float, float]:
        """The span in a video that lasts `seconds`. Raises OptionError if there is nothing in it."""
        start, end = self.start or 0.0, seconds if self.end is None else min(self.end, seconds)
        if not 0 <= start < seconds:
            raise OptionError(
                f"`from` is {start:g} s and the video lasts {seconds:g} s; expected a time in it", code="span_empty"
            )
        if not start < end:  # also if `to` is not a number
            raise OptionError(
                f"`from` is {start:g} s and `to` {end:g} s; expected `from` before `to`", code="span_empty"
            )
        return start, end


USUAL_WORK = WorkOptions()


def work_help(name: str) -> str:
    """The sentence of help of a field of `WorkOptions`."""
    return str(WorkOptions.__pydantic_fields__[name].description)  # type: ignore[attr-defined]


class OptionsDict(TypedDict, total=False):
    """The fields of `Options` as keyword arguments; None leaves an option to the preset."""

    size: int | None
    fps: float | str | Fraction | None
    frames: int | None
    framing: Literal["full", "crop"] | None
    face: int | None
    face_box: tuple[float, float, float, float] | str | None
    crop_margin: float | None
    mark: bool | None
    seed: int | None
    motion_strength: float | None
    mouth_strength: float | None
    blink_rate: float | None
    still_background: bool | None
    steps: int | None
    guidance_scale: float | None
    context_frames: int | None
    context_overlap: int | None
    context_batch: int | None
    sampler: Literal["ddim", "dpm++", "unipc"] | None
    windows: Literal["open", "closed"] | None
    motion_end: Literal["loop", "hold", "stop"] | None
    mask_margin: float | None
    exact: bool | None
    cache: int | None
    cache_schedule: Literal["uniform", "quadratic"] | None
    guidance_batch: bool | None
    device: str | None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None
    offload: bool | None
    compile: bool | None
    quantize: Literal["none", "int8"] | None
    workers: int | None


RENAMED = {"guidance": "guidance_scale"}
"""Old names of options, which are still accepted, with a note."""
_NTSC = (24, 30, 48, 60, 72, 90, 96, 120)
"""Frame rates that are also used divided by 1.001."""
_EXPECTED = {
    "face_box": "expected four numbers in pixels of the picture, x,y,w,h: `face_box` 120,80,200,240",
    "fps": "expected a number from 1 to 120: 25, 23.976 or 30000/1001",
}

OPTION_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Options))


def parse_rate(value: str | float | Fraction) -> object:
    """A frame rate as a number: 23.98, "29,97" and "30000/1001" are exactly n * 1000 / 1001; else what was given."""
    try:
        rate = float(Fraction(value.strip().replace(",", ".")) if isinstance(value, str) else value)
    except (ValueError, ZeroDivisionError, OverflowError):
        return value
    ntsc = next((n * 1000 / 1001 for n in _NTSC if abs(rate - n * 1000 / 1001) < 0.007), None)
    plain = not isinstance(value, Fraction) and not set(str(value)) & set(",/")
    return value if plain and ntsc is None else ntsc or rate


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by the current names of their options; an old name gives a note, unless the new one is given too."""
    named = {name: value for name, value in values.items() if name not in RENAMED}
    for old in values.keys() & RENAMED.keys():
        new = RENAMED[old]
        if values[old] is not None:
            note("renamed_option", "option `{old}` is called `{new}` now; use the new name", old=old, new=new)
            named.setdefault(new, values[old])
    return named


def make_options(values: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Options:
    """The options of the user combined with the defaults of a preset; None counts as not given. Raises OptionError."""
    given = {name: value for name, value in current_names(values).items() if value is not None}
    return Options(**{**(defaults or {}), **given})


def _option_error(error: ValidationError) -> OptionError:
    """The first problem of a validation error as an error of this package."""
    fault = error.errors()[0]
    name = str(fault["loc"][0])
    if fault["type"] == "unexpected_keyword_argument":
        return OptionError(f"unknown option {name!r}; expected one of {', '.join(OPTION_NAMES)}", code="option_unknown")
    return OptionError(
        f"option `{name}` is {_as_given(fault['input'])}; {_EXPECTED.get(name) or _expected(name, fault)}"
    )


def _as_given(value: object) -> str:
    """A value as the user wrote it; text that is not a number is quoted."""
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    number = isinstance(value, str) and value.removeprefix("-").replace(".", "", 1).isdigit()
    return str(value) if number else repr(value)


def _expected(name: str, fault: Any) -> str:
    """The values that an option accepts: the range of a number."""
    metadata = Options.__pydantic_fields__[name].metadata  # type: ignore[attr-defined]
    bounds = [getattr(item, end) for item in metadata for end in ("ge", "le") if hasattr(item, end)]
    if len(bounds) == 2:
        kind = {"int": "a whole number from ", "float": "a number from "}.get(fault["type"].split("_")[0], "")
        return f"expected {kind}{bounds[0]} to {bounds[1]}"
    message = str(fault["msg"]).replace("Input should be", "expected")
    return f"{message[0].lower()}{message[1:]}"

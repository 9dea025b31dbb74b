"""All options: the command line, the web page, ComfyUI and the HTTP API are built from these fields."""

from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs
from typing_extensions import TypedDict

from echomimic.errors import OptionError
from echomimic.notes import note

GROUPS = {"picture": "Picture and length", "motion": "Motion", "diffusion": "Diffusion", "machine": "Machine"}


def _option(
    group: str,
    help: str,  # noqa: A002 - the word that every front end uses
    *,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
) -> Any:
    """The metadata of one option: its group, one sentence of help, its range and the step of a slider."""
    return Field(description=help, ge=low, le=high, json_schema_extra={"group": group, "step": step})


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Options:
    """The options of a render. A preset has its own defaults, which values of the user replace. Raises OptionError."""

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
        _option("picture", "number of frames to render; 0 covers the whole voice", low=0, high=10_000_000, step=1),
    ] = 0
    framing: Annotated[
        Literal["full", "crop"],
        _option("picture", "'full' keeps the whole picture, 'crop' gives a square around the head"),
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
        _option("picture", "where the face is, x,y,w,h in pixels of the picture, if it is not found automatically"),
    ] = None
    crop_margin: Annotated[
        float, _option("picture", "margin around the face of a crop, in face sizes", low=0, high=3, step=0.05)
    ] = 0.5
    mark: Annotated[
        bool, _option("picture", "put an imperceptible mark into the frames, which says that they are AI-generated")
    ] = True
    seed: Annotated[int, _option("motion", "same inputs and seed: the same frames", low=0, high=2**31 - 1, step=1)] = 0
    motion_strength: Annotated[
        float,
        _option("motion", "how much the head and brows move; 0 holds them still", low=0, high=2, step=0.05),
    ] = 1.0
    mouth_strength: Annotated[float, _option("motion", "how wide the mouth moves", low=0, high=2, step=0.05)] = 1.0
    blink_rate: Annotated[float, _option("motion", "blinks a minute; 0 for none", low=0, high=60, step=1)] = 16.0
    still_background: Annotated[bool, _option("motion", "keep the background still while the head moves")] = True
    steps: Annotated[int, _option("diffusion", "denoising steps", low=1, high=1000, step=1)] = 30
    guidance_scale: Annotated[
        float,
        _option(
            "diffusion",
            "classifier-free guidance scale; 1 or less disables it and halves the cost",
            low=0,
            high=30,
            step=0.1,
        ),
    ] = 2.5
    context_frames: Annotated[
        int, _option("diffusion", "frames in a context window, which are denoised together", low=2, high=32, step=1)
    ] = 12
    context_overlap: Annotated[
        int, _option("diffusion", "frames that neighbouring context windows share", low=0, high=31, step=1)
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
    sampler: Annotated[Literal["ddim", "dpm++", "unipc"], _option("diffusion", "how noise is removed")] = "ddim"
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
            "margin around the face of the mask that conditions 'v1', in face sizes",
            low=0,
            high=3,
            step=0.05,
        ),
    ] = 0.1
    exact: Annotated[bool, _option("diffusion", "reproduce the published pipelines, including their faults")] = False
    cache: Annotated[
        int,
        _option(
            "diffusion",
            "compute the inner layers of the network only in every Nth step: faster, less exact; 1 is off",
            low=1,
            high=10,
            step=1,
        ),
    ] = 1
    cache_schedule: Annotated[
        Literal["uniform", "quadratic"],
        _option(
            "diffusion", "with cache, which steps compute all layers: evenly spaced, or denser around the first third"
        ),
    ] = "uniform"
    guidance_batch: Annotated[
        bool,
        _option("diffusion", "both halves of guidance in one call of the network, which takes more memory"),
    ] = False
    device: Annotated[str, _option("machine", "auto, cpu, cuda, cuda:1, mps or xpu")] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], _option("machine", "number format of the network")
    ] = "auto"
    offload: Annotated[bool, _option("machine", "keep weights off the device between stages: slower, less memory")] = (
        False
    )
    compile: Annotated[bool, _option("machine", "compile the network: slow to start, faster for many clips")] = False
    quantize: Annotated[
        Literal["none", "int8"],
        _option("machine", "'int8' keeps weights of linear layers in int8: less memory, less exact; needs torchao"),
    ] = "none"
    workers: Annotated[int, _option("machine", "threads that render; 0 uses one per core", low=0, high=64, step=1)] = 0

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

    keep: Annotated[
        bool, Field(description="keep the finished parts of the video beside it, to render a span again")
    ] = False
    resume: Annotated[bool, Field(description="only resume an interrupted render; refuse to start over")] = False
    start: Annotated[
        float | None, Field(description="render only a span of a video with kept work again, from this second on")
    ] = None
    end: Annotated[float | None, Field(description="up to this second")] = None

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

"""Edits of a motion as records: checked data that the command line, the editor and saved tracks share.

The record `{"op": "draw_curve", "curve": "jaw", "keys": [[0.4, 0.7]]}` stands for the call `draw_curve(track, 'jaw',
[(0.4, 0.7)])` of `echomimic.motion`, and that call is how it is shown to people. Records can be applied again to
another motion, for instance to that of another voice. Limits of the fields bound the time that an edit takes.
"""

import ast
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from echomimic.errors import MotionError
from echomimic.types import Floats, Motion, Progress

MAX_EDITS = 1000
"""Edits that one saved track may list."""
MAX_TEXT = 2 << 20
"""Characters that the edits of one saved track may have together."""
MAX_KEYS = 20_000
MAX_SECONDS = 36_000.0
_MAX_LINE = 100_000
_MAX_NOTE = 500

Seconds = Annotated[float, Field(ge=-MAX_SECONDS, le=MAX_SECONDS)]
Duration = Annotated[float, Field(gt=0, le=MAX_SECONDS)]
Seam = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
Gain = Annotated[float, Field(ge=-1000, le=1000)]
Key = tuple[Seconds, float]
Keys = Annotated[tuple[Key, ...], Field(min_length=1, max_length=MAX_KEYS)]
Handle = tuple[Seam, float, Seam, float]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Regions = Annotated[tuple[Name, ...], Field(max_length=20)]

Ease = Annotated[
    str,
    Field(
        max_length=60,
        description="way between keyframes: smooth, linear, in, out, hold, or Bezier handles 0.4,0,0.2,1",
        json_schema_extra={"metavar": "EASE"},
    ),
]

_REGIONS = "face: eyes, brows, mouth, pupils, nose, head; pose: body, hands, face"


def _help(text: str, metavar: str | None = None) -> Any:
    return Field(description=text, json_schema_extra={"metavar": metavar})


@dataclass(frozen=True)
class EditContext:
    """Further inputs of some edits, besides the track.

    `load` reads the other motions that `blend` and `concat` name; without it they are refused. `face_of` gives the
    landmarks (478, 3) of a row of curves: if it is given, the points of a face follow when a curve is edited.
    """

    load: Callable[[str], Motion] | None = None
    face_of: Callable[[Floats], Floats] | None = None
    progress: Progress | None = None
    """Called before each edit; raising from it cancels."""

    def motion(self, name: str) -> Motion:
        """The motion called `name`. MotionError if other motions cannot be read here."""
        if self.load is None:
            raise MotionError(
                f"the edit needs the motion {name!r}, which cannot be read here; apply the edit on the command line"
            )
        return self.load(name)


class Edit(BaseModel):
    """One edit: `op` is a function of `echomimic.motion`, and the other fields are its arguments in order.

    Required fields are positional arguments in Python and on the command line, the others are keywords and flags.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    op: Any
    command: ClassVar[str | None] = None
    """The name on the command line, if it differs from `op`."""
    keeps_length: ClassVar[bool] = True
    """Whether the motion has as many frames afterwards: only then can the edit be applied in the editor."""

    @property
    def curves(self) -> frozenset[str]:
        """Names of the curves that the edit sets one by one."""
        return frozenset()

    def arguments(self, context: EditContext) -> dict[str, Any]:
        """The keyword arguments of the function."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "op"}

    def apply(self, track: Any, context: EditContext = EditContext()) -> Any:
        """Apply the edit to the track. MotionError if it does not fit the track."""
        from echomimic import motion

        return getattr(motion, self.op)(track, **self.arguments(context))

    def record(self) -> dict[str, Any]:
        """The edit as plain data for JSON, without the values that are defaults."""
        return {"op": self.op, **self.model_dump(mode="json", exclude_defaults=True)}

    def __str__(self) -> str:
        """The edit as a call in Python."""
        given = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name != "op" and (field.is_required() or value != field.default):
                given.append(_literal(value) if field.is_required() else f"{name}={_literal(value)}")
        return f"{self.op}({', '.join(['track', *given])})"


class Select(Edit):
    """Choose which parts of a face the motion drives; the voice drives the rest."""

    op: Literal["select"] = "select"
    parts: Annotated[Regions, _help(_REGIONS, "A,B")] = ("eyes", "brows", "pupils", "nose")


class Resample(Edit):
    """The same motion at another frame rate."""

    op: Literal["resample"] = "resample"
    keeps_length: ClassVar[bool] = False
    fps: Annotated[float, Field(gt=0, le=1000), _help("frames a second", "FPS")]


class Trim(Edit):
    """Keep the frames between two moments."""

    op: Literal["trim"] = "trim"
    keeps_length: ClassVar[bool] = False
    start: Annotated[Seconds, _help("second to start at; negative counts from the end")] = 0.0
    end: Annotated[Seconds | None, _help("second to end before")] = None


class Loop(Edit):
    """Repeat a motion until it lasts SECONDS."""

    op: Literal["loop"] = "loop"
    keeps_length: ClassVar[bool] = False
    seconds: Annotated[Duration, _help("length of the result", "SECONDS")]
    seam: Annotated[
        Seam | None, _help("start over with a crossfade of this many seconds, instead of going back and forth")
    ] = None


class Stretch(Edit):
    """Make the whole motion slower or faster, so that it lasts SECONDS."""

    op: Literal["stretch"] = "stretch"
    keeps_length: ClassVar[bool] = False
    seconds: Annotated[Duration, _help("length of the result", "SECONDS")]


class Smooth(Edit):
    """Smooth the motion over time, against jitter."""

    op: Literal["smooth"] = "smooth"
    seconds: Annotated[Seam, _help("standard deviation of the average, in seconds")] = 0.12


class Amplify(Edit):
    """Make everything, or some parts, move GAIN times as far; 0 holds still."""

    op: Literal["amplify"] = "amplify"
    gain: Annotated[Gain, _help("how many times as far", "GAIN")]
    parts: Annotated[Regions, _help(_REGIONS, "A,B")] = ()


class Retime(Edit):
    """Move moments in time; the time between them is stretched."""

    op: Literal["retime"] = "retime"
    keeps_length: ClassVar[bool] = False
    marks: Annotated[
        Annotated[tuple[tuple[Seconds, Seconds], ...], Field(min_length=1, max_length=MAX_KEYS)],
        _help("the second that goes to another: 0.4=0.8", "OLD=NEW…"),
    ]


class Blend(Edit):
    """Mix two motions, or take some parts from the other."""

    op: Literal["blend"] = "blend"
    keeps_length: ClassVar[bool] = False
    other: Annotated[Name, _help("the motion to take from", "OTHER")]
    share: Annotated[float, Field(ge=0, le=1), _help("how much of OTHER")] = 0.5
    parts: Annotated[Regions, _help(_REGIONS, "A,B")] = ()

    def apply(self, track: Any, context: EditContext = EditContext()) -> Any:  # noqa: D102
        from echomimic import motion

        return motion.blend(track, context.motion(self.other), self.share, self.parts)

    def __str__(self) -> str:
        rest = super().__str__().removeprefix(f"blend(track, {self.other!r}")
        return f"blend(track, load_motion({self.other!r}){rest}"


class Offset(Edit):
    """Move a motion in time or in the picture."""

    op: Literal["offset"] = "offset"
    seconds: Annotated[Seconds, _help("seconds by which the motion is later; negative for earlier")] = 0.0
    x: Annotated[float, _help("to the right: pixels for faces, fractions of the picture for poses")] = 0.0
    y: Annotated[float, _help("down, in the same units")] = 0.0


class Mirror(Edit):
    """Mirror the motion: left and right are exchanged."""

    op: Literal["mirror"] = "mirror"


class CurveEdit(Edit):
    """An edit of one curve of a face or of hands."""

    curve: Annotated[Name, _help("jaw, blink, yaw, left_x, …: see docs/motion.md", "CURVE")]

    @property
    def curves(self) -> frozenset[str]:
        """The curve."""
        return frozenset({self.curve})

    def arguments(self, context: EditContext) -> dict[str, Any]:  # noqa: D102
        return {**super().arguments(context), "face_of": context.face_of}


class SetCurve(CurveEdit):
    """Set one whole curve of a face or of hands by keyframes; the points follow."""

    op: Literal["set_curve"] = "set_curve"
    command: ClassVar[str | None] = "set"
    keys: Annotated[Keys, _help("keyframes: 0=0 0.8=10", "SECOND=VALUE…")]
    ease: Ease = "smooth"


class DrawCurve(CurveEdit):
    """Draw one curve between its first and its last keyframe only; the points follow."""

    op: Literal["draw_curve"] = "draw_curve"
    command: ClassVar[str | None] = "draw"
    keys: Annotated[Keys, _help("keyframes: 0.4=0 0.8=10", "SECOND=VALUE…")]
    ease: Ease = "smooth"
    handles: Annotated[
        tuple[Handle, ...], Field(max_length=MAX_KEYS, description="Bezier handles of each keyframe")
    ] = ()


class ShiftCurve(CurveEdit):
    """Add offsets to one curve between the first and the last of them; the points follow."""

    op: Literal["shift_curve"] = "shift_curve"
    command: ClassVar[str | None] = "shift"
    keys: Annotated[Keys, _help("offsets: 0.4=0 0.6=0.3 0.8=0", "SECOND=AMOUNT…")]
    ease: Ease = "smooth"


class ScaleCurve(CurveEdit):
    """Make one curve move GAIN times as far from its rest value, as a whole or between two seconds; 0 mutes it."""

    op: Literal["scale_curve"] = "scale_curve"
    command: ClassVar[str | None] = "scale"
    gain: Annotated[Gain, _help("how many times as far", "GAIN")]
    start: Annotated[Seconds, _help("second to start at")] = 0.0
    end: Annotated[Seconds | None, _help("second to end at")] = None


class Express(Edit):
    """Add an expression of the face: smile, doubt, surprise, glance, nod, shake or blink."""

    op: Literal["express"] = "express"
    expression: Annotated[Name, _help("smile, doubt, surprise, glance, nod, shake or blink", "EXPRESSION")]
    start: Annotated[Seconds, _help("second to start at", "SECOND")]
    seconds: Annotated[Duration, _help("how long it lasts")] = 1.0
    strength: Annotated[float, Field(ge=-3, le=3), _help("how strong; negative looks or turns the other way")] = 1.0

    @property
    def curves(self) -> frozenset[str]:
        """The curves of the expression."""
        from echomimic.motion.curve_edits import EXPRESSIONS

        return frozenset(EXPRESSIONS.get(self.expression, {}))

    def arguments(self, context: EditContext) -> dict[str, Any]:  # noqa: D102
        return {**super().arguments(context), "face_of": context.face_of}


class Concat(Edit):
    """Join motions one after the other."""

    op: Literal["concat"] = "concat"
    keeps_length: ClassVar[bool] = False
    others: Annotated[
        Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)],
        _help("motions of one kind, in order", "OTHER…"),
    ]
    seam: Annotated[Seam, _help("seconds over which each seam is blended")] = 0.2

    def apply(self, track: Any, context: EditContext = EditContext()) -> Any:  # noqa: D102
        from echomimic import motion

        return motion.concat([track, *(context.motion(name) for name in self.others)], self.seam)

    def __str__(self) -> str:
        others = ", ".join(f"load_motion({name!r})" for name in self.others)
        return f"concat([track, {others}], seam={_literal(self.seam)})"


class Comment(Edit):
    """A comment on how a motion was made; it changes nothing."""

    op: Literal["note"] = "note"
    text: Annotated[str, Field(max_length=_MAX_NOTE)]

    @field_validator("text", mode="before")
    @classmethod
    def _short(cls, text: object) -> object:
        if not isinstance(text, str):
            return text
        readable = text.encode("utf-8", "backslashreplace").decode()  # names of files need not be UTF-8
        return _shortened(" ".join(readable.split()), _MAX_NOTE)

    def apply(self, track: Any, context: EditContext = EditContext()) -> Any:  # noqa: D102
        return track

    def __str__(self) -> str:
        return f"# {self.text}"


class Layer(Edit):
    """A named group of edits, which can be muted, heard alone (`solo`), and applied in part (`strength`)."""

    op: Literal["layer"] = "layer"
    name: Annotated[Name, _help("its name")]
    edits: Annotated[tuple[Any, ...], Field(max_length=MAX_EDITS)]
    strength: Annotated[float, Field(ge=0, le=1), _help("how much of the edits' effect")] = 1.0
    muted: bool = False
    solo: bool = False

    @field_validator("edits", mode="before")
    @classmethod
    def _read_edits(cls, values: object) -> object:
        if not isinstance(values, (list, tuple)):
            raise ValueError("a list of edits is expected")
        try:
            edits = read_edits(values)
        except MotionError as error:
            raise ValueError(str(error)) from None
        if wrong := [edit.op for edit in edits if isinstance(edit, Layer) or not edit.keeps_length]:
            raise ValueError(f"{wrong[0]} cannot be part of a layer")
        return edits

    @property
    def curves(self) -> frozenset[str]:
        """The curves of its edits, unless it is muted."""
        return frozenset() if self.muted else frozenset().union(*(edit.curves for edit in self.edits))

    def apply(self, track: Any, context: EditContext = EditContext()) -> Any:  # noqa: D102
        from echomimic import motion

        return motion.layer(track, self.name, self.edits, self.strength, self.muted, self.solo, context)

    def record(self) -> dict[str, Any]:  # noqa: D102
        values = self.model_dump(mode="json", exclude_defaults=True, exclude={"edits"})
        return {"op": self.op, **values, "edits": [edit.record() for edit in self.edits]}

    def __str__(self) -> str:
        rest = "".join(
            f", {name}={_literal(getattr(self, name))}"
            for name in ("strength", "muted", "solo")
            if getattr(self, name) != type(self).model_fields[name].default
        )
        return f"layer(track, {self.name!r}, {[edit.record() for edit in self.edits]!r}{rest})"


_KINDS: tuple[type[Edit], ...] = (
    Select,
    Resample,
    Trim,
    Loop,
    Stretch,
    Smooth,
    Amplify,
    Retime,
    Blend,
    Offset,
    Mirror,
    SetCurve,
    DrawCurve,
    ShiftCurve,
    ScaleCurve,
    Express,
    Layer,
    Concat,
    Comment,
)
EDITS: dict[str, type[Edit]] = {model.model_fields["op"].default: model for model in _KINDS}
"""Every kind of edit by its `op`: the registry that the command line, the editor and the file formats are built on."""


@cache
def _record() -> TypeAdapter[Any]:
    """The validator of records, built on first use, since starting the program does not need it."""
    kinds: Any = Union[_KINDS]  # noqa: UP007 - the members are a tuple
    return TypeAdapter(Annotated[kinds, Field(discriminator="op")])


def active_edits(edits: Iterable[Edit]) -> tuple[Edit, ...]:
    """The edits that take effect: without muted layers and, if any layer is `solo`, without the other layers."""
    edits = tuple(edits)
    alone = any(isinstance(edit, Layer) and edit.solo for edit in edits)
    return tuple(edit for edit in edits if not isinstance(edit, Layer) or not (edit.muted or (alone and not edit.solo)))


def count_edits(edits: Iterable[Edit]) -> int:
    """The number of edits, with those inside of layers."""
    return sum(1 + (len(edit.edits) if isinstance(edit, Layer) else 0) for edit in edits)


def apply_edits(
    track: Any,
    edits: Iterable[Edit],
    context: EditContext = EditContext(),
    progress: Progress | None = None,
) -> Any:
    """Apply all edits in order.

    `progress` is called before each edit; raising from it cancels. MotionError names the edit that does not fit.
    """
    edits = active_edits(edits)
    context = replace(context, progress=progress)
    for number, edit in enumerate(edits):
        if progress is not None:
            progress(number, len(edits))
        try:
            track = edit.apply(track, context)
        except MotionError as error:
            raise MotionError(f"{_shortened(str(edit), 80)}: {error}") from None
    return track


def read_edit(value: object) -> Edit:
    """Read an edit from a record, or from its line of Python (not for `blend` and `concat`, which name files).

    MotionError in one line if it is neither.
    """
    if isinstance(value, str):
        value = _from_python(value)
    elif isinstance(value, Edit):
        return value
    try:
        return _record().validate_python(value)
    except ValidationError as error:
        raise MotionError(_problem(value, error)) from None


def read_edits(values: Sequence[object]) -> tuple[Edit, ...]:
    """As `read_edit`, for several. MotionError if there are more than `MAX_EDITS`."""
    if len(values) > MAX_EDITS:
        raise MotionError(
            f"{len(values)} edits were given; expected at most {MAX_EDITS}: save the track and continue from it"
        )
    edits = tuple(read_edit(value) for value in values)
    if (count := count_edits(edits)) > MAX_EDITS:
        raise MotionError(f"{count} edits were given, with those of layers; expected at most {MAX_EDITS}")
    return edits


def read_saved_edits(values: Sequence[object], where: str) -> tuple[Edit, ...]:
    """Read the edits that a file lists: records, or the lines of Python and words of a shell that 0.1.0 wrote.

    An entry that cannot be applied again becomes a `Comment`; so does a list that exceeds the limits.
    """
    size = sum(len(value) if isinstance(value, str) else len(str(value)) for value in values)
    if len(values) > MAX_EDITS or size > MAX_TEXT:
        return (Comment(text=f"{len(values)} edits of {where}, more than the {MAX_EDITS} that can be applied again"),)
    return tuple(_read_saved(value) for value in values)


def _read_saved(value: object) -> Edit:
    try:
        return read_edit(value)
    except MotionError:
        return Comment(text=str(value))


def _from_python(line: str) -> dict[str, Any]:
    """The record of a call such as `scale_curve(track, 'jaw', 0.5)`, which is parsed and never executed."""
    shown = _shortened(line, 80)
    wrong = MotionError(f"{shown!r} is not an edit; expected a call such as scale_curve(track, 'jaw', 0.5)")
    if len(line) > _MAX_LINE:
        raise wrong
    try:
        call = ast.parse(line.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise wrong
        first, *others = call.args
        positional = [ast.literal_eval(each) for each in others]
        named = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise wrong from None
    op = call.func.id
    if not isinstance(first, ast.Name) or first.id != "track" or len(named) != len(call.keywords):
        raise wrong
    if op not in EDITS:
        raise MotionError(f"{shown!r}: {op!r} is not an edit; expected one of {', '.join(EDITS)}")
    names = [name for name in EDITS[op].model_fields if name != "op"]
    if len(positional) > len(names):
        raise wrong
    return {"op": op, **dict(zip(names, positional, strict=False)), **named}


def _problem(value: object, error: ValidationError) -> str:
    """The message that says what is wrong with a record, and how the call should look."""
    first = error.errors()[0]
    op = value.get("op") if isinstance(value, dict) else None
    if not isinstance(op, str) or op not in EDITS:
        return f"{_shortened(repr(value), 80)} is not an edit; expected a record with 'op', one of {', '.join(EDITS)}"
    place = ".".join(str(part) for part in first["loc"][1:]) or "the record"
    given = _shortened(repr(first["input"]), 60)
    return f"{op}: {place} is {given}: {first['msg'][:1].lower()}{first['msg'][1:]}; expected {signature(op)}"


def signature(op: str) -> str:
    """The signature of a kind of edit: `scale_curve(track, curve, gain, start=0, end=None)`."""
    arguments = [
        name if field.is_required() else f"{name}={_literal(field.default)}"
        for name, field in EDITS[op].model_fields.items()
        if name != "op"
    ]
    return f"{op}({', '.join(['track', *arguments])})"


def _literal(value: object) -> str:
    """A value in Python: whole numbers without a point, nested pairs as a list of tuples."""
    if isinstance(value, float) and value.is_integer():
        return repr(int(value))
    if isinstance(value, tuple):
        pair = len(value) == 2 and all(isinstance(each, float) for each in value)
        inside = ", ".join(_literal(each) for each in value)
        return f"({inside})" if pair else f"[{inside}]"
    return repr(value)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."

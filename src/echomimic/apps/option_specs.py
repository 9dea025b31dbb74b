"""The options as a door shows them: read off the fields of `Options`, so that every door offers the same."""

from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from echomimic.options import GROUPS, OPTION_NAMES, Options


@dataclass(frozen=True)
class Control:
    """One option: `kind` is the type of a value (float, int, bool or str); `choices` is empty where any will do."""

    name: str
    kind: type
    default: object
    help: str
    group: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The command line's name for it, without dashes in front."""
        return self.name.replace("_", "-")

    @property
    def range(self) -> str:
        """What may be given, in a few characters; empty where anything may."""
        if self.choices:
            return "|".join(self.choices)
        return "" if self.low is None or self.high is None else f"{_short(self.low)} to {_short(self.high)}"


def _short(number: float) -> str:
    """A number without a fraction of zero and without an exponent."""
    return str(int(number)) if number == int(number) else f"{number:g}"


def _kind(annotation: Any) -> type:
    """The plain type that a door asks for: a tuple is asked for as text."""
    inner = [part for part in get_args(annotation) if part is not NoneType]
    if get_origin(annotation) is Literal or get_origin(annotation) is tuple:
        return str
    return _kind(inner[0]) if inner else annotation


def _bound(metadata: list[Any], name: str) -> float | None:
    """The value of the `ge` or `le` among the metadata of a field."""
    return next((getattr(item, name) for item in metadata if hasattr(item, name)), None)


def _control(name: str) -> Control:
    """The control of the option called `name`."""
    field = Options.__pydantic_fields__[name]  # type: ignore[attr-defined]
    annotation, extra = field.annotation, field.json_schema_extra
    return Control(
        name,
        _kind(annotation),
        field.default,
        field.description,
        GROUPS[extra["group"]],
        _bound(field.metadata, "ge"),
        _bound(field.metadata, "le"),
        extra["step"],
        get_args(annotation) if get_origin(annotation) is Literal else (),
    )


CONTROLS: tuple[Control, ...] = tuple(_control(name) for name in OPTION_NAMES)

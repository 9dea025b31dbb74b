"""The options as front ends show them, read from the fields of `Options`: every front end offers the same."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from echomimic.options import GROUPS, OPTION_NAMES, Options

_MARKED = re.compile(r"`([a-z][a-z_]*)`")


def spell_options(text: str, spelling: Callable[[str], str] = str) -> str:
    """A message with the names of options in a front end's own spelling; messages mark them: lower `size`."""
    return _MARKED.sub(lambda found: spelling(found[1]), text)


@dataclass(frozen=True)
class OptionSpec:
    """One option: `kind` is the type of a value (float, int, bool or str); `choices` is empty if any value will do."""

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
        """Its name on the command line, without leading dashes."""
        return self.name.replace("_", "-")

    @property
    def range(self) -> str:
        """The values that it accepts, in a few characters; empty if any."""
        if self.choices:
            return "|".join(self.choices)
        return "" if self.low is None or self.high is None else f"{_short(self.low)} to {_short(self.high)}"


def _short(number: float) -> str:
    """A number without trailing zeros and without an exponent."""
    return str(int(number)) if number == int(number) else f"{number:g}"


def _kind(annotation: Any) -> type:
    """The plain type that a front end asks for; tuples are entered as text."""
    inner = [part for part in get_args(annotation) if part is not NoneType]
    if get_origin(annotation) is Literal or get_origin(annotation) is tuple:
        return str
    return _kind(inner[0]) if inner else annotation


def _bound(metadata: list[Any], name: str) -> float | None:
    """The `ge` or `le` in the metadata of a field."""
    return next((getattr(item, name) for item in metadata if hasattr(item, name)), None)


def _read_spec(name: str) -> OptionSpec:
    field = Options.__pydantic_fields__[name]  # type: ignore[attr-defined]
    annotation, extra = field.annotation, field.json_schema_extra
    return OptionSpec(
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


OPTION_SPECS: tuple[OptionSpec, ...] = tuple(_read_spec(name) for name in OPTION_NAMES)

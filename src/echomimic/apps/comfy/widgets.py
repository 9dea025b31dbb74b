"""The options as widgets of nodes: a loop over `OPTION_SPECS`."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from echomimic.apps.option_specs import OPTION_SPECS, OptionSpec, spell_options
from echomimic.errors import EchoMimicError
from echomimic.options import GROUPS
from echomimic.presets import PRESETS

FROM_PRESET = "preset"
"""The choice that leaves an option to the preset."""
SAVED_NAMES = {"guidance_scale": "guidance"}
"""If an option was renamed, its widget keeps the name that saved workflows have."""
SET_BY_PRESETS = frozenset(name for preset in PRESETS.values() for name in preset.defaults)
ADVANCED = (GROUPS["diffusion"], GROUPS["machine"])
SET_BY_HOST = ("device",)
OF_FILES = ("mark",)
"""Options of written files; nodes return frames."""


def _widget_name(option: str) -> str:
    return SAVED_NAMES.get(option, option)


_SPECS = {_widget_name(spec.name): spec for spec in OPTION_SPECS}
LATER = ("quantize",)
"""Options that Load shows behind `fetch`, since saved workflows keep values by position."""
MACHINE = tuple(name for name, spec in _SPECS.items() if spec.group == GROUPS["machine"] and name not in SET_BY_HOST)
RENDER = tuple(name for name, spec in _SPECS.items() if spec.group != GROUPS["machine"] and name not in OF_FILES)


def make_inputs(io: Any, names: Iterable[str], tooltips: Mapping[str, str] | None = None) -> list[Any]:
    """A widget for each of these options; `tooltips` replace the help of an option.

    They are optional, so that a saved prompt survives a new one.
    """
    return [_make_input(io, name, (tooltips or {}).get(name, "")) for name in names]


def defaults(names: Iterable[str]) -> dict[str, object]:
    """The default values of options by name."""
    return {name: _default(_SPECS[name]) for name in names}


def chosen_options(values: Mapping[str, Any]) -> dict[str, object]:
    """The options that these widget values set; those left to the preset are not among them."""
    return {_SPECS[name].name: value for name, value in values.items() if value != unset_value(_SPECS[name])}


@contextmanager
def rewrite_option_names() -> Iterator[None]:
    """Errors of the block name options as the widgets do: without marks."""
    try:
        yield
    except EchoMimicError as error:
        raise type(error)(spell_options(str(error), _widget_name), code=error.code) from error


def note_lines(notes: Iterable[str]) -> list[str]:
    """The lines of a report that show notes."""
    return [f"note: {spell_options(text, _widget_name)}" for text in notes]


def unset_value(spec: OptionSpec) -> object:
    """The widget's value that leaves an option to the preset or its default; None if there is no such value."""
    if spec.default is not None and spec.name not in SET_BY_PRESETS:
        return None
    if spec.choices:
        return FROM_PRESET
    if spec.kind is str:
        return ""
    return spec.kind(0 if spec.low and spec.low > 0 else -1)


def _default(spec: OptionSpec) -> object:
    unset = unset_value(spec)
    value = spec.default if unset is None else unset
    return value if spec.choices else spec.kind(value)


def _make_input(io: Any, name: str, tooltip: str) -> Any:
    spec = _SPECS[name]
    unset, value, kind = unset_value(spec), _default(spec), spec.kind
    shared = {"default": value, "tooltip": tooltip or _tooltip(spec, unset), "advanced": spec.group in ADVANCED}
    shared["optional"] = True
    if spec.choices:
        return io.Combo.Input(name, options=[*([] if unset is None else [FROM_PRESET]), *spec.choices], **shared)
    if kind is bool:
        return io.Boolean.Input(name, **shared)
    if kind is str:
        return io.String.Input(name, **shared)
    low = spec.low if unset is None else unset
    numbers = {"min": kind(low), "max": kind(spec.high), "step": kind(spec.step)}
    return (io.Int if kind is int else io.Float).Input(name, **numbers, **shared)


def _tooltip(spec: OptionSpec, unset: object) -> str:
    """The help of an option, and the meaning of the value that leaves it unset."""
    if unset is None or unset == "":
        return spec.help
    text, _, default = spec.help.partition("; default: ")
    value = unset if isinstance(unset, str) else f"{unset:g}"
    meaning = [*(["the preset's default"] if spec.name in SET_BY_PRESETS else []), *([default] if default else [])]
    return f"{text}; {value}: {', else '.join(meaning)}"

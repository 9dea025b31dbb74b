"""The options as widgets of nodes: a loop over `OPTION_SPECS`."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from echomimic.apps.option_specs import OPTION_SPECS, OptionSpec, spell_options
from echomimic.errors import EchoMimicError
from echomimic.options import GROUPS
from echomimic.presets import PRESETS

OWN = "preset"
"""The choice that leaves an option to the preset."""
LEFT_TO_PRESETS = frozenset(name for preset in PRESETS.values() for name in preset.defaults)
RARE = (GROUPS["diffusion"], GROUPS["machine"])
HOSTS = ("device",)
"""Options that the host decides."""
MACHINE = tuple(c.name for c in OPTION_SPECS if c.group == GROUPS["machine"] and c.name not in HOSTS)
RENDER = tuple(c.name for c in OPTION_SPECS if c.group != GROUPS["machine"])
_BY_NAME = {control.name: control for control in OPTION_SPECS}


def make_inputs(io: Any, names: Iterable[str], helps: Mapping[str, str] | None = None) -> list[Any]:
    """A widget for each of these options; `helps` are words of a node's own, by option."""
    return [_widget(io, _BY_NAME[name], (helps or {}).get(name, "")) for name in names]


def defaults(names: Iterable[str]) -> dict[str, object]:
    """The widget values that these options have before anybody changes them."""
    return {name: _start(_BY_NAME[name]) for name in names}


def given(values: Mapping[str, Any]) -> dict[str, object]:
    """The options that these widget values ask for; what is left to the preset is not among them."""
    return {name: value for name, value in values.items() if value != unset(_BY_NAME[name])}


@contextmanager
def rewrite_option_names() -> Iterator[None]:
    """Errors of the block name options as the widgets do: without marks."""
    try:
        yield
    except EchoMimicError as error:
        raise type(error)(spell_options(str(error)), code=error.code) from error


def unset(control: OptionSpec) -> object:
    """The widget's value that means: as the preset has it, or none. None where there is no such value."""
    if control.default is not None and control.name not in LEFT_TO_PRESETS:
        return None
    if control.choices:
        return OWN
    if control.kind is str:
        return ""
    return control.kind(0 if control.low and control.low > 0 else -1)


def _start(control: OptionSpec) -> object:
    nothing = unset(control)
    value = control.default if nothing is None else nothing
    return value if control.choices else control.kind(value)


def _widget(io: Any, control: OptionSpec, words_of_node: str) -> Any:
    nothing, value = unset(control), _start(control)
    words = {"tooltip": words_of_node or _help(control, nothing), "advanced": control.group in RARE}
    if control.choices:
        choices = [*([] if nothing is None else [OWN]), *control.choices]
        return io.Combo.Input(control.name, options=choices, default=value, **words)
    if control.kind is bool:
        return io.Boolean.Input(control.name, default=value, **words)
    if control.kind is str:
        return io.String.Input(control.name, default=value, **words)
    kind = control.kind
    low = control.low if nothing is None else nothing
    numbers = {"min": kind(low), "max": kind(control.high), "step": kind(control.step)}
    return (io.Int if kind is int else io.Float).Input(control.name, default=value, **numbers, **words)


def _help(control: OptionSpec, nothing: object) -> str:
    """What an option does, and what the widget's value means that leaves it as it is."""
    if nothing is None or nothing == "":
        return control.help
    says, _, default = control.help.partition("; default: ")
    value = nothing if isinstance(nothing, str) else f"{nothing:g}"
    meaning = [*(["as the preset has it"] if control.name in LEFT_TO_PRESETS else []), *([default] if default else [])]
    return f"{says}; {value}: {', else '.join(meaning)}"

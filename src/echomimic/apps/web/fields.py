"""The page's controls for the options: a loop over `OPTION_SPECS`."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from echomimic.apps.option_specs import OPTION_SPECS, OptionSpec
from echomimic.apps.web.words import Language, group_label, option_help, option_label, say
from echomimic.options import GROUPS

ELSEWHERE = ("seed",)
"""Options that stand among the main controls."""
_MOST_STEPS = 500
"""A slider with more stops than this cannot be set with a mouse: such options are numbers."""


def make_fields(language: Language, defaults: Mapping[str, object]) -> dict[str, Any]:
    """A component for each option, by name, in a folded group each; `defaults` are the preset's own."""
    gr: Any = import_module("gradio")
    made: dict[str, Any] = {}
    for group in GROUPS.values():
        controls = [each for each in OPTION_SPECS if each.group == group and each.name not in ELSEWHERE]
        with gr.Accordion(group_label(language, group), open=False), gr.Row():
            for control in controls:
                made[control.name] = _field(gr, language, control, defaults.get(control.name, control.default))
    return made


def _field(gr: Any, language: Language, control: OptionSpec, value: object) -> Any:
    """The component of one option."""
    words = {"label": option_label(language, control), "info": option_help(language, control), "min_width": 240}
    if control.choices:
        return gr.Dropdown(list(control.choices), value=value, **words)
    if control.kind is bool:
        return gr.Checkbox(value=value, **words)
    if control.kind is str or control.default is None:  # Gradio makes a 0 of a number that is empty, but not of a text
        return gr.Textbox(value="" if value is None else str(value), placeholder=say(language, "default"), **words)
    if _slides(control):
        return gr.Slider(control.low, control.high, value=value, step=control.step, **words)
    return gr.Number(value=value, precision=0 if control.kind is int else None, **words)


def _slides(control: OptionSpec) -> bool:
    if control.default is None or control.low is None or control.high is None or not control.step:
        return False
    return (control.high - control.low) / control.step <= _MOST_STEPS


def given_options(values: Mapping[str, object], defaults: Mapping[str, object]) -> dict[str, object]:
    """What the user has set: values that differ from the preset's default, or from the option's own."""
    given: dict[str, object] = {}
    for control in OPTION_SPECS:
        value = _in_its_kind(control, values.get(control.name))
        if value not in (None, "") and value != defaults.get(control.name, control.default):
            given[control.name] = value
    return given


def _in_its_kind(control: OptionSpec, value: object) -> object:
    """A number that was written into a text field; anything else as it is, for `Options` to say what is wrong."""
    try:
        return control.kind(value) if isinstance(value, str) and control.kind in (int, float) else value
    except ValueError:
        return value.strip() if isinstance(value, str) else value

"""Command line flags for the options: a loop over `OPTION_SPECS`."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any

import typer

from echomimic.apps.option_specs import OPTION_SPECS, OptionSpec

_MAYBE: dict[type, object] = {bool: bool | None, int: int | None, float: float | None, str: str | None}


def _help(control: OptionSpec) -> str:
    """The sentence of help with range and default behind it; choices stand in the metavar already."""
    default = "" if control.default is None else f"default {_shown(control.default)}"
    facts = ", ".join(fact for fact in ("" if control.choices else control.range, default) if fact)
    return f"{control.help} ({facts})" if facts else control.help


def _flag(control: OptionSpec) -> Parameter:
    """The parameter that typer makes a flag of. It is None when not given: the preset's default holds then."""
    names = [f"--{control.flag}/--no-{control.flag}" if control.kind is bool else f"--{control.flag}"]
    option = typer.Option(
        None,
        *names,
        help=_help(control),
        rich_help_panel=control.group,
        metavar=control.range if control.choices else None,
        show_default=False,
    )
    return Parameter(control.name, Parameter.KEYWORD_ONLY, default=option, annotation=_MAYBE[control.kind])


def _shown(default: object) -> str:
    """A default as the help shows it."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else f"{default}"


def with_option_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `given` (a dict of what the user asked for) one flag for each option."""

    @wraps(command)
    def wrapped(**values: Any) -> None:
        given = {control.name: values.pop(control.name) for control in OPTION_SPECS}
        command(**values, given={name: value for name, value in given.items() if value is not None})

    own = signature(command)
    parameters = [parameter for name, parameter in own.parameters.items() if name != "given"]
    parameters += [_flag(control) for control in OPTION_SPECS]
    keyword = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    setattr(wrapped, "__signature__", own.replace(parameters=keyword))  # noqa: B010 - not in the type of a function
    return wrapped

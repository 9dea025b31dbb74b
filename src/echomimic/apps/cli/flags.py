"""Command line flags for the options: a loop over `OPTION_SPECS`."""

from collections.abc import Callable, Collection, Iterable
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

import typer

from echomimic.apps.option_specs import OPTION_SPECS, OptionSpec
from echomimic.options import RENAMED

NO_VALUE = " "
"""Metavar of a flag that takes no value; without it the help shows the type, as if one were expected."""
LONGEST_METAVAR = 16
_METAVARS = {int: "INTEGER", float: "NUMBER", str: "TEXT"}


def switch(flag: str, text: str) -> Any:
    """A flag that takes no value, with its help."""
    return typer.Option(flag, metavar=NO_VALUE, help=text)


def option(metavar: str, text: str, *flags: str, **more: Any) -> Any:
    """A flag with the name of its value and its help; by default it is called like its parameter."""
    return typer.Option(*flags, metavar=metavar, help=text, **more)


def argument(metavar: str, text: str, **more: Any) -> Any:
    """A positional argument with its name and its help."""
    return typer.Argument(metavar=metavar, help=text, **more)


Json = Annotated[bool, switch("--json", "print one JSON object a line on stdout, for programs")]


def _help(spec: OptionSpec) -> str:
    """The option's help with its range and default; a short list of choices is the metavar."""
    facts = ["" if _lists_choices(spec) else spec.range, "" if spec.default is None else f"default {_default(spec)}"]
    if spec.kind is bool and spec.default:
        facts.append(f"--no-{spec.flag} turns it off")
    known = ", ".join(filter(None, facts))
    return f"{spec.help} ({known})" if known else spec.help


def _lists_choices(spec: OptionSpec) -> bool:
    return bool(spec.choices) and len(spec.range) <= LONGEST_METAVAR


def _default(spec: OptionSpec) -> str:
    if isinstance(spec.default, bool):
        return "on" if spec.default else "off"
    return f"{spec.default:g}" if isinstance(spec.default, float) else f"{spec.default}"


def _flags(spec: OptionSpec) -> list[Parameter]:
    """The parameters that typer turns into flags; None if not given. `Options` parses and checks numbers.

    The negative form of a boolean is a hidden flag of its own: beside the positive one it would leave no room for help.
    """
    if spec.kind is bool:
        off = _flag(f"no_{spec.name}", bool | None, f"--no-{spec.flag}", hidden=True)
        return [_flag(spec.name, bool | None, f"--{spec.flag}", spec, metavar=NO_VALUE), off]
    return [
        _flag(
            spec.name,
            str | None,
            f"--{spec.flag}",
            spec,
            metavar=spec.range if _lists_choices(spec) else _METAVARS[spec.kind],
        )
    ]


def _flag(name: str, annotation: object, flag: str, spec: OptionSpec | None = None, **more: Any) -> Parameter:
    if spec is not None:
        more |= {"help": _help(spec), "rich_help_panel": spec.group}
    default = typer.Option(None, flag, show_default=False, **more)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _take_options(values: dict[str, Any], specs: Iterable[OptionSpec]) -> dict[str, Any]:
    """Take the values of the options out of `values`; those that the user gave, by name."""
    given = {}
    for spec in specs:
        value = values.pop(spec.name)
        if spec.kind is bool and values.pop(f"no_{spec.name}"):
            value = False
        if value is not None:
            given[spec.name] = value
    return given | {old: value for old in RENAMED if (value := values.pop(old)) is not None}


def set_parameters(command: Callable[..., None], parameters: Iterable[Parameter]) -> None:
    """Let typer see these parameters, given by keyword, as those of `command`, which takes any."""
    keyword = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in parameters]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    setattr(command, "__signature__", Signature(keyword))  # noqa: B010 - not in the type of a function


def with_option_flags(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command that takes `given`, a dict of the options that the user gave, one flag for each option.

    The options `without` get none.
    """
    specs = [spec for spec in OPTION_SPECS if spec.name not in without]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def wrapped(**values: Any) -> None:
            given = _take_options(values, specs)
            command(**values, given=given)

        parameters = [parameter for name, parameter in signature(command).parameters.items() if name != "given"]
        parameters += [flag for spec in specs for flag in _flags(spec)]
        parameters += [_flag(old, str | None, f"--{old.replace('_', '-')}", hidden=True) for old in RENAMED]
        set_parameters(wrapped, parameters)
        return wrapped

    return decorate

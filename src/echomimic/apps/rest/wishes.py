"""What a client asks for besides the files: fields read off `Options`, checked before a job is made."""

from collections.abc import Mapping
from typing import Any

from echomimic.apps.controls import CONTROLS, Control
from echomimic.apps.rest.kinds import ANIMATION, Kind
from echomimic.apps.rest.problems import Problem
from echomimic.apps.rest.settings import Settings
from echomimic.errors import OptionError
from echomimic.options import Options, make_options
from echomimic.presets import PRESETS, find_preset

_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_JSON = {int: "integer", float: "number", bool: "boolean", str: "string"}


def field_schemas(kind: Kind) -> dict[str, dict[str, Any]]:
    """JSON Schema of each field that is no file."""
    fields: dict[str, dict[str, Any]] = {}
    if kind is ANIMATION:
        fields["preset"] = {
            "type": "string",
            "enum": ["auto", *PRESETS],
            "default": "auto",
            "description": "the way to render",
        }
        fields["save_motion"] = {
            "type": "boolean",
            "default": False,
            "description": "keep the motion that was rendered, under `/motion`",
        }
    fields["format"] = {
        "type": "string",
        "enum": list(kind.formats),
        "default": kind.formats[0],
        "description": "what to make",
    }
    return {**fields, **{control.name: _schema(control) for control in CONTROLS}}


def _schema(control: Control) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _JSON[control.kind], "description": f"{control.help} ({control.group})"}
    if control.choices:
        schema["enum"] = list(control.choices)
    if control.name == "face_box":
        schema["pattern"] = r"^\d{1,5}(\.\d{1,3})?(,\d{1,5}(\.\d{1,3})?){3}$"
    if control.kind is str and not control.choices:
        schema["maxLength"] = 100
    bounds = {"minimum": control.low, "maximum": control.high}
    schema |= {name: control.kind(bound) for name, bound in bounds.items() if bound is not None}
    return schema | ({} if control.default is None else {"default": control.default})


def read_wishes(kind: Kind, given: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A request as it is kept with the job, from text (of a form) or values (of JSON). Raises Problem."""
    known = field_schemas(kind)
    for name in given:
        if name not in known:
            raise Problem(
                422, "unknown_field", f"unknown field {name!r}; expected portrait, speech, motion, {', '.join(known)}"
            )
    wishes = {
        name: _own(name, given.get(name, schema["default"]), schema)
        for name, schema in known.items()
        if name not in _OPTIONS
    }
    asked = {name: _typed(name, given[name]) for name in given if name in _OPTIONS}
    preset = str(wishes.get("preset", "auto"))
    try:
        options = make_options(asked, {} if preset == "auto" else find_preset(preset).defaults)
    except OptionError as error:
        raise Problem(422, "invalid_option", str(error)) from None
    _check_length(options, settings)
    return {**wishes, "options": {name: getattr(options, name) for name in asked}}


_OPTIONS = {control.name: control for control in CONTROLS}


def _own(name: str, value: object, schema: Mapping[str, Any]) -> object:
    """The value of a field of ours, which has choices or is yes or no."""
    if schema["type"] == "boolean":
        return _truth(name, value)
    if value not in schema["enum"]:
        raise Problem(422, "invalid_option", f"{name} is {value!r}; expected one of {', '.join(schema['enum'])}")
    return value


def _truth(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in _TRUTH:
        raise Problem(422, "invalid_option", f"{name} is {value!r}; expected true or false")
    return _TRUTH[value.lower()]


def _typed(name: str, value: object) -> object:
    """The value of an option: text stays for `Options` to read; what JSON brings must be of the right type."""
    control = _OPTIONS[name]
    if control.kind is bool:
        return _truth(name, value)
    numbers = (int, float) if control.kind is float else (control.kind,)
    if not isinstance(value, str) and (isinstance(value, bool) or not isinstance(value, numbers)):
        raise Problem(422, "invalid_option", f"{name} is {value!r}; expected {_JSON[control.kind]}")
    return value


def _check_length(options: Options, settings: Settings) -> None:
    seconds = options.frames / options.fps
    if seconds > settings.max_seconds:
        raise Problem(
            422,
            "too_long",
            f"frames is {options.frames}, which lasts {seconds:.0f} s; expected at most {settings.max_seconds:.0f} s",
        )

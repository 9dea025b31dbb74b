"""What a client asks for besides the files: fields read off `Options`, checked before a job is made."""

from collections.abc import Mapping
from typing import Any

from echomimic.apps.jobs.job_types import Kind, Way
from echomimic.apps.option_specs import OPTION_SPECS, OptionSpec, spell_options
from echomimic.apps.server.problems import Problem
from echomimic.apps.server.settings import Settings
from echomimic.errors import OptionError
from echomimic.options import Options, make_options
from echomimic.presets import PRESETS, find_preset

_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_JSON = {int: "integer", float: "number", bool: "boolean", str: "string"}
_OPTIONS = {control.name: control for control in OPTION_SPECS}
_OWN: dict[str, dict[str, Any]] = {
    "preset": {"type": "string", "enum": ["auto", *PRESETS], "default": "auto", "description": "the way to render"},
    "save_motion": {
        "type": "boolean",
        "default": False,
        "description": "keep the motion that was rendered, under /motion",
    },
    "pose": {"type": "boolean", "default": False, "description": "body and hands, for V2, instead of the face"},
    "person": {
        "type": "integer",
        "minimum": 1,
        "maximum": 6,
        "description": "which person, counted from the left, starting at 1; default: the largest",
    },
}


def field_schemas(kind: Kind, way: Way) -> dict[str, dict[str, Any]]:
    """JSON Schema of each field that is no file."""
    formats = {"type": "string", "enum": list(kind.formats), "default": kind.formats[0], "description": "what to make"}
    own = {name: formats if name == "format" else _OWN[name] for name in way.fields}
    return own | ({name: _schema(control) for name, control in _OPTIONS.items()} if way.options else {})


def _schema(control: OptionSpec) -> dict[str, Any]:
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


def read_wishes(kind: Kind, way: Way, given: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A request as it is kept with the job, from text (of a form) or values (of JSON). Raises Problem."""
    known = field_schemas(kind, way)
    for name in given:
        if name not in known:
            expected = ", ".join((*way.needs, *way.takes, *known))
            raise Problem(422, "unknown_field", f"unknown field {name!r}; expected {expected}")
    wishes = {name: _own(name, given.get(name), known[name]) for name in way.fields}
    if not way.options:
        return wishes
    asked = {name: _typed(name, given[name]) for name in given if name in _OPTIONS}
    preset = str(wishes.get("preset", "auto"))
    try:
        options = make_options(asked, {} if preset == "auto" else find_preset(preset).defaults)
    except OptionError as error:
        raise Problem(422, "invalid_option", spell_options(str(error))) from None
    _check_length(options, settings)
    return {**wishes, "options": {name: getattr(options, name) for name in asked}}


def _own(name: str, value: object, schema: Mapping[str, Any]) -> object:
    """The value of a field that is no option; None stands for one that was not given."""
    if value is None:
        return schema.get("default")
    if schema["type"] == "boolean":
        return _truth(name, value)
    if schema["type"] == "integer":
        return _count(name, value, schema)
    if value not in schema["enum"]:
        raise Problem(422, "invalid_option", f"{name} is {value!r}; expected one of {', '.join(schema['enum'])}")
    return value


def _count(name: str, value: object, schema: Mapping[str, Any]) -> int:
    text = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if not text.isdecimal() or len(text) > 9 or not schema["minimum"] <= int(text) <= schema["maximum"]:
        limits = f"{schema['minimum']} to {schema['maximum']}"
        raise Problem(422, "invalid_option", f"{name} is {value!r}; expected a whole number, {limits}")
    return int(text)


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

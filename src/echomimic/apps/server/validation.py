"""The fields of a job request: their JSON Schema, read from `Options`, and their validation."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from echomimic.apps.jobs.request import InputVariant, JobType
from echomimic.apps.option_specs import OPTION_SPECS, OptionSpec, spell_options
from echomimic.apps.server.schemas import PresetResource, Problem
from echomimic.errors import OptionError
from echomimic.options import RENAMED, make_options
from echomimic.presets import PACKAGES, PRESETS, find_preset, missing_files

_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
_OPTIONS = {spec.name: spec for spec in OPTION_SPECS}
_BOOLEAN_OPTIONS = {spec.name for spec in OPTION_SPECS if spec.kind is bool}
_OWN: dict[str, dict[str, Any]] = {
    "preset": {"type": "string", "enum": ["auto", *PRESETS], "default": "auto", "description": "how to render"},
    "save_motion": {"type": "boolean", "default": False, "description": "keep the rendered motion, under /motion"},
    "overflow": {
        "type": "string",
        "enum": ["hold", "drop"],
        "default": "hold",
        "description": "what happens to sound that comes too early: hold it, or drop it as for a microphone",
    },
    "pose": {"type": "boolean", "default": False, "description": "track body and hands, for V2, instead of the face"},
    "person": {
        "type": "integer",
        "minimum": 1,
        "maximum": 6,
        "description": "which person, counted from the left, starting at 1; default: the largest",
    },
}


def field_schemas(job_type: JobType, variant: InputVariant) -> dict[str, dict[str, Any]]:
    """JSON Schema of each field that is not a file."""
    formats = list(job_type.formats)
    file_format = {
        "type": "string",
        "enum": formats,
        "default": next(iter(formats), None),
        "description": "format of the result",
    }
    own = {name: file_format if name == "format" else _OWN[name] for name in variant.fields}
    return own | ({name: _schema(spec) for name, spec in _OPTIONS.items()} if variant.options else {})


def _schema(spec: OptionSpec) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _JSON_TYPES[spec.kind], "description": f"{spec.help} ({spec.group})"}
    if spec.choices:
        schema["enum"] = list(spec.choices)
    if spec.name == "face_box":
        schema["pattern"] = r"^\d{1,5}(\.\d{1,3})?(,\d{1,5}(\.\d{1,3})?){3}$"
    if spec.kind is str and not spec.choices:
        schema["maxLength"] = 100
    bounds = {"minimum": spec.low, "maximum": spec.high}
    schema |= {name: spec.kind(bound) for name, bound in bounds.items() if bound is not None}
    return schema | ({} if spec.default is None else {"default": spec.default})


def parse_request(
    job_type: JobType, variant: InputVariant, given: Mapping[str, str], max_seconds: float
) -> dict[str, Any]:
    """A request as it is stored with the job, from the text fields of a form. Raises Problem. Blocks."""
    known = field_schemas(job_type, variant)
    given = {RENAMED.get(name, name): text for name, text in given.items()}
    for name in given:
        if name not in known and not (variant.options and name in RENAMED):
            expected = ", ".join((*variant.required, *variant.optional, *known))
            raise Problem(422, "unknown_field", f"unknown field {name!r}; expected {expected}")
    request = {name: _parse_own(name, given.get(name), known[name]) for name in variant.fields}
    if not variant.options:
        return request
    preset = str(request.get("preset", "auto"))
    check_preset(preset)
    asked = {
        name: _boolean(name, text) if RENAMED.get(name, name) in _BOOLEAN_OPTIONS else text
        for name, text in given.items()
        if RENAMED.get(name, name) in _OPTIONS
    }
    try:
        options = make_options(asked, {} if preset == "auto" else find_preset(preset).defaults)
    except OptionError as error:
        raise Problem(422, "option_invalid", spell_options(str(error))) from None
    seconds = options.frames / options.fps
    if seconds > max_seconds:
        why = f"frames is {options.frames}, which lasts {seconds:.0f} s; expected at most {max_seconds:.0f} s"
        raise Problem(422, "too_long", why)
    return {**request, "options": {name: getattr(options, RENAMED.get(name, name)) for name in asked}}


def _parse_own(name: str, text: str | None, schema: Mapping[str, Any]) -> object:
    if text is None:
        return schema.get("default")
    if schema["type"] == "boolean":
        return _boolean(name, text)
    if schema["type"] == "integer":
        low, high = schema["minimum"], schema["maximum"]
        if not text.isdecimal() or len(text) > 9 or not low <= int(text) <= high:
            raise Problem(422, "option_invalid", f"{name} is {text!r}; expected a whole number, {low} to {high}")
        return int(text)
    if text not in schema["enum"]:
        raise Problem(422, "option_invalid", f"{name} is {text!r}; expected one of {', '.join(schema['enum'])}")
    return text


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise Problem(422, "option_invalid", f"{name} is {text!r}; expected true or false")
    return _BOOLEANS[text.lower()]


def preset_status(name: str) -> PresetResource:
    """Whether a preset can run here, and what it lacks: names of files and packages, but no path. Blocks."""
    preset, files = find_preset(name), missing_files(name)
    packages = [each for each in PACKAGES[preset.engine] if find_spec(each) is None]
    return PresetResource(
        name=name,
        engine=preset.engine,
        ready=not files and not packages,
        missing_files=files,
        missing_packages=packages,
        defaults=dict(preset.defaults),
    )


def check_preset(name: str) -> None:
    """Raise a problem if a preset is unknown or cannot run on this server."""
    if name == "auto":
        return
    status = preset_status(name)
    if what := ", ".join(status.missing_packages):
        why = f"preset {name} needs packages that this server lacks: {what}; choose another"
        raise Problem(409, "package_missing", why)
    if what := ", ".join(status.missing_files):
        why = f"preset {name} needs checkpoint files that this server lacks: {what}; choose another, see /v1/presets"
        raise Problem(409, "weights_missing", why)

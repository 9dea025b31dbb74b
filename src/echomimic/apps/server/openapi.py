"""How to talk to the server, on paper: the parts of its OpenAPI description that FastAPI cannot see by itself."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from echomimic.apps.jobs.job_types import Kind, Way
from echomimic.apps.server.middleware import OPEN
from echomimic.apps.server.problems import MEDIA_TYPE
from echomimic.apps.server.schemas import Fault
from echomimic.apps.server.settings import Settings
from echomimic.apps.server.validation import field_schemas

Responses = dict[int | str, dict[str, Any]]
_FILES = {
    "portrait": "a picture of a person: png, jpg, webp, …",
    "speech": "a voice: any sound file, or a video's sound",
    "motion": "a motion to follow: .npz, .json or .csv",
    "video": "a video of a person whose motion is wanted",
}
_EVERYWHERE = (400, 401, 421)


def problems(*statuses: int) -> Responses:
    """The description of answers that are errors."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Fault"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def files_of(*types: str) -> Responses:
    """The description of an answer that is a file."""
    schema = {"type": "string", "format": "binary"}
    return {200: {"description": "the file", "content": {name: {"schema": schema} for name in types}}}


def events_of() -> Responses:
    """The description of an answer that is server-sent events."""
    return {200: {"description": "events", "content": {"text/event-stream": {}}}}


def links_of(kind: Kind) -> Responses:
    """What can be done with the id that a new job is answered with."""
    names = [f"{verb}_{kind.name}" for verb in ("get", "follow", "cancel", "delete")] + [f"{kind.name}_result"]
    if kind.live:
        names += [f"{kind.name}_live", f"{kind.name}_motion", f"{kind.name}_preview"]
    link = {"parameters": {"id": "$response.body#/id"}}
    links = {name: {"operationId": name, **link} for name in names}
    return {202: {"description": "the job, which waits", "links": links}}


def request_body(kind: Kind, settings: Settings) -> dict[str, Any]:
    """What can be sent to make a job: files and fields as a form, or URLs and fields as JSON where that is allowed."""
    file, url = {"type": "string", "format": "binary", "minLength": 1}, {"type": "string", "format": "uri"}
    content = {"multipart/form-data": {"schema": _inputs(kind, file)}}
    if settings.allow_urls:
        content["application/json"] = {"schema": _inputs(kind, url)}
    return {"required": True, "content": content}


def _inputs(kind: Kind, of: dict[str, Any]) -> dict[str, Any]:
    """The schema of a form; of several, where there are several ways to ask."""
    ways = [_inputs_of(kind, way, of) for way in kind.ways]
    return ways[0] if len(ways) == 1 else {"oneOf": ways}


def _inputs_of(kind: Kind, way: Way, of: dict[str, Any]) -> dict[str, Any]:
    files = {name: {**of, "description": _FILES[name]} for name in (*way.needs, *way.takes)}
    return {
        "type": "object",
        "properties": {**files, **field_schemas(kind, way)},
        "required": list(way.needs),
        "additionalProperties": False,
    }


def describe_with(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """The OpenAPI description of the server."""
    paper = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    schemas = paper["components"]["schemas"]
    schemas["Fault"] = Fault.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operations in paper["paths"].items():
        for operation in operations.values():
            _complete(operation, path not in OPEN, settings)
    if settings.keys:
        bearer = {"type": "http", "scheme": "bearer"}
        header = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
        paper["components"]["securitySchemes"] = {"bearer": bearer, "header": header}
    return paper


def _complete(operation: dict[str, Any], closed: bool, settings: Settings) -> None:
    """Add what the door may answer to any request."""
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]
    statuses = [status for status in _EVERYWHERE if status != 401 or (settings.keys and closed)]
    for status, said in problems(*statuses).items():
        responses.setdefault(str(status), said)
    if settings.keys and closed:
        operation["security"] = [{"bearer": []}, {"header": []}]

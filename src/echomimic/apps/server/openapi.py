"""The OpenAPI description, with the parts that FastAPI cannot derive: forms, files, problems; and a page of it."""

from html import escape
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from echomimic.apps.jobs.request import InputVariant, JobType
from echomimic.apps.server.middleware import PUBLIC
from echomimic.apps.server.schemas import MEDIA_TYPE, ProblemDetails
from echomimic.apps.server.settings import Settings
from echomimic.apps.server.validation import field_schemas

Responses = dict[int | str, dict[str, Any]]
_FILES = {
    "portrait": "a picture of a person: png, jpg, webp, …",
    "speech": "a voice: any audio file, or a video with audio",
    "motion": "a motion to follow instead of the predicted one: .npz, .json or .csv",
    "video": "a video of a person whose motion is tracked",
}


def problems(*statuses: int) -> Responses:
    """The descriptions of problem responses with these statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def files_of(*types: str) -> Responses:
    """The description of a response that is a file of one of these media types."""
    schema = {"type": "string", "format": "binary"}
    return {200: {"description": "the file", "content": {name: {"schema": schema} for name in types}}}


def links_of(job_type: JobType) -> Responses:
    """Description of the response to a submission, with links to what can be done with the id."""
    names = [f"{verb}_{job_type.name}" for verb in ("get", "follow", "cancel", "delete")] + [f"{job_type.name}_result"]
    if job_type.live_format:
        names += [f"{job_type.name}_live", f"{job_type.name}_motion", f"{job_type.name}_preview"]
    link = {"parameters": {"id": "$response.body#/id"}}
    links = {name: {"operationId": name, **link} for name in names}
    return {202: {"description": "the queued job", "links": links}}


def request_body(job_type: JobType) -> dict[str, Any]:
    """The description of the multipart form that submits a job."""
    forms = [_form(job_type, variant) for variant in job_type.variants]
    schema = forms[0] if len(forms) == 1 else {"oneOf": forms}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _form(job_type: JobType, variant: InputVariant) -> dict[str, Any]:
    file = {"type": "string", "format": "binary", "minLength": 1}
    files = {name: {**file, "description": _FILES[name]} for name in (*variant.required, *variant.optional)}
    return {
        "type": "object",
        "properties": {**files, **field_schemas(job_type, variant)},
        "required": list(variant.required),
        "additionalProperties": False,
    }


def describe_api(app: FastAPI, settings: Settings) -> dict[str, Any]:
    """The OpenAPI description of the server."""
    routes = [route for route in app.routes if not getattr(route, "path", "").startswith("/editor")]
    api = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=routes)
    schemas = api["components"]["schemas"]
    schemas["ProblemDetails"] = ProblemDetails.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operations in api["paths"].items():
        for operation in operations.values():
            _complete(operation, path not in PUBLIC, settings)
    if settings.keys:
        bearer = {"type": "http", "scheme": "bearer"}
        header = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
        api["components"]["securitySchemes"] = {"bearer": bearer, "header": header}
    return api


def _complete(operation: dict[str, Any], is_private: bool, settings: Settings) -> None:
    responses = operation["responses"]
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]
    statuses = [400, 421, *([403] if is_private else []), *([401] if settings.keys and is_private else [])]
    for status, description in problems(*statuses).items():
        responses.setdefault(str(status), description)
    if settings.keys and is_private:
        operation["security"] = [{"bearer": []}, {"header": []}]


_CURL = """curl -F portrait=@portrait.png -F speech=@voice.wav {base}/v1/animations      # answers with the job's id
curl {base}/v1/animations/ID                                                  # state and progress
curl -N {base}/v1/animations/ID/live | ffplay -                               # watch while it is made
curl -o out.mp4 {base}/v1/animations/ID/result                                # the finished video"""


def make_page(api: dict[str, Any], base: str) -> str:
    """The description as a page of plain HTML, which loads nothing from elsewhere."""
    operations = [
        _operation(method, path, each) for path, methods in api["paths"].items() for method, each in methods.items()
    ]
    info = api["info"]
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{escape(info['title'])} API</title><link rel='stylesheet' href='/static/docs.css'>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['summary'])}.</p>"
        f"<pre>{escape(_CURL.format(base=base))}</pre>"
        f"<p>For programs: <a href='/openapi.json'>/openapi.json</a>. Errors are <code>application/problem+json</code> "
        f"with a <code>code</code>, a <code>detail</code> in one line and a <code>request_id</code>.</p>"
        f"{''.join(operations)}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    statuses = ", ".join(escape(status) for status in operation["responses"])
    head = f"<h2><span class='method'>{method.upper()}</span> <code>{escape(path)}</code></h2>"
    text = f"{head}<p>{escape(operation.get('summary', ''))}. <small>Answers: {statuses}</small></p>"
    body = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    schemas = body["schema"].get("oneOf", [body["schema"]]) if body else []
    return text + "<p>or</p>".join(map(_fields, schemas))


def _fields(schema: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_accepted(field))}</td>"
        f"<td>{escape(field.get('description', ''))}{' (required)' if name in schema['required'] else ''}</td></tr>"
        for name, field in schema["properties"].items()
    )
    return f"<table><tr><th>field</th><th>accepts</th><th>meaning</th></tr>{rows}</table>"


def _accepted(field: dict[str, Any]) -> str:
    if field.get("format") == "binary":
        return "file"
    what = " | ".join(field["enum"]) if "enum" in field else str(field["type"])
    if "minimum" in field and "maximum" in field:
        what += f", {field['minimum']} to {field['maximum']}"
    return what + (f"; default {field['default']}" if "default" in field else "")

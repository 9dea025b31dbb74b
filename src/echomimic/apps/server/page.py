"""The page that says how to talk to the server: plain HTML made from its description, nothing from elsewhere."""

from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f4f4f4; padding: .1em .3em; border-radius: 3px }
pre { padding: .8em; overflow-x: auto } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .3em .8em .3em 0; border-bottom: 1px solid #eee }
.method { display: inline-block; min-width: 4.5em; font-weight: 600 }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd } code, pre { background: #262626 } }
"""
_CURL = """curl -F portrait=@portrait.png -F speech=@voice.wav {base}/v1/animations      # answers with the job's id
curl {base}/v1/animations/ID                                                  # how far it is
curl -N {base}/v1/animations/ID/live | ffplay -                               # watch while it is made
curl -o out.mp4 {base}/v1/animations/ID/result                                # the finished video"""


def make_page(paper: dict[str, Any], base: str) -> str:
    """The whole page."""
    operations = [
        _operation(method, path, said) for path, methods in paper["paths"].items() for method, said in methods.items()
    ]
    info = paper["info"]
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['summary'])}.</p>"
        f"<pre>{escape(_CURL.format(base=base))}</pre>"
        f"<p>For programs: <a href='/openapi.json'>/openapi.json</a>. Errors are <code>application/problem+json</code> "
        f"with a <code>code</code>, a <code>detail</code> in one line and a <code>request_id</code>.</p>"
        f"{''.join(operations)}</html>"
    )


def _operation(method: str, path: str, said: dict[str, Any]) -> str:
    answers = ", ".join(escape(status) for status in said["responses"])
    head = f"<h2><span class='method'>{method.upper()}</span> <code>{escape(path)}</code></h2>"
    text = f"{head}<p>{escape(said.get('summary', ''))}. <small>Answers: {answers}</small></p>"
    body = said.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    schemas = body["schema"].get("oneOf", [body["schema"]]) if body else []
    return text + "<p>or</p>".join(map(_fields, schemas))


def _fields(schema: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(_wanted(field))}</td>"
        f"<td>{escape(field.get('description', ''))}{' (required)' if name in schema['required'] else ''}</td></tr>"
        for name, field in schema["properties"].items()
    )
    return f"<table><tr><th>field</th><th>what</th><th>meaning</th></tr>{rows}</table>"


def _wanted(field: dict[str, Any]) -> str:
    """What may be given and what holds if nothing is, in a few words."""
    if field.get("format") == "binary":
        return "file"
    what = " | ".join(field["enum"]) if "enum" in field else str(field["type"])
    if "minimum" in field and "maximum" in field:
        what += f", {field['minimum']} to {field['maximum']}"
    return what + (f"; default {field['default']}" if "default" in field else "")

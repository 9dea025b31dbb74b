"""Hooks of schemathesis for what JSON Schema cannot state about our form: how two fields depend on each other."""

from typing import Any

import schemathesis

MOST_SECONDS = 2.0


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """`context_overlap` is smaller than `context_frames`, and `frames` at `fps` last no longer than is allowed."""
    if not isinstance(body, dict):
        return body
    if _number(body, "context_overlap", 3) >= _number(body, "context_frames", 12):
        body = {**body, "context_overlap": 0}
    if _number(body, "frames", 0) > MOST_SECONDS * _number(body, "fps", 25):
        body = {**body, "frames": 1}
    return body


def _number(body: dict[str, Any], name: str, default: float) -> float:
    """A field that holds a number; its default where it is missing, or wrong on purpose."""
    value = body.get(name, default)
    return value if isinstance(value, (int, float)) else default

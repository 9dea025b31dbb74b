"""Keeps the page from being asked for files that were not uploaded to it.

A drop zone of Gradio's is a path on the server that the browser sends back, and an application that Gradio has not
launched itself takes any path, and any address to fetch from.
"""

import json
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LARGEST = 1 << 20
"""Bytes of what is entered on the page; files come another way."""


class OwnFiles:
    """Puts paths outside of `folder` into it, in what is sent to Gradio: there is nothing at the new path."""

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self._app, self._folder = app, folder.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        kind = Headers(scope=scope).get("content-type", "").lower() if scope["type"] == "http" else ""
        uploads = kind.startswith("multipart/")  # these are forms of files, and never read as JSON
        if "/gradio_api/" not in scope.get("path", "") or scope.get("method") != "POST" or uploads:
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
            if len(body) > _LARGEST:
                await PlainTextResponse(f"more than {_LARGEST} bytes were sent; expected a form", 413)(
                    scope, receive, send
                )
                return
        body = self._checked(body)
        scope["headers"] = [each for each in scope["headers"] if each[0] != b"content-length"]
        scope["headers"].append((b"content-length", str(len(body)).encode()))
        rest: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def given() -> Message:
            return rest.pop() if rest else await receive()

        await self._app(scope, given, send)

    def _checked(self, body: bytes) -> bytes:
        try:
            said = json.loads(body)
        except ValueError:
            return body
        return json.dumps(self._own(said)).encode()

    def _own(self, value: Any) -> Any:
        """The same value with every `path` in it inside the folder."""
        if isinstance(value, list):
            return [self._own(each) for each in value]
        if not isinstance(value, dict):
            return value
        own = {name: self._own(each) for name, each in value.items()}
        if isinstance(own.get("path"), str) and not Path(own["path"]).resolve().is_relative_to(self._folder):
            own["path"] = str(self._folder / "gone" / Path(own["path"]).name)
        return own

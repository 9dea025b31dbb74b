"""From a request to files in a folder and wishes in words, within limits of size and time."""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from echomimic.apps.jobs.job_types import Kind
from echomimic.apps.server.fetching import fetch_all
from echomimic.apps.server.multipart import Form, broken
from echomimic.apps.server.problems import Problem
from echomimic.apps.server.settings import MB, Settings

_LARGEST_JSON = 64_000
_DRAIN_SECONDS = 2.0


class Body:
    """The body of a request, piece by piece, no longer and no slower than the settings allow."""

    def __init__(self, request: Request, settings: Settings, most: int) -> None:
        self._receive, self._most, self._stall = request.receive, most, settings.stall_seconds
        self._until = time.monotonic() + settings.upload_seconds
        self._size, self._ended = 0, False
        length = request.headers.get("content-length", "")
        self._promised = int(length) if length.isdigit() else 0

    async def read(self) -> bytes:
        """The next piece; empty at the end. Raises Problem."""
        if self._promised > self._most:
            raise self._too_large()
        chunk = b""
        while not chunk and not self._ended:
            chunk = await self._next(min(self._stall, self._until - time.monotonic()))
            self._size += len(chunk)
            if self._size > self._most:
                raise self._too_large()
        return chunk

    async def drain(self) -> None:
        """Read on for a moment, so that a client that is still sending gets to see the answer."""
        until = time.monotonic() + _DRAIN_SECONDS
        try:
            while not self._ended and time.monotonic() < until:
                await self._next(until - time.monotonic())
        except Problem:
            return

    async def _next(self, seconds: float) -> bytes:
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, seconds))
        except asyncio.TimeoutError:
            raise Problem(
                408, "slow_upload", "the upload stalled or took too long; expected it faster: try again"
            ) from None
        if message["type"] == "http.disconnect":
            self._ended = True
            raise broken("the client left")
        self._ended = not message.get("more_body", False)
        return bytes(message.get("body", b""))

    def _too_large(self) -> Problem:
        return Problem(
            413, "too_large", f"the request is larger than {self._most / MB:g} MB; expected less: shrink the files"
        )


async def take_in(request: Request, folder: Path, kind: Kind, settings: Settings) -> dict[str, Any]:
    """Put the files of a request into `folder`, named by their fields; returns the other fields. Raises Problem."""
    given, parameters = parse_options_header(request.headers.get("content-type"))
    if given == b"multipart/form-data":
        body = Body(request, settings, settings.max_upload)
        return await _finished(body, _take_form(body, parameters.get(b"boundary", b""), folder, kind))
    if given == b"application/json":
        body = Body(request, settings, _LARGEST_JSON)
        return await _finished(body, _take_json(body, folder, kind, settings))
    name = given.decode("latin-1")[:100] or "nothing"
    raise Problem(415, "wrong_content_type", f"the content type is {name}; expected multipart/form-data")


async def _finished(body: Body, work: Any) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = await work
    except Problem as problem:
        if problem.status != 408:
            await body.drain()
        raise
    return fields


async def _take_form(body: Body, boundary: bytes, folder: Path, kind: Kind) -> dict[str, Any]:
    if not boundary:
        raise broken("the content type names no boundary")
    form = Form(boundary, folder, kind.files)
    try:
        while chunk := await body.read():
            form.feed(chunk)
    finally:
        form.close()
    form.check_whole()
    check_files(kind, form.files)
    return dict(form.fields)


def check_files(kind: Kind, files: Mapping[str, object]) -> None:
    """Raise Problem unless all that is needed is there, nothing else, and no file is empty (size 0)."""
    way = kind.way(files)
    for name in way.needs:
        if name not in files:
            raise Problem(422, "missing_field", f"field {name} is missing; expected a file: -F {name}=@FILE")
    for name, size in files.items():
        if name not in (*way.needs, *way.takes):
            raise Problem(422, "unknown_field", f"field {name} does not go with {way.needs[0]}; expected one of them")
        if size == 0:
            raise Problem(422, "empty_file", f"field {name} is an empty file; expected one with something in it")


async def _take_json(body: Body, folder: Path, kind: Kind, settings: Settings) -> dict[str, Any]:
    if not settings.allow_urls:
        raise Problem(403, "urls_not_allowed", "this server takes no URLs; expected files as multipart/form-data")
    text = b""
    while chunk := await body.read():
        text += chunk
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise Problem(400, "broken_json", "the body is no JSON; expected an object with URLs and options") from None
    if not isinstance(values, dict):
        raise Problem(422, "broken_json", "the body is no JSON object; expected one with URLs and options")
    urls = {name: values.pop(name) for name in kind.files if name in values}
    check_files(kind, urls)
    await run_in_threadpool(fetch_all, urls, folder, settings)
    return values

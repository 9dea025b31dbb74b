"""Uploads: forms that are parsed as they arrive, with files written straight to disk, and requests made of them."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from echomimic.apps.jobs.queue import JobQueue
from echomimic.apps.jobs.request import InputVariant, JobType
from echomimic.apps.server.schemas import Problem

MAX_FIELD = 1000
_MAX_FIELDS = 100
_QUOTA_STEP = 4_000_000
"""Bytes of an upload after which the disk is checked again."""


@dataclass
class Upload:
    """A received form: `files` are in `folder` under the names of their fields; `filenames` is what they were called.

    The client's names are for display only. `digest` identifies the content of the files.
    """

    folder: Path
    files: dict[str, Path] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    filenames: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    bytes: int = 0

    def file(self, name: str) -> Path:
        """The file of a field. Problem 422 if it is missing."""
        if name not in self.files:
            raise Problem(422, "missing_field", f"field {name} is missing; expected a file")
        return self.files[name]

    def content(self, request: Mapping[str, Any]) -> str:
        """A digest of the files and of the request that was made of the fields."""
        return sha256(json.dumps([sorted(self.digests.items()), request], sort_keys=True).encode()).hexdigest()


class Uploads:
    """Receives uploads and counts their bytes until they are discarded or become jobs."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._open: dict[Path, Upload] = {}
        queue.upload_bytes = lambda: sum(each.bytes for each in list(self._open.values()))

    async def receive(self, request: Request, names: tuple[str, ...], max_field: int = MAX_FIELD) -> Upload:
        """Receive a form whose files are called `names`; to be discarded by the caller. Raises Problem, JobError."""
        kind, parameters = parse_options_header(request.headers.get("content-type"))
        if kind != b"multipart/form-data":
            name = kind.decode("latin-1")[:100] or "missing"
            raise Problem(415, "wrong_content_type", f"the content type is {name}; expected multipart/form-data")
        boundary = parameters.get(b"boundary", b"")
        if not boundary:
            raise _broken("the content type has no boundary")
        await run_in_threadpool(self._queue.check_disk)
        upload = Upload(await run_in_threadpool(self._queue.files.new_upload))
        self._open[upload.folder] = upload
        try:
            await self._receive_into(upload, request, _FormParser(boundary, upload, names, max_field))
        except BaseException:
            await self.discard(upload)
            raise
        return upload

    async def _receive_into(self, upload: Upload, request: Request, parser: "_FormParser") -> None:
        checked = 0
        try:
            async for chunk in request.stream():
                await run_in_threadpool(parser.feed, chunk)
                if upload.bytes - checked > _QUOTA_STEP:
                    checked = upload.bytes
                    await run_in_threadpool(self._queue.check_disk)
        except ClientDisconnect:
            raise _broken("the client left") from None
        finally:
            parser.close()
        parser.check_complete()

    async def discard(self, upload: Upload) -> None:
        self._open.pop(upload.folder, None)
        await run_in_threadpool(shutil.rmtree, upload.folder, True)

    def discard_all(self) -> None:
        """Delete all files, for a server that stops. Blocks."""
        while self._open:
            shutil.rmtree(self._open.popitem()[0], True)


def check_files(job_type: JobType, files: Mapping[str, Path]) -> InputVariant:
    """The variant of inputs that was sent. Raises Problem for a missing, superfluous or empty file. Blocks."""
    variant = job_type.variant(files)
    for name in variant.required:
        if name not in files:
            raise Problem(422, "missing_field", f"field {name} is missing; expected a file: -F {name}=@FILE")
    for name, path in files.items():
        if name not in (*variant.required, *variant.optional):
            raise Problem(
                422, "unknown_field", f"field {name} does not go with {variant.required[0]}; omit one of them"
            )
        if path.stat().st_size == 0:
            raise Problem(422, "empty_file", f"field {name} is an empty file; expected one with content")
    return variant


def _broken(why: str) -> Problem:
    return Problem(400, "broken_form", f"the form cannot be read ({why}); expected multipart/form-data: send it again")


class _FormParser:
    """Parses a form piece by piece into an upload; files whose field is none of `names` are refused as fields."""

    def __init__(self, boundary: bytes, upload: Upload, names: tuple[str, ...], max_field: int) -> None:
        self._upload, self._names, self._max_field, self._complete = upload, names, max_field, False
        self._header, self._value, self._name = b"", b"", ""
        self._file: BinaryIO | None = None
        self._digest = sha256()
        self._text = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_header,
                    "on_header_value": self._on_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._open,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
            )
        except FormParserError as fault:
            raise _broken(str(fault)) from None

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as fault:
            raise _broken(str(fault)) from None

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def check_complete(self) -> None:
        if not self._complete:
            raise _broken("it is cut off")

    def _begin(self) -> None:
        self._header, self._value, self._name = b"", b"", ""
        self._digest, self._text = sha256(), bytearray()

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            parameters = parse_options_header(self._value)[1]
            self._name = parameters.get(b"name", b"").decode("utf-8", "replace")
            filename = parameters.get(b"filename", b"").decode("utf-8", "replace")
            if self._name in self._names:
                self._upload.filenames.setdefault(self._name, filename[:200])
        self._header, self._value = b"", b""

    def _open(self) -> None:
        upload = self._upload
        if not self._name:
            raise _broken("a part has no name")
        if self._name in upload.files or self._name in upload.fields:
            raise Problem(422, "repeated_field", f"field {self._name[:100]!r} is given twice; expected it once")
        if len(upload.fields) >= _MAX_FIELDS:
            raise _broken("too many fields")
        if self._name in self._names:
            upload.files[self._name] = upload.folder / self._name
            self._file = upload.files[self._name].open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file:
            piece = data[start:end]
            self._digest.update(piece)
            self._upload.bytes += self._file.write(piece)
        elif len(self._text) + end - start > self._max_field:
            raise Problem(422, "long_field", f"field {self._name[:100]!r} is over {self._max_field} bytes long")
        else:
            self._text += data[start:end]

    def _end(self) -> None:
        if self._file:
            self.close()
            self._upload.digests[self._name] = self._digest.hexdigest()
            return
        try:
            self._upload.fields[self._name] = self._text.decode()
        except UnicodeDecodeError:
            raise Problem(422, "not_text", f"field {self._name[:100]!r} is not UTF-8 text") from None

    def _finish(self) -> None:
        self._complete = True

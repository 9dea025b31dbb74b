"""Files as answers, whole or by a range (RFC 9110)."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from echomimic.apps.jobs.job_types import MEDIA_TYPES
from echomimic.apps.jobs.store import Job
from echomimic.apps.server.problems import Problem, gone

_PIECE = 1 << 17
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def file_response(request: Request, path: Path, job: Job) -> Response:
    """A file, or the part of it that a Range header asks for (RFC 9110, one range)."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise gone() from None
    size = file.seek(0, 2)
    tag = f'"{job.id}-{job.attempt}-{size}"'
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": tag,
        "Cache-Control": "private, max-age=3600",
        "Content-Disposition": f'attachment; filename="{job.id}{path.suffix}"',
    }
    if tag in request.headers.get("if-none-match", ""):
        file.close()
        return Response(status_code=304, headers=headers)
    start, end = _part(request, tag, size, file)
    headers["Content-Length"] = str(end - start)
    if end - start < size:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    pieces = _pieces(file, start, 0 if request.method == "HEAD" else end - start)
    media_type = MEDIA_TYPES[path.suffix[1:]]
    return StreamingResponse(pieces, 206 if "Content-Range" in headers else 200, headers, media_type)


def _part(request: Request, tag: str, size: int, file: BinaryIO) -> tuple[int, int]:
    """Start and end of what is asked for; all where no range is, or one that is not understood or out of date."""
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if not asked or not (asked[1] or asked[2]) or request.headers.get("if-range", tag) != tag:
        return 0, size
    if asked[1]:
        start, end = int(asked[1]), min(size, int(asked[2]) + 1) if asked[2] else size
    else:
        start, end = max(0, size - int(asked[2])), size
    if start >= end:
        file.close()
        why = f"the range {asked[0]} is not in the file, which has {size} bytes"
        raise Problem(416, "range_outside", why, {"Content-Range": f"bytes */{size}"})
    return start, end


async def _pieces(file: BinaryIO, start: int, count: int) -> AsyncIterator[bytes]:
    with file:
        file.seek(start)
        while count > 0 and (piece := file.read(min(_PIECE, count))):
            count -= len(piece)
            yield piece

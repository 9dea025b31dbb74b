"""Small pictures of a video that is being made, read off the fragments that are on disk already."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

LONGEST_SIDE = 240
_QUALITY = 75


class Previews:
    """Follows a growing fragmented mp4; `latest` decodes the newest key frame only."""

    def __init__(self, live: Path) -> None:
        self._live, self._head, self._done = live, b"", 0

    def latest(self) -> bytes | None:
        """The newest key frame as a small JPEG; None where there is no new one."""
        try:
            with self._live.open("rb") as file:
                return self._newest(file)
        except FileNotFoundError:
            return None

    def _newest(self, file: BinaryIO) -> bytes | None:
        boxes = list(_whole_boxes(file, self._done))
        if not self._head:
            first = next((start for kind, start, _ in boxes if kind == b"moof"), None)
            if first is None:
                return None
            file.seek(0)
            self._head, self._done = file.read(first), first
        end = max((end for kind, _, end in boxes if kind == b"mdat"), default=self._done)
        if end <= self._done:
            return None
        file.seek(self._done)
        picture = _last_key_frame(self._head + file.read(end - self._done))
        if picture is not None:
            self._done = end
        return picture


def _whole_boxes(file: BinaryIO, start: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the boxes that are complete."""
    size = file.seek(0, 2)
    while start + 8 <= size:
        file.seek(start)
        head = file.read(8)
        end = start + int.from_bytes(head[:4], "big")
        if end > size or end < start + 8:
            return
        yield head[4:], start, end
        start = end


def _last_key_frame(data: bytes) -> bytes | None:
    import av
    from av.error import FFmpegError

    last = None
    try:
        with av.open(BytesIO(data)) as container:
            stream = container.streams.video[0]
            stream.codec_context.skip_frame = "NONKEY"
            for frame in container.decode(stream):
                last = frame
    except FFmpegError:
        return None
    if last is None:
        return None
    image = last.to_image()
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    kept = BytesIO()
    image.save(kept, "JPEG", quality=_QUALITY)
    return kept.getvalue()

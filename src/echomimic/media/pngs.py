"""Write folders of PNGs, and keep the frames of formats without segments of their own as PNGs in a work folder."""

from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import count, islice
from pathlib import Path

import numpy as np

from echomimic.files import remove
from echomimic.media.output import frame_name, no_frames, writing
from echomimic.media.segments import Segment, SegmentStore, segment_start
from echomimic.types import Picture

_HEADER = 33
"""Bytes of a PNG before its second chunk."""


def write_pngs(
    folder: Path, frames: Iterator[Picture], fps: float, tags: Mapping[str, str], store: SegmentStore | None = None
) -> int:
    """Write each frame as a PNG with the tags, numbered from 1; return their number.

    Segments that `store` holds are copied; `frames` are those of the others.
    """
    from PIL import PngImagePlugin

    text = BytesIO()
    info = PngImagePlugin.PngInfo()
    for name, value in tags.items():
        info.add_itxt(name, value)
    for kind, data, *_ in info.chunks:
        PngImagePlugin.putchunk(text, kind, data)
    with writing():
        remove(folder)  # that of an interrupted run
        folder.mkdir()
    number = 0
    for number, (data, _) in enumerate(_encoded(frames, fps, store), start=1):
        with writing():
            (folder / frame_name(number)).write_bytes(data[:_HEADER] + text.getvalue() + data[_HEADER:])
    if number == 0:
        raise no_frames()
    return number


def stored_frames(frames: Iterator[Picture], fps: float, store: SegmentStore | None) -> Iterator[Picture]:
    """All frames of a clip: those of segments that `store` holds, and `frames` for the others, which are kept."""
    from PIL import Image

    if store is None:
        yield from frames
        return
    for data, frame in _encoded(frames, fps, store):
        yield np.asarray(Image.open(BytesIO(data)).convert("RGB")) if frame is None else frame


def _encoded(
    frames: Iterator[Picture], fps: float, store: SegmentStore | None
) -> Iterator[tuple[bytes, Picture | None]]:
    """All frames of a clip as PNGs, with their pixels if they were not stored."""
    from PIL import Image

    for number in count():
        stored = store.load(number) if store else None
        if stored:
            yield from ((data, None) for data, *_ in stored.packets)
            continue
        made: list[bytes] = []
        size = (0, 0)
        for frame in islice(frames, segment_start(number + 1, fps) - segment_start(number, fps)):
            file, size = BytesIO(), (frame.shape[0], frame.shape[1])
            Image.fromarray(frame).save(file, "PNG", compress_level=3)
            made.append(file.getvalue())
            yield made[-1], frame
        if not made:
            return
        if store:
            store.save(number, Segment([(data, at, at, True) for at, data in enumerate(made)], len(made), size))

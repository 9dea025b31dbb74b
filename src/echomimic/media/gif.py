"""Write animated GIFs with one palette for the whole clip, so that still parts do not flicker and cost no bytes."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from echomimic.media.output import no_frames, writing
from echomimic.notes import note
from echomimic.types import Picture

if TYPE_CHECKING:
    from av import Packet, VideoFrame

_TICKS = 100
"""Ticks per second of the format."""
_SHORTEST = 2
"""Ticks below which players slow a frame down."""
_AHEAD_FRAMES, _AHEAD_BYTES = 25, 64_000_000
"""Frames and bytes of the beginning that are held to choose the palette."""
_SAMPLED_PIXELS = 400_000


def write_gif(path: Path, frames: Iterator[Picture], rate: Fraction, tags: Mapping[str, str]) -> int:
    """Write `frames` as a looping GIF; return their number. Above 50 a second some are left out."""
    import av

    ahead = _lookahead(frames)
    if not ahead:
        raise no_frames()
    height, width = ahead[0].shape[:2]
    painter = _Painter(width, height, choose_colours(ahead))
    with writing():
        container = av.open(str(path), "w", format="gif", options={"loop": "0"})
    stream = container.add_stream("gif", rate=Fraction(_TICKS))
    stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
    count = 0
    try:
        for start, end, frame in _with_ticks(chain(ahead, frames), rate):
            count += 1
            with writing():
                container.mux(_with_durations(stream.encode(painter.paint(frame, start)), end - start))
        with writing():
            container.mux(stream.encode(None))
            container.close()
            _add_comment(path, "\n".join(f"{name}: {text}" for name, text in tags.items()))
    finally:
        with suppress(OSError, av.FFmpegError):
            container.close()
    return count


def choose_colours(frames: list[Picture]) -> npt.NDArray[np.uint8]:
    """Palette (256, 3) for all `frames`."""
    from PIL import Image

    step = max(1, int((sum(frame.shape[0] * frame.shape[1] for frame in frames) / _SAMPLED_PIXELS) ** 0.5))
    sample = np.concatenate([frame[::step, ::step] for frame in frames])
    flat = Image.fromarray(np.ascontiguousarray(sample)).quantize(256).getpalette() or []
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(flat) // 3] = np.array(flat, np.uint8).reshape(-1, 3)
    return colours


def _lookahead(frames: Iterator[Picture]) -> list[Picture]:
    """The first frames: about a second, fewer if they are large."""
    held: list[Picture] = []
    for frame in frames:
        held.append(frame)
        if len(held) == _AHEAD_FRAMES or sum(picture.nbytes for picture in held) > _AHEAD_BYTES:
            break
    return held


def _with_ticks(frames: Iterable[Picture], rate: Fraction) -> Iterator[tuple[int, int, Picture]]:
    """(start, end, frame) in ticks; frames that would be too short for players are left out."""
    if rate > _TICKS / _SHORTEST:
        note(
            "gif_frames_left_out",
            "a gif shows at most {most} frames a second: of {fps:g} some are left out",
            most=_TICKS // _SHORTEST,
            fps=float(rate),
        )
    free = 0
    for index, frame in enumerate(frames):
        start, end = (round(number * _TICKS / rate) for number in (index, index + 1))
        if start >= free:
            free = start + _SHORTEST
            yield start, end, frame


def _with_durations(packets: "list[Packet[Any]]", ticks: int) -> "list[Packet[Any]]":
    """Set the duration of packets; without it the last frame has none."""
    for packet in packets:
        packet.duration = ticks
    return packets


class _Painter:
    """Maps pixels to the palette with an ordered dither, which is stable over time."""

    def __init__(self, width: int, height: int, colours: npt.NDArray[np.uint8]) -> None:
        from av import VideoFormat, VideoFrame
        from av.filter import Graph

        graph = Graph()
        unit = Fraction(1, _TICKS)
        self._source = graph.add_buffer(width=width, height=height, format=VideoFormat("rgb24"), time_base=unit)
        palette = graph.add_buffer(width=16, height=16, format=VideoFormat("bgra"), time_base=unit)
        paint = graph.add("paletteuse", "dither=bayer:bayer_scale=3")
        self._sink = graph.add("buffersink")
        self._source.link_to(paint, 0, 0)
        palette.link_to(paint, 0, 1)
        paint.link_to(self._sink, 0, 0)
        graph.configure()
        self._graph = graph
        opaque = np.full((256, 1), 255, np.uint8)
        table = np.concatenate([colours[:, ::-1], opaque], axis=1).reshape(16, 16, 4)
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(table), "bgra")
        frame.pts, frame.time_base = 0, unit
        palette.push(frame)
        palette.push(None)

    def paint(self, picture: Picture, tick: int) -> "VideoFrame":
        """The picture in palette colours, displayed at `tick`."""
        from av import VideoFrame

        frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        frame.pts, frame.time_base = tick, Fraction(1, _TICKS)
        self._source.push(frame)
        return cast("VideoFrame", self._sink.pull())


def _add_comment(path: Path, text: str) -> None:
    """Insert a comment before the trailer of a GIF; FFmpeg stores none."""
    data = text.encode()
    blocks = b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
    with path.open("r+b") as file:
        file.seek(-1, 2)
        if data and file.read(1) == b";":
            file.seek(-1, 2)
            file.write(b"!\xfe" + blocks + b"\0;")


def read_comment(path: Path) -> str:
    """The comment at the end of a GIF that this package wrote; empty if there is none."""
    data = path.read_bytes()
    start = data.rfind(b"!\xfe")
    blocks, position = [], start + 2
    while 2 <= position < len(data) and data[position]:
        blocks.append(data[position + 1 : position + 1 + data[position]])
        position += 1 + data[position]
    return b"".join(blocks).decode("utf-8", "replace") if start >= 0 else ""

"""Read videos frame by frame: upright RGB with the time of each frame; memory does not grow with length."""

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from echomimic.errors import VideoError
from echomimic.media.source import decoded_frames, is_picture, open_media, start_time, video_stream
from echomimic.notes import note
from echomimic.types import Picture

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

ACCEPTED = "a video (mp4, mov, webm, mkv, ts, avi, gif, …)"
_LEAD = 0.5
"""Seconds before the wanted start to which a video is sought, so that frames stored out of order are not missed."""
_HD = 720
"""Lines from which an untagged video counts as BT.709; smaller ones as BT.601."""


@dataclass(frozen=True)
class Video:
    """A video file, measured from its packets and not from its header.

    `width` and `height` are as displayed (rotation and pixel shape applied), `fps` is the average frame rate,
    `duration` the seconds from the first frame to the end of the last, and `start` the seconds from the moment at
    which the file starts to play, with its sound, to the first frame.
    """

    path: Path
    width: int
    height: int
    fps: float
    duration: float
    count: int
    start: float

    def frames(self, start: float = 0.0) -> Iterator[tuple[float, Picture]]:
        """Yield (seconds since the file starts to play, (height, width, 3) RGB), decoded on demand, from `start` on.

        Seconds come from the time stamps, so a variable frame rate is followed.
        """
        if start > _LEAD and (yield from self._timed(start, seek=True)):
            return
        yield from self._timed(start, seek=False)

    def _timed(self, start: float, seek: bool) -> Generator[tuple[float, Picture], None, bool]:
        """Yield frames from `start` on; return False, before any, if a seek cannot be used or went too far."""
        with open_media(self.path, ACCEPTED, VideoError) as container:
            stream = video_stream(container)
            if stream is None:
                raise VideoError(f"{self.path} has no video any more; expected {ACCEPTED}")
            stream.thread_type = "AUTO"
            zero = start_time(container)
            counted = container.format.name == "avi"  # stamps frames in the order they are stored, not shown
            if seek and (counted or not _sought(container, float(zero) + start - _LEAD)):
                return False
            last = -1.0
            for index, frame in enumerate(_decoded(container, stream, self.path)):
                seconds = index / self.fps if counted or frame.time is None else float(frame.time - zero)
                if seek and index == 0 and (frame.time is None or seconds > start):
                    return False
                pixels = self._pixels(frame, stream) if last < seconds >= start else None
                if pixels is not None:
                    last = seconds
                    yield max(0.0, seconds), pixels
        return True

    def even_frames(self) -> Iterator[Picture]:
        """Yield frames at 0, 1/fps, 2/fps … seconds since the file starts to play: the first is held before `start`."""
        number, shown = 0, None
        for seconds, pixels in self.frames():
            due = round(seconds * self.fps)
            while number < due:
                number += 1
                yield pixels if shown is None else shown
            if number == due:
                number += 1
                yield pixels
            shown = pixels

    def _pixels(self, frame: "VideoFrame", stream: "VideoStream") -> Picture | None:
        """The frame as displayed; None if it is damaged or of another size."""
        from av.error import FFmpegError

        try:
            pixels = upright_pixels(frame, "rgb24", stream.sample_aspect_ratio)
        except FFmpegError:
            return None
        return pixels if pixels.shape[:2] == (self.height, self.width) else None


def read_video(path: str | Path) -> Video:
    """A video to read frames from; raises VideoError if it is missing, not a video, or cannot be decoded."""
    path = Path(path)
    with open_media(path, ACCEPTED, VideoError) as container:
        stream = video_stream(container)
        if stream is None and container.streams.audio:
            raise VideoError(f"{path} is a sound; expected {ACCEPTED}")
        size = _size(container, stream, path) if stream else None
        if size is None:
            raise VideoError(f"{path} is damaged or cut off; expected {ACCEPTED}: fetch it again")
    with open_media(path, ACCEPTED, VideoError) as container:
        count, start, span, usual = _count(container)
    if count == 1 and is_picture(path):
        raise VideoError(f"{path} is a picture; expected {ACCEPTED}")
    fps = (count - 1) / span if span > 0 else usual
    return Video(path, *size, fps, count / fps, count, start)


def _size(container: "InputContainer", stream: "VideoStream", path: Path) -> tuple[int, int] | None:
    """Displayed width and height of the first frame that can be converted; None if there is none."""
    from av.error import FFmpegError

    for frame in _decoded(container, stream, path):
        with suppress(FFmpegError):
            height, width = upright_pixels(frame, "rgb24", stream.sample_aspect_ratio).shape[:2]
            return width, height
    return None


def upright_pixels(frame: "VideoFrame", layout: str, pixel_shape: object = None) -> npt.NDArray[np.uint8]:
    """A frame as displayed: (H, W, 3 or 4) for `layout` "rgb24" or "rgba", by its own colour matrix and range."""
    from av.video.reformatter import ColorRange, Colorspace

    matrix = frame.colorspace
    if matrix in (2, 3):  # unspecified
        matrix = Colorspace.ITU709 if frame.height >= _HD else Colorspace.ITU601
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith(("yuvj", "rgb", "bgr", "gbr", "gray"))
    shape = pixel_shape if isinstance(pixel_shape, Fraction) and pixel_shape > 0 else Fraction(1)
    pixels = frame.reformat(
        width=max(1, round(frame.width * shape)),
        format=layout,
        src_colorspace=matrix,
        dst_colorspace=Colorspace.ITU601 if matrix == Colorspace.ITU709 else Colorspace.ITU709,  # RGB has none; older
        # PyAV ignores the source's if both are the same
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    ).to_ndarray()
    return np.ascontiguousarray(_oriented(pixels, frame), np.uint8)


def _sought(container: "InputContainer", second: float) -> bool:
    """Seek to the key frame before a time stamp; False if the format cannot."""
    from av.error import FFmpegError

    try:
        container.seek(round(max(0.0, second) * 1_000_000))
    except (FFmpegError, OSError):
        return False
    return True


def _oriented(pixels: npt.NDArray[Any], frame: "VideoFrame") -> npt.NDArray[Any]:
    """Apply the frame's display matrix, in which phones store rotation and front cameras mirroring.

    The matrix maps stored (x, y) to displayed (a x + c y, b x + d y); it is rounded to one of the 8 orientations.
    """
    try:
        entries: Any = frame.side_data  # its stub is a mapping, iterating gives the entries
        matrix = next((bytes(data) for data in entries if data.type.name == "DISPLAYMATRIX"), b"")
    except ValueError:  # a kind of side data that this PyAV does not know
        return np.rot90(pixels, round(frame.rotation / 90) % 4)
    if len(matrix) < 36:
        return pixels
    a, b, _, c, d = np.frombuffer(matrix, np.int32, 5).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _decoded(container: "InputContainer", stream: "VideoStream", path: Path) -> "Iterator[VideoFrame]":
    """Frames in display order; damaged ones are left out, with one note."""

    def damaged() -> None:
        note("video_damaged", "{name} is damaged in places; those frames are left out", name=path.name)

    return decoded_frames(container, stream, damaged)


def _count(container: "InputContainer") -> tuple[int, float, float, float]:
    """Number of frames, seconds to the first, seconds from the first to the last, and the stated frame rate."""
    from av.error import FFmpegError

    stream = video_stream(container)
    if stream is None:
        return 0, 0.0, 0.0, 25.0
    count, first, last = 0, float("inf"), float("-inf")
    with suppress(FFmpegError):
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None and not packet.is_discard:
                time = float(packet.pts * packet.time_base)
                count, first, last = count + 1, min(first, time), max(last, time)
    start = max(0.0, first - float(start_time(container))) if count else 0.0
    if container.format.name == "avi":
        start = 0.0
    return count, start, max(0.0, last - first), float(stream.average_rate or 25)

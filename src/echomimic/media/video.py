"""Video in: frame by frame with the second each belongs to, upright and in RGB; memory does not grow with length."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from echomimic.errors import VideoError
from echomimic.media.source import decoded_frames, is_picture, open_media
from echomimic.notes import note
from echomimic.types import Picture

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

WANTED = "a video (mp4, mov, webm, mkv, …)"
_HD = 720
"""Lines from which an untagged video is taken for BT.709; smaller ones for BT.601."""


@dataclass(frozen=True)
class Video:
    """A video file: `width` and `height` as it is shown (rotation and pixel shape applied), `fps` frames a second on
    average, `duration` in seconds; both counted from its packets, not taken from its header."""

    path: Path
    width: int
    height: int
    fps: float
    duration: float
    count: int

    def frames(self) -> Iterator[tuple[float, Picture]]:
        """(seconds since the file starts to play, (height, width, 3) RGB), decoded as they are asked for.

        Seconds come from the time stamps, so a variable frame rate does no harm.
        """
        with open_media(self.path, WANTED, VideoError) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            zero = (container.start_time or 0) / 1e6
            counted = container.format.name == "avi"  # stamps frames in the order they are stored, not shown
            last = -1.0
            for index, frame in enumerate(_decoded(container, stream, self.path)):
                seconds = index / self.fps if counted or frame.time is None else frame.time - zero
                pixels = self._pixels(frame, stream) if seconds > last else None
                if pixels is not None:
                    last = seconds
                    yield max(0.0, seconds), pixels

    def _pixels(self, frame: "VideoFrame", stream: "VideoStream") -> Picture | None:
        """The frame as it is shown; None where damage makes it another size or none."""
        from av.error import FFmpegError

        try:
            pixels = upright_pixels(frame, "rgb24", stream.sample_aspect_ratio)
        except FFmpegError:
            return None
        return pixels if pixels.shape[:2] == (self.height, self.width) else None


def read_video(path: str | Path) -> Video:
    """A video to read frames from; VideoError for what is missing, has no moving picture, or cannot be decoded."""
    path = Path(path)
    with open_media(path, WANTED, VideoError) as container:
        stream = next((s for s in container.streams.video if s.codec_context is not None), None)
        if stream is None and container.streams.audio:
            raise VideoError(f"{path} is a sound; expected {WANTED}")
        size = _size(container, stream, path) if stream else None
        if size is None:
            raise VideoError(f"{path} is damaged or cut off; expected {WANTED}: fetch it again")
    with open_media(path, WANTED, VideoError) as container:
        count, span = _count(container)
    if count == 1 and is_picture(path):
        raise VideoError(f"{path} is a picture; expected {WANTED}")
    fps = (count - 1) / span if span > 0 else 25.0
    return Video(path, *size, fps, count / fps, count)


def _size(container: "InputContainer", stream: "VideoStream", path: Path) -> tuple[int, int] | None:
    """Width and height as shown, from the first frame that can be converted; None where there is none."""
    from av.error import FFmpegError

    for frame in _decoded(container, stream, path):
        with suppress(FFmpegError):
            height, width = upright_pixels(frame, "rgb24", stream.sample_aspect_ratio).shape[:2]
            return width, height
    return None


def upright_pixels(frame: "VideoFrame", layout: str, pixel_shape: object = None) -> npt.NDArray[np.uint8]:
    """A frame as it is shown: (H, W, 3 or 4) for `layout` "rgb24" or "rgba", by its own colour matrix and range."""
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
        # PyAV leaves the source's out of account where both are the same
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4), np.uint8)


def _decoded(container: "InputContainer", stream: "VideoStream", path: Path) -> "Iterator[VideoFrame]":
    """Frames in the order they are shown; damaged ones are left out, and that is said once."""

    def damaged() -> None:
        note("video_damaged", "{name} is damaged in places; those frames are left out", name=path.name)

    return decoded_frames(container, stream, damaged)


def _count(container: "InputContainer") -> tuple[int, float]:
    """How many frames there are, and the seconds between the first and the last; nothing is decoded."""
    from av.error import FFmpegError

    stream = container.streams.video[0]
    count, first, last = 0, float("inf"), float("-inf")
    try:
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                time = float(packet.pts * packet.time_base)
                count, first, last = count + 1, min(first, time), max(last, time)
    except FFmpegError:
        pass
    return count, max(0.0, last - first)

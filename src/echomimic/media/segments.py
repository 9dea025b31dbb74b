"""Segments of a video: closed groups of pictures with an encoder of their own, stored as packets.

Every video is encoded this way. Its segments therefore do not depend on each other: stored ones are copied into the
file and missing ones are encoded, with the same bytes as if all had been encoded in one run.
"""

import math
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av import Packet

_FEWEST = 10
"""Frames that a segment has at least, unless it is the last."""
_SLACK = 2e-7
"""Seconds by which a rounded frame rate may miss the start of a segment."""


def segment_seconds(fps: float) -> int:
    """Seconds in a segment: one, more at very low frame rates."""
    return max(1, math.ceil(_FEWEST / fps))


def segment_start(number: int, fps: float) -> int:
    """The first frame of segment `number`: the one at, or next after, a whole second."""
    return math.ceil(fps * (number * segment_seconds(fps) - _SLACK))


def segment_of(frame: int, fps: float) -> int:
    """The number of the segment that holds a frame."""
    number = int(frame / fps / segment_seconds(fps))
    return next(n for n in range(number + 1, -1, -1) if segment_start(n, fps) <= frame)


def segment_count(frames: int, fps: float) -> int:
    """Number of segments of a clip."""
    return segment_of(frames - 1, fps) + 1


StoredPacket = tuple[bytes, int, int, bool]
"""Data, presentation and decoding time in units of a frame, and whether it is a key frame."""


def stored_packets(packets: "Iterable[Packet[Any]]") -> list[StoredPacket]:
    """The packets of an encoder as they are stored; a muxer changes their times."""
    return [(bytes(p), p.pts or 0, p.dts or 0, p.is_keyframe) for p in packets]


@dataclass(frozen=True)
class Segment:
    """Encoded frames; `size` is (height, width)."""

    packets: list[StoredPacket]
    frames: int
    size: tuple[int, int]

    def to_bytes(self) -> bytes:
        """The content of a file: an uncompressed .npz, whose checksums show damage."""
        data, pts, dts, keys = zip(*self.packets, strict=True)
        file = BytesIO()
        np.savez(
            file,
            data=np.frombuffer(b"".join(data), np.uint8),
            packets=np.array([[len(each) for each in data], pts, dts, keys], np.int64),
            frames=np.array([self.frames, *self.size], np.int64),
        )
        return file.getvalue()

    @classmethod
    def read(cls, path: Path) -> "Segment | None":
        """The segment in a file; None if it is missing or damaged."""
        try:
            with np.load(path) as file:
                data, packets, (frames, height, width) = file["data"].tobytes(), file["packets"], file["frames"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        ends = np.cumsum(packets[0])
        parts = [
            (data[end - length : end], int(pts), int(dts), bool(key))
            for end, (length, pts, dts, key) in zip(ends, packets.T, strict=True)
        ]
        return cls(parts, int(frames), (int(height), int(width)))

    def to_packets(self, time_base: Fraction) -> "Iterator[Packet[Any]]":
        """The packets for a muxer; `time_base` is the seconds of a frame."""
        from av import Packet

        for data, pts, dts, is_keyframe in self.packets:
            packet = Packet(data)
            packet.pts, packet.dts, packet.duration, packet.time_base = pts, dts, 1, time_base
            packet.is_keyframe = is_keyframe
            yield packet


class SegmentStore(Protocol):
    """Keeps the finished segments of a clip; `token` is in the name of the unfinished file."""

    @property
    def token(self) -> str:
        """What tells unfinished files apart."""

    def load(self, number: int) -> Segment | None:
        """A stored segment."""

    def save(self, number: int, segment: Segment) -> None:
        """Keep a finished segment; never raises."""


FrameRanges = list[tuple[int, int]]
"""Ranges of frames: the first, and the one after the last."""


def frame_ranges(numbers: npt.NDArray[np.bool_] | list[bool], frames: int, fps: float) -> FrameRanges:
    """The frames of those segments whose entry is true, neighbours joined."""
    ranges: FrameRanges = []
    for number, wanted in enumerate(numbers):
        if wanted:
            first, last = segment_start(number, fps), min(segment_start(number + 1, fps), frames)
            ranges = (
                [*ranges[:-1], (ranges[-1][0], last)] if ranges and ranges[-1][1] == first else [*ranges, (first, last)]
            )
    return ranges

"""The contents of a video file, counted from its packets instead of read from its header."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from echomimic.errors import VideoError
from echomimic.media.source import open_media, sound_streams, start_time, video_stream
from echomimic.media.video import ACCEPTED

if TYPE_CHECKING:
    from av import VideoStream
    from av.container import InputContainer

Values = dict[str, float | None]


@dataclass(frozen=True)
class Container:
    """`picture_times` and `sound_times` (start, end) in seconds; `codec` says how pictures and sound are stored."""

    frames: int
    fps: float
    jitter: float
    picture_times: tuple[Fraction, Fraction]
    sound_times: tuple[Fraction, Fraction] | None
    codec: str


def read_container(path: Path) -> Container:
    """Count the packets of a video file. Raises VideoError if it is none."""
    with open_media(path, ACCEPTED, VideoError) as container:
        pictures = video_stream(container)
        if pictures is None:
            raise VideoError(f"{path} has no pictures; expected {ACCEPTED}")
        return _count_packets(container, pictures)


def _count_packets(container: "InputContainer", pictures: "VideoStream") -> Container:
    sounds, zero = next(iter(sound_streams(container)), None), start_time(container)
    stamps: list[Fraction] = []
    sounding: list[tuple[Fraction, Fraction]] = []
    for packet in container.demux([stream for stream in (pictures, sounds) if stream is not None]):
        if not packet.size or packet.pts is None or packet.time_base is None:
            continue
        start = packet.pts * packet.time_base - zero
        if packet.stream is pictures:
            stamps.append(start)
        else:
            sounding.append((start, start + (packet.duration or 0) * packet.time_base))
    # packets stamped before 0 are the codec's priming samples, which are not played
    sounding = [(max(start, -zero, Fraction(0)), end) for start, end in sounding]
    codec = f"{pictures.codec_context.name} {pictures.codec_context.pix_fmt}"
    if sounds is not None:
        codec += f" + {sounds.codec_context.name} {sounds.codec_context.sample_rate} Hz"
    return _container(sorted(stamps), sounding, codec)


def _container(stamps: list[Fraction], sounding: list[tuple[Fraction, Fraction]], codec: str) -> Container:
    """Compute in fractions, so that an even frame rate has a jitter of exactly 0."""
    steps = [after - before for before, after in pairwise(stamps)]
    step = sum(steps, Fraction(0)) / len(steps) if steps else Fraction(1, 25)
    sound = (min(sounding)[0], max(end for _, end in sounding)) if sounding else None
    return Container(
        frames=len(stamps),
        fps=float(1 / step) if step else 0.0,
        jitter=float(max((abs(one - step) for one in steps), default=0)),
        picture_times=(stamps[0], stamps[-1] + step) if stamps else (Fraction(0), Fraction(0)),
        sound_times=sound,
        codec=codec,
    )


def container_metrics(container: Container) -> Values:
    """Lengths, start times and frame rate (see the catalogue)."""
    first, last = container.picture_times
    sound = container.sound_times
    return {
        "frames": float(container.frames),
        "frame_rate": container.fps,
        "frame_jitter_seconds": container.jitter,
        "picture_seconds": float(last - first),
        "sound_seconds": None if sound is None else float(sound[1] - sound[0]),
        "sound_start_seconds": None if sound is None else float(sound[0] - first),
        "length_difference_seconds": None if sound is None else float(last - sound[1]),
    }

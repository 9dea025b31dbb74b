"""Container truth: what a file really holds, counted from its packets and not taken from its header."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echomimic.errors import VideoError
from echomimic.media.source import open_media
from echomimic.media.video import WANTED

if TYPE_CHECKING:
    from av.container import InputContainer

Values = dict[str, float | None]


@dataclass(frozen=True)
class Container:
    """`picture_times` and `sound_times` (start, end) in seconds; `codec` says how pictures and sound are stored."""

    frames: int
    fps: float
    jitter: float
    picture_times: tuple[float, float]
    sound_times: tuple[float, float] | None
    codec: str


def read_container(path: Path) -> Container:
    """Count the packets of a video file; VideoError where it is none."""
    with open_media(path, WANTED, VideoError) as container:
        if not container.streams.video:
            raise VideoError(f"{path} has no pictures; expected {WANTED}")
        return _counted(container)


def _counted(container: "InputContainer") -> Container:
    pictures, sounds = container.streams.video[0], next(iter(container.streams.audio), None)
    stamps: list[float] = []
    heard: list[tuple[float, float]] = []
    for packet in container.demux([stream for stream in (pictures, sounds) if stream is not None]):
        if not packet.size or packet.pts is None or packet.time_base is None:
            continue
        start = float(packet.pts * packet.time_base)
        if packet.stream is pictures:
            stamps.append(start)
        else:
            heard.append((start, start + float((packet.duration or 0) * packet.time_base)))
    zero = (container.start_time or 0) / 1e6
    times = np.sort(np.array(stamps)) - zero
    steps = np.diff(times)
    step = float(steps.mean()) if len(steps) else 0.04
    codec = f"{pictures.codec_context.name} {pictures.codec_context.pix_fmt}"
    if sounds is not None:
        codec += f" + {sounds.codec_context.name} {sounds.codec_context.sample_rate} Hz"
    return Container(
        frames=len(times),
        fps=1 / step,
        jitter=float(np.abs(steps - step).max()) if len(steps) else 0.0,
        picture_times=(float(times[0]), float(times[-1]) + step) if len(times) else (0.0, 0.0),
        # what lies before the start of play is the codec's run-in, which is not heard
        sound_times=(max(0.0, min(heard)[0] - zero), max(end for _, end in heard) - zero) if heard else None,
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
        "picture_seconds": last - first,
        "sound_seconds": None if sound is None else sound[1] - sound[0],
        "sound_start_seconds": None if sound is None else sound[0] - first,
        "length_difference_seconds": None if sound is None else last - sound[1],
    }

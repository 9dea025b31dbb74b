"""Write the files of a clip: video, sound and track, each whole or not at all."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from echomimic.checkpoints import checksum
from echomimic.files import sync_file
from echomimic.media import atomic_path, make_folder, writing
from echomimic.media.writer import MP4, encode
from echomimic.mesh.speech_to_face import SAMPLE_RATE
from echomimic.motion import save_motion
from echomimic.train.diffusion.manifest import SUFFIXES, Checksums
from echomimic.train.diffusion.prepare.quality import PLACES, Quality, QualityMeter, check_quality, fingerprint
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.train.diffusion.prepare.tracks import TrackedPiece
from echomimic.types import Floats, Picture

KEY_FRAMES = 12
"""Interval of key frames in frames: a random frame is reached by decoding at most this number."""
# one thread and no code that depends on the CPU: the same input gives the same bytes anywhere
CLIP = replace(
    MP4,
    picture_options={
        "preset": "veryfast",
        "crf": "14",
        "g": str(KEY_FRAMES),
        "x264-params": f"keyint={KEY_FRAMES}:threads=1:cpu-independent=1",
    },
)
_CHUNK = 4096


@dataclass(frozen=True)
class WrittenClip:
    """The files of a clip relative to the folder, by field of a row, and what was measured while writing."""

    files: dict[str, str]
    checksums: Checksums
    quality: Quality
    fingerprint: str


def write_clip(folder: Path, name: str, tracked: TrackedPiece, sound: Floats, settings: PrepareSettings) -> WrittenClip:
    """Cut, encode and measure a clip. Raises DroppedError, and writes nothing, if its pictures are not good enough."""
    place = folder / "clips" / name[:2]
    make_folder(place)
    paths = {field: place / f"{name}{suffix}" for field, suffix in SUFFIXES.items()}
    meter, hashed = QualityMeter(), _FrameCollector(tracked.piece.count)
    with ExitStack() as stack:
        parts = {field: stack.enter_context(atomic_path(path)) for field, path in paths.items()}
        encode(str(parts["clip"]), CLIP, _canvas_frames(tracked, meter, hashed), settings.fps, None, {})
        quality = meter.result()
        check_quality(quality, settings)
        write_flac(parts["sound"], sound)
        save_motion(parts["track"], tracked.canvas_track())
        checksums = Checksums(**{field: checksum(part) for field, part in parts.items()})
        for part in parts.values():
            with writing():
                sync_file(part)
    files = {field: path.relative_to(folder).as_posix() for field, path in paths.items()}
    return WrittenClip(files, checksums, quality, fingerprint(hashed.frames, sound))


class _FrameCollector:
    """Collects those frames of a clip of `count` frames that are hashed."""

    def __init__(self, count: int) -> None:
        self._wanted = [int(place * count) for place in PLACES]
        self.frames: list[Picture] = []

    def add(self, number: int, pixels: Picture) -> None:
        self.frames += [pixels] * self._wanted.count(number)


def _canvas_frames(tracked: TrackedPiece, meter: QualityMeter, hashed: _FrameCollector) -> Iterator[Picture]:
    boxes = tracked.canvas_boxes()
    for number, (_, pixels) in enumerate(tracked.piece.frames()):
        canvas = tracked.crop.cut(pixels)
        meter.add(canvas, boxes[number])
        hashed.add(number, canvas)
        yield canvas


def write_flac(path: Path, samples: Floats) -> None:
    """Write mono sound (n,) in -1..1 at 16 kHz as 16-bit flac."""
    import av

    with writing(), av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE)
        stream.codec_context.layout = "mono"
        stream.codec_context.format = "s16"
        whole = np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)
        for first in range(0, len(whole), _CHUNK):
            frame = av.AudioFrame.from_ndarray(whole[None, first : first + _CHUNK], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

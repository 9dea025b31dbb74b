"""A worker like the real one, with an engine that is quick and misbehaves on demand: the seed says how."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from echomimic import api
from echomimic.apps.jobs import worker
from echomimic.engines import WHOLE, Part, Render
from echomimic.landmarks.crop import Crop
from echomimic.notes import Note
from echomimic.options import Options
from echomimic.presets import Preset, resolve_preset
from echomimic.types import Curves, LandmarkTrack, Motion, Picture, Portrait, Progress, Speech

CRASH, HANG, BREAK, SLOW, HOLD = 13, 14, 15, 16, 17
"""Die, hear nothing, raise, 20 ms a frame, and stay in the middle until the test lets go (`Server.release`)."""


class FakeEngine:
    """Frames of one grey each, as many as asked for."""

    def __init__(self, preset: str) -> None:
        self.preset = resolve_preset(preset)[0]

    def prepare(
        self, portrait: Portrait, speech: Speech, motion: Motion | None, options: Options, *, align: bool = False
    ) -> Render:
        return FakeRender(options, options.frames or speech.frames(options.fps))


@dataclass
class FakeRender:
    options: Options
    num_frames: int
    size: tuple[int, int] = (64, 64)
    memory_mb: int = 1
    warnings: tuple[Note, ...] = ()
    crop: Crop = field(default_factory=lambda: Crop(0, 0, 64, 64, 64, 64))

    @property
    def fps(self) -> float:
        return self.options.fps

    @property
    def motion(self) -> LandmarkTrack:
        points = np.zeros((self.num_frames, 478, 3), np.float32)
        valid = np.ones(self.num_frames, bool)
        return LandmarkTrack(points, self.size, self.fps, valid, Curves.rest(self.num_frames, self.fps))

    def frames(self, progress: Progress | None = None, part: Part = WHOLE) -> Iterator[Picture]:
        for index in range(part.first, part.end(self.num_frames)):
            if self.options.seed == SLOW:
                time.sleep(0.02)
            if index == self.num_frames // 2:
                misbehave(self.options.seed)
                while self.options.seed == HOLD and not release_file(Path.cwd().parents[1], Path.cwd().name).exists():
                    time.sleep(0.01)
                    if progress:
                        progress(index, self.num_frames)
            yield np.full((64, 64, 3), index * 37 % 256, np.uint8)
            if progress:
                progress(index + 1, self.num_frames)


def release_file(data: Path, job: str) -> Path:
    """The file whose presence releases a held job."""
    return data / f"release-{job}"


def misbehave(seed: int) -> None:
    if seed == CRASH:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == HANG:
        time.sleep(3600)
    if seed == BREAK:
        raise ZeroDivisionError(f"in {Path.cwd()}")


def load(preset: Preset, *_: object) -> FakeEngine:
    return FakeEngine(preset.name)


if __name__ == "__main__":
    api._load = load  # type: ignore[assignment]
    api.load = lambda preset="auto", *_, **__: FakeEngine(preset)
    worker.load_libraries = lambda: None
    worker.main()

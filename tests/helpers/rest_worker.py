"""A worker like the real one, with an engine that is quick and misbehaves on demand: the seed says how."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from echomimic import api
from echomimic.apps.jobs import worker
from echomimic.options import Options
from echomimic.types import Curves, LandmarkTrack, Motion, Picture, Portrait, Progress, Speech

CRASH, HANG, BREAK, SLOW = 13, 14, 15, 16


class FakeEngine:
    """Frames of one grey each, as many as asked for."""

    def frames(
        self,
        portrait: Portrait,
        speech: Speech,
        motion: Motion | None,
        options: Options,
        progress: Progress | None = None,
    ) -> Iterator[Picture]:
        count = options.frames or speech.frames(options.fps)
        for index in range(count):
            if options.seed == SLOW:
                time.sleep(0.02)
            if index == count // 2:
                misbehave(options.seed)
            yield np.full((64, 64, 3), index * 37 % 256, np.uint8)
            if progress:
                progress(index + 1, count)


def misbehave(seed: int) -> None:
    if seed == CRASH:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == HANG:
        time.sleep(60)
    if seed == BREAK:
        raise ZeroDivisionError(f"in {Path.cwd()}")


def predict(portrait: Portrait, speech: Speech, motion: object = None, **options: object) -> LandmarkTrack:
    frames = speech.frames(25)
    points = np.zeros((frames, 478, 3), np.float32)
    return LandmarkTrack(points, (64, 64), 25.0, np.ones(frames, bool), Curves.rest(frames, 25.0))


if __name__ == "__main__":
    api.load = lambda *_, **__: FakeEngine()  # type: ignore[assignment]
    api.predict = predict  # type: ignore[assignment]
    worker.load_libraries = lambda: None
    worker.main()

"""Frames as numpy arrays, without a file: python examples/frames.py [PORTRAIT VOICE]."""

import sys

import numpy as np

import echomimic
from echomimic.data import data_path


def main(portrait: str = "", voice: str = "") -> None:
    """Prepare a run, read its facts, and take its frames one by one."""
    engine = echomimic.load("mesh")
    render = engine.prepare(
        echomimic.read_picture(portrait or data_path("astronaut.png")),
        echomimic.read_speech(voice or data_path("demo_voice.flac")),
        None,
        echomimic.Options(size=256),
    )
    sys.stdout.write(f"{render.num_frames} frames of {render.size}, {render.fps:g} a second, {render.memory_mb} MB\n")
    before, moved = None, []
    for frame in render.frames():  # (H, W, 3) uint8 RGB: hand them to any encoder, window or network
        if before is not None:
            moved.append(float(np.abs(frame.astype(int) - before).mean()))
        before = frame
    sys.stdout.write(f"mean change between frames: {np.mean(moved):.2f} grey values\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Context windows: overlapping lists of frame indices, over a clip of any length, that are denoised together.

`closed_windows` is the published schedule, which joins the last frame to the first; `open_windows` does not.
"""

import math

Window = list[int]


def ordered_halving(step: int) -> float:
    """The van der Corput sequence in base 2: 0, 1/2, 1/4, 3/4, 1/8, …"""
    value, scale = 0.0, 0.5
    while step:
        value, step, scale = value + scale * (step & 1), step >> 1, scale / 2
    return value


def closed_windows(frames: int, size: int, overlap: int, stride: int = 1, step: int = 0) -> list[Window]:
    """The published schedule: windows of `size` frames that wrap past the end, a round for each power of two below
    `stride`, in which the frames of a window lie that far apart. The published systems always ask for step 0, stride 1.
    """
    if frames <= size:
        return [list(range(frames))]
    rounds = min(stride, math.ceil(math.log2(frames / size)) + 1)
    shift = ordered_halving(step)
    pad = round(frames * shift)
    windows = []
    for gap in (2**i for i in range(rounds)):
        for start in range(int(shift * gap) + pad, frames + pad, size * gap - overlap):
            windows.append([i % frames for i in range(start, start + size * gap, gap)])
    return windows


def shifted(windows: list[Window], by: int, frames: int) -> list[Window]:
    """The windows moved by `by` frames, modulo the length of the clip, as in the published systems."""
    return [[(i + by) % frames for i in window] for window in windows]


def open_windows(frames: int, size: int, overlap: int, shift: int = 0) -> list[Window]:
    """Windows of `size` neighbouring frames that never join the end to the start; all have the same length.

    `shift` moves the borders of the windows, so that no frame lies at a border in every step. The first window begins
    at the first frame and the last ends at the last frame, so those two may share more than `overlap` frames.
    """
    if frames <= size:
        return [list(range(frames))]
    advance = size - overlap
    last = frames - size
    starts = {0, last, *range(shift % advance, last, advance)}
    return [list(range(start, start + size)) for start in sorted(starts)]

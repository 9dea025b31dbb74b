"""Keyframes with Bezier handles: few of them are fitted to a curve, and curves are computed from them."""

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from echomimic.motion.edits import DrawCurve, Edit, Layer, active_edits
from echomimic.types import Floats

Times = npt.NDArray[np.float64]
Handles = tuple[float, float, float, float]
"""Of the handles before and after a keyframe: how many seconds away each is, and its value relative to the keyframe's.

In the order: seconds and value before, seconds and value after.
"""
Segments = Mapping[tuple[int, int], tuple[float, float, float, float]]
"""What was drawn between two frames: seconds and value of the handle after the first, and of that before the second."""
_LENGTHS = np.array([*range(1, 17), *range(18, 33, 2), *range(36, 65, 4), *range(72, 129, 8), *range(144, 257, 16)])
"""Lengths in frames that a fitted segment may have."""
_MISSES = 3
"""If a segment cannot be fitted with this many lengths in a row, longer ones are not tried."""
_BETWEEN, _ROUGH, _FIXED = 0.9, 0.25, 0.5
"""Costs in keyframes: a keyframe that is not at an extreme, a segment with the largest error, a drawn segment."""
_SAME = 2e-3
"""Distance from a drawn segment, as a fraction of the curve's range, up to which a curve counts as that segment."""
_BISECTIONS = 24


def fit_keys(
    values: Floats, fps: float, limit: float, drawn: Segments | None = None, span: float = 1.0
) -> list[tuple[float, ...]]:
    """Keyframes (second, value, *`Handles`) of a curve (T,): cubic segments between them follow it within `limit`.

    Dynamic programming finds the smallest number of keyframes, which lie on frames, with a preference for the curve's
    extremes. `drawn` segments keep their ends and, where the curve still equals them, their handles; `span` is the
    range of the curve.
    """
    line, drawn = values.astype(np.float64), drawn or {}
    if len(line) == 1:
        return [(0.0, float(line[0]), *4 * (0.0,))]
    ends = sorted({0, len(line) - 1} | {frame for pair in drawn for frame in pair if 0 < frame < len(line)})
    frames = _fewest(line, limit, np.array(ends))
    handles = np.zeros((len(frames), 4))
    for number, (first, last) in enumerate(pairwise(frames)):
        after = drawn.get((first, last))
        if after is None or not _is_still(line, first, last, after, fps, _SAME * span):
            slopes = _slopes(line, np.array([first]), last - first)[0][0]
            third = (last - first) / 3
            after = (third / fps, third * float(slopes[0]), third / fps, -third * float(slopes[1]))
        handles[number, 2:], handles[number + 1, :2] = after[:2], after[2:]
    keys = np.column_stack([np.array(frames) / fps, line[frames], handles])
    return [(second, value, *bent) for second, value, *bent in keys.tolist()]


def drawn_segments(edits: Iterable[Edit], curve: str, fps: float) -> dict[tuple[int, int], Handles]:
    """The segments with handles that edits have drawn on a curve, except those that later edits have replaced."""
    found: dict[tuple[int, int], Handles] = {}
    for edit in _flat(edits):
        if not isinstance(edit, DrawCurve) or edit.curve != curve:
            continue
        frames = [round(second * fps) for second, _ in edit.keys]
        found = {pair: each for pair, each in found.items() if pair[1] <= frames[0] or pair[0] >= frames[-1]}
        for pair, (before, after) in zip(pairwise(frames), pairwise(edit.handles), strict=False):
            found[pair] = (*before[2:], *after[:2])
    return found


def _flat(edits: Iterable[Edit]) -> Iterable[Edit]:
    for edit in active_edits(edits):
        if isinstance(edit, Layer):
            yield from edit.edits
        else:
            yield edit


def between_keys(seconds: Times, table: Times, handles: Times) -> Floats:
    """Values (T,) of the Bezier curve through keyframes (N, 2) with handles (N, 4); held before and after them.

    A handle that reaches beyond the next keyframe in time is cut there, so that time always goes forwards.
    """
    last = len(table) - 1
    left = np.clip(np.searchsorted(table[:, 0], seconds, side="right") - 1, 0, max(last - 1, 0))
    right = np.minimum(left + 1, last)
    span = np.maximum(table[right, 0] - table[left, 0], 1e-9)
    fraction = np.clip((seconds - table[left, 0]) / span, 0, 1)
    x1 = np.minimum(handles[left, 2] / span, 1)
    u = bezier_parameter(fraction, x1, 1 - np.minimum(handles[right, 0] / span, 1))
    start, end = table[left, 1], table[right, 1]
    return np.asarray(
        (1 - u) ** 3 * start
        + 3 * (1 - u) ** 2 * u * (start + handles[left, 3])
        + 3 * (1 - u) * u**2 * (end + handles[right, 1])
        + u**3 * end,
        np.float32,
    )


def bezier_parameter(fraction: Times, x1: Times | float, x2: Times | float) -> Times:
    """The parameters (0..1) at which cubic Bezier curves from 0 to 1 with handles `x1` and `x2` have x = `fraction`."""
    low, high = np.zeros_like(fraction), np.ones_like(fraction)
    for _ in range(_BISECTIONS):  # x grows with u, since both handles are within the square
        u = (low + high) / 2
        below = bezier_between(u, x1, x2) < fraction
        low, high = np.where(below, u, low), np.where(below, high, u)
    return np.where(fraction <= 0, 0.0, np.where(fraction >= 1, 1.0, (low + high) / 2))


def bezier_between(u: Times, a: Times | float, b: Times | float) -> Times:
    """One coordinate of a cubic Bezier curve from 0 to 1 with handles `a` and `b` at a parameter."""
    return 3 * (1 - u) ** 2 * u * a + 3 * (1 - u) * u**2 * b + u**3


@cache
def _basis(length: int) -> tuple[Times, Times, Times]:
    """Basis of a segment: the blend (n,) between its ends, the effect (n, 2) of the slopes, and its pseudo-inverse."""
    x = np.arange(1, length) / length
    slopes = length * np.stack([x**3 - 2 * x**2 + x, x**3 - x**2], axis=1)
    inverse: Times = np.asarray(np.linalg.pinv(slopes), np.float64)
    return 3 * x**2 - 2 * x**3, slopes, inverse


def _slopes(line: Times, starts: npt.NDArray[np.int64], length: int) -> tuple[Times, Times]:
    """Slopes (n, 2) a frame at both ends of the segments that fit best, and the largest distance (n,) of each."""
    if length == 1:
        rise = line[starts + 1] - line[starts]
        return np.stack([rise, rise], axis=1), np.zeros(len(starts))
    way, effect, inverse = _basis(length)
    pieces = np.lib.stride_tricks.sliding_window_view(line, length + 1)[starts]
    first = pieces[:, :1]
    rest = pieces[:, 1:-1] - first - (pieces[:, -1:] - first) * way
    slopes = rest @ inverse.T
    return slopes, np.abs(rest - slopes @ effect.T).max(axis=1)


def _fewest(line: Times, limit: float, ends: npt.NDArray[np.int64]) -> list[int]:
    """The frames of the fewest keyframes, which include `ends`."""
    count = len(line)
    lengths = np.union1d(_LENGTHS[: np.searchsorted(_LENGTHS, count)], [min(count - 1, _LENGTHS[-1])])
    cost = _segment_costs(line, limit, ends, lengths)
    rises = np.diff(line)
    extreme = np.zeros(count, bool)
    extreme[1:-1] = (rises[:-1] * rises[1:] <= 0) & (rises[:-1] != rises[1:])
    key = np.where(extreme, 1.0, 1 + _BETWEEN)
    key[ends] = _FIXED
    total = np.full(count + int(lengths[-1]), np.inf)  # from a keyframe to the end, with the keyframe itself
    total[count - 1] = 0
    following = np.zeros(count, np.int64)
    for frame in range(count - 2, -1, -1):
        ways = cost[frame] + total[frame + lengths]
        best = int(ways.argmin())
        following[frame] = frame + lengths[best]
        total[frame] = ways[best] + key[frame]
    frames = [0]
    while frames[-1] < count - 1:
        frames.append(int(following[frames[-1]]))
    return frames


def _segment_costs(line: Times, limit: float, ends: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Floats:
    """The cost (T, n) of a segment from each frame, for each length; infinite if it does not fit or crosses an end."""
    cost = np.full((len(line), len(lengths)), np.inf, np.float32)
    starts, misses = np.arange(len(line) - 1), np.zeros(len(line), np.int64)
    next_end = ends[np.searchsorted(ends, starts, side="right")]
    for column, length in enumerate(lengths):
        starts = starts[(starts + length <= next_end[starts]) & (misses[starts] < _MISSES)]
        if not len(starts):
            break
        far = _slopes(line, starts, int(length))[1]
        cost[starts, column] = np.where(far <= limit, _ROUGH * (far / limit) ** 2, np.inf)
        misses[starts] = np.where(far <= limit, 0, misses[starts] + 1)
    return cost


def _is_still(line: Times, first: int, last: int, after: Handles, fps: float, limit: float) -> bool:
    """Whether the curve between two frames is still that of these handles, which is cut off at the curve's end."""
    seconds = np.arange(last - first + 1) / fps
    table = np.array([[0.0, line[first]], [seconds[-1], line[last]]])
    handles = np.array([[0.0, 0.0, *after[:2]], [*after[2:], 0.0, 0.0]])
    given = np.clip(between_keys(seconds, table, handles), line.min(), line.max())
    return bool(np.abs(given - line[first : last + 1]).max() <= limit)

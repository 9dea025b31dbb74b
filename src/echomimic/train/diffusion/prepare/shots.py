"""Split a video at its cuts, and each part between two cuts into pieces of the length of a clip."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.signals import runs
from echomimic.train.diffusion.prepare.settings import PrepareSettings
from echomimic.types import Floats, Picture

_SMALL = (64, 36)
"""Width and height of the pictures that are compared."""
_NEAR = 12
"""Frames on each side whose median change is the usual one."""
_EQUAL = 0.01
"""Mean change of luma under which a frame repeats the one before: a still face changes more, by its noise alone."""


@dataclass(frozen=True)
class Span:
    """A piece of a video: `count` frames from frame `first` of the grid on; `dropped` if it cannot be used."""

    first: int
    count: int
    dropped: str | None = None
    detail: str = ""


def luma_changes(frames: Iterable[Picture]) -> Floats:
    """Mean absolute change of luma (T,) of small pictures from frame to frame; 0 for the first."""
    changes: list[float] = []
    before: Floats | None = None
    for pixels in frames:
        small = cv2.resize(pixels, _SMALL, interpolation=cv2.INTER_AREA).astype(np.float32)
        luma = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
        changes.append(0.0 if before is None else float(np.abs(luma - before).mean()))
        before = luma
    return np.array(changes, np.float32)


def find_cuts(changes: Floats, settings: PrepareSettings) -> npt.NDArray[np.bool_]:
    """(T,) True for the first frame after a cut: a large change that is also large against its neighbours'."""
    padded = np.pad(changes.astype(np.float64), _NEAR, mode="reflect" if len(changes) > _NEAR else "edge")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEAR + 1), axis=1)
    cuts: npt.NDArray[np.bool_] = changes > np.maximum(settings.cut, settings.cut_factor * usual)
    return cuts


def split(changes: Floats, settings: PrepareSettings) -> list[Span]:
    """Pieces of `shortest` to `longest` seconds between cuts, as equal as possible, with those that cannot be used."""
    spans: list[Span] = []
    starts = [0, *np.flatnonzero(find_cuts(changes, settings)).tolist(), len(changes)]
    least, most = round(settings.shortest * settings.fps), round(settings.longest * settings.fps)
    for first, stop in pairwise(starts):
        if stop - first < least:
            spans.append(Span(first, stop - first, "short", f"{(stop - first) / settings.fps:.2f} s between cuts"))
            continue
        edges = np.linspace(first, stop, -(-(stop - first) // most) + 1).round().astype(int)
        spans += [_checked(a, b, changes, settings) for a, b in pairwise(edges.tolist())]
    return [span for span in spans if span.count]


def _checked(first: int, stop: int, changes: Floats, settings: PrepareSettings) -> Span:
    repeated = changes[first + 1 : stop] < _EQUAL
    if repeated.mean() > settings.most_repeated:
        longest = max((b - a for a, b in runs(repeated)), default=0)
        return Span(first, stop - first, "repeated", f"{repeated.mean():.0%} of the frames, {longest} in a row")
    return Span(first, stop - first)

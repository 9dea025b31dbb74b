"""Idle motion: blinks, gaze, head, brows and breath, generated from a seed.

Each movement is generated in continuous time, as an endless sequence of events or waves, and then sampled per frame: so
the start of a clip does not depend on its length or, except for sampling, on its frame rate. Measured figures come from
twelve minutes of filmed speakers: a blink about every 3.8 s, 0.32 s long; standard deviations of the head within a clip
of 4.1, 3.5 and 2.9 degrees in yaw, pitch and roll, of which half suits a warped photo, nearly all power below 1 Hz.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from echomimic.cancellation import check_cancelled
from echomimic.types import Floats

_Times = npt.NDArray[np.float64]
_Events = npt.NDArray[np.float64]
"""A row for each event, in order of time; the first column is its time in seconds."""

HEAD_SPREAD = {"yaw": 2.4, "pitch": 2.7, "roll": 1.6}
"""Standard deviations in degrees at motion strength 1, without the nods on stressed syllables."""
NODS, RAISES = (3.4, 7.6), (0.2, 0.55)
"""Ranges of nods in degrees and of raised brows on stressed syllables. A landmark detector sees about four fifths of a
nod in a warped photo."""
_NODDED, _RAISED = 0.9, 0.75
"""Fractions of the stressed syllables that have them."""
BLINK_SECONDS = 0.32
_LID_DOWN, _LID_SHUT = 0.1, 0.04
_BLINK_LENGTHS, _HALF_BLINKS, _HALF_DEPTH = (0.8, 1.25), 0.15, (0.45, 0.7)
"""Factors of a blink's length, the fraction of blinks that do not shut the eye, and how far those go."""
_BREATHS_PER_SECOND = 0.27
_EASE_IN, _EASE_OUT = 0.8, 1.0
_BLOCK = 1 << 14
_STEADY_EYES = 0.7
"""Fraction of a head rotation that the eyes compensate, to keep the gaze on the viewer."""


@dataclass(frozen=True)
class Cues:
    """Features of the voice that the idle motion follows.

    `voice` (T,) is 1 during speech; `stresses` and `phrase_ends` are times in seconds.
    """

    voice: Floats
    stresses: tuple[float, ...] = field(default=())
    phrase_ends: tuple[float, ...] = field(default=())


class IdleMotion:
    """Everything but the mouth in a clip of `frames`: events are generated once, frames on demand.

    The same arguments give the same curves. Without `eased` the head neither starts nor ends at rest, and moves as much
    in silence as in speech.
    """

    def __init__(
        self,
        frames: int,
        fps: float,
        seed: int,
        strength: float = 1.0,
        blink_rate: float = 16.0,
        cues: Cues | None = None,
        *,
        eased: bool = True,
    ) -> None:
        cues = cues or Cues(np.zeros(frames, np.float32))
        self._fps, self._seed, self._strength, self._seconds = fps, seed, strength, frames / fps
        self._voice = _mean_over(cues.voice, 1.2, fps) if eased else None
        last = max(0, frames - 1) / fps
        self._nods, self._raises = _accents(cues.stresses, _draw(seed, "accents"))
        self._postures = {name: _postures(last, seed, name) for name in (*HEAD_SPREAD, "brow")}
        saccades = _saccades(seed, self._seconds)
        self._across, self._down = _gaze_steps(saccades)
        self._blinks = _blinks(_blink_times(seed, self._seconds, blink_rate, cues, saccades), _draw(seed, "lids"))
        self._breaths = _breaths(last, _draw(seed, "breath"))

    def curves(self, first: int, last: int) -> dict[str, Floats]:
        """Curves (last - first,) by name of the frames from `first` up to `last`, without it."""
        times = np.arange(first, last) / self._fps
        envelope = np.full(last - first, self._strength)
        if self._voice is not None:
            envelope = envelope * _envelope(times, self._seconds) * (0.7 + 0.3 * self._voice[first:last])
        curves = {name: column * envelope for name, column in self._head(times).items()}
        curves["gaze_x"] = _steps(times, self._across) - _STEADY_EYES * curves["yaw"]
        curves["gaze_y"] = _steps(times, self._down) - _STEADY_EYES * curves["pitch"]
        curves["blink"] = _lids(times, self._blinks)
        curves["breath"] = self._strength * _breath(times, self._breaths)
        return {name: column.astype(np.float32) for name, column in curves.items()}

    def _head(self, times: _Times) -> dict[str, Floats]:
        """Head, brows, smile, shift and sway at full strength: held postures with waves added."""
        seed, nods = self._seed, _bumps(times, self._nods)
        postures = {name: _steps(times, steps) for name, steps in self._postures.items()}
        head: dict[str, Floats] = {
            name: spread * _soft_limit(1.03 * postures[name] + 0.7 * _waves(times, seed, name), 3.5)
            for name, spread in HEAD_SPREAD.items()
        }
        return head | {
            "pitch": head["pitch"] + nods,
            "brow": _bumps(times, self._raises) + 0.07 * postures["brow"] + 0.04 * _waves(times, seed, "brow"),
            "smile": 0.04 * _waves(times, seed, "smile", 0.2),
            "shift_x": 0.0015 * head["yaw"] + 0.006 * _waves(times, seed, "shift_x"),
            "shift_y": 0.0015 * (head["pitch"] + nods) + 0.004 * _waves(times, seed, "shift_y"),
            "sway": 0.08 * head["roll"] + 0.2 * _waves(times, seed, "sway", 0.25),
        }


def find_cues(voice: Floats, loudness: Floats, rate: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Times in seconds of (stressed syllables, phrase ends), from voice (T,) 0 or 1 and loudness (T,) dB at `rate`."""
    if len(voice) < 3:
        return (), ()
    bump = _mean_over(loudness, 0.12, rate) - _mean_over(loudness, 1.0, rate)
    peaks = np.flatnonzero((bump[1:-1] > 4) & (bump[1:-1] >= bump[:-2]) & (bump[1:-1] > bump[2:]) & (voice[1:-1] > 0.5))
    stresses: list[float] = []
    for peak in (peaks + 1) / rate:
        if not stresses or peak - stresses[-1] > 0.6:
            stresses.append(float(peak))
    ends = (np.flatnonzero((voice[:-1] > 0.5) & (voice[1:] <= 0.5)) + 1) / rate
    return tuple(stresses), tuple(ends.tolist())


def _draw(seed: int, name: str) -> np.random.Generator:
    """A random generator of its own for each movement, so that they do not affect each other."""
    return np.random.default_rng([seed, *name.encode()])


def _accents(stresses: Sequence[float], draw: np.random.Generator) -> tuple[_Events, _Events]:
    """Nods and raised brows on stressed syllables: rows of time and size."""
    nods, raises = list[tuple[float, float]](), list[tuple[float, float]]()
    for at in stresses:
        nod, brow, chance = draw.uniform(*NODS), draw.uniform(*RAISES), draw.random()
        if chance < _NODDED:
            nods.append((at, nod))
        if chance < _RAISED:
            raises.append((at, brow))
    return _events(nods, 2), _events(raises, 2)


def _events(rows: Sequence[tuple[float, ...]], columns: int) -> _Events:
    return np.array(rows, np.float64).reshape(-1, columns)


def _during(events: _Events, times: _Times, longest: float) -> tuple[int, int]:
    """The range of those events, in order of time, that may touch the frames; they last up to `longest` seconds."""
    if not len(times):
        return 0, 0
    first, last = np.searchsorted(events[:, 0], [times[0] - longest, times[-1] + longest])
    return int(first), int(last)


def _waves(times: _Times, seed: int, name: str, corner: float = 0.5) -> _Times:
    """Noise of unit variance as a sum of sines; its power falls steeply above `corner` Hz."""
    check_cancelled()
    draw = _draw(seed, f"waves {name}")
    hertz = np.exp(draw.uniform(np.log(0.08), np.log(1.6), 20))
    power = hertz / (1 + (hertz / corner) ** 4)
    size, phase = np.sqrt(2 * power / power.sum()), draw.uniform(0, 2 * np.pi, 20)
    total = np.zeros_like(times)
    for f, a, p in zip(hertz, size, phase, strict=True):
        total += a * np.sin(2 * np.pi * f * times + p)
    return total


def _postures(until: float, seed: int, name: str) -> _Events:
    """Poses of about unit variance, each held for some seconds, with smooth transitions of 0.5 to 1.1 s, as steps."""
    draw = _draw(seed, f"postures {name}")
    value, steps, at = 0.0, list[tuple[float, float, float]](), draw.uniform(0.2, 0.8)
    while at < until:
        target, takes = 0.25 * value + 1.1 * draw.standard_normal(), draw.uniform(0.5, 1.1)
        target = min(max(target, -2.2), 2.2)
        steps.append((at, takes, target - value))
        value = target
        at += takes + draw.gamma(2.0, 0.6)
    return _events(steps, 3)


def _steps(times: _Times, steps: _Events) -> _Times:
    """A curve (T,) that starts at 0 and makes steps (start, duration, change) of least jerk (Flash and Hogan 1985).

    A step must end before the next begins; then the time is linear in frames and steps.
    """
    total = np.zeros_like(times)
    if not len(steps) or not len(times):
        return total
    begin, end = np.searchsorted(steps[:, 0], times[[0, -1]], "right")
    begin = max(0, begin - 1)
    levels = np.concatenate([[0.0], np.cumsum(steps[:, 2])])[begin:]
    starts, durations, changes = steps[begin:end].T
    first, last = np.searchsorted(times, starts), np.searchsorted(times, starts + durations)
    for i, (at, takes, change) in enumerate(zip(starts, durations, changes, strict=True)):
        x = (times[first[i] : last[i]] - at) / takes
        total[first[i] : last[i]] = levels[i] + change * x**3 * (10 - 15 * x + 6 * x**2)
        total[last[i] : first[i + 1] if i + 1 < len(starts) else None] = levels[i + 1]
    return total


def _bumps(times: _Times, bumps: _Events) -> _Times:
    """The sum (T,) of rises of 0.16 s that peak at a time with a size, each with a slower fall."""
    total = np.zeros_like(times)
    for at, size in bumps[slice(*_during(bumps, times, 0.5))]:
        first, last = np.searchsorted(times, [at - 0.2, at + 0.45])
        x = times[first:last] - at
        total[first:last] += size * np.cos(np.clip(x / np.where(x < 0, 0.2, 0.45), -1, 1) * np.pi / 2) ** 2
    return total


@dataclass(frozen=True)
class _Saccade:
    """A saccade at `at` seconds to (`x`, `y`) degrees from the viewer."""

    at: float
    x: float
    y: float


def _saccades(seed: int, seconds: float) -> list[_Saccade]:
    """Fixations: mostly on the viewer, sometimes a few degrees away."""
    draw, saccades, at, away = _draw(seed, "gaze"), [_Saccade(0.0, 0.0, 0.0)], 0.9, False
    while at < seconds:
        away = not away and draw.random() < 0.55
        size = np.array([4.0, 2.2]) if away else np.array([0.5, 0.35])
        x, y = np.clip(draw.standard_normal(2) * size, -9, 9)
        saccades.append(_Saccade(at, float(x), float(y)))
        at += 0.25 + draw.gamma(2.0, 0.35 if away else 0.75)
    return saccades


def _gaze_steps(saccades: list[_Saccade]) -> tuple[_Events, _Events]:
    """The steps of the gaze across and down."""
    across, down = list[tuple[float, float, float]](), list[tuple[float, float, float]]()
    for before, saccade in pairwise(saccades):
        takes = 0.03 + 0.0024 * float(np.hypot(saccade.x - before.x, saccade.y - before.y))
        across.append((saccade.at, takes, saccade.x - before.x))
        down.append((saccade.at, takes, saccade.y - before.y))
    return _events(across, 3), _events(down, 3)


def _blink_times(seed: int, seconds: float, rate: float, cues: Cues, saccades: list[_Saccade]) -> list[float]:
    """Start times of blinks: gamma-distributed intervals, moved to ends of phrases and to large saccades."""
    if rate <= 0:
        return []
    blinks: list[float] = []
    ends = np.array(cues.phrase_ends)
    shifts = np.array([b.at for a, b in pairwise(saccades) if np.hypot(b.x - a.x, b.y - a.y) > 6])
    for wanted in _gaps(_draw(seed, "blinks"), 60 / rate):
        if wanted >= seconds:
            break
        at = _nearest(shifts, wanted, 0.5, _nearest(ends, wanted, 0.6, wanted))
        if not blinks or at - blinks[-1] > _BLINK_LENGTHS[1] * BLINK_SECONDS + 0.05:
            blinks.append(at)
    return blinks


def _gaps(draw: np.random.Generator, mean: float) -> Iterator[float]:
    at = draw.uniform(0.4, 0.8) * min(mean, 2.5)
    while True:
        yield at
        at += 0.15 * mean + draw.gamma(2.2, 0.85 * mean / 2.2)


def _nearest(marks: _Times, at: float, reach: float, otherwise: float) -> float:
    """The mark nearest to `at` if it lies within `reach` seconds; marks are in order."""
    after = int(np.searchsorted(marks, at))
    near = marks[max(after - 1, 0) : after + 1]
    best = float(min(near, key=lambda mark: abs(mark - at), default=np.inf))
    return best if abs(best - at) < reach else otherwise


def _blinks(starts: list[float], draw: np.random.Generator) -> _Events:
    """Blinks as rows of start, factor of their length, and depth; some only close by half."""
    blinks = []
    for at in starts:
        slower, half, part = draw.uniform(*_BLINK_LENGTHS), draw.random() < _HALF_BLINKS, draw.uniform(*_HALF_DEPTH)
        blinks.append((at, slower, part if half else 1.0))
    return _events(blinks, 3)


def _lids(times: _Times, blinks: _Events) -> _Times:
    """Lids close in two or three frames, stay shut for a moment and open more slowly."""
    lids = np.zeros_like(times)
    for at, slower, depth in blinks[slice(*_during(blinks, times, 1.0))]:
        takes, down, shut = slower * BLINK_SECONDS, slower * _LID_DOWN, slower * _LID_SHUT
        first, last = np.searchsorted(times, [at, at + takes])
        x = times[first:last] - at
        rise = np.clip((takes - x) / (takes - down - shut), 0, 1)
        lid = depth * _ease(np.minimum(np.clip(x / down, 0, 1), rise))
        lids[first:last] = np.maximum(lids[first:last], lid)
    return lids


def _breaths(until: float, draw: np.random.Generator) -> _Events:
    """Breaths of varying length and depth as rows of start, duration and depth."""
    breaths, at = list[tuple[float, float, float]](), 0.0
    while at <= until:
        takes, depth = float(np.clip(draw.normal(1, 0.1), 0.7, 1.3)) / _BREATHS_PER_SECOND, draw.uniform(0.6, 0.9)
        breaths.append((at, takes, depth))
        at += takes
    return _events(breaths, 3)


def _breath(times: _Times, breaths: _Events) -> _Times:
    """0 (as in the portrait) to about 0.8; inhaling takes 0.4 of the time."""
    total = np.zeros_like(times)
    for at, takes, depth in breaths[slice(*_during(breaths, times, 10.0))]:
        first, last = np.searchsorted(times, [at, at + takes])
        x = (times[first:last] - at) / takes
        total[first:last] = depth * _ease(np.where(x < 0.4, x / 0.4, (1 - x) / 0.6))
    return total


def _envelope(times: _Times, seconds: float) -> _Times:
    """0 at the first frame, 1 after 0.8 s, and down to a quarter in the last second."""
    out = _ease(np.clip((seconds - times) / _EASE_OUT, 0, 1))
    return _ease(np.clip(times / _EASE_IN, 0, 1)) * (0.25 + 0.75 * out)


def _mean_over(values: Floats, seconds: float, rate: float) -> Floats:
    """Moving average (T,) over `seconds` around each frame."""
    half = max(0, round(seconds * rate / 2))
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    means = np.empty(len(values), np.float32)
    for start in range(0, len(values), _BLOCK):  # a long voice would need four arrays of its length
        at = np.arange(start, min(start + _BLOCK, len(values)))
        first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
        means[at] = (sums[last] - sums[first]) / (last - first)
    return means


def _soft_limit(values: _Times, limit: float) -> _Times:
    """Soft limit: values compressed by tanh so that none exceeds `limit`."""
    return limit * np.tanh(values / limit)


def _ease(x: _Times) -> _Times:
    return x * x * (3 - 2 * x)

"""From what the network heard to how the lips move: closures that close, a mouth that rests in silence."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.signals import gaussian_smooth, runs
from echomimic.types import Floats

HEARD_RATE = 50
CLOSE_AT = 0.5
"""Probability of a labial from which the lips shut."""
_SPEAKS_AT = 0.5
_PAUSE = 1.0
"""Seconds: shorter pauses leave the mouth as the network has it."""
_HOLD, _FALL, _RISE = 0.25, 0.65, 0.25
_ENDS = 0.12
"""Seconds in which the mouth opens and shuts where a recording starts or stops in mid-speech."""
_ATTACK = 0.03
"""Seconds in which the lips come together, and part again."""
_LOUDNESS_SHARE = 0.25
"""How much of the jaw follows loudness: who shouts opens wider."""
_CORNER_SMOOTHING, _CORNER_GAIN = 0.04, 1.7
"""Lip corners are slow (seconds), and predictions tamer than lips."""
_GAP_SHUT, _GAP_GAIN = 0.12, 1.2
"""Predicted gap at which the lips just part, and how much of `jaw` one unit of gap is."""

_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Heard:
    """What was heard at 50 Hz, each (T,): the network's channels, `closure` as a probability, `level` in units of
    what counts as quiet, `loudness` in decibels against the level."""

    gap: Floats
    width: Floats
    upper_lip: Floats
    tuck: Floats
    tongue: Floats
    speech: Floats
    closure: Floats
    level: Floats
    loudness: Floats

    def __len__(self) -> int:
        return len(self.gap)


def speaking(heard: Heard) -> _Flags:
    """Where somebody speaks (T,), without gaps or bursts under 0.06 s; never in near-silence."""
    flags: _Flags = (heard.speech > _SPEAKS_AT) & (heard.level > 1.5)
    return _without_short_runs(_without_short_runs(flags, 3, True), 3, False)


def shape_mouth(heard: Heard, frames: int, fps: float, strength: float = 1.0) -> Floats:
    """Mouth curves (frames, 6) at `fps`: jaw, spread, upper lip, tuck, closure, tongue; at rest beyond the sound."""
    gate = _gate(speaking(heard))
    firm = gate * min(1.0, strength)
    wide = gate * np.float32(strength)
    loud = np.clip(1 + _smooth(heard.loudness, 0.03) / 25, 0, 1.2)
    jaw = np.clip((heard.gap - _GAP_SHUT) * _GAP_GAIN, 0, 1) * (1 - _LOUDNESS_SHARE + _LOUDNESS_SHARE * loud)
    columns = [
        to_frames(jaw * wide, frames, fps),
        to_frames(_smooth(heard.width, _CORNER_SMOOTHING) * _CORNER_GAIN * wide, frames, fps),
        to_frames(heard.upper_lip * wide, frames, fps),
        to_frames(np.clip((heard.tuck - 0.15) / 0.5, 0, 1) * firm, frames, fps),
        _peaks(_closures(heard.closure) * firm, frames, fps),
        to_frames(np.clip(heard.tongue / 0.8, 0, 1) * firm, frames, fps),
    ]
    result: Floats = np.stack(columns, axis=1)
    return result.clip(np.array([0, -1, 0, 0, 0, 0], np.float32), np.float32(1), out=result)


def to_frames(values: Floats, frames: int, fps: float) -> Floats:
    """A curve (T,) at 50 Hz in the middle of each video frame (frames,), averaged over frames longer than 20 ms."""
    points = max(1, int(np.ceil(HEARD_RATE / fps)))
    total, known = np.zeros(frames, np.float32), np.append(values, np.float32(0))
    for offset in (np.arange(points) + 0.5) / points:
        total += np.interp((np.arange(frames) + offset) * (HEARD_RATE / fps), np.arange(len(known)), known)
    return total / np.float32(points)


def _without_short_runs(flags: _Flags, length: int, value: bool) -> _Flags:
    """Flags with stretches of `value` under `length` taken out."""
    result = flags.copy()
    for start, stop in runs(flags == value):
        if stop - start < length:
            result[start:stop] = not value
    return result


def _gate(speaks: _Flags) -> Floats:
    """1 while somebody speaks and in short pauses; in longer ones and at both ends held, then closed (T,)."""
    active = speaks.copy()
    for start, stop in runs(~speaks):
        if start > 0 and stop < len(speaks) and stop - start < _PAUSE * HEARD_RATE:
            active[start:stop] = True
    times = np.arange(len(active)) / HEARD_RATE
    spoken = np.flatnonzero(active)
    if not len(spoken):
        return np.zeros(len(active), np.float32)
    after = np.searchsorted(spoken, np.arange(len(active)), "right") - 1
    since = np.where(after >= 0, times - times[spoken[np.maximum(after, 0)]], np.inf)
    until = np.where(after + 1 < len(spoken), times[spoken[np.minimum(after + 1, len(spoken) - 1)]] - times, np.inf)
    last = times[-1] - times[spoken[-1]]
    haste = np.where(times > times[spoken[-1]], min(1.0, max(0.05, last / (_HOLD + _FALL))), 1.0)
    falling = np.clip(1 - (since / haste - _HOLD) / _FALL, 0, 1)
    rise = np.where(times < times[spoken[0]], min(_RISE, max(times[spoken[0]], 1e-3)), _RISE)
    rising = np.clip(1 - until / rise, 0, 1)
    ends = np.minimum(times, times[-1] - times) / _ENDS
    return _ease(np.clip(ends, 0, 1) * np.maximum(falling, rising))


def _closures(probability: Floats) -> Floats:
    """1 over the core of every likely labial, with short ramps on both sides (T,).

    The lips part at the burst, before the phone ends, so stretches of four and more lose one at each end.
    """
    shut = np.zeros(len(probability), np.bool_)
    for start, stop in runs(probability > CLOSE_AT):
        trim = 1 if stop - start > 3 else 0
        shut[start + trim : stop - trim] = True
    at, core = np.arange(len(shut)), np.flatnonzero(shut)
    if not len(core):
        return np.zeros(len(shut), np.float32)
    right = np.clip(np.searchsorted(core, at), 0, len(core) - 1)
    away = np.minimum(np.abs(core[right] - at), np.abs(core[np.maximum(right - 1, 0)] - at)) / HEARD_RATE
    return _ease(np.clip(1 - away / _ATTACK, 0, 1))


def _smooth(values: Floats, seconds: float) -> Floats:
    return gaussian_smooth(values, seconds * HEARD_RATE)


def _ease(x: Floats) -> Floats:
    result: Floats = (x * x * (3 - 2 * x)).astype(np.float32)
    return result


def _peaks(values: Floats, frames: int, fps: float) -> Floats:
    """The largest value of a curve (T,) within each video frame (frames,): a short closure is never skipped."""
    known = np.append(values, np.float32(0))
    edges = np.arange(frames + 1) / fps * HEARD_RATE
    first = np.ceil(edges[:-1]) if fps < HEARD_RATE else np.floor(edges[:-1])
    first = np.minimum(first.astype(int), len(known) - 1)
    last = np.minimum(np.ceil(edges[1:]).astype(int), len(known))
    return np.array([known[a : max(b, a + 1)].max() for a, b in zip(first, last, strict=True)], np.float32)

"""Raise a quiet voice to the loudness that the speech networks were trained on, in a stream of any length.

The level is gated as in EBU R 128: only frames well above the local noise floor count, and only where some of them are
voiced, so noise alone is never raised. It is a percentile, so a click does not decide it.
"""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from echomimic.notes import note
from echomimic.types import Floats

TARGET = -17.0
"""Gated level, in dB of full scale, of a voice that peaks near full scale."""
UNCHANGED = -33.0
"""Level, in dB, from which a voice is left as it is: every normal recording."""
NOTED = 20.0
"""Gain in dB above which a note is made."""
_SLOPE = 4.0
"""dB of gain for each dB below `UNCHANGED`, until `TARGET` is reached."""
_MAX_GAIN = 60.0
_SPEECH_SLOPE = 11.5
"""dB by which the level of speech is above that of its first difference."""
_HEADROOM = 14.0
"""Raised frames are held at this many dB above `TARGET`, so that a click or a slam does not hide the voice."""
_FRAMES = 40
"""Frames of 25 ms per second."""
_REACH = 2
"""Seconds before a second, and after it, of which the quieter side decides its gain."""
_ABOVE_FLOOR = 8.0
"""dB above the local noise floor from which a frame counts as speech."""
_SILENT = -95.0
_MIN_SPEECH, _MIN_VOICED = 0.25, 0.2
"""Seconds that must be speech, and the fraction of their frames that must be voiced, for a level to be known."""
_VOICED_AT = 0.5
"""Normalised autocorrelation from which a frame is voiced."""
_PITCH = (70, 400)
_BAND = (200, 3500)
"""Hertz that are measured: without hum and offset, and with the part of hiss that hides a voice."""

_Levels = npt.NDArray[np.float64]


def level_loudness(blocks: Iterable[Floats], rate: int = 16_000) -> Iterator[Floats]:
    """Yield the same blocks (n,) of mono sound with quiet speech raised; all else is passed on unchanged.

    The gain follows the speech within a second. Some 5 seconds of sound are held besides the blocks. A note is made
    if more than 20 dB were needed.
    """
    leveller = _Leveller(rate)
    pending: deque[Floats] = deque()
    for block in blocks:
        pending.append(block)
        leveller.measure(block)
        while pending and leveller.can_apply(len(pending[0])):
            yield leveller.apply(pending.popleft())
    while pending:
        yield leveller.apply(pending.popleft())
    if leveller.largest_gain > NOTED:
        gain = round(leveller.largest_gain)
        note("voice_quiet", "the voice is quiet: it is raised by {decibels} dB to move the mouth", decibels=gain)


class _Leveller:
    """Measures levels ahead of the block to which it applies the gain."""

    def __init__(self, rate: int) -> None:
        self.largest_gain = 0.0
        self._rate, self._hop = rate, rate // _FRAMES
        self._samples = np.zeros(0, np.float32)  # from frame `_start` on
        self._levels: _Levels = np.zeros(0)
        self._edges: _Levels = np.zeros(0)  # the same of the first difference, which clicks and slams raise
        self._start = self._applied = 0
        self._gains: dict[int, float] = {}

    def measure(self, block: Floats) -> None:
        """Add the level in dB of each 25 ms frame of the block."""
        block = np.nan_to_num(np.asarray(block, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        self._samples = np.concatenate([self._samples, block])
        count = len(self._samples) // self._hop
        frames = self._samples[len(self._levels) * self._hop : count * self._hop].reshape(-1, self._hop)
        power = self._spectrum(frames).sum(axis=1) * (2 / self._hop**2 / 0.375)  # 0.375: mean square of the window
        self._levels = np.concatenate([self._levels, 10 * np.log10(power + 1e-12)])
        edges = np.square(np.diff(frames, axis=1)).mean(axis=1)
        self._edges = np.concatenate([self._edges, 10 * np.log10(edges + 1e-12) + _SPEECH_SLOPE])

    def _spectrum(self, pieces: Floats) -> Floats:
        """Power spectrum (n, bins) of pieces (n, samples), zero outside the band."""
        size = pieces.shape[1]
        spectrum = np.fft.rfft(pieces * np.hanning(size + 1)[:-1].astype(np.float32), axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        hertz = np.fft.rfftfreq(size, 1 / self._rate)
        power[:, (hertz < _BAND[0]) | (hertz > _BAND[1])] = 0
        return power

    def can_apply(self, count: int) -> bool:
        """Whether all that decides the gain of the next `count` samples has been measured."""
        needed = (self._applied + count) // self._rate + _REACH + 2
        return needed * _FRAMES <= self._start + len(self._levels)

    def apply(self, block: Floats) -> Floats:
        """The next block with its gain."""
        first, last = self._applied // self._rate - 1, (self._applied + len(block)) // self._rate + 1
        gains = [self._gain(second) for second in range(first, last + 1)]
        if not len(block):
            return block
        position = np.arange(self._applied, self._applied + len(block)) / self._hop - 0.5
        self._applied += len(block)
        if any(gains):
            frames = np.arange(max(self._start, int(position[0]) - 1), int(position[-1]) + 3)
            decibels = np.interp((frames + 0.5) / _FRAMES, np.arange(first, last + 1) + 0.5, gains)
            decibels = np.where(decibels > 0, np.minimum(decibels, self._headroom(frames)), 0.0)
            block = block * (10 ** (np.interp(position, frames, decibels) / 20)).astype(np.float32)
        self._forget(first - _REACH)
        return block

    def _headroom(self, frames: npt.NDArray[np.int64]) -> _Levels:
        """Gain in dB that each frame and its neighbours bear."""
        if not len(self._levels):
            return np.full(len(frames), np.inf)
        at = np.clip(frames - self._start, 0, len(self._levels) - 1)
        level = np.maximum(self._levels[at], self._edges[at])
        padded = np.pad(level, 1, mode="edge")
        return TARGET + _HEADROOM - np.maximum(np.maximum(padded[:-2], padded[2:]), level)

    def _gain(self, second: int) -> float:
        """Gain in dB at the middle of a second; that of the second before if nobody speaks."""
        if second not in self._gains:
            around = (self._level(second - _REACH, second + 1), self._level(second, second + _REACH + 1))
            known = [level for level in around if level is not None]
            if not known:
                return self._gains.setdefault(second, self._gains.get(second - 1, 0.0))
            level = min(known)  # loud speech on one side does not hide quiet speech on the other
            gain = float(np.clip(_SLOPE * (UNCHANGED - level), 0, min(_MAX_GAIN, max(0.0, TARGET - level))))
            self.largest_gain = max(self.largest_gain, gain)
            self._gains[second] = gain
        return self._gains[second]

    def _level(self, begin: int, end: int) -> float | None:
        """Gated level in dB of the speech between two seconds; None if there is none."""
        first, last = (max(0, edge * _FRAMES - self._start) for edge in (begin, end))
        around = self._levels[first:last]
        sounding = around[around > _SILENT]
        if not len(sounding):
            return None
        speech = np.flatnonzero(around > max(_SILENT, np.percentile(sounding, 10) + _ABOVE_FLOOR))
        if len(speech) < _MIN_SPEECH * _FRAMES:
            return None
        level = float(np.percentile(around[speech], 75))
        return level if level >= UNCHANGED or self._voiced(first + speech) else None

    def _voiced(self, frames: npt.NDArray[np.int64]) -> bool:
        """Whether enough of these frames are voiced: periodic at the pitch of a voice."""
        frames = frames[(frames + 2) * self._hop <= len(self._samples)]
        if not len(frames):
            return False
        pieces = self._samples[(frames * self._hop)[:, None] + np.arange(2 * self._hop)]
        correlation = np.fft.irfft(self._spectrum(pieces), axis=1)[:, : self._hop]
        correlation /= np.maximum(correlation[:, :1], 1e-20)
        shortest, longest = self._rate // _PITCH[1], self._rate // _PITCH[0]
        return bool((correlation[:, shortest:longest].max(axis=1) > _VOICED_AT).mean() > _MIN_VOICED)

    def _forget(self, second: int) -> None:
        """Drop what lies before a second and is no longer needed."""
        old = max(0, second * _FRAMES - self._start)
        self._samples = self._samples[old * self._hop :]
        self._levels, self._edges = self._levels[old:], self._edges[old:]
        self._start += old
        self._gains = {known: gain for known, gain in self._gains.items() if known >= second}

"""When a voice speaks, stresses and rests: heard from its loudness alone, as a stream."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.media import sound_blocks
from echomimic.media.loudness import level_loudness
from echomimic.signals import gaussian_smooth, runs
from echomimic.types import Floats, Speech

Array = npt.NDArray[np.float64]

RATE = 16_000
HOP, WINDOW = 160, 400
STEPS = RATE / HOP
"""Values of loudness a second."""
_LOW, _HIGH = 300.0, 3000.0
"""Where vowels are loud and breath, rumble and s are not."""
_QUIET = 30.0
"""Decibels below its loud moments at which a voice counts as silent."""
SHORTEST_PAUSE = 0.35
_SHORTEST_GAP = 0.32
_RISE = 1.5
"""Decibels by which a syllable stands above the dips beside it."""


@dataclass(frozen=True)
class Rhythm:
    """A voice in time, in seconds: `stresses`, how strong each is (0..1), and `phrases` (start, end) between rests."""

    stresses: tuple[float, ...]
    strengths: tuple[float, ...]
    phrases: tuple[tuple[float, float], ...]


def hear_rhythm(speech: Speech) -> Rhythm:
    """The rhythm of a voice; nothing in it for silence."""
    loudness = _loudness(speech)
    if speech.silent or len(loudness) < 10:
        return Rhythm((), (), ())
    floor = max(float(np.percentile(loudness, 95)) - _QUIET, -70.0)
    spoken = _without_short_runs(loudness > floor, round(SHORTEST_PAUSE * STEPS))
    phrases = tuple((a / STEPS, b / STEPS) for a, b in runs(spoken) if b - a > 0.25 * STEPS)
    peaks, weights = _stressed(gaussian_smooth(loudness, 0.035 * STEPS, int(3 * 0.035 * STEPS)), spoken)
    return Rhythm(tuple((peaks / STEPS).tolist()), tuple(weights.tolist()), phrases)


def _loudness(speech: Speech) -> Array:
    """Decibels of the vowels' band, a hundred values a second, each centred on its time."""
    return np.concatenate([np.zeros(0), *_levels(speech)])


def _levels(speech: Speech) -> Iterator[Array]:
    taper = np.hanning(WINDOW)
    pitch = np.fft.rfftfreq(WINDOW, 1 / RATE)
    band = (pitch >= _LOW) & (pitch <= _HIGH)
    left: Floats = np.zeros(WINDOW // 2, np.float32)
    for block in level_loudness(sound_blocks(speech, RATE), RATE):
        samples = np.concatenate([left, block])
        count = max(0, (len(samples) - WINDOW) // HOP + 1)
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP][:count]
            power = (np.abs(np.fft.rfft(frames * taper, axis=1)[:, band]) ** 2).sum(axis=1)
            yield 10 * np.log10(power / WINDOW + 1e-9)
        left = samples[count * HOP :]


def _without_short_runs(spoken: npt.NDArray[np.bool_], least: int) -> npt.NDArray[np.bool_]:
    """Speech with its short gaps closed: stops and hesitations are no rests."""
    closed = spoken.copy()
    for a, b in runs(~spoken):
        if b - a < least and a > 0 and b < len(spoken):
            closed[a:b] = True
    return closed


def _stressed(level: Array, spoken: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """The steps at which stressed syllables peak, and how strong each is.

    A syllable is a peak of loudness between two dips; it is stressed where it is louder than what surrounds it by a
    second and a half either way, and no stronger one is near.
    """
    inner = (level[1:-1] >= level[:-2]) & (level[1:-1] > level[2:]) & spoken[1:-1]
    peaks = np.flatnonzero(inner) + 1
    peaks = peaks[[_rise(level, peak) >= _RISE for peak in peaks]] if len(peaks) else peaks
    if not len(peaks):
        return np.zeros(0), np.zeros(0)
    usual = gaussian_smooth(np.where(spoken, level, level[spoken].mean()), 0.6 * STEPS)
    score = level[peaks] - usual[peaks] + _above_neighbours(level, peaks)
    chosen: list[int] = []
    for index in np.argsort(-score):
        near = [abs(peaks[index] - peaks[other]) < _SHORTEST_GAP * STEPS for other in chosen]
        if not any(near) and score[index] >= np.median(score) - 1.0:
            chosen.append(int(index))
    chosen.sort()
    strong = score[chosen]
    spread = max(float(np.ptp(strong)), 1e-6)
    return peaks[chosen].astype(np.float64), (strong - strong.min()) / spread


def _above_neighbours(level: Array, peaks: npt.NDArray[np.intp]) -> Array:
    """How much louder each peak is than the mean of those within six tenths of a second."""
    apart = np.abs(peaks[:, None] - peaks)
    near = (apart < 0.6 * STEPS) & (apart > 0)
    count = near.sum(axis=1)
    mean = (near * level[peaks]).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, level[peaks] - mean, 0.0)


def _rise(level: Array, peak: int) -> float:
    """How far a peak stands above the higher of the two dips beside it, looking a quarter second either way."""
    reach = round(0.25 * STEPS)
    before, after = level[max(0, peak - reach) : peak + 1], level[peak : peak + reach + 1]
    return float(level[peak] - max(before.min(), after.min()))

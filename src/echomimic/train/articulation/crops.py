"""Random crops of training examples, augmented as features: tempo, noise, shifted bands, tilt and masked patches.

Changing features is cheap enough for every crop to differ; `augment` changes the sound, once for each example.
"""

from typing import NamedTuple

import numpy as np

from echomimic.mesh.speech_to_face import BANDS
from echomimic.train.articulation.augment import Random
from echomimic.train.articulation.corpus import Example
from echomimic.types import Floats

TEMPO = (0.75, 2.2)
"""Slowest and fastest speech, as factors of the example's tempo."""
_TRACT = (0.86, 1.17)
"""Smallest and largest shift of the bands, as factors of their numbers: vocal tracts of other lengths."""
_SPREAD = (1.6, 2.6)
"""Natural logarithms of power in one unit of a feature: its spread before normalisation."""
_BELOW = (0.5, 5.0)
"""Level of noise below the loud frames, as natural logarithm of power."""
_SLOPE = (-0.5, 3.5)
"""Rise of noise from the lowest to the highest band after normalisation: pink to white."""


class Crop(NamedTuple):
    """`features` (T, 40) at 100 Hz; `curves` (T / 2, n), `closure` (T / 2,) and `phones` (T / 2,) at 50 Hz."""

    features: Floats
    curves: Floats
    closure: Floats
    phones: Floats


def random_crop(example: Example, size: int, draw: Random, tempo: float, noise: float) -> Crop:
    """A crop of `size` frames; `tempo` and `noise` are the probabilities of another tempo and of added noise."""
    speed = float(np.exp(draw.uniform(*np.log(TEMPO)))) if draw.random() < tempo else 1.0
    if len(example.features) < size * speed + 3:
        speed = 1.0
    needed = size if speed == 1 else int(size * speed) + 3
    start = int(draw.integers(0, len(example.features) - needed + 1))
    labels = example.labels
    parts = (example.features, labels.curves, labels.closure, labels.phones)
    crop = Crop(*(np.asarray(part[start : start + needed], np.float32) for part in parts))
    if speed != 1:
        crop = Crop(*(part[:size] for part in at_tempo(crop, speed)))
    features = with_noise(crop.features, draw) if draw.random() < noise else crop.features
    return Crop(_augment(features, draw), crop.curves[::2], crop.closure[::2], crop.phones[::2])


def at_tempo(crop: Crop, speed: float) -> Crop:
    """Features and labels, all at 100 Hz, of the same speech `speed` times as fast."""
    at = np.arange(int((len(crop.features) - 1) / speed)) * speed
    offsets = (-0.2 * speed, 0.2 * speed) if speed > 1 else (0.0,)  # a frame covers more of the sound
    nearest = np.minimum((at + 0.5).astype(int), len(crop.features) - 1)

    def resampled(values: Floats) -> Floats:
        moved = [_interpolated(values, at + offset) for offset in offsets]
        return np.asarray(sum(moved[1:], start=moved[0]) / len(moved), np.float32)

    return Crop(resampled(crop.features), resampled(crop.curves), crop.closure[nearest], crop.phones[nearest])


def _interpolated(values: Floats, at: Floats) -> Floats:
    """Values (T, n) at fractional positions, repeated beyond the ends."""
    at = np.clip(at, 0, len(values) - 1)
    low = at.astype(int)
    weight = (at - low)[:, None].astype(np.float32)
    return np.asarray(values[low] * (1 - weight) + values[np.minimum(low + 1, len(values) - 1)] * weight)


def with_noise(features: Floats, draw: Random) -> Floats:
    """Features (T, 40) of the same voice in stationary noise, normalised again."""
    scale = draw.uniform(*_SPREAD)
    loud = np.quantile(features, 0.9) * scale
    band = np.arange(BANDS)
    level = loud - draw.uniform(*_BELOW) + draw.uniform(*_SLOPE) * (band / (BANDS - 1) - 0.7)
    freedom = 1.5 + band / 6  # a band is the mean of more spectral lines the higher it lies
    noise = level + np.log(draw.standard_gamma(np.broadcast_to(freedom, features.shape)) / freedom + 1e-3)
    both = np.logaddexp(features * scale, noise)
    return ((both - both.mean(axis=0)) / (both.std(axis=0) + 0.3)).astype(np.float32)


def _augment(features: Floats, draw: Random) -> Floats:
    """Features (T, 40) with bands shifted, a spectral tilt, noise and masked patches."""
    at = np.clip(np.arange(BANDS) * np.exp(draw.uniform(*np.log(_TRACT))), 0, BANDS - 1)
    low, high = at.astype(int), np.minimum(at.astype(int) + 1, BANDS - 1)
    moved = features[:, low] * (1 - at + low) + features[:, high] * (at - low)
    tilt = np.interp(np.arange(BANDS), np.linspace(0, BANDS - 1, 5), draw.standard_normal(5) * 0.25)
    moved += tilt + draw.standard_normal(moved.shape) * 0.12
    if draw.random() < 0.5:
        first = int(draw.integers(0, BANDS - 6))
        moved[:, first : first + int(draw.integers(1, 7))] = 0
    if draw.random() < 0.3:
        first = int(draw.integers(0, len(moved) - 12))
        moved[first : first + int(draw.integers(2, 12))] = moved.mean(axis=0)
    return moved.astype(np.float32)

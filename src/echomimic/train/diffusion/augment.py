"""Augmentation of voices for the diffusion networks: noise, level, pitch, rooms, codecs. None of it changes time."""

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve, istft, stft

from echomimic.train.articulation.augment import CODECS, Random, apply_codec, music, pink_noise, room_response
from echomimic.train.diffusion.settings import AudioSettings
from echomimic.types import Floats

_Doubles = npt.NDArray[np.float64]
_WINDOW, _HOP = 1024, 256
NOISE_DB = (5.0, 25.0)
GAIN_DB = 6.0
SEMITONES = 2.0
FEATURE_NOISE = 0.05
"""Spread of the noise on features, in fractions of their own spread."""


def augment_voice(samples: Floats, draw: Random, settings: AudioSettings) -> Floats:
    """A voice (N,) at 16 kHz with random effects of the given probabilities: (N,), every sound at its own time."""
    chosen = {name: draw.random() < getattr(settings, name) for name in ("pitch", "room", "noise", "codec", "gain")}
    sound: _Doubles = samples.astype(np.float64)
    if chosen["pitch"]:
        sound = shift_pitch(sound, draw.uniform(-SEMITONES, SEMITONES))
    if chosen["room"]:
        sound = fftconvolve(sound, room_response(draw))[: len(sound)]
    if chosen["noise"]:
        sound = sound + _noise(sound, draw)
    voice = np.clip(sound, -1, 1).astype(np.float32)
    codec = CODECS[int(draw.integers(len(CODECS)))]
    if chosen["codec"] and codec is not None:
        voice = apply_codec(codec, voice)
    if chosen["gain"]:
        voice = np.clip(voice * 10 ** (draw.uniform(-GAIN_DB, GAIN_DB) / 20), -1, 1)
    return voice.astype(np.float32)


def shift_pitch(sound: _Doubles, semitones: float) -> _Doubles:
    """The sound (N,) with all frequencies multiplied, without a change of time: a phase vocoder (Bernsee, 1999)."""
    ratio, length = 2 ** (semitones / 12), len(sound)
    _, _, spectrum = stft(sound, nperseg=_WINDOW, noverlap=_WINDOW - _HOP)
    bins = len(spectrum)
    per_hop = 2 * np.pi * _HOP * np.arange(bins)[:, None] / _WINDOW
    turned = np.diff(np.angle(spectrum), axis=1, prepend=0) - per_hop
    rate = per_hop + (turned + np.pi) % (2 * np.pi) - np.pi
    to = np.round(np.arange(bins) * ratio).astype(int)
    kept = to < bins
    size, advance = np.zeros(spectrum.shape), np.tile(per_hop, (1, spectrum.shape[1]))
    np.add.at(size, to[kept], np.abs(spectrum)[kept])
    advance[to[kept]] = rate[kept] * ratio
    _, shifted = istft(size * np.exp(1j * np.cumsum(advance, axis=1)), nperseg=_WINDOW, noverlap=_WINDOW - _HOP)
    return np.asarray(np.pad(shifted, (0, max(0, length - len(shifted))))[:length], np.float64)


def _noise(sound: _Doubles, draw: Random) -> _Doubles:
    """White noise, pink noise, music or babble (the voice itself, reversed and shifted), at 5 to 25 dB below it."""
    length = len(sound)
    kind = int(draw.integers(4))
    if kind == 0:
        noise: _Doubles = draw.standard_normal(length)
    elif kind == 1:
        noise = pink_noise(length, draw)
    elif kind == 2:
        noise = music(length, draw)
    else:
        noise = sum((np.roll(sound[::-1], int(draw.integers(length))) for _ in range(3)), start=np.zeros(length))
    level = sound.std() * 10 ** (-draw.uniform(*NOISE_DB) / 20)
    return noise * level / (noise.std() + 1e-9)

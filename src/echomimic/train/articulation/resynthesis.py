"""Changes of voices for training: whispered, sung, and faster or slower at the same pitch."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from echomimic.mesh.speech_to_face import SAMPLE_RATE
from echomimic.train.articulation.augment import Random
from echomimic.types import Floats

_Doubles = npt.NDArray[np.float64]
_ORDER = 18
"""Linear prediction coefficients: the resonances of a vocal tract at 16 kHz."""
_FRAME, _HOP = 480, 160
_STRETCH_FRAME, _STRETCH_HOP, _SEARCH = 640, 320, 160
_NOTES = np.array([0, 2, 4, 5, 7, 9, 11, 12])
"""Semitones of a major scale."""


def resynthesize(samples: Floats, kind: Literal["whisper", "song"], draw: Random) -> Floats:
    """Resynthesize a voice (N,) at 16 kHz: its resonances driven by noise (whisper) or the notes of a melody (song)."""
    length = len(samples)
    source = draw.standard_normal(length) if kind == "whisper" else _melody(length, draw)
    window = np.hanning(_FRAME + 1)[:-1]
    padded = np.pad(samples.astype(np.float64), _FRAME)
    driving = np.pad(source, _FRAME)
    result: _Doubles = np.zeros(len(padded))
    for start in range(0, len(padded) - _FRAME, _HOP):
        piece = padded[start : start + _FRAME] * window
        energy = float(piece @ piece)
        if energy > 1e-7:
            inverse = _prediction(piece)
            filtered = lfilter([1.0], inverse, driving[start : start + _FRAME] * window)
            result[start : start + _FRAME] += filtered * np.sqrt(energy / (filtered @ filtered + 1e-12)) * window
    kept = result[_FRAME : _FRAME + length]
    if kind == "whisper":
        kept = lfilter([1.0, -0.6], [1.0], kept)  # no glottal low-pass
    return (kept * samples.std() / (kept.std() + 1e-9)).astype(np.float32)


def _prediction(piece: _Doubles) -> _Doubles:
    """The inverse filter (19,) of a windowed piece, by the autocorrelation method."""
    spectrum = np.fft.rfft(piece, 2 * len(piece))
    lags = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[: _ORDER + 1]
    lags[0] *= 1.0005
    coefficients: _Doubles = np.concatenate([[1.0], -solve_toeplitz(lags[:-1], lags[1:])])
    return coefficients


def _melody(length: int, draw: Random) -> _Doubles:
    """Pulses (N,) at the pitch of notes of 0.3 to 1.2 seconds, with vibrato and some breath noise."""
    notes = np.repeat(draw.choice(_NOTES, length // 4000 + 2), draw.integers(4800, 19200))[:length]
    notes = np.pad(notes, (0, length - len(notes)), mode="edge")
    time = np.arange(length) / SAMPLE_RATE
    vibrato = draw.uniform(0, 0.5) * np.sin(2 * np.pi * draw.uniform(4.5, 6.5) * time)
    phase = np.cumsum(draw.uniform(110, 330) * 2 ** ((notes + vibrato) / 12) / SAMPLE_RATE)
    pulses = np.diff(np.floor(phase), prepend=0.0)
    source: _Doubles = pulses * 8 + draw.uniform(0.02, 0.15) * draw.standard_normal(length)
    return source


def stretch(samples: Floats, speed: float) -> Floats:
    """Play a voice (N,) `speed` times as fast at the same pitch: (N / speed,), by overlap-add of similar waveforms.

    Verhelst and Roelands 1993 (WSOLA).
    """
    window = np.hanning(_STRETCH_FRAME + 1)[:-1].astype(np.float32)
    count = int(len(samples) / speed) // _STRETCH_HOP + 1
    padded = np.pad(samples, (_SEARCH, 3 * _STRETCH_FRAME + _SEARCH))
    result = np.zeros(count * _STRETCH_HOP + _STRETCH_FRAME, np.float32)
    natural = _SEARCH
    for k in range(count):
        wanted = min(int(k * _STRETCH_HOP * speed) + _SEARCH, len(padded) - _STRETCH_FRAME - _SEARCH - 1)
        natural = min(natural, len(padded) - _STRETCH_FRAME)
        region = padded[wanted - _SEARCH : wanted + _SEARCH + _STRETCH_FRAME]
        size = len(region) + _STRETCH_FRAME
        target = np.fft.rfft(padded[natural : natural + _STRETCH_FRAME], size)
        match = np.fft.irfft(np.fft.rfft(region, size) * target.conj(), size)[: 2 * _SEARCH]
        best = wanted - _SEARCH + int(np.argmax(match)) if k else wanted
        result[k * _STRETCH_HOP : k * _STRETCH_HOP + _STRETCH_FRAME] += padded[best : best + _STRETCH_FRAME] * window
        natural = best + _STRETCH_HOP
    return result[: int(len(samples) / speed)]

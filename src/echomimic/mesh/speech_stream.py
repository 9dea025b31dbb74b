"""Analyze speech while it is spoken: sound goes in frame by frame, the mouth comes out `LOOKAHEAD` seconds later.

The features, the network and the mouth shapes are those of `speech_to_face`. What differs is that the level and the
statistics of the features come from the past only, and that the network sees no more than the look-ahead of the future.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from echomimic.data import data_path, demo_voice
from echomimic.media import read_speech
from echomimic.media.sound import sound_blocks
from echomimic.mesh.idle import find_cues
from echomimic.mesh.speech_to_face import (
    BANDS,
    BIN,
    CHANNELS,
    FEATURE_RATE,
    FFT,
    HOP,
    PRE_EMPHASIS,
    QUIET,
    REACH,
    SAMPLE_RATE,
    WINDOW,
    ArticulationNetwork,
    SpeechFeatures,
    frame_level,
    load_network,
    mel_blocks,
    mel_filters,
    normalized_log_mel,
    shape_mouth,
    speech_flags,
)
from echomimic.types import MOUTH_CURVES, Floats

LOOKAHEAD = 0.32
"""Seconds of sound after a frame that its mouth depends on."""
_NEAR = 60
"""Outputs before the first new one that the network needs to see: its receptive field in the past."""
_CONTEXT = 2 * FEATURE_RATE
"""Past features that shape the mouth and the stresses."""
_MEMORY = REACH * BIN
"""Mel frames of the past from which level and statistics are taken."""
_PRIOR = 4 * BIN
"""Mel frames of typical speech that stand in for the past until as much has been spoken."""
_AUDIBLE, _FEW = 0.2, 20
"""Energy of a frame that counts as sound, and frames that must be audible before they set the level."""
_NOD_AHEAD, _BETWEEN_STRESSES = 0.24, 0.6
"""Seconds before a stress at which its nod begins, and between two of them."""
_CLOSURE = MOUTH_CURVES.index("closure")


@dataclass(frozen=True)
class AnalyzedFrame:
    """The analysis of one video frame of sound.

    `mouth` (6,) in the order of `MOUTH_CURVES`, `voice` is 1 during speech, and `stress` is the time in seconds from
    this frame to a stressed syllable that begins to be visible, if there is one.
    """

    mouth: Floats
    voice: float
    stress: float | None = None


class SpeechStream:
    """Analyzes one endless voice at `fps` video frames per second; only the last seconds are kept."""

    def __init__(self, fps: float, strength: float = 1.0, network: ArticulationNetwork | None = None) -> None:
        self.fps, self.strength = fps, strength
        self.delay = int(np.ceil(LOOKAHEAD * fps - 1e-6))
        """Frames between a sound and its mouth."""
        self._network = network or _shipped_network()
        self._mel = MelStream()
        self._power = np.zeros((_MEMORY, BANDS), np.float32)
        self._first = -_MEMORY  # index of the first mel frame in `_power`
        self._spoken = 0.0  # seconds of speech so far, up to those of the prior
        self._rows = np.zeros((_CONTEXT, len(CHANNELS) + 2), np.float32)  # final features before `_done`
        self._rows[:, CHANNELS.index("closure")], self._rows[:, -1] = -30, -60
        self._done = 0  # features that are final
        self._frames = 0
        self._stressed = -np.inf

    def analyze(self, samples: Floats) -> AnalyzedFrame | None:
        """Take the sound (n,) of the next frame at 16 kHz; return the frame that is `delay` older, None at first."""
        power = self._mel.push(samples)
        self._power = np.concatenate([self._power[len(power) :], power])
        self._first += len(power)
        self._frames += 1
        frame = self._frames - 1 - self.delay
        return None if frame < 0 else self._analyzed(frame)

    def forget(self) -> None:
        """Replace the sound whose mouth is still to come by silence."""
        self._power[-round(LOOKAHEAD * BIN) - 1 :] = 0
        self._mel.forget()

    def _analyzed(self, frame: int) -> AnalyzedFrame:
        first, last = self._span(frame)
        tail = self._outputs(last)
        known = max(0, last - self._done)
        self._rows = np.concatenate([self._rows, tail[:known]])[-_CONTEXT:]
        self._done += known
        features = SpeechFeatures.from_rows(np.concatenate([self._rows, tail[known:]]))
        start = self._done - _CONTEXT  # index of the first feature
        mouth = shape_mouth(features, len(features), FEATURE_RATE, self.strength)[first - start : last - start]
        row = mouth.mean(axis=0)
        row[_CLOSURE] = mouth[:, _CLOSURE].max()
        voice = speech_flags(features).astype(np.float32)
        self._spoken = min(_PRIOR / BIN, self._spoken + float(voice[first - start]) / self.fps)
        return AnalyzedFrame(row, float(voice[first - start]), self._stress(voice, features.loudness, start, first))

    def _span(self, frame: int) -> tuple[int, int]:
        """(first, last) features of a video frame."""
        first = int(np.ceil(frame * FEATURE_RATE / self.fps - 1e-6))
        return first, max(first + 1, int(np.ceil((frame + 1) * FEATURE_RATE / self.fps - 1e-6)))

    def _outputs(self, last: int) -> Floats:
        """Rows of the network's outputs, level and loudness from feature `_done` to the newest; at least to `last`."""
        power = self._with_prior()
        level = frame_level(power)
        begin = 2 * (self._done - _NEAR) - self._first + len(power) - len(self._power)
        normalized = normalized_log_mel(power)[begin:]
        outputs = self._network(normalized)[_NEAR:]
        at = slice(begin + 2 * _NEAR, None, 2)
        power, level = power[at], level[at]
        loudness = 10 * np.log10(power.sum(axis=1) / level + 1e-6)
        rows = np.column_stack([outputs, level / QUIET, loudness]).astype(np.float32)
        missing = last - self._done - len(rows)
        return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing > 0 else rows

    def _with_prior(self) -> Floats:
        """The known mel power after typical speech at the same level, as long as little has been spoken."""
        missing = _PRIOR - round(self._spoken * BIN)
        if missing <= 0:
            return self._power
        prior = _typical_speech()[-missing - missing % 2 :]
        return np.concatenate([prior * self._loudness_ratio(), self._power[_PRIOR:]])

    def _loudness_ratio(self) -> float:
        """Energy of the loud frames so far relative to typical speech; 1 if nothing was loud."""
        energy = self._power.sum(axis=1)
        loud = energy[energy > _AUDIBLE]
        if len(loud) < _FEW:
            return 1.0
        return float(np.quantile(loud, 0.8) / np.quantile(_typical_speech().sum(axis=1), 0.8))

    def _stress(self, voice: Floats, loudness: Floats, start: int, first: int) -> float | None:
        """Seconds from the shown frame to a stress that was not reported yet."""
        at = first / FEATURE_RATE
        for stress in find_cues(voice, loudness, FEATURE_RATE)[0]:
            moment = stress + start / FEATURE_RATE
            if at <= moment <= at + _NOD_AHEAD and moment - self._stressed > _BETWEEN_STRESSES:
                self._stressed = moment
                return moment - at
        return None


class MelStream:
    """Mel power of a sound that arrives in pieces, as `mel_blocks` gives it for the whole."""

    def __init__(self) -> None:
        self._filters, self._window = mel_filters(), np.hanning(WINDOW + 1)[:-1].astype(np.float32)
        self._pending, self._last = np.zeros(WINDOW // 2, np.float32), np.float32(0)

    def push(self, samples: Floats) -> Floats:
        """(frames, 40): the frames that are complete with these samples (n,)."""
        samples = np.nan_to_num(np.asarray(samples, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        sharpened = samples - np.float32(PRE_EMPHASIS) * np.concatenate([[self._last], samples[:-1]])
        self._last = samples[-1] if len(samples) else self._last
        self._pending = np.concatenate([self._pending, sharpened])
        count = max(0, (len(self._pending) - WINDOW) // HOP + 1)
        if not count:
            return np.zeros((0, BANDS), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(self._pending, WINDOW)[::HOP][:count]
        spectrum = np.fft.rfft(frames * self._window, FFT, axis=1)
        self._pending = self._pending[count * HOP :]
        return (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ self._filters

    def forget(self) -> None:
        """Replace what is not complete yet by silence."""
        self._pending = np.zeros_like(self._pending)
        self._last = np.float32(0)


@cache
def _shipped_network() -> ArticulationNetwork:
    return load_network(data_path("articulation.safetensors"))[0]


@cache
def _typical_speech() -> Floats:
    """(400, 40) mel power of the demo's voice."""
    power = np.concatenate(list(mel_blocks(sound_blocks(read_speech(demo_voice()), SAMPLE_RATE))))
    return power[power.sum(axis=1) > 0][:_PRIOR]

"""All curves of a clip from its voice, a stretch of frames at a time: memory does not grow with the voice."""

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import SEEK_END, BytesIO
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from echomimic.media.sound import sound_blocks
from echomimic.memory import trim_heaps
from echomimic.mesh.idle import Cues, IdleMotion, find_cues
from echomimic.mesh.speech_to_face import (
    EDGE,
    FEATURE_RATE,
    FEATURES,
    SAMPLE_RATE,
    SpeechFeatures,
    Stretch,
    analyze_speech,
    feature_rows,
    shape_mouth,
    speech_flags,
    to_frames,
    with_mouth,
)
from echomimic.notes import note
from echomimic.options import Options
from echomimic.types import Curves, Floats, Speech

LONG = 600.0
"""Seconds of a clip above which its features lie in a file, and its curves are computed as its frames are rendered."""
STRETCH = 60
"""Seconds whose curves are computed at a time."""
_MARGIN = 4 * FEATURE_RATE
"""Features on both sides of a stretch that its curves may depend on: pauses count up to a second, levels less."""


def predict_curves(speech: Speech, options: Options, frames: int, features: SpeechFeatures | None = None) -> Curves:
    """All 18 curves of `frames` frames at `options.fps`: the mouth from the voice, the rest from seed and rhythm.

    The mouth rests after the end of the voice, and shuts before the last frame if the voice continues. The same voice,
    options and count give the same curves. `features` are those of the voice, if it was analyzed before.
    """
    return SpeechCurves(speech, options, frames, features).stretch(0, frames)


class SpeechCurves:
    """The curves of `predict_curves` for any frames of the clip. The voice is analyzed once, at the start."""

    def __init__(self, speech: Speech, options: Options, frames: int, features: SpeechFeatures | None = None) -> None:
        self._options, self._features = options, features or _analyze(speech)
        self._count = min(len(self._features), math.ceil(frames / options.fps * FEATURE_RATE))
        idle = (options.seed, options.motion_strength, options.blink_rate)
        self._idle = IdleMotion(frames, options.fps, *idle, self._cues(frames))

    def stretch(self, first: int, last: int) -> Curves:
        """The curves of the frames from `first` up to `last`, without it."""
        options = self._options
        curves = Curves.rest(last - first, options.fps).replace(**self._idle.curves(first, last))
        start, end = self._reach(first, last)
        features, at = self._features.cut(start, end), Stretch(first, start, self._count)
        return with_mouth(curves, shape_mouth(features, last - first, options.fps, options.mouth_strength, at))

    def _reach(self, first: int, last: int) -> tuple[int, int]:
        """The range of features on which the curves of some frames depend."""
        rate = FEATURE_RATE / self._options.fps
        start = min(math.floor(first * rate), self._count) - _MARGIN
        return max(0, start), min(self._count, math.ceil(last * rate) + _MARGIN)

    def _cues(self, frames: int) -> Cues:
        fps, size = self._options.fps, STRETCH * FEATURE_RATE
        voice, loudness = np.empty((2, self._count), np.float32)
        for first in range(0, self._count, size):
            last, start = min(first + size, self._count), max(0, first - _MARGIN)
            features = self._features.cut(start, min(last + _MARGIN, self._count))
            voice[first:last] = speech_flags(features)[first - start : last - start]
            loudness[first:last] = features.loudness[first - start : last - start]
        heard = np.empty(frames, np.float32)
        for first, last in stretches(frames, fps):
            start, end = self._reach(first, last)
            heard[first:last] = to_frames(voice[start:end], last - first, fps, Stretch(first, start))
        return Cues(heard, *find_cues(voice, loudness, FEATURE_RATE))


def stretches(frames: int, fps: float, first: int = 0) -> Iterator[tuple[int, int]]:
    """The ranges of frames that are computed at a time, from the one that holds frame `first`.

    They do not depend on `first`, so that a resumed render has the same curves to the bit.
    """
    size = math.ceil(STRETCH * fps)
    for start in range(first - first % size, frames, size):
        yield start, min(start + size, frames)


def _analyze(speech: Speech) -> "SpeechFeatures | _FeatureFile":
    blocks = sound_blocks(speech, SAMPLE_RATE)
    if speech.duration <= LONG:
        return analyze_speech(blocks)
    minutes = round(speech.duration / 60)
    note("voice_long", "the voice lasts {minutes} minutes: it is analyzed before the first frame", minutes=minutes)
    return _FeatureFile(feature_rows(blocks))


class _FeatureFile:
    """The features of a long voice in a temporary file without a name; in memory if there is no room for it."""

    def __init__(self, rows: Iterable[Floats]) -> None:
        self._file: IO[bytes] = BytesIO()
        with suppress(OSError):
            self._file = TemporaryFile(buffering=0)  # noqa: SIM115 - open as long as the object exists
        size = 0
        for some in rows:
            size = self._append(np.ascontiguousarray(some, np.float32).tobytes(), size)
            trim_heaps()
        self._length = size // (4 * FEATURES) - 2 * EDGE

    def _append(self, data: bytes, size: int) -> int:
        """Write behind the first `size` bytes; return the new size."""
        written = 0
        with suppress(OSError):
            written = self._file.write(data)
        if written < len(data):
            self._file.seek(0)
            self._file = BytesIO(self._file.read(size) + data)
            self._file.seek(0, SEEK_END)
        return size + len(data)

    def __len__(self) -> int:
        return self._length

    def cut(self, first: int, last: int) -> SpeechFeatures:
        """The features from `first` up to `last`, without it."""
        trim_heaps()
        self._file.seek((first + EDGE) * 4 * FEATURES)
        data = self._file.read((last - first) * 4 * FEATURES)
        return SpeechFeatures.from_rows(np.frombuffer(data, np.float32).reshape(-1, FEATURES))

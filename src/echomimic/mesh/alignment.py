"""Alignment of a voice: stretches that matter to the lips, and the words and phones of a transcript with their times.

A transcript is spoken by espeak-ng, whose times of phones and words are known; dynamic time warping of that speech onto
the voice (Sakoe and Chiba, 1978) carries the times over. Both are compared by their sound and by the articulation
network's outputs, which depend little on the speaker.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.errors import SoundError
from echomimic.media.espeak import speak_text
from echomimic.media.loudness import level_loudness
from echomimic.media.sound import sound_blocks, speech_from_samples
from echomimic.mesh.speech_to_face import (
    FEATURE_RATE,
    SAMPLE_RATE,
    SpeechFeatures,
    analyze_speech,
    labials,
    mel_blocks,
    normalized_log_mel,
    speech_flags,
)
from echomimic.signals import runs
from echomimic.types import Floats, Speech

KINDS = ("closed", "tuck", "open", "wide", "round", "hiss", "silence")
"""Lips closed (p b m), lower lip tucked (f v), open, wide and round vowels, s and sh, silence."""
LONGEST = 180.0
"""Seconds of a voice, and of the speech of a transcript, that are aligned at once."""
MOST_TEXT = 4000
MOST_CUES = 1000
_AROUND = 0.15
"""Seconds around a cue that belong to it."""
_TIME = r"(?:(\d{1,2}):)?(\d{1,2}):(\d{1,2})[,.](\d{3})"
_CUE = re.compile(rf"{_TIME}[ \t]*-->[ \t]*{_TIME}[^\n]*\n")
_SHORTEST = 2
"""Frames at `FEATURE_RATE` that a stretch has at least."""
_TUCKED, _OPEN, _WIDE, _ROUND, _HISS = 0.5, 0.5, 0.1, -0.12, 0.6
_HISS_FROM = 28
"""The first mel band of the sound of s and sh, about 3 kHz."""
_SOUND, _LIPS, _LEVEL = 1.0, 2.0, 1.0
"""Weights of the mel bands, the network's outputs, and loudness, in the distance of two frames."""
_STEP = 0.15
"""Cost of staying at a frame of one of the two, against advancing in both."""


@dataclass(frozen=True)
class Stretch:
    """From `start` to `end`, in seconds, of one of `KINDS`."""

    start: float
    end: float
    kind: str


@dataclass(frozen=True)
class Word:
    """A word of a transcript from `start` to `end`, in seconds, and the (start, IPA name) of its phones."""

    start: float
    end: float
    text: str
    phones: tuple[tuple[float, str], ...]


def find_stretches(speech: Speech, features: SpeechFeatures | None = None) -> list[Stretch]:
    """The stretches of a voice that matter to the lips, in order, from the articulation network and the sound.

    `features` are those of the voice, if it was analyzed before.
    """
    features = features or analyze_speech(sound_blocks(speech, SAMPLE_RATE))
    kinds = np.full(len(features), "", dtype="U8")
    spoken = speech_flags(features)
    kinds[~spoken] = "silence"
    hiss = _hiss(speech, len(features))
    for kind, where in (
        ("open", features.gap > _OPEN),
        ("wide", features.width > _WIDE),
        ("round", features.width < _ROUND),
        ("hiss", hiss > _HISS),
        ("tuck", features.tuck > _TUCKED),
    ):
        kinds[spoken & where] = kind
    for start, stop in labials(features):
        kinds[start:stop] = "closed"
    found = [(kind, *run) for kind in KINDS for run in runs(kinds == kind) if run[1] - run[0] >= _SHORTEST]
    found.sort(key=lambda each: each[1])
    return [Stretch(start / FEATURE_RATE, stop / FEATURE_RATE, kind) for kind, start, stop in found]


def _mel(blocks: Iterable[Floats]) -> Floats:
    """Mel power (T, 40) at twice `FEATURE_RATE` of blocks of sound."""
    return np.concatenate([np.zeros((0, 40), np.float32), *mel_blocks(blocks)])


def _hiss(speech: Speech, frames: int) -> Floats:
    """The fraction (frames,) of the sound's power that is above about 3 kHz."""
    power = _mel(sound_blocks(speech, SAMPLE_RATE))[::2]  # loudness does not matter
    share = power[:, _HISS_FROM:].sum(axis=1) / (power.sum(axis=1) + 1e-9)
    return np.asarray(np.pad(share, (0, max(0, frames - len(share))))[:frames], np.float32)


def align_words(speech: Speech, text: str, voice: str = "en-us") -> list[Word]:
    """The words of a transcript with their times in a voice; `voice` names a language of espeak-ng.

    SoundError if the text is empty, or either is too long. SetupError without espeak-ng.
    """
    text = " ".join(text.split())
    if not text or len(text) > MOST_TEXT:
        raise SoundError(f"the transcript has {len(text)} characters; expected 1 to {MOST_TEXT}: align it in parts")
    if speech.duration > LONGEST:
        raise SoundError(
            f"the voice lasts {speech.duration:.0f} s; expected at most {LONGEST:.0f} s of a transcript without times: "
            "use an .srt file"
        )
    said = speak_text(text, voice)
    if not said.words or len(said.samples) > 2 * LONGEST * said.rate:
        raise SoundError("espeak-ng says nothing of the transcript, or for too long; expected words, at most 3 minutes")
    times = warp(_frames(speech_from_samples(said.samples, said.rate)), _frames(speech))
    return _words(text, said.words, said.phones, len(said.samples) / said.rate, times)


def align_transcript(speech: Speech, text: str, voice: str = "en-us") -> list[Word]:
    """As `align_words`; of an .srt file each cue is aligned within its own time, which allows longer voices."""
    cues = read_srt(text)
    if not cues:
        return align_words(speech, text, voice)
    samples = np.concatenate([np.zeros(0, np.float32), *sound_blocks(speech, SAMPLE_RATE)])
    found: list[Word] = []
    for start, end, line in cues[:MOST_CUES]:
        first = max(0, round((start - _AROUND) * SAMPLE_RATE))
        part = samples[first : round((end + _AROUND) * SAMPLE_RATE)]
        if len(part) < SAMPLE_RATE // 5 or not line:
            continue
        for word in align_words(speech_from_samples(part, SAMPLE_RATE), line, voice):
            phones = tuple((at + first / SAMPLE_RATE, name) for at, name in word.phones)
            found.append(Word(word.start + first / SAMPLE_RATE, word.end + first / SAMPLE_RATE, word.text, phones))
    return found


def read_srt(text: str) -> list[tuple[float, float, str]]:
    """The cues (start, end, line) of the text of an .srt or .vtt file; empty for a plain text."""
    marks = list(_CUE.finditer(text))
    if not marks:
        return []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    cues = []
    for mark, end in zip(marks, ends, strict=True):
        body = re.sub(r"\n\s*\d*\s*$", "", text[mark.end() : end])
        cues.append((_seconds(mark, 1), _seconds(mark, 5), " ".join(re.sub(r"<[^>]*>", "", body).split())))
    return cues


def _seconds(mark: re.Match[str], first: int) -> float:
    hours, minutes, seconds, thousandths = (int(mark[first + k] or 0) for k in range(4))
    return 3600 * hours + 60 * minutes + seconds + thousandths / 1000


def _frames(speech: Speech) -> Floats:
    """What is compared (T, n) at `FEATURE_RATE`, each column weighted."""
    features = analyze_speech(sound_blocks(speech, SAMPLE_RATE))
    power = _mel(level_loudness(sound_blocks(speech, SAMPLE_RATE), SAMPLE_RATE))
    count = min(len(features), (len(power) + 1) // 2)
    sound = normalized_log_mel(power)[::2][:count]
    lips = np.stack([*_lips(features)], axis=1)[:count]
    level = np.clip(features.loudness[:count, None] / 20, -1.5, 0.5)
    return np.concatenate([_SOUND * sound / np.sqrt(sound.shape[1]), _LIPS * lips, _LEVEL * level], axis=1)


def _lips(features: SpeechFeatures) -> tuple[Floats, ...]:
    return (features.gap, features.width, features.tuck, features.tongue, features.speech, features.closure)


def warp(reference: Floats, wanted: Floats) -> Floats:
    """For each frame of `reference` (T, n) its place in `wanted` (U, n), in seconds: the cheapest monotonic path.

    Costs are summed along anti-diagonals, of which all cells are computed at once.
    """
    rows, columns = len(reference), len(wanted)
    back = np.zeros((rows, columns), np.int8)
    before: npt.NDArray[np.float32] = np.full(rows + 1, np.inf, np.float32)
    last = before.copy()
    squares = (reference**2).sum(axis=1), (wanted**2).sum(axis=1)
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        product = np.einsum("nk,nk->n", reference[i], wanted[j])
        cost = np.sqrt(np.maximum(squares[0][i] + squares[1][j] - 2 * product, 0))
        ways = np.stack([before[i], last[i] + _STEP, last[i + 1] + _STEP])  # both, reference, wanted
        if diagonal == 0:
            ways[:] = 0
        back[i, j] = ways.argmin(axis=0)
        now = np.full(rows + 1, np.inf, np.float32)
        now[i + 1] = ways.min(axis=0) + cost
        before, last = last, now
    return _path(back) / FEATURE_RATE


def _path(back: npt.NDArray[np.int8]) -> Floats:
    """The mean column of each row on the path that ends in the last cell."""
    rows, columns = back.shape
    total, count = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    i, j = rows - 1, columns - 1
    while i >= 0 and j >= 0:
        total[i] += j
        count[i] += 1
        way = back[i, j]
        i, j = i - (way != 2), j - (way != 1)
    return np.asarray(total / np.maximum(count, 1), np.float32)


def _words(
    text: str,
    words: tuple[tuple[float, int, int], ...],
    phones: tuple[tuple[float, str], ...],
    end: float,
    times: Floats,
) -> list[Word]:
    """Words of the text, each up to the next one or to the pause before it."""
    moved = np.interp([start for start, _ in phones], np.arange(len(times)) / FEATURE_RATE, times)
    stops = [start for start, _, _ in words[1:]] + [end]
    found = []
    for (start, first, length), stop in zip(words, stops, strict=True):
        inside = [k for k, (at, name) in enumerate(phones) if start - 0.01 <= at < stop - 0.01 and name.strip("_: ")]
        if not inside:
            continue
        after = inside[-1] + 1
        until = float(moved[after]) if after < len(moved) else float(times[-1])
        named = tuple((round(float(moved[k]), 3), phones[k][1]) for k in inside)
        found.append(Word(named[0][0], round(until, 3), text[first : first + length], named))
    return found

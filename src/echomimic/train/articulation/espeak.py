"""Speak with espeak-ng through its C library, which reports the time of every phone."""

import ctypes
import random
from functools import cache
from typing import Any

import numpy as np

from echomimic.errors import SetupError
from echomimic.train.articulation import sentences
from echomimic.types import Floats

_ENGLISH = ("en-us", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-rp", "en-029")
_VARIANTS = ("", *(f"+f{k}" for k in range(1, 6)), *(f"+m{k}" for k in range(1, 9)))
_LANGUAGES = ("de", "fr", "es", "it", "pt", "pl", "ru", "cmn", "tr", "fi")
_PHONE_EVENT, _SYNCHRONOUS, _PHONES_AS_IPA, _UTF8 = 7, 2, 3, 1
_RATE_SETTING, _PITCH_SETTING, _RANGE_SETTING = 1, 3, 4


class _VoiceSelector(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _VoiceSelector),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def assignments(english: list[str], draw: random.Random) -> list[tuple[str, str]]:
    """(accent, sentence) pairs: two thirds of the English lines, and other languages for the rest."""
    kept = english[: 2 * len(english) // 3]
    pairs = [(draw.choice(_ENGLISH) + draw.choice(_VARIANTS), line) for line in kept]
    for k in range(len(english) - len(kept)):
        language = _LANGUAGES[k % len(_LANGUAGES)]
        pairs.append((language + draw.choice(_VARIANTS), draw.choice(sentences.OTHERS[language])))
    return pairs


def synthesize(accent: str, line: str, draw: random.Random) -> tuple[Floats, int, list[tuple[float, str]]]:
    """Speak a line: samples (N,) in -1..1, their rate, and (start in seconds, IPA name) of every phone."""
    library, rate = _library()
    if library.espeak_SetVoiceByName(accent.encode()) != 0:
        raise SetupError(f"espeak-ng has no voice {accent!r}; apt-get install espeak-ng-data")
    for setting, low, high in ((_RATE_SETTING, 130, 230), (_PITCH_SETTING, 20, 80), (_RANGE_SETTING, 30, 90)):
        library.espeak_SetParameter(setting, draw.randint(low, high), 0)
    pieces: list[Floats] = []
    phones: list[tuple[float, str]] = []

    def receive(sound: Any, count: int, events: Any) -> int:
        if sound and count > 0:
            pieces.append(np.ctypeslib.as_array(sound, (count,)).astype(np.float32) / 32768)
        k = 0
        while events[k].type != 0:
            if events[k].type == _PHONE_EVENT:
                phones.append((events[k].sample / rate, _phone_name(events[k])))
            k += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    data = line.encode() + b"\0"
    library.espeak_Synth(data, len(data), 0, 0, 0, _UTF8, None, None)
    return (np.concatenate(pieces) if pieces else np.zeros(0, np.float32)), rate, phones


def _phone_name(event: _Event) -> str:
    raw = ctypes.string_at(ctypes.addressof(event.id), 8)
    return raw.split(b"\0")[0].decode("utf8", "ignore")


@cache
def _library() -> tuple[ctypes.CDLL, int]:
    """The C library, ready to speak into memory, and its sample rate."""
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError:
        raise SetupError("the library libespeak-ng.so.1 is missing; apt-get install espeak-ng") from None
    return library, int(library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONES_AS_IPA))

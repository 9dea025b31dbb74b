"""espeak-ng through its C library: a sentence as sound in memory, with the times of its phones and words."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import numpy as np

from echomimic.errors import SetupError
from echomimic.types import Floats

RATE, PITCH, RANGE = 1, 3, 4
"""Settings of a voice: words a minute, and pitch and its range in 0..100."""
_END, _WORD_EVENT, _PHONE_EVENT = 0, 1, 7
_SYNCHRONOUS, _PHONES_AS_IPA, _UTF8 = 2, 3, 1
_lock = Lock()


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


@dataclass(frozen=True)
class SpokenText:
    """What espeak-ng said: `samples` (N,) in -1..1 at `rate` Hz.

    `phones` holds (start in seconds, IPA name), and `words` (start in seconds, first character, number of characters).
    """

    samples: Floats
    rate: int
    phones: tuple[tuple[float, str], ...]
    words: tuple[tuple[float, int, int], ...]


def speak_text(text: str, voice: str = "en-us", settings: Mapping[int, int] | None = None) -> SpokenText:
    """Speak a text with a voice of espeak-ng (a language such as `en-us` or `cmn`). SetupError if it is missing."""
    with _lock:  # the library has one voice, and one receiver of its sound
        library, rate = espeak_library()
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SetupError(f"espeak-ng has no voice {voice[:40]!r}; apt-get install espeak-ng-data")
        for setting, value in (settings or {}).items():
            library.espeak_SetParameter(setting, value, 0)
        pieces: list[Floats] = []
        phones: list[tuple[float, str]] = []
        words: list[tuple[float, int, int]] = []

        def receive(sound: Any, count: int, events: Any) -> int:
            if sound and count > 0:
                pieces.append(np.ctypeslib.as_array(sound, (count,)).astype(np.float32) / 32768)
            k = 0
            while events[k].type != _END:
                event = events[k]
                if event.type == _PHONE_EVENT:
                    phones.append((event.sample / rate, _phone_name(event)))
                elif event.type == _WORD_EVENT:
                    words.append((event.sample / rate, event.text_position - 1, event.length))
                k += 1
            return 0

        callback = _Callback(receive)
        library.espeak_SetSynthCallback(callback)
        data = text.replace("\0", " ").encode() + b"\0"
        library.espeak_Synth(data, len(data), 0, 0, 0, _UTF8, None, None)
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    return SpokenText(samples, rate, tuple(phones), tuple(words))


def _phone_name(event: _Event) -> str:
    raw = ctypes.string_at(ctypes.addressof(event.id), 8)
    return raw.split(b"\0")[0].decode("utf8", "ignore")


@cache
def espeak_library() -> tuple[ctypes.CDLL, int]:
    """The C library, ready to speak into memory, and its sample rate."""
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError:
        raise SetupError("the library libespeak-ng.so.1 is missing; apt-get install espeak-ng") from None
    return library, int(library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONES_AS_IPA))

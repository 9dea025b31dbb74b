"""Phones to mouth curves: a table written by hand from phonetics, and dominance blending over time.

Each phone pulls every curve towards its target with a weight that falls off with distance in time: consonants of high
dominance (p, w, sh) override their neighbours, those of low dominance (k, h) take their shape (Cohen and Massaro 1993).
Nothing here was fitted to a recording.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from echomimic.types import Floats


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VOWELS = _words("aa ae ah ao eh er ih iy uh uw ax yy oe o e")
CONSONANTS = _words("p b m f v th dh s z sh zh ch jh t d n l k g ng hh r w y rr")
LABIALS = frozenset("pbm")
PAUSE = "pau"

CLASSES: tuple[str, ...] = (
    PAUSE, "p", "b", "m", "fv", "thdh", "sz", "shch", "tdnl", "kgh", "r", "w", "y",
    "aa", "ae", "ao", "eh", "er", "ih", "iy", "uw", "ax",
)  # fmt: skip
"""Classes of the auxiliary phone loss, whose head is not in the shipped file."""
_CLASS_MEMBERS = {
    "fv": "f v", "thdh": "th dh", "sz": "s z", "shch": "sh zh ch jh", "tdnl": "t d n l rr", "kgh": "k g ng hh",
    "ax": "ax ah", "uw": "uw uh yy", "er": "er oe", "ao": "ao o", "eh": "eh e",
}  # fmt: skip
CLASS_OF: dict[str, int] = {name: CLASSES.index(name) for name in CLASSES} | {
    phone: CLASSES.index(group) for group, members in _CLASS_MEMBERS.items() for phone in members.split()
}

_DIPHTHONGS = {"ay": "aa ih", "aw": "aa uh", "ey": "eh iy", "ow": "ao uw", "oy": "ao ih"}
_ENGLISH = _DIPHTHONGS | {
    "axr": "er", "el": "ax l", "em": "ax m", "en": "ax n", "dx": "d", "nx": "n", "hv": "hh",
    "h#": PAUSE, "brth": PAUSE, "ssil": PAUSE,
}  # fmt: skip
_CONTINENTAL = {
    "a": "aa", "e": "eh", "i": "iy", "o": "o", "u": "uw", "E": "eh", "O": "ao", "y": "yy", "7": "oe", "@": "ae",
    "&": "ax", "ts": "s", "dz": "z", "tS": "ch", "dZ": "jh", "S": "sh", "Z": "zh", "J": "n", "L": "l", "j": "y",
    "ng": "ng", "nf": "n", "N": "ng", "h": "hh", "T": "th", "D": "dh", "c": "k", "ch": "ch", "x": "hh",
}  # fmt: skip
_CZECH = _CONTINENTAL | {
    "ch": "hh", "c": "s", "c~": "ch", "s~": "sh", "z~": "zh", "r~": "zh", "r~*": "sh", "d~": "d", "t~": "t",
    "n~": "n", "n*": "ng", "dz~": "jh", "r": "rr",
}  # fmt: skip
_RUSSIAN = _CONTINENTAL | {"y": "ih", "ur": "uh", "ae": "ax", "ay": "ax", "c": "s", "sch": "sh", "r": "rr"}
_TABLES = {"en": _ENGLISH, "cs": _CZECH, "ru": _RUSSIAN}

_IPA_VOWELS = {
    "aa": "ɑɒa", "ae": "æ", "ah": "ʌɐ", "ao": "ɔ", "o": "oɤ", "eh": "ɛ", "e": "e", "er": "ɜɚɝ", "ih": "ɪɨᵻɯ",
    "iy": "i", "uh": "ʊɵ", "uw": "uʉ", "ax": "ə", "yy": "yʏ", "oe": "øœ",
}  # fmt: skip
_IPA_CONSONANTS = {
    "p": "p", "b": "bβ", "m": "m", "f": "f", "v": "vʋ", "th": "θ", "dh": "ð", "s": "s", "z": "z", "sh": "ʃʂɕç",
    "zh": "ʒʐʑʝ", "t": "tʈ", "d": "dɖɟ", "n": "nɲɳ", "l": "lɫɭʎ", "k": "kqc", "g": "ɡgɣ", "ng": "ŋ",
    "hh": "hxχʁɦʔ", "r": "ɹɻ", "rr": "rɾ", "w": "wʍɥ", "y": "j",
}  # fmt: skip
_IPA = {letter: phone for table in (_IPA_VOWELS, _IPA_CONSONANTS) for phone, all_ in table.items() for letter in all_}
_IPA_AFFRICATES = {"tʃ": "ch", "tɕ": "ch", "ʈʂ": "ch", "dʒ": "jh", "dʑ": "jh", "ts": "s"}


def canonical(name: str, language: str) -> list[tuple[str, float]]:
    """The phones that a synthesiser's phone stands for, with their fractions of the time; unknown names are a schwa."""
    if language == "ipa":
        return _from_ipa(name)
    if name in {"#", "##", "_", "pau", "sil", "SIL"}:
        return [(PAUSE, 1.0)]
    table = _TABLES.get(language, _CONTINENTAL)
    base = name if language == "en" else name.rstrip("1:")
    if language == "ru" and len(base) == 2 and base[0] == base[1]:
        base = base[0]  # stressed vowels and soft consonants
    found = table.get(base, base if base in VOWELS | CONSONANTS | {PAUSE} else "ax")
    first, *rest = found.split()
    return [(first, 0.6), (rest[0], 0.4)] if rest else [(first, 1.0)]


def _from_ipa(name: str) -> list[tuple[str, float]]:
    """Phones of espeak-ng's IPA names, which may hold several letters and stress, length and tone marks."""
    bare = name.replace("(en)", "").replace("(cmn)", "").strip("_:;,'!|-%=~^\"`#?*.ˈˌː0123456789 ")
    if not bare or name == PAUSE:
        return [(PAUSE, 1.0)]
    if bare[:2] in _IPA_AFFRICATES:
        return [(_IPA_AFFRICATES[bare[:2]], 1.0)]
    phones = [_IPA[letter] for letter in bare if letter in _IPA][:3] or ["ax"]
    return [(phone, 1 / len(phones)) for phone in phones]


LABEL_RATE = 100
CHANNELS: tuple[str, ...] = ("gap", "width", "upper_lip", "tuck", "tongue", "speech", "jaw", "round")
"""The first six are outputs of the shipped network; jaw and round are auxiliary targets."""
REST_GAP = 0.25
"""Target of the gap in a pause, of low dominance: a short pause keeps the mouth as it was."""
AHEAD = 0.01
"""Seconds by which the lips precede the sound."""


class Segment(NamedTuple):
    """A phone from `start` to `end`, in seconds."""

    start: float
    end: float
    phone: str

    @property
    def length(self) -> float:
        return self.end - self.start


class Vowel(NamedTuple):
    """How far a vowel opens the mouth (0..1) and spreads (+) or rounds (-) the lips."""

    opening: float
    spread: float


_VOWELS = {
    "aa": Vowel(1.0, 0.05), "ae": Vowel(0.9, 0.4), "ah": Vowel(0.7, 0.1), "ao": Vowel(0.75, -0.45),
    "eh": Vowel(0.65, 0.35), "er": Vowel(0.42, -0.3), "ih": Vowel(0.42, 0.4), "iy": Vowel(0.32, 0.75),
    "uh": Vowel(0.38, -0.5), "uw": Vowel(0.25, -0.9), "ax": Vowel(0.42, 0.1), "yy": Vowel(0.25, -0.8),
    "oe": Vowel(0.42, -0.6), "o": Vowel(0.55, -0.6), "e": Vowel(0.5, 0.5),
}  # fmt: skip
_CONSONANT_OPENING = dict.fromkeys("pbm", 0.0) | dict.fromkeys("fv", 0.08) | {"w": 0.12}
_CONSONANT_SPREAD = {
    "f": 0.1, "v": 0.1, "th": 0.15, "dh": 0.15, "s": 0.35, "z": 0.35, "sh": -0.5, "zh": -0.5, "ch": -0.45,
    "jh": -0.45, "t": 0.2, "d": 0.2, "n": 0.2, "l": 0.15, "k": 0.1, "g": 0.1, "ng": 0.1, "hh": 0.05, "r": -0.4,
    "w": -0.9, "y": 0.5, "rr": 0.1,
}  # fmt: skip
_DOMINANCE = {
    "p": 3.0, "b": 3.0, "m": 3.0, "f": 2.0, "v": 2.0, "th": 1.0, "dh": 0.8, "s": 1.4, "z": 1.4, "sh": 1.6, "zh": 1.6,
    "ch": 1.6, "jh": 1.6, "t": 0.7, "d": 0.7, "n": 0.7, "l": 0.7, "k": 0.4, "g": 0.4, "ng": 0.4, "hh": 0.2, "r": 1.0,
    "w": 1.8, "y": 1.0, "rr": 0.5, PAUSE: 0.02,
}  # fmt: skip
_VOWEL_DOMINANCE = 1.2
_ROUND = {phone: -vowel.spread for phone, vowel in _VOWELS.items() if vowel.spread < -0.25} | {
    "w": 0.9, "sh": 0.5, "zh": 0.5, "ch": 0.45, "jh": 0.45, "r": 0.4,
}  # fmt: skip
_JAW = {PAUSE: 0.25, "s": 0.05, "z": 0.05, "sh": 0.1, "zh": 0.1, "ch": 0.1, "jh": 0.1, "f": 0.15, "v": 0.15}
_UPPER_LIP = {"f": 0.45, "v": 0.45, "sh": 0.5, "zh": 0.5, "ch": 0.5, "jh": 0.5}
_TONGUE = {"th": 1.0, "dh": 1.0, "l": 1.0, "n": 0.8, "t": 0.8, "d": 0.8, "rr": 0.6, "s": 0.4, "z": 0.4}


@dataclass(frozen=True)
class Labels:
    """Targets of the network at 100 Hz: `curves` (T, 8) by `CHANNELS`, `closure` (T,) 0 or 1, `phones` (T,)."""

    curves: Floats
    closure: Floats
    phones: np.ndarray[tuple[int], np.dtype[np.int64]]


def canonical_segments(segments: Sequence[Segment], language: str) -> list[Segment]:
    """A synthesiser's segments with our phone names, diphthongs split, neighbouring pauses joined."""
    result: list[Segment] = []
    for start, end, name in segments:
        at = start
        for phone, fraction in canonical(name, language):
            until = at + (end - start) * fraction
            if phone == PAUSE and result and result[-1].phone == PAUSE:
                result[-1] = Segment(result[-1].start, until, PAUSE)
            elif until - at > 1e-4:
                result.append(Segment(at, until, phone))
            at = until
    return result


def make_labels(segments: Sequence[Segment], frames: int) -> Labels:
    """Curves, closures and phone classes of canonical `segments`, `frames` long at 100 Hz."""
    times = np.arange(frames) / LABEL_RATE
    closed = _boxes(segments, dict.fromkeys(LABIALS, 1.0), frames, AHEAD)
    gap = _blend(segments, [_gap(s.phone) for s in segments], times)
    rounding = _smooth(_through_middles(segments, _ROUND, times), 0.08)
    columns = {
        "gap": gap,
        "width": 0.25 * gap - rounding - 0.25 * _smooth(closed, 0.03),
        "upper_lip": _blend(segments, [_upper_lip(s.phone) for s in segments], times),
        "tuck": _smooth(_boxes(segments, {"f": 1.0, "v": 1.0}, frames, AHEAD), 0.015),
        "tongue": _smooth(_boxes(segments, _TONGUE, frames, AHEAD), 0.02),
        "speech": _smooth(_boxes(segments, {s.phone: 1.0 for s in segments if s.phone != PAUSE}, frames), 0.08),
        "jaw": _blend(segments, _jaw(segments), times),
        "round": rounding,
    }
    phones = np.full(frames, CLASS_OF[PAUSE], np.int64)
    for start, end, phone in segments:
        phones[round(start * LABEL_RATE) : round(end * LABEL_RATE)] = CLASS_OF[phone]
    return Labels(np.stack([columns[name] for name in CHANNELS], axis=1).astype(np.float32), closed, phones)


def _gap(phone: str) -> float:
    """Target of the gap between the lips: consonants other than labials alike, spread lips a little wider apart."""
    if phone == PAUSE:
        return REST_GAP
    if phone in LABIALS:
        return 0.0
    opening, spread = _VOWELS.get(phone) or (_CONSONANT_OPENING.get(phone, 0.3), _CONSONANT_SPREAD[phone])
    return max(0.04, opening + 0.3 * spread)


def _upper_lip(phone: str) -> float:
    if phone in _VOWELS:
        opening, spread = _VOWELS[phone]
        return 0.5 * max(0.0, spread) + 0.5 * opening
    return _UPPER_LIP.get(phone, 0.0 if phone in LABIALS | {PAUSE} else 0.3 * max(0.0, _CONSONANT_SPREAD[phone]) + 0.1)


def _jaw(segments: Sequence[Segment]) -> list[float]:
    """Jaw targets: short vowels do not reach theirs (Lindblom 1963)."""
    usual = max(0.06, float(np.median([s.length for s in segments if s.phone in VOWELS] or [0.1])))
    return [
        _VOWELS[s.phone].opening * (0.55 + 0.45 * min(1.25, s.length / usual))
        if s.phone in VOWELS
        else _JAW.get(s.phone, 0.25)
        for s in segments
    ]


def _blend(segments: Sequence[Segment], targets: Sequence[float], times: Floats) -> Floats:
    """Dominance blending: a phone has weight 1 over its middle half, which decays over 65 ms before and 55 ms after."""
    pull, weight = np.zeros_like(times), np.full_like(times, 1e-6)
    for segment, target in zip(segments, targets, strict=True):
        away = times + AHEAD - (segment.start + segment.end) / 2
        core = segment.length / 4
        distance = np.where(away < 0, np.maximum(0, -away - core) / 0.065, np.maximum(0, away - core) / 0.055)
        dominance = _DOMINANCE.get(segment.phone, _VOWEL_DOMINANCE) * np.exp(-np.minimum(distance, 30))
        pull += dominance * target
        weight += dominance
    return _smooth(pull / weight, 0.015)


def _through_middles(segments: Sequence[Segment], targets: Mapping[str, float], times: Floats) -> Floats:
    """Straight lines between the targets, each held over the middle of its phone."""
    at = [s.start + fraction * s.length for s in segments for fraction in (0.35, 0.75)]
    return np.interp(times, at, np.repeat([targets.get(s.phone, 0.0) for s in segments], 2))


def _boxes(segments: Sequence[Segment], values: Mapping[str, float], frames: int, ahead: float = 0.0) -> Floats:
    result = np.zeros(frames, np.float32)
    for start, end, phone in segments:
        if phone in values:
            first = max(0, int((start - ahead) * LABEL_RATE))
            result[first : max(first + 1, int((end - ahead) * LABEL_RATE) + 1)] = values[phone]
    return result


def _smooth(values: Floats, seconds: float) -> Floats:
    return gaussian_filter1d(values, seconds * LABEL_RATE)

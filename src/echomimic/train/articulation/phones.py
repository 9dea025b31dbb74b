"""Phone names of four synthesisers and many languages, mapped to one set of about 45."""


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
"""Classes of the auxiliary phone loss, whose head does not ship."""
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

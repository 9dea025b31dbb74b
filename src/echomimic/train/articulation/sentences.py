"""The sentences that synthesizers speak: sentences.json and templates, all written for this project."""

import json
import random
from collections.abc import Callable
from importlib.resources import files
from typing import Any

_TEXTS: dict[str, Any] = json.loads(files(__package__).joinpath("sentences.json").read_text(encoding="utf-8"))
OTHERS: dict[str, list[str]] = _TEXTS["others"]
"""Sentences in other languages by ISO code (`cmn`: Mandarin)."""


def english(count: int, seed: int) -> list[str]:
    """Generate `count` English sentences: written ones, nonsense words, and templates filled at random."""
    draw = random.Random(seed)
    return [_ENGLISH_KINDS[k % len(_ENGLISH_KINDS)](draw) for k in range(count)]


def other(language: str, count: int, seed: int) -> list[str]:
    """Generate `count` sentences of a language: the written ones in random order, with nonsense words in between."""
    draw = random.Random(seed)
    sentences: list[str] = []
    while len(sentences) < count:
        written = draw.sample(OTHERS[language], len(OTHERS[language]))
        sentences += [line for sentence in written for line in (sentence, nonsense(draw, language))]
    return sentences[:count]


def nonsense(draw: random.Random, language: str = "en") -> str:
    """Generate nonsense words that combine each consonant with each vowel, and have as many p as n."""
    words = [_nonsense_word(draw) for _ in range(draw.randint(5, 8))]
    line = ", ".join([" ".join(words[:3]), " ".join(words[3:])]).capitalize() + "."
    return line.translate(_CYRILLIC) if language == "ru" else line


def _nonsense_word(draw: random.Random) -> str:
    syllables = [draw.choice(_ONSETS) + draw.choice("aeiou") for _ in range(draw.choice([1, 2, 2, 3]))]
    return "".join(syllables) + draw.choice(_ENDS)


_ONSETS = ("p", "b", "m", "p", "b", "m", "n", "n", "t", "d", "k", "g", "l", "s", "f", "v", "r", "pl", "br", "sp", "")
_ENDS = ("", "", "", "m", "n", "p", "t", "k", "s", "l")
_CYRILLIC = str.maketrans("abdefgiklmnoprstuvABDEFGIKLMNOPRSTUV", "абдефгиклмнопрстувАБДЕФГИКЛМНОПРСТУВ")


def _written(draw: random.Random) -> str:
    return draw.choice(_TEXTS["english"])


def _from_template(draw: random.Random) -> str:
    pick = draw.choice
    sentence = pick(_TEXTS["templates"]).format(
        N=pick(_TEXTS["nouns"]),
        N2=pick(_TEXTS["nouns"]),
        A=pick(_TEXTS["adjectives"]),
        A2=pick(_TEXTS["adjectives"]),
        A3=pick(_TEXTS["adjectives"]),
        V=pick(_TEXTS["verbs"]),
        P=pick(_TEXTS["persons"]),
        P2=pick(_TEXTS["persons"]),
        W=pick(_TEXTS["adverbials"]),
        O=pick(_TEXTS["openers"]),
        n1=pick(_TEXTS["numbers"]),
        n2=pick(_TEXTS["numbers"]),
    )
    return sentence[0].upper() + sentence[1:]


_ENGLISH_KINDS: tuple[Callable[[random.Random], str], ...] = (_written, _from_template, nonsense, _from_template)

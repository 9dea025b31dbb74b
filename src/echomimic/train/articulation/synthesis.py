"""Sentences, and speech with exact phone times from free synthesisers: flite, festival and espeak-ng."""

import hashlib
import json
import random
import re
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from echomimic.errors import SetupError
from echomimic.media import espeak
from echomimic.media.espeak import SpokenText
from echomimic.mesh.speech_to_face import SAMPLE_RATE
from echomimic.train.articulation.labels import Segment, canonical_segments
from echomimic.types import Floats

_FESTIVAL_VOICES = Path("/usr/share/festival/voices")


@dataclass(frozen=True)
class Utterance:
    """Synthesised speech: `samples` (N,) int16 at 16 kHz and its phones, by their canonical names."""

    samples: npt.NDArray[np.int16]
    segments: list[Segment]
    voice: str


@dataclass(frozen=True)
class Voice:
    """A synthesiser's voice: how many sentences it speaks for training, and the packages that provide it."""

    name: str
    language: str
    count: int
    package: str
    pitch: float = 0.0

    @property
    def tool(self) -> str:
        return self.name.partition("-")[0]


VOICES: tuple[Voice, ...] = (
    Voice("flite-slt", "en", 320, "flite", 170),
    Voice("flite-rms", "en", 120, "flite", 105),
    Voice("flite-awb", "en", 320, "flite", 125),
    Voice("festival-cmu_us_slt_arctic_hts", "en", 240, "festvox-us-slt-hts"),
    Voice("festival-kal_diphone", "en", 140, "festvox-kallpc16k"),
    Voice("festival-ked_diphone", "en", 160, "festvox-kdlpc16k"),
    Voice("festival-lp_diphone", "it", 100, "festvox-italp16k"),
    Voice("festival-pc_diphone", "it", 70, "festvox-itapc16k"),
    Voice("festival-hy_fi_mv_diphone", "fi", 60, "festvox-suopuhe-mv"),
    Voice("festival-suo_fi_lj_diphone", "fi", 60, "festvox-suopuhe-lj"),
    Voice("festival-czech_dita", "cs", 60, "festvox-czech-dita"),
    Voice("festival-czech_machac", "cs", 60, "festvox-czech-machac"),
    Voice("festival-czech_ph", "cs", 50, "festvox-czech-ph"),
    Voice("festival-czech_krb", "cs", 50, "festvox-czech-krb"),
    Voice("festival-upc_ca_ona_hts", "ca", 80, "festvox-ca-ona-hts"),
    Voice("festival-msu_ru_nsh_clunits", "ru", 160, "festvox-ru"),
    Voice("espeak-ng", "ipa", 480, "espeak-ng"),
)
HELD_OUT = ("flite-rms", "festival-pc_diphone")
"""Held-out voices, on which the figures of the card are measured."""


def check_tools(voices: tuple[Voice, ...] = VOICES) -> None:
    """Raise SetupError that names every Debian package that is missing."""
    missing = sorted({package for voice in voices for package in _missing(voice)})
    if missing:
        raise SetupError(f"the synthesisers {', '.join(missing)} are missing; apt-get install {' '.join(missing)}")


def _missing(voice: Voice) -> list[str]:
    program = "espeak-ng" if voice.tool == "espeak" else voice.tool
    needed = [] if shutil.which(program) else [program]
    if voice.tool == "festival" and not list(_FESTIVAL_VOICES.glob("*/" + voice.name.partition("-")[2])):
        needed.append(voice.package)
    return needed


def speak(voice: Voice, count: int | None = None, seed: int = 0) -> Iterator[Utterance]:
    """Yield utterances of a voice, each with its own speed and pitch: `count`, or as many as training uses.

    The same seed gives the same speech. Labels are checked against the sound: utterances whose times do not fit
    its length are left out.
    """
    count = voice.count if count is None else count
    draw = random.Random(f"{seed} {voice.name}")
    lines = planned_sentences(voice, count, seed)
    speakers: dict[str, Callable[[Voice, list[str], random.Random], Iterator[Utterance]]] = {
        "flite": _flite,
        "festival": _festival,
        "espeak": _espeak,
    }
    for spoken in speakers[voice.tool](voice, lines, draw):
        if len(spoken.segments) > 3 and abs(spoken.segments[-1].end - len(spoken.samples) / SAMPLE_RATE) < 0.5:
            yield spoken


def planned_sentences(voice: Voice, count: int, seed: int) -> list[str]:
    """The sentences that `speak` gives to a voice; espeak-ng replaces a third of them by other languages."""
    seed = int(hashlib.sha256(f"{seed} {voice.name}".encode()).hexdigest()[:8], 16)
    if voice.language in ("en", "ipa"):
        return english_sentences(count, seed)
    return foreign_sentences(voice.language, count, seed)


def _flite(voice: Voice, lines: list[str], draw: random.Random) -> Iterator[Utterance]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        for line in lines:
            settings = {
                "duration_stretch": draw.uniform(0.75, 1.4),
                "int_f0_target_mean": voice.pitch * draw.uniform(0.8, 1.3),
                "int_f0_target_stddev": draw.uniform(8, 35),
            }
            flags = [part for name, value in settings.items() for part in ("--setf", f"{name}={value:.2f}")]
            yield flite(voice.name.partition("-")[2], line, path, flags)


def flite(voice: str, line: str, path: Path, flags: list[str]) -> Utterance:
    """One sentence spoken by flite into `path`, with the phone ends that it reports."""
    command = ["flite", "-voice", voice, *flags, "-t", line, "-o", str(path), "-psdur"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return _utterance(path, re.findall(r"(\S+):([\d.]+)", said), f"flite-{voice}", "en")


def _festival(voice: Voice, lines: list[str], draw: random.Random) -> Iterator[Utterance]:
    encoding = _ENCODINGS.get(voice.language, "ascii")
    with tempfile.TemporaryDirectory() as folder:
        script = [f"(voice_{voice.name.partition('-')[2]})"]
        for k, line in enumerate(lines):
            script.append(
                _FESTIVAL_SENTENCE % (draw.uniform(0.75, 1.35), line.replace('"', ""), k, f"{folder}/{k}.wav")
            )
        path = Path(folder) / "say.scm"
        path.write_bytes("".join(script).encode(encoding, "ignore"))
        said = subprocess.run(["festival", "-b", str(path)], capture_output=True, check=False).stdout.decode("latin1")
        for number, ends in re.findall(r"@(\d+) (.*)", said):
            sound = Path(folder) / f"{number}.wav"
            if sound.exists():
                yield _utterance(sound, re.findall(r"(\S+):([\d.]+)", ends), voice.name, voice.language)


_ENCODINGS = {"cs": "iso-8859-2", "fi": "iso-8859-15", "it": "iso-8859-15", "ca": "iso-8859-15", "ru": "utf-8"}
_FESTIVAL_SENTENCE = """
(Parameter.set 'Duration_Stretch %.2f)
(set! spoken (utt.synth (Utterance Text "%s")))
(format t "@%d ")
(mapcar (lambda (s) (format t "%%s:%%f " (item.name s) (item.feat s 'end))) (utt.relation.items spoken 'Segment))
(format t "\\n")
(utt.save.wave spoken "%s" 'riff)
"""


def _espeak(voice: Voice, lines: list[str], draw: random.Random) -> Iterator[Utterance]:
    for accent, line in assignments(lines, draw):
        said = synthesize(accent, line, draw)
        if len(said.phones) > 4:
            ends = [start for start, _ in said.phones[1:]] + [len(said.samples) / said.rate]
            segments = [Segment(start, end, name) for (start, name), end in zip(said.phones, ends, strict=True)]
            lead = [Segment(0.0, segments[0].start, "pau")] if segments[0].start > 0 else []
            yield Utterance(
                resample(said.samples, said.rate), canonical_segments(lead + segments, "ipa"), f"{voice.name}-{accent}"
            )


def _utterance(path: Path, ends: list[tuple[str, str]], voice: str, language: str) -> Utterance:
    starts = [0.0] + [float(end) for _, end in ends[:-1]]
    segments = [Segment(start, float(end), name) for start, (name, end) in zip(starts, ends, strict=False)]
    samples, rate = _read_wave(path)
    return Utterance(resample(samples, rate), canonical_segments(segments, language), voice)


def _read_wave(path: Path) -> tuple[Floats, int]:
    with wave.open(str(path), "rb") as sound:
        data = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
        return data.astype(np.float32) / 32768, sound.getframerate()


def resample(samples: Floats, rate: int) -> npt.NDArray[np.int16]:
    """Sound (N,) in -1..1 at `rate` Hz to int16 at 16 kHz."""
    common = np.gcd(rate, SAMPLE_RATE)
    moved = samples if rate == SAMPLE_RATE else resample_poly(samples, SAMPLE_RATE // common, rate // common)
    return np.clip(moved * 32767, -32768, 32767).astype(np.int16)


SENTENCES = (
    "Hello! I am only a photograph, but now I can speak. My lips follow the voice, and you may edit every movement."
)
_FLAGS = ["--setf", "duration_stretch=0.97", "--setf", "int_f0_target_stddev=22"]


def demo_utterance() -> Utterance:
    """The demo voice with its phones, synthesized by flite."""
    with tempfile.TemporaryDirectory() as folder:
        return flite("slt", SENTENCES, Path(folder) / "demo.wav", _FLAGS)


def write_demo_voice(path: Path) -> None:
    """Write the demo voice as 16-bit mono FLAC at 16 kHz."""
    samples = demo_utterance().samples
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=16_000)
        stream.layout = "mono"
        size = stream.codec_context.frame_size or len(samples)
        for start in range(0, len(samples), size):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + size], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


_ENGLISH = ("en-us", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-rp", "en-029")
_VARIANTS = ("", *(f"+f{k}" for k in range(1, 6)), *(f"+m{k}" for k in range(1, 9)))
_LANGUAGES = ("de", "fr", "es", "it", "pt", "pl", "ru", "cmn", "tr", "fi")


def assignments(english: list[str], draw: random.Random) -> list[tuple[str, str]]:
    """(accent, sentence) pairs: two thirds of the English lines, and other languages for the rest."""
    kept = english[: 2 * len(english) // 3]
    pairs = [(draw.choice(_ENGLISH) + draw.choice(_VARIANTS), line) for line in kept]
    for k in range(len(english) - len(kept)):
        language = _LANGUAGES[k % len(_LANGUAGES)]
        pairs.append((language + draw.choice(_VARIANTS), draw.choice(OTHERS[language])))
    return pairs


def synthesize(accent: str, line: str, draw: random.Random) -> SpokenText:
    """Speak a line at a random speed and pitch."""
    ranges = ((espeak.RATE, 130, 230), (espeak.PITCH, 20, 80), (espeak.RANGE, 30, 90))
    return espeak.speak_text(line, accent, {setting: draw.randint(low, high) for setting, low, high in ranges})


_TEXTS: dict[str, Any] = json.loads(files(__package__).joinpath("sentences.json").read_text(encoding="utf-8"))
OTHERS: dict[str, list[str]] = _TEXTS["others"]
"""Sentences in other languages by ISO code (`cmn`: Mandarin)."""


def english_sentences(count: int, seed: int) -> list[str]:
    """Generate `count` English sentences: written ones, nonsense words, and templates filled at random."""
    draw = random.Random(seed)
    return [_ENGLISH_KINDS[k % len(_ENGLISH_KINDS)](draw) for k in range(count)]


def foreign_sentences(language: str, count: int, seed: int) -> list[str]:
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

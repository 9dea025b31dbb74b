"""Speech with exact phone times from free synthesisers: flite and festival here, espeak-ng in its own file."""

import hashlib
import random
import re
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from echomimic.errors import SetupError
from echomimic.mesh.speech_to_face import SAMPLE_RATE
from echomimic.train.articulation import espeak, sentences
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
    """A synthesiser's voice: how many sentences it speaks for training, and what provides it."""

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
"""Voices that never train: the card's figures are measured on them."""


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
    """Utterances of a voice, each with its own speed and pitch; `count` of them, or as many as training takes.

    The same seed gives the same speech. Labels are checked against the sound: utterances whose times do not fit
    its length are left out.
    """
    count = voice.count if count is None else count
    draw = random.Random(f"{seed} {voice.name}")
    lines = _sentences(voice, count, int(hashlib.sha256(f"{seed} {voice.name}".encode()).hexdigest()[:8], 16))
    speakers: dict[str, Callable[[Voice, list[str], random.Random], Iterator[Utterance]]] = {
        "flite": _flite,
        "festival": _festival,
        "espeak": _espeak,
    }
    for spoken in speakers[voice.tool](voice, lines, draw):
        if len(spoken.segments) > 3 and abs(spoken.segments[-1].end - len(spoken.samples) / SAMPLE_RATE) < 0.5:
            yield spoken


def _sentences(voice: Voice, count: int, seed: int) -> list[str]:
    if voice.language in ("en", "ipa"):
        return sentences.english(count, seed)
    return sentences.other(voice.language, count, seed)


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
    for accent, line in espeak.assignments(lines, draw):
        samples, rate, phones = espeak.synthesize(accent, line, draw)
        if len(phones) > 4:
            ends = [start for start, _ in phones[1:]] + [len(samples) / rate]
            segments = [Segment(start, end, name) for (start, name), end in zip(phones, ends, strict=True)]
            lead = [Segment(0.0, segments[0].start, "pau")] if segments[0].start > 0 else []
            yield Utterance(
                resample(samples, rate), canonical_segments(lead + segments, "ipa"), f"{voice.name}-{accent}"
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
    with tempfile.TemporaryDirectory() as folder:
        return flite("slt", SENTENCES, Path(folder) / "demo.wav", _FLAGS)


def write_demo_voice(path: Path) -> None:
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

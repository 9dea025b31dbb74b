"""The whole pipeline: voices, clips, network, figures, weight file and model card."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echomimic.mesh.speech_to_face import SAMPLE_RATE, ArticulationNetwork, analyze_speech, shape_mouth, to_frames
from echomimic.train.articulation.corpus import examples
from echomimic.train.articulation.demo_voice import demo_utterance
from echomimic.train.articulation.export import agreement, save, to_numpy
from echomimic.train.articulation.labels import CHANNELS, LABEL_RATE, make_labels
from echomimic.train.articulation.measure import Closures, correlation, count_closures, total
from echomimic.train.articulation.model_card import write_card
from echomimic.train.articulation.synthesis import HELD_OUT, VOICES, Utterance, check_tools, speak
from echomimic.train.articulation.training import TrainingConfig, train
from echomimic.types import Floats

_log = logging.getLogger(__name__)
FPS = 25.0


@dataclass(frozen=True)
class Figures:
    """Figures on one voice: closures, and correlation of predicted with labelled gap and width."""

    voice: str
    closures: Closures
    gap: float
    width: float


def build(folder: Path, settings: TrainingConfig, copies: int, fraction: float = 1.0) -> Path:
    """Make `articulation.safetensors` and its card in `folder`; `fraction` of the usual sentences are spoken.

    Raises SetupError if a synthesizer is missing. The held-out voices are used for the figures only.
    """
    check_tools()
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    spoken = {voice.name: list(speak(voice, round(voice.count * fraction), settings.seed)) for voice in VOICES}
    heard = [utterance for name, utterances in spoken.items() if name not in HELD_OUT for utterance in utterances]
    _log.info("%d utterances, %.0f minutes, %.0f s", len(heard), minutes(heard), time.monotonic() - start)
    clips = list(examples(heard, copies, settings.seed))
    _log.info("%d clips, %.0f s", len(clips), time.monotonic() - start)
    trained = train(clips, settings)
    network = to_numpy(trained)
    figures = [measure(network, spoken[name], name) for name in HELD_OUT]
    figures.append(measure(network, [demo_utterance()], "demo voice (flite-slt, which trains)"))
    path = folder / "articulation.safetensors"
    about = {"seed": str(settings.seed), "width": str(settings.width), "steps": " ".join(map(str, settings.steps))}
    save(trained, path, about)
    write_card(folder / "articulation.md", spoken, settings, copies, figures, agreement(trained))
    _log.info("%s, %.0f s in all", path, time.monotonic() - start)
    return path


def minutes(utterances: Iterable[Utterance]) -> float:
    """Length of all utterances together."""
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
                correlation(to_frames(heard.gap, frames, FPS), to_frames(_column(curves, "gap"), frames, FPS)),
                correlation(to_frames(heard.width, frames, FPS), to_frames(_column(curves, "width"), frames, FPS)),
            )
        )
    gap, width = np.mean(follow, axis=0)
    return Figures(voice, total(counts), float(gap), float(width))


def _column(curves: Floats, name: str) -> Floats:
    return curves[:, CHANNELS.index(name)]

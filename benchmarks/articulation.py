"""Print how well speech becomes mouth motion: `python benchmarks/articulation.py`.

Filmed speech (`<shared>/data/speech_tracks`, from ECHOMIMIC_SHARED or beside the checkout) is used for evaluation only:
no weight and no table is fitted to it. Closures need flite, which speaks the demo voice and the held-out voice with the
times of their phones.
"""

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from echomimic.mesh.speech_to_face import (
    HOP,
    SAMPLE_RATE,
    analyze_speech,
    lip_opening,
    mel_blocks,
    shape_mouth,
    with_mouth,
)
from echomimic.types import Curves

SHARED = Path(os.environ.get("ECHOMIMIC_SHARED", Path(__file__).resolve().parents[2] / "shared"))
FPS = 25.0
_ROW = "{:28} {:6} {:8.3f} {:6.3f} {:17.3f} {:6.3f}"


def mouth_of(samples: np.ndarray, frames: int) -> Curves:
    """The curves that the engine would render."""
    return with_mouth(Curves.rest(frames, FPS), shape_mouth(analyze_speech([samples]), frames, FPS))


def energy(samples: np.ndarray, frames: int) -> np.ndarray:
    """Loudness in decibels of each video frame: the baseline without a network."""
    power = np.concatenate(list(mel_blocks([samples]))).sum(axis=1)
    at = np.minimum(((np.arange(frames) + 0.5) * SAMPLE_RATE / HOP / FPS).astype(int), len(power) - 1)
    return np.maximum(10 * np.log10(power[at] + 1e-9), 10 * np.log10(np.quantile(power, 0.95)) - 40)


def r(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-9 and b.std() > 1e-9 else 0.0


def measure_tracks() -> None:
    """Opening and width against filmed mouths."""
    files = sorted((SHARED / "data" / "speech_tracks").glob("*.npz"))
    if not files:
        print(f"no speech_tracks under {SHARED}: filmed speech is not judged")
        return
    rows, weights = [], []
    print(f"{'filmed clip':28} frames  opening  width   energy: opening  width")
    for path in files:
        with np.load(path, allow_pickle=False) as track:
            samples = track["audio"].astype(np.float32) / 32768
            filmed_opening, filmed_width = track["opening"], track["width"]
        curves, loud = mouth_of(samples, len(filmed_opening)), energy(samples, len(filmed_opening))
        rows.append(
            [
                r(lip_opening(curves), filmed_opening),
                r(curves["spread"], filmed_width),
                r(loud, filmed_opening),
                r(loud, filmed_width),
            ]
        )
        weights.append(len(filmed_opening))
        print(_ROW.format(path.stem, weights[-1], *rows[-1]))
    print(
        "{:28} {:6} {:8.3f} {:6.3f} {:17.3f} {:6.3f}".format(
            "frame-weighted mean", sum(weights), *np.average(rows, 0, weights)
        )
    )


def measure_closures() -> None:
    """Lips shut on p, b, m of the demo voice and of held-out voices."""
    if not shutil.which("flite"):
        print("flite is missing (apt-get install flite): closures are not judged")
        return
    from echomimic.train.articulation.synthesis import HELD_OUT, VOICES, Utterance, check_tools, demo_utterance, speak

    def show(name: str, utterances: Iterable[Utterance]) -> None:
        from echomimic.train.articulation.build import count_closures, total

        counts = []
        for spoken in utterances:
            samples = spoken.samples.astype(np.float32) / 32768
            curves = mouth_of(samples, round(len(samples) / SAMPLE_RATE * FPS))
            counts.append(count_closures(curves["closure"], spoken.segments, FPS))
        c = total(counts)
        print(f"{name:44} p, b, m {c.spoken:4}  recall {c.recall:.3f}  precision {c.precision:.3f}")

    show("demo voice", [demo_utterance()])
    for voice in VOICES:
        if voice.name in HELD_OUT:
            try:
                check_tools((voice,))
            except Exception as missing:
                print(f"{voice.name}: {missing}")
                continue
            show(f"{voice.name} (kept out of training)", speak(voice))


def measure_speed(seconds: int = 60) -> None:
    """CPU time from sound to curves, everything included except decoding."""
    samples = (0.1 * np.random.default_rng(0).standard_normal(seconds * SAMPLE_RATE)).astype(np.float32)
    mouth_of(samples[:SAMPLE_RATE], 25)
    start = time.process_time()
    mouth_of(samples, seconds * 25)
    print(f"CPU {(time.process_time() - start) / seconds * 1000:.1f} ms per second of speech")


if __name__ == "__main__":
    measure_tracks()
    measure_closures()
    measure_speed()

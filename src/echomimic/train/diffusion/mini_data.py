"""Data of the mini training: clips that the mesh engine renders for synthesized voices, whose motion is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from echomimic.errors import SetupError
from echomimic.media import speech_from_samples
from echomimic.mesh.engine import MeshEngine
from echomimic.mesh.speech_to_face import SAMPLE_RATE, lip_opening
from echomimic.options import make_options
from echomimic.train.articulation.synthesis import HELD_OUT, VOICES, check_tools, planned_sentences, speak
from echomimic.types import Curves, Floats, LandmarkTrack, Picture, Portrait, PoseTrack

FPS, SIDE = 24.0, 64
HELD_OUT_LANGUAGE = "it"
"""The language of the second held-out voice. It has too few sentences to use some of them for training."""
TRAINED_VOICES = tuple(
    voice.name for voice in VOICES if voice.name not in HELD_OUT and voice.language != HELD_OUT_LANGUAGE
)
_SPEAKERS = {"espeak-ng": 3}
"""A synthesizer of many voices speaks this many times as many sentences."""
OPTIONS: dict[str, object] = {
    "fps": FPS,
    "size": SIDE,
    "crop_margin": 0.15,
    "motion_strength": 0.5,
    "workers": 1,
}


@dataclass(frozen=True)
class MiniClip:
    """A rendered clip: `frames` (T, 64, 64, 3) uint8, landmarks `points` (T, 478, 3) on them, `curves`, the sound.

    `portrait` is the number of the portrait; `pose` is the motion of the hand that was painted into the frames, if any.
    """

    frames: Picture
    points: Floats
    curves: Curves
    sound: Floats
    voice: str
    portrait: int
    pose: PoseTrack | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def opening(self) -> Floats:
        """Opening of the mouth (T,), as the mesh engine rendered it."""
        return lip_opening(self.curves)


def available_voices(names: Sequence[str]) -> list[str]:
    """Those voices of a list whose synthesizers are installed. Raises SetupError if there are none."""
    voices = {voice.name: voice for voice in VOICES}
    found = []
    for name in names:
        try:
            check_tools((voices[name],))
            found.append(name)
        except SetupError:
            continue
    if not found:
        raise SetupError(
            "no speech synthesizer is installed; expected flite and espeak-ng: apt-get install flite espeak-ng"
        )
    return found


def held_out_seed(seed: int, trained: Sequence[str], sentences: int, held_out: Sequence[str], count: int) -> int:
    """The first seed after `seed` whose sentences for the `held_out` voices are not among those of training."""
    by_name = {voice.name: voice for voice in VOICES}
    said = {line for name in trained for line in planned_sentences(by_name[name], clips_of(name, sentences), seed)}
    for other in range(seed + 1, seed + 10_000):
        if not said & {line for name in held_out for line in planned_sentences(by_name[name], count, other)}:
            return other
    raise SetupError(f"no {count} sentences are left that training does not say; expected fewer sentences")


def clips_of(voice: str, sentences: int) -> int:
    """How many sentences a voice speaks for training if each of its speakers speaks `sentences`."""
    return sentences * _SPEAKERS.get(voice, 1)


def render_clips(
    portraits: Sequence[Portrait],
    voices: Sequence[str],
    sentences: int,
    seed: int,
    *,
    framing: Literal["crop", "full"] = "crop",
) -> Iterator[MiniClip]:
    """Render clips of each voice (see `clips_of`), taking the portraits in turn; the same seed gives the same clips.

    espeak-ng does not speak the language that is held out.
    """
    engines = [MeshEngine() for _ in portraits]
    by_name = {voice.name: voice for voice in VOICES}
    count = 0
    for name in voices:
        for utterance in speak(by_name[name], clips_of(name, sentences), seed):
            if utterance.voice.startswith(f"espeak-ng-{HELD_OUT_LANGUAGE}"):
                continue
            which = count % len(portraits)
            sound = utterance.samples.astype(np.float32) / 32768
            clip = render_clip(engines[which], portraits[which], sound, seed + count, framing)
            yield replace(clip, voice=utterance.voice, portrait=which)
            count += 1


def render_clip(
    engine: MeshEngine, portrait: Portrait, sound: Floats, seed: int, framing: Literal["crop", "full"] = "crop"
) -> MiniClip:
    """Render one clip of a portrait that says `sound` (N,) at 16 kHz, with gestures of brows and lids."""
    options = make_options({**OPTIONS, "framing": framing, "seed": seed % 100_000})
    speech = speech_from_samples(sound, SAMPLE_RATE)
    predicted = engine.prepare(portrait, speech, None, options).motion
    render = engine.prepare(portrait, speech, with_gestures(predicted, np.random.default_rng(seed)), options)
    frames: npt.NDArray[np.uint8] = np.stack(list(render.frames()))
    track = render.motion
    assert track.curves is not None
    return MiniClip(frames, track.points, track.curves, sound, "", 0)


def with_gestures(track: LandmarkTrack, draw: np.random.Generator) -> LandmarkTrack:
    """The track with random movements of the brows and at least one blink, which are independent of the voice."""
    assert track.curves is not None
    frames = len(track.curves)
    brow = np.zeros(frames, np.float32)
    for start in np.arange(draw.uniform(-8, 8), frames, 22):
        brow += draw.uniform(-0.5, 0.9) * _bump(frames, start, draw.uniform(14, 26))
    blink = np.array(track.curves["blink"])
    for start in np.arange(draw.uniform(2, 20), frames, 45):
        blink = np.maximum(blink, _bump(frames, start, 8))
    return replace(track, curves=track.curves.replace(brow=np.clip(brow, -1, 1), blink=blink))


def _bump(frames: int, start: float, width: float) -> Floats:
    """A raised cosine of height 1 that begins at frame `start` and lasts `width` frames."""
    phase = np.clip((np.arange(frames) - start) / width, 0, 1)
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * phase), np.float32)

"""Data of the mini training: clips that the mesh engine renders for synthesized voices, whose motion is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.errors import SetupError
from echomimic.media import speech_from_samples
from echomimic.mesh.engine import MeshEngine
from echomimic.mesh.speech_to_face import SAMPLE_RATE, lip_opening
from echomimic.options import make_options
from echomimic.train.articulation.synthesis import VOICES, Utterance, check_tools, speak
from echomimic.types import Curves, Floats, Picture, Portrait

FPS, SIDE = 24.0, 64
TRAINED_VOICES = ("flite-slt", "flite-awb", "festival-kal_diphone", "festival-ked_diphone")
HELD_OUT_VOICES = ("flite-rms", "espeak-ng")
OPTIONS: dict[str, object] = {
    "fps": FPS,
    "size": SIDE,
    "framing": "crop",
    "crop_margin": 0.15,
    "motion_strength": 0.5,
    "workers": 1,
}
_HELD_OUT_SEED = 1_000


@dataclass(frozen=True)
class MiniClip:
    """A rendered clip: `frames` (T, 64, 64, 3) uint8, landmarks `points` (T, 478, 3) on them, `curves`, the sound."""

    frames: Picture
    points: Floats
    curves: Curves
    sound: Floats
    voice: str
    portrait: int

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
        raise SetupError("no speech synthesizer is installed; expected flite: apt-get install flite espeak-ng")
    return found


def render_clips(
    portraits: Sequence[Portrait], voices: Sequence[str], sentences: int, seed: int, *, held_out: bool = False
) -> Iterator[MiniClip]:
    """Render `sentences` clips of each voice, walking through the portraits; the same seed gives the same clips.

    Sentences of `held_out` clips are drawn with another seed than those of training.
    """
    engines = [MeshEngine() for _ in portraits]
    by_name = {voice.name: voice for voice in VOICES}
    count = 0
    for name in voices:
        for utterance in speak(by_name[name], sentences, seed + _HELD_OUT_SEED * held_out):
            which = count % len(portraits)
            yield _render(engines[which], portraits[which], utterance, which, seed + count)
            count += 1


def _render(engine: MeshEngine, portrait: Portrait, utterance: Utterance, which: int, seed: int) -> MiniClip:
    sound = utterance.samples.astype(np.float32) / 32768
    options = make_options({**OPTIONS, "seed": seed % 100_000})
    render = engine.prepare(portrait, speech_from_samples(sound, SAMPLE_RATE), None, options)
    frames: npt.NDArray[np.uint8] = np.stack(list(render.frames()))
    track = render.motion
    assert track.curves is not None
    return MiniClip(frames, track.points, track.curves, sound, utterance.voice, which)

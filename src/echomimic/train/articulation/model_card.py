"""The model card: data, seed, figures, licences, in Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from echomimic.mesh.speech_to_face import SAMPLE_RATE
from echomimic.train.articulation.synthesis import HELD_OUT, VOICES, Utterance
from echomimic.train.articulation.training import TrainingConfig

if TYPE_CHECKING:
    from echomimic.train.articulation.build import Figures

_CARD = """# articulation.safetensors

Speech to mouth curves: log-mel frames in, {channels} out, 50 times a second.
Made by `python -m echomimic.train.articulation --seed {seed}`; run by `echomimic.mesh.speech_to_face` in numpy.

| | |
|---|---|
| trained on | {minutes:.0f} minutes that synthesisers spoke, with the times of their phones; nothing filmed |
| text | sentences and made-up words written for this project (`train/articulation/sentences.json`) |
| targets | a table made by hand from phonetics (`train/articulation/labels.py`) |
| copies | each utterance once clean and {copies} times degraded: rooms, noise, codecs, equalisers, speed |
| network | convolutions, {width} wide, {steps} steps of training, seed {seed} |
| torch against numpy | largest difference {agreement:.4f}, float16 included |
| licence | Apache-2.0, like the program |

## Figures

Measured on the final mouth curves at 25 frames a second. Closure: lips shut within one frame of a spoken p, b or m
(recall), and shut there only (precision). r: predicted against labelled curve, mean over clips.

| voice | p, b, m spoken | recall | precision | gap r | width r |
|---|---|---|---|---|---|
{figures}

{held_out} never train. The first is the kept-out voice of the figures; the second, an older kind of
voice in a language that one other voice speaks, shows how far that carries.

## Voices

| voice | language | Debian package | minutes |
|---|---|---|---|
{voices}

flite and the English festival voices are under BSD-like licences, as is the Russian one; espeak-ng and the Czech and
Italian voices under the GPL, the Finnish and Catalan ones under the LGPL. They are tools of training: nothing of them
is part of this file or needed to run it.

## Limits

Singing, whispering and several people at once were not trained. Loud music under a voice costs closures. The table
knows the phones of some twelve languages; others are heard through them.
"""


def write_card(
    path: Path,
    spoken: Mapping[str, Sequence[Utterance]],
    settings: TrainingConfig,
    copies: int,
    figures: Sequence["Figures"],
    agreement: float,
) -> None:
    """Write the card of a network that was just trained and measured."""
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
        held_out=" and ".join(HELD_OUT),
        voices="\n".join(
            f"| {voice.name} | {voice.language} | {voice.package} | {lengths[voice.name]:.1f} |" for voice in VOICES
        ),
    )
    path.write_text(text, encoding="utf-8")


def _row(figures: "Figures") -> str:
    c = figures.closures
    return (
        f"| {figures.voice} | {c.spoken} | {c.recall:.3f} | {c.precision:.3f} "
        f"| {figures.gap:.2f} | {figures.width:.2f} |"
    )

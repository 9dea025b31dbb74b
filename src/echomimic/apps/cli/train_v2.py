"""`echomimic train reader` and `echomimic train faces`: what V2's training needs from half bodies beforehand."""

from pathlib import Path
from typing import Annotated

import typer

from echomimic.apps.cli.flags import NO_VALUE
from echomimic.apps.cli.reporter import print_line, reporting

_Data = Annotated[Path, typer.Argument(metavar="DATA", help="folder of half bodies that train prepare wrote")]
_Rights = Annotated[
    bool,
    typer.Option("--i-have-the-rights", metavar=NO_VALUE, help="use recordings of people whose consent is not stated"),
]


def reader(
    data: _Data,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="the reader's file")] = Path(
        "reader.safetensors"
    ),
    steps: Annotated[int, typer.Option(min=1, help="steps of training")] = 5_000,
    batch: Annotated[int, typer.Option(min=1, help="pictures a step")] = 8,
    seed: Annotated[int, typer.Option(min=0, metavar="INTEGER", help="seed of weights and crops")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    has_rights: _Rights = False,
) -> None:
    """Train the pose reader of V2's loss: a small network that draws the pose of a picture (phase_loss.reader)."""
    with reporting(False) as reporter:
        from echomimic.train.diffusion.reader_data import make_reader, open_half_bodies
        from echomimic.train.diffusion.run import check_rights

        clips, losses = open_half_bodies(data), list[float]()
        for line in check_rights(clips.rows, has_rights):
            reporter.note(line)

        def report(step: int, loss: float) -> None:
            losses.append(loss)
            reporter.progress(step, steps)

        make_reader(clips, output, steps, batch=batch, seed=seed, device=device, report=report)
        last = losses[-100:]
        print_line(f"{output}: mean squared error {sum(last) / len(last):.5f} over the last {len(last)} steps")


def faces(data: _Data) -> None:
    """Measure where the faces of half bodies are, and print the settings [headshots] that place headshots alike."""
    with reporting(False):
        from echomimic.train.diffusion.reader_data import measure_headshots, open_half_bodies
        from echomimic.train.diffusion.settings import format_group

        print_line(format_group("headshots", measure_headshots(open_half_bodies(data))))

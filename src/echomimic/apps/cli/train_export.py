"""`echomimic train export` and `echomimic train card`: trained weights as files of a preset; the card of a run."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from echomimic.apps.cli.flags import NO_VALUE
from echomimic.apps.cli.reporter import print_line, reporting

_Run = Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run of 'train run'")]
_Step = Annotated[
    int | None, typer.Option(min=1, metavar="INTEGER", help="checkpoint of this step; default: the newest")
]


def export(
    run: _Run,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="new or empty folder for the files")],
    merge: Annotated[
        bool, typer.Option("--merge", metavar=NO_VALUE, help="of a LoRA: whole files of the preset that contain it")
    ] = False,
    step: _Step = None,
    dtype: Annotated[Literal["bfloat16", "float16", "float32"], typer.Option(help="number format")] = "bfloat16",
) -> None:
    """Write the averaged weights of RUN as the files of its preset, or as a LoRA file, with a model card."""
    with reporting(False):
        from echomimic.train.diffusion.export import export_run

        for path in export_run(run, output, merge=merge, step=step, dtype=dtype):
            print_line(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


def card(run: _Run, step: _Step = None) -> None:
    """Print the model card of RUN: data by licence and consent, settings, versions and figures, as Markdown."""
    with reporting(False):
        from echomimic.train.diffusion.export import card_of_run

        print_line(card_of_run(run, step).rstrip())

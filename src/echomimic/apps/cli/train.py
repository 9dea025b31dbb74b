"""`echomimic train`: train the networks of the diffusion presets."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from echomimic.apps.cli.flags import NO_VALUE
from echomimic.apps.cli.prepare import prepare
from echomimic.apps.cli.reporter import print_line, reporting
from echomimic.apps.cli.train_export import card, export
from echomimic.apps.cli.train_run import probe, run
from echomimic.apps.cli.train_v2 import faces, reader

app = typer.Typer(help="Train the networks of the diffusion presets.")
app.command()(prepare)
app.command()(run)
app.command()(probe)
app.command()(reader)
app.command()(faces)
app.command()(export)
app.command()(card)


@app.command()
def mini(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="folder of the run, its weights and its report")
    ] = Path("mini"),
    minutes: Annotated[
        float, typer.Option(min=0.1, help="minutes of training; preparing and judging come on top")
    ] = 40,
    portrait: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="train on this portrait; repeat for more. Default: the bundled one"),
    ] = None,
    preset: Annotated[
        Literal["v1-landmarks", "v2"], typer.Option(help="a face with landmarks, or a half body with a painted hand")
    ] = "v1-landmarks",
    seed: Annotated[int, typer.Option(min=0, metavar="INTEGER", help="seed of clips, weights and samples")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", metavar=NO_VALUE, help="continue an interrupted run in the same folder")
    ] = False,
) -> None:
    """Prove training on a CPU: train small networks on clips of the mesh engine, and measure what they learned."""
    with reporting(False, "steps") as reporter:
        from echomimic.train.diffusion.mini_report import RunCallbacks, run_mini

        callbacks = RunCallbacks(reporter.note, reporter.progress)
        report = run_mini(output, minutes, portrait or [], preset=preset, seed=seed, resume=resume, callbacks=callbacks)
        print_line(report)
        picture = output / "portraits" / ("with_hand.png" if preset == "v2" else "1.png")
        print_line(f"next: echomimic animate {picture} SPEECH --weights {output / 'weights'} --preset {preset}")

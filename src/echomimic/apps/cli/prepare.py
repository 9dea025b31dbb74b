"""`echomimic train prepare`: make a data set of clips from raw videos."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from echomimic.apps.cli.flags import NO_VALUE, Json
from echomimic.apps.cli.reporter import print_json, print_line, reporting
from echomimic.errors import OptionError

if TYPE_CHECKING:
    from echomimic.train.diffusion.prepare.run import Forecast, Prepared


def prepare(
    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEOS", help="videos, or folders of them, each with a rights.toml beside")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="folder of the data set")],
    half: Annotated[
        bool, typer.Option("--half", metavar=NO_VALUE, help="upper bodies with hands for V2, instead of heads for V1")
    ] = False,
    size: Annotated[
        int | None, typer.Option(metavar="INTEGER", help="longer side of the clips; default 512, with --half 768")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="processes; default: one a core")] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS|local", help="work on a Ray cluster instead; needs the extra cluster")
    ] = None,
    shards: Annotated[
        str | None, typer.Option(metavar="SIZE", help="pack the clips into WebDataset tars of this size, such as 1GB")
    ] = None,
    time: Annotated[
        bool, typer.Option("--time", metavar=NO_VALUE, help="prepare three of the videos and print a forecast for all")
    ] = False,
    as_json: Json = False,
) -> None:
    """Cut, track, filter and align raw videos into clips to train on; every dropped piece gets its reason."""
    if str(output) == "-":
        raise OptionError("stdout cannot hold a data set; expected the name of a folder: give one with `output`")
    with reporting(as_json, "videos") as reporter:
        from echomimic.parallel import Runner, available_cores
        from echomimic.train.diffusion.prepare import run
        from echomimic.train.diffusion.prepare.settings import make_settings
        from echomimic.train.diffusion.prepare.shards import parse_size

        settings = make_settings("half" if half else "face", size)
        tar = parse_size(shards) if shards else 0
        items = run.find_videos(videos)
        chosen = run.sampled(items) if time else items
        runner = Runner(workers or (0 if ray else available_cores()), ray or "")
        prepared = run.prepare_videos(chosen, output, settings, runner, tar, reporter.progress)
        coming = run.forecast(prepared, len(items), run.hours_of(items)) if time else run.rate(prepared)
        _print(prepared, coming, as_json)
        run.check_survivors(prepared)


def _print(prepared: "Prepared", coming: "Forecast | None", as_json: bool) -> None:
    from echomimic.train.diffusion.prepare.settings import REASONS

    table = prepared.reasons()
    if as_json:
        reasons = {name: {"pieces": count, "minutes": minutes} for name, count, minutes in table}
        rate: dict[str, Any] = {} if coming is None else coming.as_dict()
        print_json("prepared", path=prepared.folder, reasons=reasons, **rate)
        return
    print_line(f"{'reason':<16}{'pieces':>7}{'minutes':>9}")
    for name, count, minutes in table:
        print_line(f"{name:<16}{count:>7}{minutes:>9.1f}  {REASONS.get(name, 'to train on')}")
    if coming is not None:
        print_line(coming.line())
    print_line(f"{prepared.folder}")

"""`echomimic evaluate`: measure clips, put two runs side by side; and the check after `animate`."""

from pathlib import Path
from typing import Annotated

import typer

from echomimic.apps.cli.reporter import Reporter, print_json, print_line, reporting
from echomimic.errors import OptionError, VideoError


def evaluate(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="VIDEO|MANIFEST", help="a video, a folder of them, or a .csv, .jsonl or .txt"),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="VIDEO", help="a video of the same motion, to compare frame by frame")
    ] = None,
    metrics: Annotated[
        str, typer.Option(help="quick, default, all, or groups such as sync,picture,hands,fid")
    ] = "default",
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="where the report goes")] = Path(
        "report"
    ),
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE[@SHA256]", help="a network for fid, fvd, lpips, syncnet, csim or efid"),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="measure every N-th clip only, starting with the I-th")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="A B", help="two reports, side by side; nothing is measured")
    ] = None,
    device: Annotated[str, typer.Option(help="where networks run, as torch names it")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="for the intervals of --compare")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line on stdout, for programs")] = False,
) -> None:
    """Measure videos, and write report.json, a table and a page with plots."""
    if (source is None) == (compare is None):
        raise OptionError("evaluate got both or neither of clips and --compare; expected one: a video or a manifest")
    with reporting(as_json) as reporter:
        if compare is not None:
            _compare(compare, output, seed, as_json)
        elif source is not None:
            _measure(source, reference, metrics, weights or [], output, shard, device, seed, reporter, as_json)


def _measure(
    source: Path,
    reference: Path | None,
    words: str,
    weights: list[str],
    output: Path,
    shard: str | None,
    device: str,
    seed: int,
    reporter: Reporter,
    as_json: bool,
) -> None:
    from echomimic.evaluate.catalogue import make_settings
    from echomimic.evaluate.manifest import read_sources
    from echomimic.evaluate.networks import load_networks, parse_weights
    from echomimic.evaluate.run import failures, finish_run, identify, measure_clips, open_run

    files = parse_weights(weights)
    settings = make_settings(words, {name: path for name, (path, _) in files.items()}, seed)
    sources = read_sources(source, reference)
    run = open_run(output, settings, load_networks(files, device))
    clips = [identify(run, source) for source in sources]
    measure_clips(run, clips, shard, reporter.progress, reporter.note)
    faults = failures(run, clips)
    if faults and len(clips) == 1:
        raise VideoError(faults[0])
    report = finish_run(run, clips)
    if as_json:
        print_json("report", path=None if report is None else output / "report.json", clips=len(clips), failed=faults)
    elif report is None:
        print_line(f"{output}: this shard is measured; the report is written with the last one")
    else:
        _say(report, output)


def _say(report: dict[str, object], output: Path) -> None:
    """A table of means on stdout, and where the page is."""
    from echomimic.evaluate.catalogue import metrics

    found = report["summary"]
    assert isinstance(found, dict)
    for name, row in found.items():
        print_line(f"{name:<28}{row['mean']:>12.4g}  {metrics()[name].unit}")
    sets = report["sets"]
    assert isinstance(sets, dict)
    for name, value in sets.items():
        print_line(f"{name + ' (all clips)':<40}{'-' if value is None else format(value, '.4g')}")
    print_line(f"{output / 'index.html'}")


def _compare(pair: tuple[Path, Path], output: Path, seed: int, as_json: bool) -> None:
    from echomimic.evaluate.compare import compare, write_comparison
    from echomimic.evaluate.report import read_report

    rows = compare(read_report(pair[0]), read_report(pair[1]), seed)
    write_comparison(output, rows, (pair[0].name, pair[1].name))
    for row in rows:
        if as_json:
            print_json("difference", **vars(row))
        else:
            print_line(
                f"{row.metric:<28}{row.a:>12.4g}{row.b:>12.4g}{row.difference:>+12.4g}  "
                f"[{row.low:.4g}, {row.high:.4g}]  {row.better}"
            )


def check_made(path: Path, reporter: Reporter) -> None:
    """Measure a clip that was just made, and note what should be looked at."""
    from echomimic.evaluate.quality_check import check_clip

    if path.is_dir():
        reporter.note(f"check: {path} is a folder of pictures, which is not measured: make a video to have it checked")
        return
    check = check_clip(path)
    for warning in check.warnings:
        reporter.note(f"check: {warning}")
    reporter.note(
        f"check: {len(check.warnings) or 'no'} warning{'' if len(check.warnings) == 1 else 's'}: {check.path}"
    )

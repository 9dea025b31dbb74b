"""`echomimic evaluate`: measure clips or compare two reports; and the check after `animate`."""

from pathlib import Path
from typing import Annotated, Any

from echomimic.apps.cli.flags import Json, argument, option
from echomimic.apps.cli.reporter import Reporter, print_json, print_line, reporting
from echomimic.errors import OptionError, VideoError


def evaluate(
    source: Annotated[
        Path | None, argument("VIDEO|MANIFEST", "a video, a folder of videos, or a .csv, .jsonl or .txt list")
    ] = None,
    reference: Annotated[Path | None, option("VIDEO", "a video of the same motion, to compare frame by frame")] = None,
    metrics: Annotated[
        str, option("NAMES", "quick, default, all, or groups such as sync,picture,hands,fid")
    ] = "default",
    output: Annotated[Path, option("FOLDER", "folder of the report", "-o", "--output")] = Path("report"),
    weights: Annotated[
        list[str] | None,
        option("NAME=FILE", "a network for fid, fvd, lpips, syncnet, csim or efid; FILE@SHA256 checks the file"),
    ] = None,
    shard: Annotated[str | None, option("I/N", "measure only every N-th clip, starting with the I-th")] = None,
    compare: Annotated[tuple[Path, Path] | None, option("A B", "compare two reports; nothing is measured")] = None,
    device: Annotated[str, option("NAME", "where networks run, in torch's notation")] = "cpu",
    seed: Annotated[int, option("INTEGER", "for the intervals of --compare", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Measure videos, and write report.json, a table and a page with plots."""
    if (source is None) == (compare is None):
        raise OptionError("give either a video or manifest to measure, or two reports with `compare`")
    if str(output) == "-":
        raise OptionError("stdout cannot hold a report; expected the name of a folder: give one with `output`")
    with reporting(as_json) as reporter:
        if compare is not None:
            _compare(compare, output, seed, as_json)
            return
        from echomimic.evaluate.manifest import read_sources

        assert source is not None
        sources = read_sources(source, reference)
        _measure(_open_run(output, metrics, weights or [], device, seed), sources, output, shard, reporter, as_json)


def _open_run(output: Path, metrics: str, weights: list[str], device: str, seed: int) -> Any:
    from echomimic.evaluate.catalogue import make_settings
    from echomimic.evaluate.networks import load_networks, parse_weights
    from echomimic.evaluate.run import open_run

    files = parse_weights(weights)
    settings = make_settings(metrics, {name: path for name, (path, _) in files.items()}, seed)
    return open_run(output, settings, load_networks(files, device))


def _measure(run: Any, sources: list[Any], output: Path, shard: str | None, reporter: Reporter, as_json: bool) -> None:
    """Measure clips, write the report once all are measured, and print its means."""
    from echomimic.evaluate.run import failures, finish_run, identify, measure_clips

    clips = [identify(run, source) for source in sources]
    measure_clips(run, clips, shard, reporter.progress, reporter.note)
    faults = failures(run, clips)
    if faults and len(clips) == 1:
        raise VideoError(faults[0])
    report: Any = finish_run(run, clips)
    if as_json:
        print_json("report", path=None if report is None else output / "report.json", clips=len(clips), failed=faults)
    elif report is None:
        print_line(f"{output}: this shard is measured; the run that measures the last shard writes the report")
    else:
        _print_means(report, output)


def _print_means(report: Any, output: Path) -> None:
    from echomimic.evaluate.catalogue import metrics

    for name, row in report["summary"].items():
        print_line(f"{name:<28}{row['mean']:>12.4g}  {metrics()[name].unit}")
    for name, value in report["sets"].items():
        print_line(f"{name + ' (all clips)':<40}{_number(value)}")
    print_line(f"{output / 'index.html'}")


def _compare(pair: tuple[Path, Path], output: Path, seed: int, as_json: bool) -> None:
    from echomimic.evaluate.report import compare, read_report, write_comparison

    rows = compare(read_report(pair[0]), read_report(pair[1]), seed)
    write_comparison(output, rows, (pair[0].name, pair[1].name))
    for row in rows:
        if as_json:
            print_json("difference", **vars(row))
        else:
            means = f"{_number(row.a):>12}{_number(row.b):>12}{_number(row.difference, '+'):>12}"
            print_line(f"{row.metric:<28}{means}  [{_number(row.low)}, {_number(row.high)}]  {row.better}")


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else format(value, f"{sign}.4g")


def check_made(path: Path, reporter: Reporter) -> None:
    """Measure a finished clip and report what looks wrong as notes."""
    from echomimic.evaluate.quality_check import check_clip

    if path.is_dir():
        reporter.note(f"check: {path} is a folder of pictures, which cannot be measured; make a video to check it")
        return
    check = check_clip(path)
    for warning in check.warnings:
        reporter.note(f"check: {warning}")
    count = len(check.warnings)
    reporter.note(f"check: {count or 'no'} warning{'' if count == 1 else 's'}: {check.path}")

"""`echomimic batch`: make many clips from a manifest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from echomimic.apps.cli.flags import Json, argument, option, with_option_flags
from echomimic.apps.cli.reporter import Reporter, duration, print_json, print_line, reporting, spell_as_flags
from echomimic.errors import OptionError

if TYPE_CHECKING:
    from echomimic.apps.batch import BatchStatus, RowResult


@with_option_flags(without=("workers",))
def batch(
    manifest: Annotated[Path, argument("MANIFEST", "a .csv with a header or a .jsonl file: a row a clip")],
    output: Annotated[Path, option("DIR", "folder of the clips", "-o", "--output")],
    workers: Annotated[
        int | None, option("N", "processes; default: one for each GPU or core; 0: only this one", min=0)
    ] = None,
    shard: Annotated[str | None, option("I/N", "make only the I-th of N parts, for N machines")] = None,
    ray: Annotated[
        str | None, option("ADDRESS|local", "work on a Ray cluster instead; needs the extra cluster")
    ] = None,
    preset: Annotated[str, option("NAME", "how to render rows that name no preset")] = "auto",
    weights: Annotated[Path | None, option("DIR", "folder with checkpoints")] = None,
    sign: Annotated[tuple[Path, Path] | None, option("CERT KEY", "sign with this certificate chain and key")] = None,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Make a clip of each row of MANIFEST: columns portrait, speech, motion, preset, output, and any option below.

    Clips that exist already are kept. A row that fails is a line of the report; the exit code is then 1.
    """
    if str(output) == "-":
        raise OptionError("stdout cannot hold a batch; expected the name of a folder: give one with `output`")
    with reporting(as_json, "clips") as reporter:
        from echomimic.apps.batch import pick_block, read_batch, report_path, run_batch
        from echomimic.media import make_folder

        report = report_path(output, shard)
        make_folder(output)
        rows = pick_block(read_batch(manifest, output, {"preset": preset, **given}, reporter.note), shard)
        runner = _runner(rows, workers, ray, weights)

        def show(result: "RowResult", status: "BatchStatus") -> None:
            if result.status == "failed":
                reporter.note(f"row {result.number} failed: {spell_as_flags(result.error)}", result.code)
            _show(reporter, status)

        status = run_batch(rows, output, runner, report, weights=weights, sign=sign, on_result=show)
    _finish(status, report, as_json)


def _runner(rows: list[Any], workers: int | None, ray: str | None, weights: Path | None) -> Any:
    """The processes or the cluster that make the clips; what they need is checked here, unless it is elsewhere."""
    from echomimic.apps.batch import default_workers
    from echomimic.parallel import LOCAL, Runner, available_cores
    from echomimic.presets import find_preset, require_files, require_packages

    if ray in (None, LOCAL):
        for name in sorted({row.preset for row in rows} - {"auto"}):
            require_packages(find_preset(name))
            require_files(find_preset(name), weights)
    if ray:
        return Runner(workers or 0, ray)
    count = default_workers(rows) if workers is None else workers
    return Runner(count, threads=max(1, available_cores() // max(1, count)))


def _show(reporter: Reporter, status: "BatchStatus") -> None:
    rates = f"clips, {status.clips_per_second:.3g} a second, {status.frames_per_second:.0f} frames a second"
    failed = f", {status.failed} failed" if status.failed else ""
    reporter.status(
        status.done,
        status.total,
        f"{rates}, {duration(status.left)} left{failed}",
        failed=status.failed,
        clips_per_second=round(status.clips_per_second, 3),
        frames_per_second=round(status.frames_per_second, 2),
        left=round(status.left, 1),
    )


def _finish(status: "BatchStatus", report: Path, as_json: bool) -> None:
    """Print the summary; leave with exit code 1 if a row failed."""
    facts = {"made": status.made, "known": status.known, "failed": status.failed}
    if as_json:
        rates = {"frames": status.frames, "seconds": round(status.video_seconds, 3), "took": round(status.elapsed, 3)}
        print_json("batch", path=report, clips=status.total, **facts, **rates)
    else:
        counts = ", ".join(f"{count} {name}" for name, count in facts.items())
        print_line(
            f"{status.total} clip{'s' * (status.total != 1)}: {counts}; "
            f"{duration(status.video_seconds)} of video in {duration(status.elapsed)}, "
            f"{status.clips_per_second:.3g} clips and {status.frames_per_second:.0f} frames a second; report: {report}"
        )
    raise typer.Exit(1 if status.failed else 0)

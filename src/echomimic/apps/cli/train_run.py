"""`echomimic train run` and `echomimic train probe`: train on a prepared data set; find the schedule of checkpoints."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from echomimic.apps.cli.flags import NO_VALUE, Json
from echomimic.apps.cli.reporter import Reporter, print_json, print_line, reporting

_Data = Annotated[
    Path | None, typer.Option("--data", metavar="DATA", help="folder that train prepare wrote; default: data.path")
]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="GROUP.FIELD=VALUE", help="override a setting; repeat for more"),
]


def run(
    settings: Annotated[
        str, typer.Argument(metavar="SETTINGS", help="a TOML file, or a preset: v1-stage1, v1-stage2, v1-finetune …")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="folder of the run")] = Path("run"),
    data: _Data = None,
    overrides: _Set = None,
    resume: Annotated[
        bool, typer.Option("--resume", metavar=NO_VALUE, help="continue the run in the folder from its last checkpoint")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", metavar=NO_VALUE, help="resume although settings have changed")
    ] = False,
    has_rights: Annotated[
        bool,
        typer.Option(
            "--i-have-the-rights", metavar=NO_VALUE, help="train on recordings of people whose consent is not stated"
        ),
    ] = False,
    print_settings: Annotated[
        bool, typer.Option("--print-settings", metavar=NO_VALUE, help="print all settings as TOML, and train nothing")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a diffusion preset on a data set; on several GPUs: torchrun --nproc-per-node=8 -m echomimic train run …."""
    with reporting(as_json, "steps") as reporter:
        from echomimic.train.diffusion.settings import format_settings, read_settings

        given = [*([f"data.path={data}"] if data else []), *(overrides or [])]
        chosen = read_settings(Path(settings), given)
        if print_settings:
            print_line(format_settings(chosen))
            return
        from echomimic.train.diffusion.run import RunOptions, run_training

        options = RunOptions(resume=resume, force=force, has_rights=has_rights, score=_score)
        show = _StepLines(reporter, chosen.run.steps, as_json)
        run_training(chosen, output, options, say=show.say, report=show.step)
        if show.visible:
            print_line(f"{output}: {chosen.run.steps} steps are done; next: echomimic train export {output} -o DIR")


class _StepLines:
    """Shows steps and notes of the first process of a run; the others are silent."""

    def __init__(self, reporter: Reporter, steps: int, as_json: bool) -> None:
        self._reporter, self._steps, self._as_json = reporter, steps, as_json
        self.visible = os.environ.get("RANK", "0") == "0"

    def say(self, text: str) -> None:
        """Show one line."""
        if self.visible:
            self._reporter.note(text)

    def step(self, record: dict[str, Any]) -> None:
        """Show progress after a step."""
        if not self.visible:
            return
        if self._as_json:
            print_json("step", **record)
        self._reporter.progress(int(record["step"]), self._steps)


def _score(video: Path, real: Path) -> Mapping[str, float]:
    """Sync, face, picture and reference metrics of a validation clip, without networks."""
    from echomimic.evaluate.catalogue import make_settings
    from echomimic.evaluate.manifest import ClipSource
    from echomimic.evaluate.measure import measure
    from echomimic.evaluate.networks import load_networks

    source = ClipSource(video.stem, video, real)
    found = measure(source, make_settings("sync,face,picture,reference", {}, 0), load_networks({}, "cpu"))
    return {name: value for name, value in found.metrics.items() if value is not None}


def probe(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="folder that train prepare wrote")],
    weights: Annotated[Path, typer.Option(metavar="DIR", help="folder of the checkpoints to examine")],
    preset: Annotated[str, typer.Option(metavar="NAME", help="v1 or v1-landmarks")] = "v1",
    count: Annotated[int, typer.Option(min=1, help="number of windows to measure")] = 200,
    overrides: _Set = None,
    as_json: Json = False,
) -> None:
    """Find the noise schedule that checkpoints were trained with: linear or scaled_linear betas."""
    with reporting(as_json, "windows") as reporter:
        from echomimic.train.diffusion.probe import probe_lines, probe_weights

        found = probe_weights(data, weights, preset, count, overrides or [], reporter.progress)
        if as_json:
            print_json("probe", **found)
            return
        for line in probe_lines(found):
            print_line(line)

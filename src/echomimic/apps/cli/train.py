"""`echomimic train`: prepare data, train the networks of the diffusion presets, and export what was trained."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from echomimic.apps.cli.flags import Json, argument, option, switch
from echomimic.apps.cli.reporter import Reporter, print_json, print_line, reporting
from echomimic.errors import OptionError

if TYPE_CHECKING:
    from echomimic.train.diffusion.prepare.run import Forecast, Prepared

app = typer.Typer(help="Train the networks of the diffusion presets.")


@app.command()
def prepare(
    videos: Annotated[
        list[Path], argument("VIDEOS", "videos, or folders of videos, with a rights.toml in each folder")
    ],
    output: Annotated[Path, option("DIR", "folder of the data set", "-o", "--output")],
    half: Annotated[bool, switch("--half", "upper bodies with hands for V2, instead of heads for V1")] = False,
    size: Annotated[int | None, option("INTEGER", "longer side of the clips; default 512, with --half 768")] = None,
    workers: Annotated[int | None, option("N", "processes; default: one a core", min=1)] = None,
    ray: Annotated[
        str | None, option("ADDRESS|local", "work on a Ray cluster instead; needs the extra cluster")
    ] = None,
    shards: Annotated[
        str | None, option("SIZE", "pack the clips into WebDataset tars of this size, such as 1GB")
    ] = None,
    time: Annotated[bool, switch("--time", "prepare three of the videos and print a forecast for all")] = False,
    as_json: Json = False,
) -> None:
    """Cut, track, filter and align raw videos into clips for training; every dropped piece gets its reason."""
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


_Rights = Annotated[bool, switch("--i-have-the-rights", "use recordings of people whose consent is not stated")]
_Data = Annotated[Path | None, option("DATA", "folder that train prepare wrote; default: data.path", "--data")]
_Set = Annotated[
    list[str] | None,
    option("GROUP.FIELD=VALUE", "override a setting; repeat for more", "--set"),
]


@app.command()
def run(
    settings: Annotated[str, argument("SETTINGS", "a TOML file, or a preset: v1-stage1, v1-stage2, v1-finetune …")],
    output: Annotated[Path, option("RUN", "folder of the run", "-o", "--output")] = Path("run"),
    data: _Data = None,
    overrides: _Set = None,
    resume: Annotated[bool, switch("--resume", "continue the run in the folder from its last checkpoint")] = False,
    force: Annotated[bool, switch("--force", "resume although settings have changed")] = False,
    has_rights: _Rights = False,
    print_settings: Annotated[
        bool, switch("--print-settings", "print all settings as TOML, and train nothing")
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


@app.command()
def probe(
    data: Annotated[Path, argument("DATA", "folder that train prepare wrote")],
    weights: Annotated[Path, option("DIR", "folder of the checkpoints to examine")],
    preset: Annotated[str, option("NAME", "v1 or v1-landmarks")] = "v1",
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


_HalfBodies = Annotated[Path, argument("DATA", "folder of half bodies that train prepare wrote")]


@app.command()
def reader(
    data: _HalfBodies,
    output: Annotated[Path, option("FILE", "the reader's file", "-o", "--output")] = Path("reader.safetensors"),
    steps: Annotated[int, typer.Option(min=1, help="steps of training")] = 5_000,
    batch: Annotated[int, typer.Option(min=1, help="pictures a step")] = 8,
    seed: Annotated[int, option("INTEGER", "seed of weights and crops", min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    has_rights: _Rights = False,
) -> None:
    """Train the pose reader of V2's loss: a small network that draws the pose of a picture (phase_loss.reader)."""
    with reporting(False) as reporter:
        from echomimic.train.diffusion.reader import PosePairs, open_half_bodies, save_reader, train_reader
        from echomimic.train.diffusion.run import check_rights

        clips, losses = open_half_bodies(data), list[float]()
        for line in check_rights(clips.rows, has_rights):
            reporter.note(line)

        def report(step: int, loss: float) -> None:
            losses.append(loss)
            reporter.progress(step, steps)

        pairs = PosePairs(clips, seed)
        made = train_reader(pairs.pair, steps, batch=batch, seed=seed, device=device, report=report)
        save_reader(made, output)
        last = losses[-100:]
        print_line(f"{output}: mean squared error {sum(last) / len(last):.5f} over the last {len(last)} steps")


@app.command()
def faces(data: _HalfBodies) -> None:
    """Measure where the faces of half bodies are, and print settings (group headshots) that place headshots alike."""
    with reporting(False):
        from echomimic.train.diffusion.reader import measure_headshots, open_half_bodies
        from echomimic.train.diffusion.settings import format_group

        print_line(format_group("headshots", measure_headshots(open_half_bodies(data))))


_Run = Annotated[Path, argument("RUN", "folder of a run of 'train run'")]
_Step = Annotated[int | None, option("INTEGER", "checkpoint of this step; default: the newest", min=1)]


@app.command()
def export(
    run: _Run,
    output: Annotated[Path, option("DIR", "new or empty folder for the files", "-o", "--output")],
    merge: Annotated[bool, switch("--merge", "for a LoRA: write whole files of the preset that contain it")] = False,
    step: _Step = None,
    dtype: Annotated[Literal["bfloat16", "float16", "float32"], typer.Option(help="number format")] = "bfloat16",
) -> None:
    """Write the averaged weights of RUN as the files of its preset, or as a LoRA file, with a model card."""
    with reporting(False):
        from echomimic.train.diffusion.export import export_run

        for path in export_run(run, output, merge=merge, step=step, dtype=dtype):
            print_line(f"{path}  {path.stat().st_size / 1e6:.1f} MB")


@app.command()
def card(run: _Run, step: _Step = None) -> None:
    """Print the model card of RUN: data by licence and consent, settings, versions and figures, as Markdown."""
    with reporting(False):
        from echomimic.train.diffusion.export import card_of_run

        print_line(card_of_run(run, step).rstrip())


@app.command()
def mini(
    output: Annotated[Path, option("DIR", "folder of the run, its weights and its report", "-o", "--output")] = Path(
        "mini"
    ),
    minutes: Annotated[
        float,
        typer.Option(min=0.1, help="minutes of training; making the clips and the evaluation take additional time"),
    ] = 40,
    portrait: Annotated[
        list[Path] | None,
        option("FILE", "train on this portrait; repeat for more. Default: the bundled one"),
    ] = None,
    preset: Annotated[
        Literal["v1-landmarks", "v2"], typer.Option(help="a face with landmarks, or a half body with a painted hand")
    ] = "v1-landmarks",
    seed: Annotated[int, option("INTEGER", "seed of clips, weights and samples", min=0)] = 0,
    resume: Annotated[bool, switch("--resume", "continue an interrupted run in the same folder")] = False,
) -> None:
    """Test training on a CPU: train small networks on clips of the mesh engine, and measure what they learned."""
    with reporting(False, "steps") as reporter:
        from echomimic.train.diffusion.mini_report import RunCallbacks, run_mini

        callbacks = RunCallbacks(reporter.note, reporter.progress)
        report = run_mini(output, minutes, portrait or [], preset=preset, seed=seed, resume=resume, callbacks=callbacks)
        print_line(report)
        picture = output / "portraits" / ("with_hand.png" if preset == "v2" else "1.png")
        print_line(f"next: echomimic animate {picture} SPEECH --weights {output / 'weights'} --preset {preset}")

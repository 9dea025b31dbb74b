"""A training run on a prepared data set: rights, start values, samples, losses, validation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from echomimic.errors import OptionError
from echomimic.train.diffusion.checkpoints import list_checkpoints
from echomimic.train.diffusion.clips import Clips, open_clips
from echomimic.train.diffusion.distil import DistillationObjective
from echomimic.train.diffusion.encoding import cache_latents, encode_batch
from echomimic.train.diffusion.half_body import HalfBodySamples, open_headshots
from echomimic.train.diffusion.loop import LossTerm, Objective, Report, VelocityObjective, train
from echomimic.train.diffusion.losses import SpatialLoss
from echomimic.train.diffusion.manifest import Row, hours_by_rights, subjects
from echomimic.train.diffusion.phase_losses import load_phase_loss
from echomimic.train.diffusion.rights import require_written_consent
from echomimic.train.diffusion.run_folder import SETTINGS, describe_data, people_shown, write_run
from echomimic.train.diffusion.samples import ClipSamples
from echomimic.train.diffusion.settings import TrainSettings, differences, read_settings
from echomimic.train.diffusion.starts import Start, load_start
from echomimic.train.diffusion.trainee import count_parameters
from echomimic.train.diffusion.validate import Score, Validation

LONGEST_WAIT = timedelta(hours=12)
Say = Callable[[str], None]


@dataclass(frozen=True)
class RunOptions:
    """How to run: `resume` continues the run in the folder, `force` with other settings too.

    `has_rights` states that the user may use recordings without stated consent. `score` measures a validation clip
    against the real one.
    """

    resume: bool = False
    force: bool = False
    has_rights: bool = False
    score: Score | None = None


def run_training(
    settings: TrainSettings,
    folder: Path,
    options: RunOptions | None = None,
    *,
    say: Say = lambda text: None,
    report: Report | None = None,
) -> dict[str, Tensor]:
    """Train on the data set `settings.data.path` into `folder`, and return the averaged weights by name.

    Raises InputError, OptionError, WeightsError, OutputError and DeviceError, each in one line.
    """
    options = options or RunOptions()
    start_processes()
    check_folder(folder, settings, options)
    if not settings.data.path:
        raise OptionError("data.path is empty; expected a folder that `echomimic train prepare` wrote")
    clips, validation = open_clips(Path(settings.data.path), settings)
    heads = open_headshots(settings) if settings.model.variant == "hands" else None
    rows = [*clips.rows, *validation.rows, *(heads.rows if heads else ())]
    for line in check_rights(rows, options.has_rights):
        say(line)
    check_consent([*clips.rows, *(heads.rows if heads else ())], settings)
    start = load_start(settings)
    for line in start.origin:
        say(line)
    write_run(folder, settings, describe_data(rows, settings, start.origin))
    if settings.data.cached_latents:
        _cache(clips, validation, start, say)
    samples = make_samples(clips, start, settings, heads)
    watch = Validation(settings, start, validation, clips, folder, options.score, say)
    return train(
        start.trainee,
        samples,
        settings,
        folder,
        objective=make_objective(settings, start),
        encode=partial(encode_batch, start.vae),
        resume=options.resume,
        force=options.force,
        report=_announced(report, start, say),
        after_step=watch,
    )


def start_processes() -> None:
    """Join the processes of a distributed run, with a timeout that is long enough for encoding and validation.

    On a CPU, accelerate joins them only if it is told to use the CPU.
    """
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)


def make_objective(settings: TrainSettings, start: Start) -> Objective:
    """What the run minimizes: the error of the velocity and further losses, or that of distillation."""
    if settings.distil.kind != "off":
        return DistillationObjective(start.trainee, settings)
    return VelocityObjective(start.trainee.schedule, settings.loss, loss_terms(settings, start))


def loss_terms(settings: TrainSettings, start: Start) -> list[LossTerm]:
    """The losses besides that of the velocity."""
    schedule, vae, terms = start.trainee.schedule, start.vae, list[LossTerm]()
    if settings.loss.spatial > 0:
        terms.append(SpatialLoss(schedule, vae, settings.loss))
    if settings.phase_loss.is_on:
        terms.append(load_phase_loss(schedule, vae, settings.phase_loss))
    return terms


def make_samples(clips: Clips, start: Start, settings: TrainSettings, heads: Clips | None = None) -> ClipSamples:
    """The samples of the trained variant. Raises OptionError for settings of another variant."""
    if settings.model.variant == "hands":
        return HalfBodySamples(clips, start.speech, settings, heads)
    if settings.phase_loss.is_on or settings.curriculum.phases:
        raise OptionError(
            f"[phase_loss] and [curriculum] are of V2; expected none for model.variant {settings.model.variant}"
        )
    return ClipSamples(clips, start.speech, settings)


def check_folder(folder: Path, settings: TrainSettings, options: RunOptions) -> None:
    """Raise OptionError if `folder` holds a run and `resume` is off, or a run with other settings."""
    if not list_checkpoints(folder):
        return
    if not options.resume:
        raise OptionError(f"{folder} holds a run already; expected an empty folder, or --resume")
    path = folder / SETTINGS
    changed = differences(settings, read_settings(path)) if path.is_file() else []
    if changed and not options.force:
        raise OptionError(
            f"{folder} was made with other settings ({'; '.join(changed)}); expected the same to resume: start a new "
            "run folder, or use --force"
        )


def check_rights(rows: Sequence[Row], has_rights: bool) -> list[str]:
    """Lines with the hours of each licence and consent. Raises OptionError for recordings without stated consent."""
    hours = hours_by_rights(rows)
    lines = [f"{amount:8.2f} h  {licence}, consent {consent}" for (licence, consent), amount in hours.items()]
    unstated = sum(amount for (_, consent), amount in hours.items() if consent == "none-stated")
    if unstated and not has_rights:
        raise OptionError(
            f"{unstated:.2f} of {sum(hours.values()):.2f} hours have consent = 'none-stated'; expected a stated "
            "consent: obtain it and prepare again, or state with --i-have-the-rights that you may use them"
        )
    return lines


def check_consent(rows: Sequence[Row], settings: TrainSettings) -> None:
    """Raise OptionError unless the person that a LoRA shows has consented in writing."""
    if settings.model.lora_rank and settings.distil.kind == "off":
        shown = [row.rights for row in people_shown(rows, settings)]
        if not shown:
            raise OptionError(
                f"model.subject is {settings.model.subject!r}; expected a subject of the data: "
                f"{', '.join(sorted(subjects(rows)))}"
            )
        require_written_consent(shown, "a LoRA of one person")


def trained_lines(counts: Mapping[str, tuple[int, int]]) -> Iterable[str]:
    """One line a network: how many of its parameters are trained."""
    for name, (trained, total) in counts.items():
        yield f"{name:<10} {trained / 1e6:9.3f} M of {total / 1e6:9.3f} M parameters are trained"


def _announced(report: Report | None, start: Start, say: Say) -> Report:
    """A report that is preceded by the trained parameters, which are known when the first step is done."""
    said: list[bool] = []

    def announce(record: dict[str, Any]) -> None:
        if not said:
            said.append(True)
            for line in trained_lines(count_parameters(start.trainee)):
                say(line)
        if report:
            report(record)

    return announce


def _cache(clips: Clips, validation: Clips, start: Start, say: Say) -> None:
    """Encode all clips that have no cached latents yet; the processes of a run share them."""
    from accelerate import PartialState

    state = PartialState()
    for part in (clips, validation):
        cache_latents(part, start.vae, torch.device(state.device), state.process_index, state.num_processes)
    state.wait_for_everyone()
    say(f"latents of {len(clips) + len(validation)} clips are in {clips.folder / 'cache' / 'latents'}")

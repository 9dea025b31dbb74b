"""`animate` in the processes that torchrun started: the first writes and prints, the others compute their share."""

import os
from typing import TYPE_CHECKING

import typer

from echomimic.apps.cli.reporter import Reporter, print_error, spell_as_flags
from echomimic.errors import EchoMimicError
from echomimic.notes import note

if TYPE_CHECKING:
    from echomimic.apps.jobs.runner import JobRequest
    from echomimic.types import Clip

LOST = "rank_lost"
"""Code of the error that another process has ended."""


def is_launched() -> bool:
    """Whether torchrun started several processes."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1")


def is_first() -> bool:
    """Whether this process prints: it is the only one, or the first of several."""
    return not is_launched() or os.environ.get("RANK", "0") == "0"


def animate_by_ranks(job: "JobRequest", reporter: Reporter) -> "Clip":
    """Make a clip by all processes; return it in the first, and leave in the others."""
    from echomimic import api
    from echomimic.apps.jobs.runner import preset_name, run_job
    from echomimic.presets import find_preset

    name = preset_name(job)
    if find_preset(name).engine == "mesh":
        if not is_first():
            raise typer.Exit(0)
        note(
            "one_process",
            "preset {preset} renders on the CPU cores of one process; the others have nothing to do",
            preset=name,
        )
        return run_job(job, reporter.progress)
    engine = api.load(name, weights=job.weights, lora=job.lora, ranks=True)
    if is_first():
        clip = run_job(job, reporter.progress, engine=engine)
        api.dismiss()
        return clip
    assert job.portrait is not None and job.speech is not None  # the command line requires them
    try:
        api.assist(job.portrait, job.speech, job.motion, engine=engine, **job.options)
    except EchoMimicError as error:
        if error.exit_code != 2 and error.code != LOST:  # the first process has the errors of inputs too
            print_error(f"error: process {os.environ['RANK']} of torchrun: {spell_as_flags(str(error))}")
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(0)

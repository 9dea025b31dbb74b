"""The command line: `echomimic animate PORTRAIT SPEECH` and the other commands."""

import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from echomimic import __version__
from echomimic.apps.cli.flags import Json, argument, option, switch, with_option_flags
from echomimic.apps.cli.ranks import animate_by_ranks, is_first, is_launched
from echomimic.apps.cli.reporter import (
    Reporter,
    StdoutError,
    open_standard_streams,
    print_error,
    print_json,
    print_line,
    quiet_libraries,
    reporting,
    spell_as_flags,
    stdout_error,
)
from echomimic.cancellation import cancellable
from echomimic.errors import EchoMimicError
from echomimic.options import WorkOptions, work_help
from echomimic.types import Clip

app = typer.Typer(
    help="A portrait photo and a voice become a video of that person speaking.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)

_Output = Annotated[
    Path | None,
    option(
        "OUT",
        "video.mp4, .webm, .gif, or a folder for PNGs; default: PORTRAIT-SPEECH.mp4, here",
        "-o",
        "--output",
        show_default=False,
    ),
]
_Weights = Annotated[
    Path | None, option("DIR", "folder with checkpoints; default: ECHOMIMIC_WEIGHTS, or where fetch puts them")
]
_Motion = Annotated[Path | None, option("TRACK", "follow this motion instead of the one generated from the voice")]
_Lora = Annotated[Path | None, option("FILE", "adapt a diffusion preset to a person with this LoRA of 'train export'")]
_Sign = Annotated[
    tuple[Path, Path] | None,
    option("CERT KEY", "sign with this PEM certificate chain and key: see 'echomimic keys'"),
]
_OUTPUT = option("OUT", "video.mp4, .webm, .gif, or a folder for PNGs", "-o", "--output")

# exit code of typer for a KeyboardInterrupt, which it reports without a message; older ones raise Abort
_INTERRUPTED = 130


_STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class _Stopped(BaseException):
    """A signal asked the program to stop. It is not an Exception, so that no handler in between swallows it."""

    def __init__(self, signum: int) -> None:
        self.exit_code = 128 + signum


_requested_stops: list[_Stopped] = []
"""The exception that `_stop` raised: Python drops it if the signal arrived inside a finalizer or a C callback."""


@app.callback(invoke_without_command=True)
def _main_options(
    context: typer.Context,
    version: Annotated[bool, switch("--version", "print the version and exit")] = False,
    debug: Annotated[bool, switch("--debug", "show tracebacks and the messages of libraries")] = False,
) -> None:
    if version:
        print_line(f"echomimic {__version__}")
    elif context.invoked_subcommand is None:
        print_line(context.get_help())


@app.command()
@with_option_flags()
def animate(
    portrait: Annotated[Path, argument("PORTRAIT", "a photo, drawing or painting of a person")],
    speech: Annotated[Path, argument("SPEECH", "a voice: any sound file, or a video's sound")],
    output: _Output = None,
    preset: Annotated[str, option("NAME", "how to render: see 'echomimic presets'")] = "auto",
    motion: _Motion = None,
    save_motion: Annotated[Path | None, option("TRACK", "save the rendered motion here: .npz, .json or .csv")] = None,
    weights: _Weights = None,
    lora: _Lora = None,
    lora_strength: Annotated[float, option("NUMBER", "how much of the LoRA, 0 to 2; 1 is as it was trained")] = 1.0,
    sign: _Sign = None,
    plan: Annotated[bool, switch("--plan", "print what would be rendered, and write nothing")] = False,
    check: Annotated[bool, switch("--check", "measure the finished video and print warnings")] = False,
    keep_work: Annotated[bool, switch("--keep-work", work_help("keep"))] = False,
    resume: Annotated[bool, switch("--resume", work_help("resume"))] = False,
    start: Annotated[float | None, option("SECONDS", work_help("start"), "--from")] = None,
    end: Annotated[float | None, option("SECONDS", work_help("end"), "--to")] = None,
    as_json: Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Make a video of PORTRAIT speaking SPEECH."""
    output = output or Path(f"{portrait.stem}-{speech.stem}.mp4")
    with reporting(as_json, silent=not is_first()) as reporter:
        from echomimic import api
        from echomimic.apps.jobs.runner import JobRequest, run_job
        from echomimic.checkpoints import LoraFile

        adapted = None if lora is None else LoraFile(lora, lora_strength)
        if plan:
            reporter.plan(api.plan(portrait, speech, motion, preset=preset, weights=weights, lora=adapted, **given))
            return
        job = JobRequest(
            output,
            portrait=portrait,
            speech=speech,
            motion=motion,
            preset=preset,
            options=given,
            save_motion=save_motion,
            weights=weights,
            lora=adapted,
            sign=sign,
            work=WorkOptions(keep=keep_work, resume=resume, start=start, end=end),
        )
        clip = animate_by_ranks(job, reporter) if is_launched() else run_job(job, reporter.progress)
        _report(reporter, clip, check)


@app.command()
def demo(output: Annotated[Path, _OUTPUT] = Path("demo.mp4"), as_json: Json = False) -> None:
    """Render the bundled portrait with the bundled voice."""
    from echomimic.data import demo_portrait, demo_voice

    with reporting(as_json) as reporter:
        from echomimic import api

        clip = api.animate(demo_portrait(), demo_voice(), output=output, preset="mesh", progress=reporter.progress)
        _report(reporter, clip)


def _report(reporter: Reporter, clip: Clip, check: bool = False) -> None:
    """Print the finished clip; if stdout cannot be written, the error says where the clip is. `check` measures it."""
    try:
        reporter.done(clip)
    except StdoutError as error:
        raise StdoutError(f"{error}; the video is complete: {clip.path}", error.exit_code) from None
    if check:
        from echomimic.apps.cli.evaluate import check_made

        check_made(clip.path, reporter)


@app.command()
def doctor(as_json: Json = False) -> None:
    """List what is installed, which presets can run here, and the commands that install the rest."""
    from echomimic.apps.doctor import examine, report_lines

    health = examine()
    if as_json:
        print_json("doctor", **asdict(health))
    else:
        for line in report_lines(health):
            print_line(line)
    raise typer.Exit(0 if health.ready("mesh") else 2)


@app.command()
def presets(as_json: Json = False) -> None:
    """List the presets."""
    from echomimic.presets import PRESETS

    for preset in PRESETS.values():
        if as_json:
            facts = {"name": preset.name, "engine": preset.engine, "conditioning": preset.conditioning}
            print_json("preset", **facts, summary=preset.summary)
        else:
            print_line(f"{preset.name:<18} {preset.summary}")


@cache
def full_app() -> typer.Typer:
    """The app with the commands that have files of their own; `animate` starts faster without them."""
    from echomimic.apps.cli.batch import batch
    from echomimic.apps.cli.comfy import app as comfy_app
    from echomimic.apps.cli.evaluate import evaluate
    from echomimic.apps.cli.motion import motion_app, track
    from echomimic.apps.cli.provenance import info, keys_app, replay, verify
    from echomimic.apps.cli.serve import add_serve, mcp, web
    from echomimic.apps.cli.train import app as train_app
    from echomimic.apps.cli.weights import app as weights_app
    from echomimic.apps.cli.weights import models_app

    add_serve(app)
    for command in (batch, track, web, evaluate, info, verify, replay, mcp):
        app.command()(command)
    groups = {"motion": motion_app, "weights": weights_app, "models": models_app, "train": train_app, "keys": keys_app}
    groups["comfy"] = comfy_app
    for name, group in groups.items():
        app.add_typer(group, name=name)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run the command line in this process and return the exit code. Every error is one line on stderr."""
    debug = "--debug" in arguments or bool(os.environ.get("ECHOMIMIC_DEBUG"))
    as_json = "--json" in arguments
    _requested_stops.clear()
    try:
        chosen = app if "animate" in arguments[:1] else full_app()
        with cancellable(_raise_stop):
            code = chosen([a for a in arguments if a != "--debug"], prog_name="echomimic", standalone_mode=False) or 0
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        return int(code)
    except TyperException as error:
        return _fail(_usage_message(error), 2, as_json, "usage")
    except (_Stopped, KeyboardInterrupt, typer.Abort) as stop:
        kept = "the finished clips are kept" if "batch" in arguments[:1] else "nothing was written"
        return _fail(f"stopped; {kept}", getattr(stop, "exit_code", _INTERRUPTED), as_json, "cancelled")
    except Exception as error:
        if debug:
            raise
        if isinstance(error, BrokenPipeError):
            error = stdout_error(error)
        if isinstance(error, EchoMimicError):
            message = _with_addresses(spell_as_flags(str(error)), arguments)
            return _fail(message, error.exit_code, as_json, error.code)
        return _fail(_unexpected_message(error), 1, as_json, "failed")


def _with_addresses(message: str, arguments: Sequence[str]) -> str:
    """The message with the URLs that were given as paths; a Path makes one slash of two."""
    for address in re.findall(r"[A-Za-z][\w+.-]+://\S+", "\n".join(arguments)):
        message = message.replace(str(Path(address)), address)
    return message


def _usage_message(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "echomimic"
    return f"{error.format_message().rstrip('.')}; see: {command} --help"


def _unexpected_message(error: Exception) -> str:
    """One line for an error that is not an EchoMimicError."""
    if isinstance(error, MemoryError):
        return "out of memory; expected more memory or a smaller task: lower --size"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; expected a file or folder that can be used: check the path and the free space"
    message = f"unexpected {type(error).__name__}: {error}"
    return f"{message}; this is a bug in echomimic: run the same command with --debug and report the output"


def _fail(message: str, exit_code: int, as_json: bool, code: str) -> int:
    """Print an error as one line on stderr and, for programs, on stdout; return the exit code.

    Of several processes of torchrun only the first prints errors, unless they are bugs.
    """
    if not is_first() and code != "failed":
        return exit_code
    line = " ".join(message.split())
    if as_json:
        with suppress(StdoutError):
            print_json("error", message=line, code=code, exit_code=exit_code)
    print_error(f"error: {line}")
    return exit_code


def _stop(signum: int, _frame: FrameType | None) -> None:
    if signum != signal.SIGTERM and signal.getsignal(signal.SIGTERM) is not _stop:
        signal.raise_signal(signal.SIGTERM)  # a server handles this one itself
        return
    for stop_signal in _STOP_SIGNALS:  # a second one must not interrupt the clean-up that the first one began
        signal.signal(stop_signal, signal.SIG_IGN)
    _requested_stops.append(_Stopped(signum))
    raise _requested_stops[-1]


def _raise_stop() -> None:
    """Raise again what `_stop` raised, in case it was dropped."""
    if _requested_stops:
        raise _requested_stops[-1]


def _handle_signals() -> None:
    """Let signals stop a run with its clean-up; `nohup`, which ignores SIGHUP, stays in force."""
    for signum in _STOP_SIGNALS:
        if signum in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _stop)


def main(arguments: Sequence[str] | None = None) -> None:
    """The `echomimic` command: `run` with signal handlers and without messages of libraries."""
    given = sys.argv[1:] if arguments is None else arguments
    open_standard_streams()
    _handle_signals()
    # frames are rendered in our own threads; those of numpy would only take time from them
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "--debug" not in given and not os.environ.get("ECHOMIMIC_DEBUG"):
        quiet_libraries()
    try:
        code = run(given)
        for signum in _STOP_SIGNALS:  # torchrun sends one to a process that has reported its error and is about to end
            signal.signal(signum, signal.SIG_DFL)
    except _Stopped as stop:  # while the last line was written
        code = stop.exit_code
    sys.exit(code)

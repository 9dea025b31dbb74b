"""The command line: `echomimic animate PORTRAIT SPEECH`, and what helps to get there."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

import echomimic.apps.cli.motion_edits  # noqa: F401 - it adds its commands to motion_app
from echomimic import __version__
from echomimic.apps.cli.evaluate import check_made, evaluate
from echomimic.apps.cli.flags import with_option_flags
from echomimic.apps.cli.motion import motion_app, track
from echomimic.apps.cli.reporter import quiet_libraries, reporting, say_json
from echomimic.apps.cli.serve import serve
from echomimic.apps.cli.web import web
from echomimic.apps.cli.weights import app as weights_app
from echomimic.errors import EchoMimicError

# typer carries click inside itself in newer releases and beside itself in older ones; this is ClickException in both
_ClickException: type[Any] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    help="A portrait photo and a voice become a video of that person speaking.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)

_Json = Annotated[bool, typer.Option("--json", help="one JSON object a line on stdout, for programs")]
_Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="video.mp4, .webm, .gif, or a folder for PNGs; default: PORTRAIT-SPEECH.mp4, here",
        show_default=False,
    ),
]
_Weights = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="folder with checkpoints; default: ECHOMIMIC_WEIGHTS, or where fetch puts them"),
]
_OUTPUT = typer.Option("-o", "--output", metavar="OUT", help="video.mp4, .webm, .gif, or a folder for PNGs")

# what typer makes of a KeyboardInterrupt, without a word; older ones raise Abort
_INTERRUPTED = 130


class _Stopped(BaseException):
    """A signal asked to stop. Not an Exception, so that nobody between here and there swallows it."""

    def __init__(self, signum: int) -> None:
        self.exit_code = 128 + signum


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="say the version and stop")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks and what the libraries say")] = False,
) -> None:
    if version:
        typer.echo(f"echomimic {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
@with_option_flags
def animate(
    portrait: Annotated[Path, typer.Argument(metavar="PORTRAIT", help="a photo, drawing or painting of a person")],
    speech: Annotated[Path, typer.Argument(metavar="SPEECH", help="a voice: any sound file, or a video's sound")],
    output: _Output = None,
    preset: Annotated[str, typer.Option(help="how to render: see 'echomimic presets'")] = "auto",
    motion: Annotated[
        Path | None,
        typer.Option(metavar="TRACK", help="render this motion instead of the one read off the voice"),
    ] = None,
    save_motion: Annotated[
        Path | None,
        typer.Option(metavar="TRACK", help="write the motion that was rendered here (.npz)"),
    ] = None,
    weights: _Weights = None,
    plan: Annotated[bool, typer.Option("--plan", help="say what would happen, and do nothing")] = False,
    check: Annotated[bool, typer.Option("--check", help="measure the video, and warn of what looks wrong")] = False,
    as_json: _Json = False,
    *,
    given: dict[str, Any],
) -> None:
    """Make a video of PORTRAIT speaking SPEECH."""
    output = output or Path(f"{portrait.stem}-{speech.stem}.mp4")
    with reporting(as_json) as reporter:
        from echomimic import api

        if plan:
            reporter.plan(api.plan(portrait, speech, motion, preset=preset, weights=weights, **given))
            return
        clip = api.animate(
            portrait,
            speech,
            motion,
            output=output,
            preset=preset,
            save_motion=save_motion,
            weights=weights,
            progress=reporter.progress,
            **given,
        )
        reporter.done(clip)
        if check:
            check_made(clip.path, reporter)


@app.command()
def demo(output: Annotated[Path, _OUTPUT] = Path("demo.mp4"), as_json: _Json = False) -> None:
    """Render the bundled portrait with the bundled voice."""
    from echomimic.apps.demo import demo_portrait, demo_voice

    with reporting(as_json) as reporter:
        from echomimic import api

        reporter.done(
            api.animate(demo_portrait(), demo_voice(), output=output, preset="mesh", progress=reporter.progress)
        )


@app.command()
def doctor(as_json: _Json = False) -> None:
    """Say what is installed, which presets can run here, and the command that mends what is missing."""
    from echomimic.apps.doctor import examine, lines

    health = examine()
    if as_json:
        say_json("doctor", **health.as_dict())
    else:
        for line in lines(health):
            typer.echo(line)
    raise typer.Exit(0 if health.ready("mesh") else 2)


@app.command()
def presets(as_json: _Json = False) -> None:
    """List the presets."""
    from echomimic.presets import PRESETS

    for preset in PRESETS.values():
        if as_json:
            say_json("preset", name=preset.name, engine=preset.engine, drive=preset.drive, summary=preset.summary)
        else:
            typer.echo(f"{preset.name:<18} {preset.summary}")


# commands with a file of their own; what is heavy in them is imported when they run
for _command in (track, serve, web, evaluate):
    app.command()(_command)
app.add_typer(motion_app, name="motion")
app.add_typer(weights_app, name="weights")


def run(arguments: Sequence[str]) -> int:
    """Run the command line in this process; returns the exit code. Every error is one line on stderr."""
    debug = "--debug" in arguments or bool(os.environ.get("ECHOMIMIC_DEBUG"))
    as_json = "--json" in arguments
    try:
        code = app([a for a in arguments if a != "--debug"], prog_name="echomimic", standalone_mode=False) or 0
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        return int(code)
    except _ClickException as error:
        return _fail(_usage(error), 2, as_json)
    except EchoMimicError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code, as_json)
    except (_Stopped, KeyboardInterrupt, typer.Abort) as stop:
        return _fail("stopped; nothing was written", getattr(stop, "exit_code", _INTERRUPTED), as_json)
    except Exception as error:
        if debug:
            raise
        return _fail(_unexpected(error), 1, as_json)


def _usage(error: Any) -> str:
    """What was wrong with the command line, and where to read how it is meant."""
    context = getattr(error, "ctx", None)
    return f"{error.format_message().rstrip('.')}; see: {context.command_path if context else 'echomimic'} --help"


def _unexpected(error: Exception) -> str:
    """One line for what nobody foresaw."""
    if isinstance(error, MemoryError):
        return "out of memory; expected more of it, or less to do: lower --size"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; expected a file or folder that can be used: check the path and the free space"
    what = f"unexpected {type(error).__name__}: {error}"
    return f"{what}; this is a fault of echomimic: run the same with --debug and report what it says"


def _fail(message: str, code: int, as_json: bool) -> int:
    """Say an error in one line on stderr, and on stdout for programs; returns the exit code."""
    line = " ".join(message.split())
    if as_json:
        say_json("error", message=line, exit_code=code)
    typer.echo(f"error: {line}", err=True)
    return code


def _stop(signum: int, _frame: FrameType | None) -> None:
    # a second signal must not break into the clean-up that the first one began
    signal.signal(signum, signal.SIG_IGN)
    raise _Stopped(signum)


def main(arguments: Sequence[str] | None = None) -> None:
    """What the `echomimic` command runs: `run`, and signals stop it, and libraries are quiet."""
    given = sys.argv[1:] if arguments is None else arguments
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _stop)
    # frames are rendered in threads of ours; numpy's own would only spin beside them
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "--debug" not in given and not os.environ.get("ECHOMIMIC_DEBUG"):
        quiet_libraries()
    if isinstance(sys.stdout.errors, str) and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    sys.exit(run(given))

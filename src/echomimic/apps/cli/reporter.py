"""Output of the command line: a bar on a terminal, plain lines in a log, one JSON object a line for programs."""

import errno
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from time import monotonic
from typing import TextIO

from echomimic.apps.option_specs import spell_options
from echomimic.cancellation import check_cancelled
from echomimic.errors import EchoMimicError
from echomimic.types import Clip, Plan

SIGPIPE = 13
"""Number of the signal that ends a program whose reader has gone; Windows has no name for it."""
JSON_SECONDS = 0.1
"""Least time between two progress events."""


class StdoutError(EchoMimicError):
    """stdout cannot be written: its reader has closed it (exit code 141), or its device is full or gone."""

    code = "stdout_not_writable"

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RateEstimator:
    """Frames per second and seconds left, measured from the first call."""

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None

    def __call__(self, done: int, total: int) -> tuple[float, float]:
        """Return the mean rate (frames/s) and the remaining time (s) at that rate; zeros while unknown."""
        now = monotonic()
        since, first = self._start = self._start or (now, done)
        rate = (done - first) / max(now - since, 1e-6)
        return rate, (total - done) / rate if rate > 0 else 0.0


class Reporter:
    """Shows a run to the user: progress and notes as lines on stderr, the result on stdout; progress counts `unit`."""

    def __init__(self, unit: str = "frames") -> None:
        self._rate, self._tenth, self._unit = RateEstimator(), 0, unit

    def plan(self, plan: Plan) -> None:
        """Show what a run would do."""
        for line in plan_lines(plan):
            print_line(line)

    def progress(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done, with the rate and the time left. Raises if the user has cancelled."""
        check_cancelled()
        rate, left = self._rate(done, total)
        speed = f"{self._unit}, {rate:{'.0f' if rate >= 10 else '.2g'}} a second, {duration(left)} left"
        self.status(done, total, speed, speed=round(rate, 2), left=round(left, 2))

    def status(self, done: int, total: int, description: str, **values: object) -> None:
        """Show that `done` of `total` are done, with a description for people, or the values for programs."""
        if 10 * done // max(total, 1) > self._tenth:
            self._tenth = 10 * done // total
            self.line(f"{done} of {total} {description}")

    def note(self, text: str, code: str = "") -> None:
        """Show one note."""
        self.line(f"note: {text}")

    def done(self, clip: Clip) -> None:
        """Show the finished clip."""
        self.close()
        print_line(done_line(clip))

    def line(self, text: str) -> None:
        """Show a line on stderr."""
        print_error(text)

    def close(self) -> None:
        """Release the terminal."""


class JsonReporter(Reporter):
    """Prints one JSON object a line on stdout, each with its `event`: plan, progress, note, done or error."""

    _printed_at = 0.0

    def plan(self, plan: Plan) -> None:
        print_json("plan", **{**asdict(plan), "notes": [spell_as_flags(text) for text in plan.notes]})

    def status(self, done: int, total: int, description: str, **values: object) -> None:
        if done == total or monotonic() - self._printed_at >= JSON_SECONDS:
            self._printed_at = monotonic()
            print_json("progress", done=done, total=total, **values)

    def note(self, text: str, code: str = "") -> None:
        print_json("note", text=text, **({"code": code} if code else {}))

    def done(self, clip: Clip) -> None:
        print_json("done", **{**asdict(clip), "notes": [spell_as_flags(text) for text in clip.notes]})


class BarReporter(Reporter):
    """Shows a bar with frames, rate and time left on stderr."""

    def __init__(self, unit: str = "frames") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        super().__init__(unit)
        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(unit, total=None)

    def status(self, done: int, total: int, description: str, **values: object) -> None:
        with suppress(OSError):  # a terminal that was closed does not stop the run; SIGHUP does
            self._bar.start()
            self._bar.update(self._task, completed=done, total=total, description=description)

    def line(self, text: str) -> None:
        if not self._bar.live.is_started:
            super().line(text)
            return
        with suppress(OSError):
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        with suppress(OSError):
            self._bar.stop()


class SilentReporter(Reporter):
    """Shows nothing, because another process reports the run."""

    def plan(self, plan: Plan) -> None:
        """Show nothing."""

    def line(self, text: str) -> None:
        """Show nothing."""


def duration(seconds: float) -> str:
    """A duration for people: 40 s, 12 min, 3.5 h."""
    if seconds < 180:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 10_800 else f"{seconds / 3600:.1f} h"


def print_line(text: str) -> None:
    """Print one line on stdout; StdoutError if it cannot be written."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout)
        raise stdout_error(error) from None


def stdout_error(error: OSError) -> StdoutError:
    """The error of a failed write to stdout, with the exit code that a shell expects."""
    if error.errno == errno.EPIPE:
        return StdoutError("stdout was closed by the program that read it", 128 + SIGPIPE)
    return StdoutError(f"stdout cannot be written ({error.strerror})")


def _discard(stream: TextIO) -> None:
    """Point a stream's descriptor at the null device, so that what is still buffered raises nothing at exit."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def print_error(text: str) -> None:
    """Print one line on stderr; if it cannot be written, the work continues without it."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def print_json(event: str, **values: object) -> None:
    """Print one event as a line of JSON on stdout."""
    print_line(json.dumps({"event": event, **values}, default=str))


def spell_as_flags(text: str) -> str:
    """A message with the names of options as flags: --face-box for `face_box`."""
    return spell_options(text, lambda name: "-o" if name == "output" else f"--{name.replace('_', '-')}")


def plan_lines(plan: Plan) -> list[str]:
    """The lines that `--plan` prints."""
    return [
        f"preset   {plan.preset}: {spell_as_flags(plan.why)}",
        f"frames   {plan.frames} at {plan.fps:g} a second: {plan.seconds:.2f} s",
        f"size     {plan.width} x {plan.height}",
        f"memory   about {plan.memory_mb} MB",
        *(f"note     {spell_as_flags(text)}" for text in plan.notes),
    ]


def done_line(clip: Clip) -> str:
    """The line that is printed when a clip is finished."""
    motion = f", motion in {clip.motion}" if clip.motion else ""
    facts = f"{clip.frames} frames, {clip.seconds:.2f} s, {clip.width} x {clip.height}, preset {clip.preset}"
    return f"{clip.path}: {facts}, seed {clip.seed}, made in {clip.took:.1f} s{motion}"


class _NoteHandler(logging.Handler):
    """Passes log records of the package to a reporter."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.INFO)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        self._reporter.note(spell_as_flags(record.getMessage()), getattr(record.msg, "code", ""))


@contextmanager
def reporting(as_json: bool, unit: str = "frames", *, silent: bool = False) -> Iterator[Reporter]:
    """The reporter for this terminal, which counts `unit`; the package's notes go to it. A silent one shows nothing."""
    has_bar = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    kind = SilentReporter if silent else JsonReporter if as_json else BarReporter if has_bar else Reporter
    reporter = kind(unit)
    log, handler = logging.getLogger("echomimic"), _NoteHandler(reporter)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield reporter
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        reporter.close()


def open_standard_streams() -> None:
    """Open the null device for each standard stream that is closed, and let no file name fail to be printed.

    Otherwise the next file to be opened would get descriptor 1 or 2, and what a library prints would go into it.
    Characters that a stream cannot encode are printed as escapes.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def quiet_libraries() -> None:
    """Keep stderr for this program's own lines: the networks' C++ runtime logs to it whatever one sets.

    `--debug` leaves everything as it is.
    """
    os.environ.setdefault("MPLBACKEND", "Agg")
    warnings.simplefilter("ignore")
    sys.stderr.flush()
    own, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    sys.stderr = os.fdopen(own, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace")

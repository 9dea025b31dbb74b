"""What the command line says: for people with a bar, for logs in plain lines, for programs one JSON object a line."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from time import monotonic
from typing import Protocol

import typer

from echomimic.types import Clip, Plan


class Reporter(Protocol):
    """Somebody who tells the user what happens."""

    def plan(self, plan: Plan) -> None:
        """What a run would do."""

    def progress(self, done: int, total: int) -> None:
        """`done` frames of `total` are made."""

    def note(self, text: str) -> None:
        """One line that is worth saying."""

    def done(self, clip: Clip) -> None:
        """The video is written."""

    def close(self) -> None:
        """Nothing more will be said, or only an error."""


class Pace:
    """How fast it goes: frames a second and seconds left, counted from the first call."""

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None

    def __call__(self, done: int, total: int) -> tuple[float, float]:
        """Frames a second so far, and the seconds that the rest will take at that speed."""
        now = monotonic()
        since, first = self._start = self._start or (now, done)
        speed = (done - first) / max(now - since, 1e-6)
        return speed, (total - done) / speed if speed > 0 else 0.0


class JsonReporter:
    """One object a line on stdout, each with its `event`: plan, progress, note, done or error."""

    def __init__(self) -> None:
        self._pace, self._said = Pace(), 0.0

    def plan(self, plan: Plan) -> None:
        """All of the plan."""
        say_json("plan", **asdict(plan))

    def progress(self, done: int, total: int) -> None:
        """Ten times a second, and at the end."""
        speed, left = self._pace(done, total)
        if done == total or monotonic() - self._said >= 0.1:
            self._said = monotonic()
            say_json("progress", done=done, total=total, speed=round(speed, 2), left=round(left, 2))

    def note(self, text: str) -> None:
        """The note's text."""
        say_json("note", text=text)

    def done(self, clip: Clip) -> None:
        """All of the clip."""
        say_json("done", **asdict(clip))

    def close(self) -> None:
        """Nothing is held."""


class PlainReporter:
    """Lines for a log: a tenth of the frames each, on stderr; the result on stdout."""

    def __init__(self) -> None:
        self._pace, self._tenth = Pace(), 0

    def plan(self, plan: Plan) -> None:
        """One thing a line."""
        for line in plan_lines(plan):
            typer.echo(line)

    def progress(self, done: int, total: int) -> None:
        """One line for each tenth."""
        speed, left = self._pace(done, total)
        if 10 * done // max(total, 1) > self._tenth:
            self._tenth = 10 * done // total
            self.line(f"{done} of {total} frames, {speed:.0f} a second, {left:.0f} s left")

    def note(self, text: str) -> None:
        """One line on stderr."""
        self.line(f"note: {text}")

    def done(self, clip: Clip) -> None:
        """What was written, in one line on stdout."""
        self.close()
        typer.echo(done_line(clip))

    def line(self, text: str) -> None:
        """One line on stderr."""
        typer.echo(text, err=True)

    def close(self) -> None:
        """Nothing is held."""


class BarReporter(PlainReporter):
    """A bar with frames, speed and time left, on stderr."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        super().__init__()
        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("frames", total=None)

    def progress(self, done: int, total: int) -> None:
        """Move the bar; it appears with the first frame."""
        self._bar.start()
        speed, left = self._pace(done, total)
        said = f"frames, {speed:.0f} a second, {left:.0f} s left"
        self._bar.update(self._task, completed=done, total=total, description=said)

    def line(self, text: str) -> None:
        """One line above the bar."""
        if self._bar.live.is_started:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            super().line(text)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()


def say_json(event: str, **values: object) -> None:
    """One JSON object on one line of stdout."""
    typer.echo(json.dumps({"event": event, **values}, default=str))


def plan_lines(plan: Plan) -> list[str]:
    """A plan in words."""
    return [
        f"preset   {plan.preset}: {plan.why}",
        f"frames   {plan.frames} at {plan.fps:g} a second: {plan.seconds:.2f} s",
        f"size     {plan.width} x {plan.height}",
        f"memory   about {plan.memory_mb} MB",
        *(f"note     {text}" for text in plan.notes),
    ]


def done_line(clip: Clip) -> str:
    """What was written, in one line."""
    motion = f", motion in {clip.motion}" if clip.motion else ""
    what = f"{clip.frames} frames, {clip.seconds:.2f} s, {clip.width} x {clip.height}, preset {clip.preset}"
    return f"{clip.path}: {what}, seed {clip.seed}, made in {clip.took:.1f} s{motion}"


class _NoteHandler(logging.Handler):
    """Passes what is logged to a reporter."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.INFO)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        self._reporter.note(record.getMessage())


@contextmanager
def reporting(as_json: bool) -> Iterator[Reporter]:
    """The reporter that fits, with the notes of the package going to it."""
    reporter: Reporter = JsonReporter() if as_json else BarReporter() if sys.stderr.isatty() else PlainReporter()
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


def quiet_libraries() -> None:
    """Keep stderr for our own lines: mediapipe's C++ writes a dozen of its own to it, whatever one sets.

    `--debug` leaves everything as it is.
    """
    os.environ.setdefault("MPLBACKEND", "Agg")
    warnings.simplefilter("ignore")
    sys.stderr.flush()
    ours, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = os.fdopen(ours, "w", buffering=1, encoding=sys.stderr.encoding, errors="replace")

"""The edits of `echomimic motion …`: each a function of `echomimic.motion`, its words kept in the file it saves."""

from pathlib import Path
from typing import Annotated, Any

import typer

from echomimic.apps.cli.motion import Out, Parts, Track, edit, motion_app
from echomimic.errors import MotionError

Seconds = Annotated[float, typer.Argument(metavar="SECONDS")]
Second = Annotated[Path, typer.Argument(metavar="OTHER", help="the motion to take from")]


def _names(parts: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in parts.split(",") if part.strip())


def _marks(texts: list[str]) -> list[tuple[float, float]]:
    """Pairs from texts of the form `0.4=0.8`."""
    try:
        pairs = [tuple(float(number) for number in text.split("=")) for text in texts]
        return [(first, second) for first, second in pairs]
    except ValueError:
        raise MotionError(f"{' '.join(texts)!r} are no pairs of numbers; expected them as 0.4=0.8 1.2=1.0") from None


@motion_app.command()
def select(source: Track, output: Out, parts: Parts = "eyes,brows,pupils,nose") -> None:
    """Say which parts of a face drive; the voice moves the rest."""
    from echomimic import motion

    edit(source, output, f"select {parts}", lambda track: motion.select(_face(track, "select"), _names(parts)))


@motion_app.command()
def resample(source: Track, fps: Annotated[float, typer.Argument(metavar="FPS")], output: Out) -> None:
    """The same motion at another frame rate."""
    from echomimic import motion

    edit(source, output, f"resample {fps:g}", lambda track: motion.resample(track, fps))


@motion_app.command()
def trim(
    source: Track,
    output: Out,
    start: Annotated[float, typer.Option(help="second to start at; negative counts from the end")] = 0.0,
    end: Annotated[float | None, typer.Option(help="second to end before", show_default=False)] = None,
) -> None:
    """Keep the frames between two moments."""
    from echomimic import motion

    edit(source, output, f"trim {start:g} to {end}", lambda track: motion.trim(track, start, end))


@motion_app.command()
def loop(
    source: Track,
    seconds: Seconds,
    output: Out,
    seam: Annotated[
        float | None, typer.Option(help="start over with a seam of so many seconds, instead of going back and forth")
    ] = None,
) -> None:
    """Repeat a motion until it lasts so long."""
    from echomimic import motion

    edit(source, output, f"loop {seconds:g} seam {seam}", lambda track: motion.loop(track, seconds, seam))


@motion_app.command()
def stretch(source: Track, seconds: Seconds, output: Out) -> None:
    """Make the whole motion slower or faster, so that it lasts so long."""
    from echomimic import motion

    edit(source, output, f"stretch {seconds:g}", lambda track: motion.stretch(track, seconds))


@motion_app.command()
def smooth(
    source: Track, output: Out, seconds: Annotated[float, typer.Option(help="how far to average, in seconds")] = 0.12
) -> None:
    """Average over time, against trembling."""
    from echomimic import motion

    edit(source, output, f"smooth {seconds:g}", lambda track: motion.smooth(track, seconds))


@motion_app.command()
def amplify(
    source: Track, gain: Annotated[float, typer.Argument(metavar="GAIN")], output: Out, parts: Parts = ""
) -> None:
    """Make everything, or some parts, move GAIN times as far; 0 holds still."""
    from echomimic import motion

    words = f"amplify {gain:g} {parts}".strip()
    edit(source, output, words, lambda track: motion.amplify(track, gain, _names(parts)))


@motion_app.command()
def retime(
    source: Track,
    marks: Annotated[list[str], typer.Argument(metavar="OLD=NEW…", help="the second that goes to another: 0.4=0.8")],
    output: Out,
) -> None:
    """Move moments to others; the time between them is stretched."""
    from echomimic import motion

    edit(source, output, f"retime {' '.join(marks)}", lambda track: motion.retime(track, _marks(marks)))


@motion_app.command()
def blend(
    source: Track,
    other: Second,
    output: Out,
    share: Annotated[float, typer.Option(help="how much of OTHER", min=0, max=1)] = 0.5,
    parts: Parts = "",
) -> None:
    """Mix two motions, or take some parts from the other."""
    from echomimic import motion

    def change(track: Any) -> Any:
        return motion.blend(track, motion.load_motion(other), share, _names(parts))

    edit(source, output, f"blend {other.name} {share:g} {parts}".strip(), change)


@motion_app.command()
def offset(
    source: Track,
    output: Out,
    seconds: Annotated[float, typer.Option(help="later by so many seconds; negative for earlier")] = 0.0,
    x: Annotated[float, typer.Option(help="to the right: pixels for faces, shares of the picture for poses")] = 0.0,
    y: Annotated[float, typer.Option(help="down, likewise")] = 0.0,
) -> None:
    """Move a motion in time or in the picture."""
    from echomimic import motion

    edit(source, output, f"offset {seconds:g} {x:g} {y:g}", lambda track: motion.offset(track, seconds, x, y))


@motion_app.command()
def mirror(source: Track, output: Out) -> None:
    """What the left did, the right does."""
    from echomimic import motion

    edit(source, output, "mirror", motion.mirror)


@motion_app.command("set")
def set_(
    source: Track,
    curve: Annotated[str, typer.Argument(metavar="CURVE", help="jaw, blink, yaw, left_x, …: see docs/motion.md")],
    keys: Annotated[list[str], typer.Argument(metavar="SECOND=VALUE…", help="keyframes: 0=0 0.8=10")],
    output: Out,
) -> None:
    """Draw one curve of a face or of hands between keyframes; the points follow."""
    edit(source, output, f"set {curve} {' '.join(keys)}", lambda track: _set(track, curve, _marks(keys)))


def _set(track: Any, curve: str, keys: list[tuple[float, float]]) -> Any:
    """Set the curve; a track without curves has them read off its landmarks first."""
    from dataclasses import replace

    import numpy as np

    from echomimic import motion
    from echomimic.mesh.landmarks_to_curves import read_curves
    from echomimic.mesh.rig import Rig
    from echomimic.types import LandmarkTrack

    if not isinstance(track, LandmarkTrack):
        return motion.set_curve(track, curve, keys)
    if track.curves is None:
        track = replace(track, curves=read_curves(track))
    usual = int(np.argmin(np.abs(track.curves.values).sum(axis=1)))
    return motion.set_curve(track, curve, keys, Rig(track.points[usual]).points)


@motion_app.command()
def concat(
    sources: Annotated[list[Path], typer.Argument(metavar="TRACK…", help="motions of one kind, in order")],
    output: Out,
    seam: Annotated[float, typer.Option(help="seconds over which each seam is blended", min=0)] = 0.2,
) -> None:
    """Join motions one after the other."""
    from echomimic import motion

    def change(first: Any) -> Any:
        return motion.concat([first, *(motion.load_motion(path) for path in sources[1:])], seam)

    edit(sources[0], output, f"concat {' '.join(path.name for path in sources[1:])}", change)


def _face(track: Any, what: str) -> Any:
    from echomimic.types import LandmarkTrack

    if not isinstance(track, LandmarkTrack):
        raise MotionError(f"{what} was asked of a pose track; expected face landmarks")
    return track

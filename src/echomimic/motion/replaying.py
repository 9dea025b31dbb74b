"""Edits as lines of Python, kept with a track: read back and applied again, on this voice or on another.

A line is one call of an edit of `echomimic.motion` with the track first and plain values after it:
`draw_curve(track, 'jaw', [(0.4, 0.0), (0.56, 0.7), (0.8, 0.0)])`. It is parsed, never executed.
"""

import ast
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from echomimic.errors import MotionError
from echomimic.motion.time_edits import Track

EDITS = {
    "amplify": "spatial_edits",
    "draw_curve": "curve_edits",
    "mirror": "spatial_edits",
    "offset": "time_edits",
    "scale_curve": "curve_edits",
    "select": "spatial_edits",
    "set_curve": "curve_edits",
    "smooth": "time_edits",
}
"""The edits that may be replayed, and the module of each: those that leave a motion's length as it is."""
_LONGEST = 100_000


def replay(track: Track, lines: Iterable[str]) -> Track:
    """The track after each edit in turn. MotionError in one line where a line is no edit, or does not fit."""
    for line in lines:
        edit, arguments, named = _parse(line)
        try:
            track = edit(track, *arguments, **named)
        except (TypeError, ValueError) as error:
            raise MotionError(f"{_short(line)}: {error}") from None
    return track


def write_edit(name: str, *arguments: object) -> str:
    """The line of an edit: `write_edit("scale_curve", "jaw", 0.5)` is `scale_curve(track, 'jaw', 0.5)`."""
    line = f"{name}({', '.join(['track', *(repr(each) for each in arguments)])})"
    _parse(line)
    return line


def _parse(line: str) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
    """The edit that a line calls, and what it gives it."""
    wrong = MotionError(f"{_short(line)!r} is no edit; expected a line like scale_curve(track, 'jaw', 0.5)")
    try:
        call = ast.parse(line[:_LONGEST].strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise wrong
        first, *others = call.args
        arguments = [ast.literal_eval(each) for each in others]
        named = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise wrong from None
    if not isinstance(first, ast.Name) or first.id != "track" or len(named) != len(call.keywords):
        raise wrong
    if call.func.id not in EDITS:
        raise MotionError(f"{call.func.id!r} is no edit that can be replayed; expected one of {', '.join(EDITS)}")
    return getattr(import_module(f"echomimic.motion.{EDITS[call.func.id]}"), call.func.id), arguments, named


def _short(line: str) -> str:
    return line if len(line) <= 80 else f"{line[:77]}..."

"""The state of an editing session as JSON for the page: curves with their keyframes, edits, notes, takes."""

from collections.abc import Mapping
from typing import Any

from echomimic.apps.jobs.worker import describe_note
from echomimic.types import Floats

Kind = str
"""`face` or `hands`."""
TOLERANCE = 0.12
"""By default: about one keyframe a second for a head that moves slowly, 2 to 4 for a jaw that speaks."""
_LEAST, _MOVES = 0.004, 0.05
"""Fractions of a curve's range: the tolerance of one that hardly moves, and how far one goes at least that moves."""
_KEYS_AT_ONCE = 50_000
"""Frames of all curves together up to which every answer has the keyframes of all; else those of the shown curve."""


def session_state(found: Any) -> dict[str, Any]:
    """The facts that stay the same while a session (`OpenSession`) is open, and the state of the face."""
    from echomimic.motion import CURVES_OF

    session = found.session
    return {
        "portrait": found.upload.filenames.get("portrait", ""),
        "voice": found.upload.filenames.get("speech", ""),
        "peaks": session.peaks,
        "closures": session.face.closures,
        "edits": {kind: _records(edits) for kind, edits in session.edits.items()},
        "given": dict(session.given),
        "longer": session.longer,
        "first": session.kind,
        "takes": [take.model_dump(mode="json") for take in found.takes],
        "regions": CURVES_OF,
        "face": edited_state(session, "face"),
    }


def edited_state(session: Any, kind: Kind, tolerance: float = TOLERANCE, curve: str = "") -> dict[str, Any]:
    """The complete state of the face or of the hands for the editor."""
    editor = session.editor(kind)
    width, height = editor.size
    track = editor.history.track
    return change_state(session, kind, tuple(each.name for each in editor.table), tolerance, curve) | {
        "table": _curve_table(editor),
        "fps": track.fps,
        "frames": len(track),
        "width": width,
        "height": height,
        "far": editor.far,
    }


def change_state(session: Any, kind: Kind, names: tuple[str, ...], tolerance: float, curve: str) -> dict[str, Any]:
    """The state that an edit may change: the list of edits, and the curves called `names`.

    A long clip comes with the keyframes of one `curve` only, since those of all would take seconds.
    """
    editor = session.editor(kind)
    history, values = editor.history, editor.values()
    is_long = len(history.track) * len(editor.table) > _KEYS_AT_ONCE
    return {
        "kind": kind,
        "revision": session.revision,
        "edits": _records(history.edits),
        "baked": _records(history.baked),
        "undoable": len(history.past),
        "undone": len(history.undone),
        "parts": getattr(history.track, "parts", None),
        "curves": rounded_curves(values, names),
        "keys": {
            each.name: keys_of(editor, each.name, tolerance)
            for each in editor.table
            if each.name in names and (not is_long or each.name == (curve or editor.table[0].name))
        },
        "notes": [describe_note(each) for each in editor.notes],
    }


def _records(edits: Any) -> list[dict[str, Any]]:
    return [{"record": edit.record(), "text": str(edit)} for edit in edits]


def keys_of(editor: Any, name: str, tolerance: float) -> list[tuple[float, ...]]:
    """Keyframes of a curve with their handles (second, value, *`Handles`).

    The tolerance goes by how far the curve moves without edits, so that an edit changes no keyframes elsewhere. It has
    a floor by the fraction of its range that the curve usually uses.
    """
    import numpy as np

    from echomimic import motion

    fps, curve = editor.history.track.fps, motion.find_curve(editor.history.track, name)
    values = editor.values()[name]
    whole = editor.usual * (curve.high - curve.low)
    moves = float(np.ptp(editor.values(editor.history.base)[name]))
    span = moves if moves > _MOVES * whole else max(float(np.ptp(values)), _MOVES * whole)
    drawn = motion.drawn_segments(editor.history.all_edits, name, fps)
    found = motion.fit_keys(values, fps, max(tolerance * span, _LEAST * whole), drawn, span)
    return [tuple(round(number, 4) for number in key) for key in found]


def rounded_curves(values: Mapping[str, Floats], names: tuple[str, ...]) -> dict[str, list[float]]:
    """The curves of these names for the browser."""
    return {name: values[name].astype(float).round(4).tolist() for name in names}


def changed_curves(before: Mapping[str, Floats], after: Mapping[str, Floats]) -> tuple[str, ...]:
    """The names of the curves that differ."""
    import numpy as np

    return tuple(name for name, values in after.items() if not np.array_equal(values, before[name]))


def _curve_table(editor: Any) -> list[dict[str, object]]:
    names = ("name", "unit", "low", "high", "rest", "help")
    return [
        {name: getattr(curve, name) for name in names} | {"down": curve.name in editor.downward, "usual": editor.usual}
        for curve in editor.table
    ]

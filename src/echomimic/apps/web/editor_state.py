"""What the editor is told, as plain values: a session, what is edited in it, a job."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from echomimic import motion
from echomimic.apps.doctor import quick_check
from echomimic.apps.web.jobs import Job
from echomimic.apps.web.look import to_data_url
from echomimic.editing import EditingSession, FaceEditor, HandsEditor, Kind
from echomimic.motion import Edit
from echomimic.presets import PRESETS
from echomimic.types import Curve, Floats

Edited = FaceEditor | HandsEditor
Values = dict[str, Floats]


def session_state(session: EditingSession) -> dict[str, Any]:
    """All that does not change while a session is open, and the face."""
    return {
        "portrait": session.portrait_file.name,
        "voice": session.voice_file.name,
        "peaks": session.peaks,
        "closures": session.face.closures,
        "lines": {kind: shown(edits) for kind, edits in session.edits.items()},
        "first": session.kind,
        "presets": presets_state(),
        "face": edited_state(session, "face"),
    }


def presets_state() -> list[dict[str, Any]]:
    """What each preset takes of the edits, and the lines that mend it where it cannot run here."""
    return [
        {
            "name": found.preset,
            "engine": PRESETS[found.preset].engine,
            "takes": PRESETS[found.preset].conditioning,
            "mend": found.fix,
        }
        for found in quick_check()
    ]


def edited_state(session: EditingSession, kind: Kind) -> dict[str, Any]:
    """All that the editor shows of the face or of the hands."""
    edited = session.editor(kind)
    width, height = edited.size
    track = edited.history.track
    return change_state(session, kind, tuple(line.name for line in edited.table)) | {
        "table": curve_table(edited),
        "fps": track.fps,
        "frames": len(track),
        "width": width,
        "height": height,
        "far": edited.far,
    }


def change_state(session: EditingSession, kind: Kind, names: tuple[str, ...]) -> dict[str, Any]:
    """What an edit may change: the list of edits, and the curves called `names`."""
    edited = session.editor(kind)
    history, values = edited.history, edited.values()
    fps = history.track.fps
    keys = {line.name: _keys(values[line.name], line, edited.usual, fps) for line in edited.table if line.name in names}
    return {
        "kind": kind,
        "revision": session.revision,
        "edits": shown(history.edits),
        "undone": [shown(step) for step in history.undone],
        "past": shown(history.baked),
        "parts": getattr(history.track, "parts", None),
        "curves": rounded(values, names),
        "keys": keys,
        "notes": edited.notes,
    }


def shown(edits: Iterable[Edit]) -> list[str]:
    """Edits as lines of Python."""
    return [str(edit) for edit in edits]


def _keys(values: Floats, line: Curve, usual: float, fps: float) -> list[tuple[float, float]]:
    """Keyframes of a curve that uses so much of its range: what counts as no motion goes by that, not by all of it."""
    used = replace(line, high=line.low + usual * (line.high - line.low))
    return [(round(at, 4), round(value, 4)) for at, value in motion.curve_keys(values, used, fps)]


def rounded(values: Values, names: tuple[str, ...]) -> dict[str, list[float]]:
    """The curves called `names`, short enough to be sent."""
    return {name: [round(float(value), 4) for value in values[name]] for name in names}


def changed(before: Values, after: Values) -> tuple[str, ...]:
    """The names of the curves that differ."""
    return tuple(name for name, values in after.items() if not np.array_equal(values, before[name]))


def curve_table(edited: Edited) -> list[dict[str, object]]:
    """What the editor must know of each curve."""
    said = ("name", "unit", "low", "high", "rest", "help")
    return [
        {name: getattr(line, name) for name in said} | {"down": line.name in edited.downward, "usual": edited.usual}
        for line in edited.table
    ]


def job_state(job: Job, ahead: int) -> dict[str, Any]:
    """How far a job is, or how it ended."""
    watch = job.watch
    said: dict[str, Any] = {
        "id": job.id,
        "state": job.state,
        "ahead": ahead,
        "error": job.error,
        "trouble": job.trouble,
    }
    said["preset"] = job.order.preset
    if watch:
        said |= {name: getattr(watch, name) for name in ("done", "total", "speed", "left")}
        said["preview"] = to_data_url(watch.picture) if watch.picture else None
    if job.clip:
        words = ("frames", "seconds", "width", "height", "preset", "seed", "took", "notes")
        said |= {name: getattr(job.clip, name) for name in words} | {"name": job.clip.path.name}
    return said

"""The face at the motion editor: its track, its curves, and the frame at the cursor."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from echomimic import motion
from echomimic.apps.web.history import History
from echomimic.mesh.engine import MeshEngine, Stage
from echomimic.notes import collect_notes
from echomimic.options import Options
from echomimic.types import CURVES, Curves, Floats, LandmarkTrack, Picture, Portrait, Speech

_ROOM, _FAR = 0.35, 0.6
"""Room round the face of a close-up in face sizes; the share of the picture's width under which one is shown first."""
_SAME = 1e-4
CLOSED = 0.5
"""Closure from which lips count as closed."""


class FaceMotion:
    """What the presets that follow a face render; the mesh engine draws it."""

    table = CURVES
    downward: tuple[str, ...] = ()
    """Curves that grow downwards in the picture, and are drawn so."""
    usual = 1.0
    """How much of their range the curves usually take up: shown as large as that at least."""
    notes: tuple[str, ...] = ()
    """What is worth knowing of the loaded track, a line each."""

    def __init__(self, portrait: Portrait, speech: Speech, options: Options) -> None:
        self._portrait, self._speech, self._options = portrait, speech, options
        self._engine = MeshEngine()
        self.stage: Stage = self._engine.stage(portrait, options)
        self.heard: LandmarkTrack = self._engine.track(portrait, speech, None, options)
        self.history = History(self.heard)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame."""
        return self.stage.framing.width, self.stage.framing.height

    def values(self, track: LandmarkTrack | None = None) -> dict[str, Floats]:
        """The curves (T,) that are rendered, by name."""
        curves = self.curves(track)
        return {line.name: curves[line.name] for line in CURVES}

    def curves(self, track: LandmarkTrack | None = None) -> Curves:
        """What is rendered: the track's curves, and the voice's for the parts that the track does not drive."""
        track = track or self.history.track
        assert track.curves is not None
        assert self.heard.curves is not None
        if track.parts is None:
            return track.curves
        return motion.combine_curves(self.heard.curves, track.curves, track.parts)

    def picture(self, number: int, close: bool = False, track: LandmarkTrack | None = None) -> Picture:
        """(H, W, 3) uint8: a frame of the track, as the mesh engine renders it; with `close` the head alone."""
        frame = self.drawn(self.stage, number, track)
        left, top, right, bottom = self.head if close else (0, 0, *self.size)
        return frame[top:bottom, left:right]

    def drawn(self, stage: Stage, number: int, track: LandmarkTrack | None = None) -> Picture:
        """The frame of that number on any stage of this portrait."""
        curves = self.curves(track)
        return stage.scene.frame(curves.values[int(np.clip(number, 0, len(curves) - 1))])

    @cached_property
    def head(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a close-up, in pixels of a frame."""
        points = self.stage.framing.points(self.stage.face.landmarks)[:, :2]
        low, high = points.min(axis=0), points.max(axis=0)
        room = _ROOM * (high - low).max()
        left, top = np.clip(low - room, 0, self.size).astype(int)
        right, bottom = np.clip(high + room, 0, self.size).astype(int)
        return int(left), int(top), int(right), int(bottom)

    @property
    def far(self) -> bool:
        """Whether the head is so small in the picture that a close-up shows more."""
        left, _, right, _ = self.head
        return right - left < _FAR * self.size[0]

    @cached_property
    def closures(self) -> list[tuple[float, float]]:
        """The seconds between which the voice wants the lips closed."""
        assert self.heard.curves is not None
        shut = np.concatenate([[False], self.heard.curves["closure"] >= CLOSED, [False]]).astype(int)
        starts, ends = np.flatnonzero(np.diff(shut) > 0), np.flatnonzero(np.diff(shut) < 0)
        return [(float(a / self.heard.fps), float(b / self.heard.fps)) for a, b in zip(starts, ends, strict=True)]

    def load(self, loaded: LandmarkTrack, lines: tuple[str, ...]) -> None:
        """Go on with a saved track; its edits can be undone where they made it from this very voice."""
        with collect_notes() as notes:
            fitted = self._engine.track(self._portrait, self._speech, loaded, self._options)
        self.notes = tuple(notes)
        fitted = replace(fitted, parts=loaded.parts)
        again = History(self.heard).replayed(lines)
        if again is not None and _same(again, fitted):
            self.history.restart(self.heard, edits=lines)
        else:
            self.history.restart(fitted, past=lines)

    def save(self, path: Path, options: Options | None = None) -> Path:
        """Write the track with its edits; with `options`, framed as they ask for."""
        resolved = replace(self.history.track, curves=self.curves())
        stage = self.stage if options is None else MeshEngine().stage(self._portrait, options)
        followed = motion.follow_curves(resolved, stage.scene.landmarks)
        followed = replace(followed, image_size=(stage.framing.width, stage.framing.height))
        return motion.save_motion(path, followed, self.history.lines)


def _same(a: LandmarkTrack, b: LandmarkTrack) -> bool:
    if a.curves is None or b.curves is None or len(a) != len(b) or a.parts != b.parts:
        return False
    return bool(np.abs(a.curves.values - b.curves.values).max() < _SAME)

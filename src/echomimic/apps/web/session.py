"""One person at the motion editor: a portrait, a voice, the track, and the list of edits that made it."""

import threading
import wave
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from echomimic import motion
from echomimic.errors import MotionError
from echomimic.media import read_picture, read_speech, sound_blocks
from echomimic.mesh.engine import MeshEngine, Stage
from echomimic.motion.replaying import replay
from echomimic.options import Options, make_options
from echomimic.types import CURVES, Curves, LandmarkTrack, Picture

_SHOWN = 640
"""The longer side of the frame at the cursor: enough to judge lips by, and quick."""
_ROOM, _FAR = 0.35, 0.6
"""Room round the face of a close-up in face sizes; the share of the picture's width under which one is shown first."""
_SAME = 1e-4
_RATE = 24_000
_PEAKS = 100
"""Points of the wave form a second."""
CLOSED = 0.5
"""Closure from which lips count as closed."""


@dataclass
class Session:
    """The state of an editor. `track` is what every engine renders; it is `base` after `edits`."""

    portrait_file: Path
    voice_file: Path
    given: Mapping[str, Any] = field(default_factory=dict)
    """Options that were set before the editor was opened."""
    id: str = field(default_factory=lambda: uuid4().hex)
    edits: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    """Edits of a loaded track that cannot be undone, because what was there before them is not known."""
    revision: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.portrait = read_picture(self.portrait_file)
        self.speech = read_speech(self.voice_file)
        longer = max(self.portrait.pixels.shape[:2])
        size = {} if self.given.get("size") or longer <= _SHOWN else {"size": _SHOWN}
        self.options: Options = make_options({**self.given, **size})
        self._engine = MeshEngine()
        self.stage: Stage = self._engine.stage(self.portrait, self.options)
        self.heard: LandmarkTrack = self._engine.track(self.portrait, self.speech, None, self.options)
        self.base = self.track = self.heard

    @property
    def curves(self) -> Curves:
        """What is rendered: the track's curves, and the voice's for the parts that the track does not drive."""
        return self.curves_of(self.track)

    def curves_of(self, track: LandmarkTrack) -> Curves:
        """The same of a track that was derived from this session's."""
        assert track.curves is not None
        assert self.heard.curves is not None
        if track.parts is None:
            return track.curves
        return motion.combine_curves(self.heard.curves, track.curves, track.parts)

    def frame(self, number: int, close: bool = False, track: LandmarkTrack | None = None) -> Picture:
        """(H, W, 3) uint8: a frame of the track, as the mesh engine renders it; with `close` the head alone."""
        curves = self.curves_of(track or self.track)
        frame = self.stage.scene.frame(curves.values[int(np.clip(number, 0, len(curves) - 1))])
        left, top, right, bottom = self.head if close else (0, 0, *frame.shape[1::-1])
        return frame[top:bottom, left:right]

    @cached_property
    def head(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a close-up, in pixels of a frame."""
        points = self.stage.framing.points(self.stage.face.landmarks)[:, :2]
        low, high = points.min(axis=0), points.max(axis=0)
        room = _ROOM * (high - low).max()
        limit = (self.stage.framing.width, self.stage.framing.height)
        left, top = np.clip(low - room, 0, limit).astype(int)
        right, bottom = np.clip(high + room, 0, limit).astype(int)
        return int(left), int(top), int(right), int(bottom)

    @property
    def far(self) -> bool:
        """Whether the head is so small in the picture that a close-up shows more."""
        left, _, right, _ = self.head
        return right - left < _FAR * self.stage.framing.width

    def tried(self, line: str) -> LandmarkTrack:
        """The track after one more edit, which is not kept."""
        return replay(self.track, [line])

    def edit(self, line: str, instead: bool = False) -> None:
        """Apply an edit and keep it; `instead` of the last one, where a person goes on with what they just did."""
        kept = self.edits[:-1] if instead else self.edits
        before = replay(self.base, kept) if instead else self.track
        self._become(replay(before, [line]), (*kept, line), ())

    def undo(self) -> None:
        """Take the last edit back."""
        if self.edits:
            *kept, last = self.edits
            self._become(replay(self.base, kept), tuple(kept), (*self.undone, last))

    def redo(self) -> None:
        """Apply again what was taken back last."""
        if self.undone:
            *kept, line = self.undone
            self._become(self.tried(line), (*self.edits, line), tuple(kept))

    def load(self, path: Path) -> None:
        """Go on with a saved track; its edits can be undone where they made it from this very voice."""
        loaded, lines = motion.load_motion(path), motion.load_edits(path)
        if not isinstance(loaded, LandmarkTrack):
            raise MotionError(f"{path.name} is a pose track; expected face landmarks: the editor draws faces")
        fitted = self._engine.track(self.portrait, self.speech, loaded, self.options)
        fitted = replace(fitted, parts=loaded.parts)
        again = self._replayed(lines)
        if again is not None and _same(again, fitted):
            self.base, self.past = self.heard, ()
            self._become(again, lines, ())
        else:
            self.base, self.past = fitted, lines
            self._become(fitted, (), ())

    def _replayed(self, lines: tuple[str, ...]) -> LandmarkTrack | None:
        try:
            return replay(self.heard, lines)
        except MotionError:
            return None

    def _become(self, track: LandmarkTrack, edits: tuple[str, ...], undone: tuple[str, ...]) -> None:
        self.track, self.edits, self.undone = track, edits, undone
        self.revision += 1

    def save(self, path: Path, options: Options | None = None) -> Path:
        """Write the track with its edits; with `options`, framed as they ask for."""
        resolved = replace(self.track, curves=self.curves)
        stage = self.stage if options is None else MeshEngine().stage(self.portrait, options)
        framing = stage.framing
        followed = motion.follow_curves(resolved, stage.scene.landmarks)
        followed = replace(followed, canvas=(framing.width, framing.height))
        return motion.save_motion(path, followed, (*self.past, *self.edits))

    @cached_property
    def peaks(self) -> list[float]:
        """How loud the voice is, `_PEAKS` times a second, 0..1."""
        step = 16_000 // _PEAKS
        sound = np.abs(np.concatenate([*sound_blocks(self.speech, 16_000), np.zeros(step, np.float32)]))
        loud = sound[: len(sound) // step * step].reshape(-1, step).max(axis=1)
        return [round(float(each), 3) for each in loud / max(float(loud.max()), 1e-6)]

    @cached_property
    def closures(self) -> list[tuple[float, float]]:
        """The seconds between which the voice wants the lips closed."""
        assert self.heard.curves is not None
        shut = np.concatenate([[False], self.heard.curves["closure"] >= CLOSED, [False]]).astype(int)
        starts, ends = np.flatnonzero(np.diff(shut) > 0), np.flatnonzero(np.diff(shut) < 0)
        return [(float(a / self.heard.fps), float(b / self.heard.fps)) for a, b in zip(starts, ends, strict=True)]

    def write_voice(self, path: Path) -> Path:
        """The voice as a WAV that every browser plays."""
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(_RATE)
            for block in sound_blocks(self.speech, _RATE):
                file.writeframes((np.clip(block, -1, 1) * 32767).astype("<i2").tobytes())
        return path


def _same(a: LandmarkTrack, b: LandmarkTrack) -> bool:
    if a.curves is None or b.curves is None or len(a) != len(b) or a.parts != b.parts:
        return False
    return bool(np.abs(a.curves.values - b.curves.values).max() < _SAME)


def curve_table() -> list[dict[str, object]]:
    """What the editor must know of each curve."""
    return [
        {"name": c.name, "unit": c.unit, "low": c.low, "high": c.high, "rest": c.rest, "help": c.help} for c in CURVES
    ]

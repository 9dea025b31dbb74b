"""Edits with undo and redo: a track, the edits that made it, and its earlier states."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Generic, TypeVar

import numpy as np

from echomimic.errors import MotionError
from echomimic.mesh.landmarks_to_curves import read_curves
from echomimic.mesh.rig import Rig
from echomimic.motion.edits import (
    MAX_EDITS,
    Edit,
    EditContext,
    Layer,
    active_edits,
    apply_edits,
    count_edits,
)
from echomimic.motion.spatial_edits import columns_of
from echomimic.types import CURVES, Curves, Floats, LandmarkTrack, Motion, PoseTrack, Progress

Track = TypeVar("Track", LandmarkTrack, PoseTrack)
Step = tuple[Edit, ...]
"""Edits that were applied together, and are undone together."""
_MAX_SECONDS, _REPLAY_SECONDS = 10.0, 0.5
"""How long edits may take, and those of a loaded track: if these take longer they cannot be undone."""


def edit_motion(
    track: Any,
    edits: Iterable[Edit],
    load: Callable[[str], Motion] | None = None,
    progress: Progress | None = None,
) -> Any:
    """The motion after each edit in turn; if a curve is edited, the landmarks of a face follow.

    A face without curves has them read off its landmarks first. `load` reads the motions that `blend` and `concat`
    name. `progress` is called before each edit; raising from it cancels.
    """
    edits = active_edits(edits)
    for number, edit in enumerate(edits):
        if progress is not None:
            progress(number, len(edits))
        face_of = None
        if edit.curves and isinstance(track, LandmarkTrack):
            if track.curves is None:
                track = replace(track, curves=curves_of(track))
            face_of = _face_of(track, track.curves.values)
        track = apply_edits(track, [edit], EditContext(load, face_of))
    return track


def curves_of(track: LandmarkTrack) -> Curves:
    """The curves of a face, read off its landmarks if it has none."""
    return track.curves or read_curves(track)


def _face_of(track: LandmarkTrack, rows: Floats) -> Callable[[Floats], Floats]:
    """Gives the track's face (478, 3) under a row of curves, by a rig on its most neutral valid frame."""
    head = columns_of(("head",))
    amounts = np.abs(rows) / [curve.high - curve.low for curve in CURVES]
    amounts[:, head] = 0
    amounts[~track.valid] += 100
    neutral = int(np.argmin(amounts.sum(axis=1)))
    turned = np.zeros(len(CURVES), np.float32)
    turned[head] = rows[neutral, head]
    rig = Rig(track.points[neutral])
    return lambda row: rig.points(row - turned)


@dataclass
class EditHistory(Generic[Track]):
    """A track and the edits that made it: `track` is `base` after all `steps`; `past` has earlier lists of steps."""

    base: Track
    progress: Progress | None = None
    """Called before each edit that is applied; raising from it cancels, and nothing has changed then."""
    track: Track = field(init=False)
    steps: tuple[Step, ...] = ()
    past: tuple[tuple[Step, ...], ...] = ()
    undone: tuple[tuple[Step, ...], ...] = ()
    baked: Step = ()
    """Edits of a loaded track that cannot be undone, because the track before them is not known."""
    revision: int = 0
    """How often the track has changed."""

    def __post_init__(self) -> None:
        self.track = self.base

    @property
    def edits(self) -> Step:
        """The edits that can be changed."""
        return _flat(self.steps)

    @property
    def all_edits(self) -> Step:
        """Every edit that is in the track."""
        return (*self.baked, *self.edits)

    def preview(self, edits: Sequence[Edit]) -> Track:
        """The track after more edits, which are not kept."""
        return self._applied(self.track, edits)

    def under(self, edits: Sequence[Edit]) -> Track:
        """The track that other edits give from the start."""
        return self._applied(self.base, edits)

    def apply(self, edits: Sequence[Edit], replace_last: bool = False, separate: bool = False) -> None:
        """Apply edits and keep them as one step, or as `separate` steps; with `replace_last` in place of the last step.

        MotionError if an edit does not fit, or changes the length, which the voice gives; nothing has changed then.
        """
        kept: tuple[Step, ...] = self.steps[:-1] if replace_last else self.steps
        steps: tuple[Step, ...] = tuple((edit,) for edit in edits) if separate else (tuple(edits),)
        self._check_count((*_flat(kept), *edits))
        is_last = not replace_last and not any(isinstance(edit, Layer) and edit.solo for edit in (*self.edits, *edits))
        made = self._applied(self.track, edits) if is_last else self._applied(self.base, (*_flat(kept), *edits))
        before = self.past if replace_last and self.past else (*self.past, self.steps)
        if separate:
            before = (*self.past, *((*kept, *steps[:count]) for count in range(len(steps))))
        self._set(made, (*kept, *steps), before, ())

    def replace(self, edits: Sequence[Edit], replace_last: bool = False) -> None:
        """Replace all edits, as one change; with `replace_last` in place of the last change."""
        self._check_count(edits)
        before = self.past if replace_last and self.past else (*self.past, self.steps)
        self._set(self._applied(self.base, edits), tuple((edit,) for edit in edits), before, ())

    def undo(self) -> None:
        """Take back the last change."""
        if self.past:
            *past, before = self.past
            self._set(self._applied(self.base, _flat(before)), before, tuple(past), (*self.undone, self.steps))

    def redo(self) -> None:
        """Repeat the change that was undone last."""
        if self.undone:
            *undone, after = self.undone
            self._set(self._applied(self.base, _flat(after)), after, (*self.past, self.steps), tuple(undone))

    def load(self, predicted: Track, loaded: Track, edits: Step, same: Callable[[Track, Track], bool]) -> None:
        """Continue from a loaded track.

        Its edits can be undone if they give the same from `predicted`, the track of this very voice, within a second.
        """
        try:
            made = self._applied(predicted, edits, _REPLAY_SECONDS)
        except MotionError:
            made = None
        if made is not None and same(made, loaded):
            self.base, self.baked = predicted, ()
            steps = tuple((edit,) for edit in edits)
            self._set(made, steps, tuple(steps[:count] for count in range(len(steps))), ())
        else:
            self.base, self.baked = loaded, edits
            self._set(loaded, (), (), ())

    @staticmethod
    def _check_count(edits: Sequence[Edit]) -> None:
        if count_edits(edits) > MAX_EDITS:
            raise MotionError(f"the track has {MAX_EDITS} edits, the most that can be undone; save and load it")

    def _applied(self, track: Track, edits: Sequence[Edit], seconds: float = _MAX_SECONDS) -> Track:
        end = monotonic() + seconds

        def check(done: int, total: int) -> None:
            if monotonic() > end:
                raise MotionError(f"{total} edits take longer than {seconds:g} s; expected fewer, or simpler ones")
            if self.progress is not None:
                self.progress(done, total)

        for edit in edits:
            if not edit.keeps_length:
                raise MotionError(f"{edit.op} changes the length of the motion; expected an edit that keeps it")
        return apply_edits(track, edits, progress=check)

    def _set(
        self,
        track: Track,
        steps: tuple[Step, ...],
        past: tuple[tuple[Step, ...], ...],
        undone: tuple[tuple[Step, ...], ...],
    ) -> None:
        self.track, self.steps, self.past, self.undone = track, steps, past[-MAX_EDITS:], undone
        self.revision += 1


def _flat(steps: Iterable[Step]) -> Step:
    return tuple(edit for step in steps for edit in step)

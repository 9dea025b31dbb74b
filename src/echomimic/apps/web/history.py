"""A track and the edits that made it: one more, the last one taken back, and applied again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from echomimic.errors import MotionError
from echomimic.motion.replaying import replay
from echomimic.types import LandmarkTrack, PoseTrack

Track = TypeVar("Track", LandmarkTrack, PoseTrack)
Step = tuple[str, ...]
"""Lines that were applied at once, and are taken back at once."""


@dataclass
class History(Generic[Track]):
    """`track` is what every engine renders: `base` after `edits`."""

    base: Track
    track: Track = field(init=False)
    steps: tuple[Step, ...] = ()
    undone: tuple[Step, ...] = ()
    past: tuple[str, ...] = ()
    """Edits of a loaded track that cannot be undone, because what was there before them is not known."""
    revision: int = 0
    """How often the track has changed."""

    def __post_init__(self) -> None:
        self.track = self.base

    @property
    def edits(self) -> tuple[str, ...]:
        """The lines that can be taken back."""
        return _lines(self.steps)

    @property
    def lines(self) -> tuple[str, ...]:
        """Every edit that is in the track."""
        return (*self.past, *self.edits)

    def tried(self, lines: Sequence[str]) -> Track:
        """The track after more edits, which are not kept."""
        return replay(self.track, lines)

    def edit(self, lines: Sequence[str], instead: bool = False) -> None:
        """Apply edits at once and keep them; `instead` of the last, where a person goes on with what they just did."""
        kept: tuple[Step, ...] = self.steps[:-1] if instead else self.steps
        before = replay(self.base, _lines(kept)) if instead else self.track
        self._become(replay(before, lines), (*kept, tuple(lines)), ())

    def undo(self) -> None:
        """Take back what was done last."""
        if self.steps:
            *kept, last = self.steps
            self._become(replay(self.base, _lines(kept)), tuple(kept), (*self.undone, last))

    def redo(self) -> None:
        """Apply again what was taken back last."""
        if self.undone:
            step = self.undone[-1]
            self._become(self.tried(step), (*self.steps, step), self.undone[:-1])

    def replayed(self, lines: tuple[str, ...]) -> Track | None:
        """The base after these edits; None where they do not fit."""
        try:
            return replay(self.base, lines)
        except MotionError:
            return None

    def restart(self, base: Track, past: tuple[str, ...] = (), edits: tuple[str, ...] = ()) -> None:
        """Go on from another base, after `edits`; those that were `past` when it was made cannot be undone."""
        self.base, self.past = base, past
        self._become(replay(base, edits), tuple((line,) for line in edits), ())

    def _become(self, track: Track, steps: tuple[Step, ...], undone: tuple[Step, ...]) -> None:
        self.track, self.steps, self.undone = track, steps, undone
        self.revision += 1


def _lines(steps: Iterable[Step]) -> tuple[str, ...]:
    return tuple(line for step in steps for line in step)

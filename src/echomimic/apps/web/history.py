"""A track and the edits that made it: one more, the last one taken back, and applied again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from echomimic.errors import MotionError
from echomimic.motion.replaying import replay
from echomimic.types import LandmarkTrack, PoseTrack

Track = TypeVar("Track", LandmarkTrack, PoseTrack)


@dataclass
class History(Generic[Track]):
    """`track` is what every engine renders: `base` after `edits`."""

    base: Track
    track: Track = field(init=False)
    edits: tuple[str, ...] = ()
    undone: tuple[str, ...] = ()
    past: tuple[str, ...] = ()
    """Edits of a loaded track that cannot be undone, because what was there before them is not known."""
    revision: int = 0
    """How often the track has changed."""

    def __post_init__(self) -> None:
        self.track = self.base

    @property
    def lines(self) -> tuple[str, ...]:
        """Every edit that is in the track."""
        return (*self.past, *self.edits)

    def tried(self, lines: Sequence[str]) -> Track:
        """The track after more edits, which are not kept."""
        return replay(self.track, lines)

    def edit(self, lines: Sequence[str], instead: bool = False) -> None:
        """Apply edits and keep them; `instead` of the last one, where a person goes on with what they just did."""
        kept: tuple[str, ...] = self.edits[:-1] if instead else self.edits
        before = replay(self.base, kept) if instead else self.track
        self._become(replay(before, lines), (*kept, *lines), ())

    def undo(self) -> None:
        """Take the last edit back."""
        if self.edits:
            *before, last = self.edits
            self._become(replay(self.base, before), tuple(before), (*self.undone, last))

    def redo(self) -> None:
        """Apply again what was taken back last."""
        if self.undone:
            line = self.undone[-1]
            self._become(self.tried([line]), (*self.edits, line), self.undone[:-1])

    def replayed(self, lines: tuple[str, ...]) -> Track | None:
        """The base after these edits; None where they do not fit."""
        try:
            return replay(self.base, lines)
        except MotionError:
            return None

    def restart(self, base: Track, past: tuple[str, ...] = (), edits: tuple[str, ...] = ()) -> None:
        """Go on from another base, after `edits`; those that were `past` when it was made cannot be undone."""
        self.base, self.past = base, past
        self._become(replay(base, edits), edits, ())

    def _become(self, track: Track, edits: tuple[str, ...], undone: tuple[str, ...]) -> None:
        self.track, self.edits, self.undone = track, edits, undone
        self.revision += 1

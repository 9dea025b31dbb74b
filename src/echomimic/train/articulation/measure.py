"""Figures for the model card: lip closures on p, b and m, and correlation of curves with their labels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from echomimic.signals import runs
from echomimic.train.articulation.labels import Segment
from echomimic.train.articulation.phones import LABIALS, PAUSE
from echomimic.types import Floats


@dataclass(frozen=True)
class Closures:
    """Counts over any number of clips: labials spoken and hit, closures made and justified."""

    spoken: int = 0
    hit: int = 0
    made: int = 0
    right: int = 0

    @property
    def recall(self) -> float:
        """Share of spoken p, b, m on which the lips shut."""
        return self.hit / max(1, self.spoken)

    @property
    def precision(self) -> float:
        """Share of closures that belong to a p, b or m."""
        return self.right / max(1, self.made)

    def __add__(self, other: "Closures") -> "Closures":
        return Closures(
            self.spoken + other.spoken, self.hit + other.hit, self.made + other.made, self.right + other.right
        )


def count_closures(closure: Floats, segments: Sequence[Segment], fps: float, at: float = 0.5) -> Closures:
    """Compare the shut stretches of a closure curve (T,) at `fps` with the labials of canonical segments.

    A labial is hit if the lips are shut in a frame that touches it or its neighbour frame; neighbouring labials
    (as in "lamp post") count as one. A closure is right if it touches a labial or its neighbour frame. Closures
    that lie wholly in a pause are not counted: the mouth rests there.
    """
    labials = _joined([s for s in segments if s.phone in LABIALS])
    pauses = [s for s in segments if s.phone == PAUSE]
    slack = 1 / fps
    made = [(start / fps, stop / fps) for start, stop in runs(np.asarray(closure) >= at)]
    heard = [m for m in made if not any(p.start <= m[0] and m[1] <= p.end for p in pauses)]
    hit = sum(any(_touch(m, labial, slack) for m in made) for labial in labials)
    right = sum(any(_touch(m, labial, slack) for labial in labials) for m in heard)
    return Closures(len(labials), hit, len(heard), right)


def total(counts: Iterable[Closures]) -> Closures:
    """All counts together."""
    return sum(counts, start=Closures())


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's r; 0 if either does not move."""
    spread = float(np.std(a) * np.std(b))
    return float(np.mean((a - np.mean(a)) * (b - np.mean(b))) / spread) if spread > 1e-9 else 0.0


def _joined(labials: Sequence[Segment]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, end, _ in labials:
        if joined and start - joined[-1][1] < 0.03:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _touch(made: tuple[float, float], labial: tuple[float, float], slack: float) -> bool:
    return made[0] < labial[1] + slack and made[1] > labial[0] - slack

"""What is known of jobs beyond their row: how far they are, their latest preview; and a bell for who is waiting."""

import asyncio
import time
from dataclasses import dataclass, field


@dataclass
class News:
    """How far a running job is. `previews` counts the pictures that there have been; `preview` is the last, a JPEG."""

    done: int = 0
    total: int = 0
    preview: bytes = b""
    previews: int = 0
    _first: tuple[float, int] | None = field(default=None, repr=False)

    def move(self, done: int, total: int) -> None:
        """`done` frames of `total` are made."""
        self._first = self._first or (time.monotonic(), done)
        self.done, self.total = done, total

    @property
    def speed(self) -> float:
        """Frames a second, counted from the first one; 0 where that is not known."""
        if self._first is None or self.done <= self._first[1]:
            return 0.0
        return (self.done - self._first[1]) / max(time.monotonic() - self._first[0], 1e-6)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at that speed."""
        return (self.total - self.done) / self.speed if self.speed else None


class Board:
    """News of the jobs that run, and bells that ring when something changed. Lives on the event loop."""

    def __init__(self) -> None:
        self._news: dict[str, News] = {}
        self._bells: dict[str, asyncio.Event] = {}

    def news(self, name: str) -> News:
        """The news of a job; a blank page where there are none."""
        return self._news.get(name) or News()

    def begin(self, name: str) -> News:
        """A blank page for a job that begins."""
        self._news[name] = News()
        self.ring(name)
        return self._news[name]

    def drop(self, name: str) -> None:
        """The job has ended."""
        self._news.pop(name, None)
        self.ring(name)

    def ring(self, name: str) -> None:
        """Wake all who wait for that job."""
        bell = self._bells.pop(name, None)
        if bell:
            bell.set()

    def bell(self, name: str) -> asyncio.Event:
        """Rings at the next change. Ask for it before looking at the job, so that no change is missed."""
        return self._bells.setdefault(name, asyncio.Event())

    @staticmethod
    async def heard(bell: asyncio.Event, seconds: float) -> bool:
        """Wait for a bell, at most so long; whether it rang."""
        try:
            await asyncio.wait_for(bell.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

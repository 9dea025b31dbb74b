"""Progress of running jobs, in memory, with one asyncio.Event per job for its subscribers."""

import asyncio
import time
from dataclasses import dataclass, field


@dataclass
class JobProgress:
    """Progress of a running attempt; `preview` is the latest preview (JPEG) and `previews` their count."""

    attempt: int = 0
    done: int = 0
    total: int = 0
    preview: bytes = b""
    previews: int = 0
    _first: tuple[float, int] | None = field(default=None, repr=False)

    def update(self, done: int, total: int) -> None:
        self._first = self._first or (time.monotonic(), done)
        self.done, self.total = done, total

    @property
    def speed(self) -> float:
        """Frames a second since the first report; 0 if unknown."""
        if self._first is None or self.done <= self._first[1]:
            return 0.0
        return (self.done - self._first[1]) / max(time.monotonic() - self._first[0], 1e-6)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds for the rest; None if unknown."""
        return (self.total - self.done) / self.speed if self.speed else None


class JobEvents:
    """Progress of the running jobs, and notification of changes. Everything but `progress` needs the event loop."""

    def __init__(self) -> None:
        self._progress: dict[str, JobProgress] = {}
        self._changes: dict[str, asyncio.Event] = {}

    def progress(self, name: str) -> JobProgress:
        """The progress of a running job; an empty one, with attempt 0, for any other."""
        return self._progress.get(name) or JobProgress()

    def begin(self, name: str, attempt: int) -> JobProgress:
        self._progress[name] = JobProgress(attempt)
        self.notify(name)
        return self._progress[name]

    def end(self, name: str) -> None:
        self._progress.pop(name, None)
        self.notify(name)

    def notify(self, name: str) -> None:
        change = self._changes.pop(name, None)
        if change:
            change.set()

    def subscribe(self, name: str) -> asyncio.Event:
        """An event that is set at the next change; subscribe before reading the job, so that no change is missed."""
        return self._changes.setdefault(name, asyncio.Event())


async def wait_for_event(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for at most `seconds`; whether it was set."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True

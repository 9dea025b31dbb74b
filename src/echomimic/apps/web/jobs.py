"""One video after another: the queue that the page and the editor share."""

import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from echomimic.apps.jobs.previews import Previews
from echomimic.apps.web.advice import trouble_of
from echomimic.apps.web.settings import Settings
from echomimic.apps.web.watch import Watch
from echomimic.apps.web.words import plain
from echomimic.engines import Engine
from echomimic.errors import Cancelled, EchoMimicError
from echomimic.types import Clip

State = Literal["waiting", "running", "done", "failed", "cancelled"]
MOST_WAITING = 16
_LONGEST_NAME = 200
"""Bytes; file systems take 255, with the ending and what is put before it while it is written."""
_GRACE = 10.0
"""Seconds that a job has to stop when the server does."""


@dataclass(frozen=True)
class Order:
    """What to render: files that may be deleted once the job has been submitted, a preset and the given options."""

    portrait: Path
    speech: Path
    motion: Path | None = None
    preset: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Job:
    """An order on its way; other threads read it while the worker writes."""

    order: Order
    folder: Path
    id: str = field(default_factory=lambda: uuid4().hex)
    state: State = "waiting"
    watch: Watch | None = None
    """How far it is, once it has begun."""
    clip: Clip | None = None
    error: str = ""
    trouble: str = ""
    """What kind of error, for `advice`."""
    seen: float = field(default_factory=time.monotonic)
    """When somebody last asked how far it is."""
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")


class Jobs:
    """A queue with one worker: a thread, since the engines leave Python's lock for nearly all of their work."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._engine: tuple[str, Engine] | None = None
        self._worker = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._worker.start()

    def submit(self, order: Order) -> Job:
        """Put an order last in the queue; its files are copied, so that the caller may delete them."""
        self.tidy()
        job = Job(order, self._settings.folder / "jobs" / uuid4().hex)
        with self._changed:
            if sum(not other.ended for other in self._jobs.values()) > MOST_WAITING:
                job.error, job.trouble = f"{MOST_WAITING} videos are waiting already; try again later", "Busy"
                job.state = "failed"
                return job
            job.order = _with_own_files(order, job.folder / "in")
            self._jobs[job.id] = job
            self._changed.notify_all()
        return job

    def find(self, name: str) -> Job | None:
        """The job of that id, marked as looked at; None where there is none, or none any more."""
        job = self._jobs.get(name)
        if job:
            job.seen = time.monotonic()
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs come before this one."""
        open_jobs = [other for other in list(self._jobs.values()) if not other.ended]
        return open_jobs.index(job) if job in open_jobs else 0

    def cancel(self, job: Job) -> None:
        """Stop a job, or take it out of the queue."""
        job.stop.set()
        with self._changed:
            if job.state == "waiting":
                self._end(job, "cancelled")

    def close(self) -> None:
        """Stop everything, and wait a little for it: a network that is computing when Python ends would crash it."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                job.stop.set()
            self._changed.notify_all()
        self._worker.join(_GRACE)

    def _work(self) -> None:
        while job := self._next():
            self._render(job)
            if job.state != "done":
                shutil.rmtree(job.folder, ignore_errors=True)
            shutil.rmtree(job.folder / "in", ignore_errors=True)
            (job.folder / "live.mp4").unlink(missing_ok=True)

    def _render(self, job: Job) -> None:
        """Render, and say in the job how it ended."""
        try:
            job.clip = self._animate(job)
            job.state = "done"
        except Cancelled:
            job.state = "cancelled"
        except Exception as error:
            job.error, job.trouble = in_one_line(error, job.folder / "in"), trouble_of(error)
            job.state = "failed"

    def _animate(self, job: Job) -> Clip:
        from echomimic import api

        order, live = job.order, job.folder / "live.mp4"
        job.watch = Watch(lambda: self._check(job), Previews(live))
        return api.animate(
            order.portrait,
            order.speech,
            order.motion,
            output=job.folder / f"{named_after(order.portrait.stem, order.speech.stem)}.mp4",
            preset=order.preset,
            live=live,
            engine=self._kept(order.preset),
            progress=job.watch,
            **order.options,
        )

    def _kept(self, preset: str) -> Engine:
        """The engine of a preset, kept until another is asked for: weights take long to load."""
        from echomimic import api

        if self._engine is None or self._engine[0] != preset:
            self._engine = None  # the old weights leave before the new ones come
            self._engine = preset, api.load(preset)
        return self._engine[1]

    def _next(self) -> Job | None:
        with self._changed:
            while not self._closed:
                for job in self._jobs.values():
                    if job.state == "waiting":
                        job.state = "running"
                        return job
                self._changed.wait()
        return None

    def _check(self, job: Job) -> None:
        """Cancelled where somebody has asked for it, or nobody looks any more."""
        if job.stop.is_set() or time.monotonic() - job.seen > self._settings.leave_seconds:
            raise Cancelled("the video was cancelled")

    def _end(self, job: Job, state: State) -> None:
        job.state = state
        shutil.rmtree(job.folder, ignore_errors=True)

    def tidy(self) -> None:
        """Forget jobs that ended long ago, and delete their videos; take those out of the queue that nobody awaits."""
        with self._changed:
            for job in list(self._jobs.values()):
                unseen = time.monotonic() - job.seen
                if job.state == "waiting" and unseen > self._settings.leave_seconds:
                    self._end(job, "cancelled")
                if job.ended and unseen > self._settings.keep_seconds:
                    shutil.rmtree(job.folder, ignore_errors=True)
                    del self._jobs[job.id]


def named_after(*words: str) -> str:
    """One name of some names of files, short enough for every file system: a Chinese character has three bytes."""
    most = _LONGEST_NAME // len(words)
    return "-".join(word.encode()[:most].decode(errors="ignore") for word in words)


def in_one_line(error: Exception, folder: Path) -> str:
    """An error as the command line says it, without the folder of the server in it."""
    if isinstance(error, EchoMimicError):
        return plain(str(error), folder)
    if isinstance(error, MemoryError):
        return "out of memory; expected more of it, or less to do: lower the size"
    what = f"unexpected {type(error).__name__}: {error}"
    return plain(f"{what}; this is a fault of echomimic: please report what it says", folder)


def _with_own_files(order: Order, folder: Path) -> Order:
    """The same order with copies of its files."""
    folder.mkdir(parents=True)
    copies: list[Path | None] = []
    for place, source in enumerate((order.portrait, order.speech, order.motion)):
        home = folder / str(place)
        home.mkdir()
        copies.append(None if source is None else Path(shutil.copy(source, home / source.name)))
    portrait, speech, motion = copies
    assert portrait is not None
    assert speech is not None
    return Order(portrait, speech, motion, order.preset, order.options)

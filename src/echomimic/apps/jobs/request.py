"""Types of jobs as data, the settings of the queue, and the errors of both."""

import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from echomimic.errors import EchoMimicError

WORKER_COMMAND = (sys.executable, "-m", "echomimic.apps.jobs.worker")
MEDIA_TYPES = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "gif": "image/gif",
    "npz": "application/octet-stream",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
}


class JobError(EchoMimicError):
    """The queue refuses a request; `retry_after` is in seconds, 0 if trying again is pointless."""

    def __init__(self, message: str, code: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.code, self.retry_after = code, retry_after


@dataclass(frozen=True)
class InputVariant:
    """One set of inputs of a job type: required and optional files, and fields; `options` if it takes options."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    fields: tuple[str, ...]
    options: bool = True


@dataclass(frozen=True)
class JobType:
    """A type of job: `formats` begins with the default; `live_format` can be streamed while it is made."""

    name: str
    plural: str
    formats: tuple[str, ...]
    live_format: str
    summary: str
    variants: tuple[InputVariant, ...]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for each in self.variants for name in (*each.required, *each.optional)))

    def variant(self, files: Collection[str]) -> InputVariant:
        """Find the variant that has the largest fraction of its required files in `files`."""
        return max(self.variants, key=lambda each: sum(name in files for name in each.required) / len(each.required))


ANIMATION = JobType(
    "animation",
    "animations",
    ("mp4", "webm", "gif"),
    "mp4",
    "a video of the portrait speaking the audio",
    (InputVariant(("portrait", "speech"), ("motion",), ("preset", "save_motion", "format")),),
)
TRACK = JobType(
    "track",
    "tracks",
    ("npz", "json", "csv"),
    "",
    "the motion alone, predicted from audio or tracked in a video, as data that can be edited and sent as `motion`",
    (
        InputVariant(("portrait", "speech"), ("motion",), ("format",)),
        InputVariant(("video",), (), ("format", "pose", "person"), options=False),
    ),
)
LIVE = JobType(
    "live session", "live", (), "", "a portrait that speaks live", (InputVariant(("portrait",), (), ("overflow",)),)
)
"""No job: the form that opens a live session is described like those of jobs."""
JOB_TYPES = {each.name: each for each in (ANIMATION, TRACK)}


@dataclass(frozen=True)
class JobSettings:
    """Where jobs are kept and their limits. Sizes are in bytes, times in seconds."""

    data: Path
    workers: int = 1
    max_queued: int = 32
    max_pixels: int = 50_000_000
    max_seconds: float = 600.0
    max_job_seconds: float = 3600.0
    max_disk: int = 20_000_000_000
    spare_disk: int = 500_000_000
    keep_seconds: float = 86_400.0
    remember_seconds: float = 7 * 86_400.0
    idle_seconds: float = 900.0
    warm: bool = False
    max_crashes: int = 2
    max_restarts: int = 20
    command: tuple[str, ...] = WORKER_COMMAND

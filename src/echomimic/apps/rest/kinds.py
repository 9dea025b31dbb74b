"""The kinds of jobs, as data: what they are called, and which files they can make."""

from dataclasses import dataclass

MEDIA_TYPES = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "gif": "image/gif",
    "npz": "application/octet-stream",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
}


@dataclass(frozen=True)
class Kind:
    """A kind of job: `formats` begins with the default; `live` is the one that can be followed while it is made."""

    name: str
    plural: str
    formats: tuple[str, ...]
    live: str
    summary: str


ANIMATION = Kind(
    "animation", "animations", ("mp4", "webm", "gif"), "mp4", "a video of the portrait speaking what is heard"
)
TRACK = Kind(
    "track", "tracks", ("npz", "json", "csv"), "", "the motion alone, as data: edit it and hand it back as `motion`"
)
KINDS = {kind.name: kind for kind in (ANIMATION, TRACK)}

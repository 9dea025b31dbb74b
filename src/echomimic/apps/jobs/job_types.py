"""The kinds of jobs, as data: what they are called, what they take, and which files they can make."""

from collections.abc import Collection
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
class Way:
    """A way to ask for a job: files that it needs, others that it takes, and fields; `options` where those count."""

    needs: tuple[str, ...]
    takes: tuple[str, ...]
    fields: tuple[str, ...]
    options: bool = True


@dataclass(frozen=True)
class Kind:
    """A kind of job: `formats` begins with the default; `live` is the one that can be followed while it is made."""

    name: str
    plural: str
    formats: tuple[str, ...]
    live: str
    summary: str
    ways: tuple[Way, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """All files that can be handed in, one way or another."""
        return tuple(dict.fromkeys(name for way in self.ways for name in (*way.needs, *way.takes)))

    def way(self, files: Collection[str]) -> Way:
        """The way that is meant by handing in these: the one of which most is there."""
        return max(self.ways, key=lambda way: sum(name in files for name in way.needs) / len(way.needs))


ANIMATION = Kind(
    "animation",
    "animations",
    ("mp4", "webm", "gif"),
    "mp4",
    "a video of the portrait speaking what is heard",
    (Way(("portrait", "speech"), ("motion",), ("preset", "save_motion", "format")),),
)
TRACK = Kind(
    "track",
    "tracks",
    ("npz", "json", "csv"),
    "",
    "the motion alone, read off a voice or a video, as data: edit it and hand it back as `motion`",
    (
        Way(("portrait", "speech"), ("motion",), ("format",)),
        Way(("video",), (), ("format", "pose", "person"), options=False),
    ),
)
KINDS = {kind.name: kind for kind in (ANIMATION, TRACK)}

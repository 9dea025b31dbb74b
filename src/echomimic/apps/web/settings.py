"""What the web page is started with."""

from dataclasses import dataclass
from pathlib import Path

MB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """Where files are kept while they are needed, what may be uploaded, and who may call.

    `folder` is deleted when the server stops; what is older than `keep_seconds` is deleted before that.
    """

    folder: Path
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1", "[::1]")
    max_upload: int = 200 * MB
    keep_seconds: float = 3600.0
    leave_seconds: float = 120.0
    """A job is cancelled when nobody has looked at it for so long: its tab was closed.

    Browsers let a tab in the background ask once a minute.
    """

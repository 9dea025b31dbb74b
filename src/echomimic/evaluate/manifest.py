"""The clips to measure: a video, a folder of videos, or a manifest with references."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from echomimic.checkpoints import checksum
from echomimic.errors import InputError, OptionError
from echomimic.parallel import parse_shard, read_rows

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".gif")
ACCEPTED = "a video, a folder of videos, or a manifest: .csv with a column path (and reference, portrait), .jsonl, .txt"
_Item = TypeVar("_Item")
_COLUMNS = ("path", "reference", "portrait")


@dataclass(frozen=True)
class ClipSource:
    """A clip with its name in the manifest; `reference` is a video of the same motion, `portrait` a picture."""

    name: str
    path: Path
    reference: Path | None = None
    portrait: Path | None = None


def read_sources(source: Path, reference: Path | None = None) -> list[ClipSource]:
    """List the clips of `source`. Raises InputError if there are none; `reference` is for a single video only."""
    if source.is_dir():
        rows = [{"path": path.name} for path in sorted(source.iterdir()) if path.suffix.lower() in VIDEOS]
        sources = [_job(row, source) for row in rows]
    elif source.suffix.lower() in (".csv", ".jsonl", ".txt"):
        sources = [_job(row, source.parent) for row in _rows(source)]
    else:
        return [ClipSource(source.name, source, reference)]
    if reference is not None:
        raise OptionError("--reference goes with one video; expected references of many in the manifest's own column")
    if not sources:
        raise InputError(f"{source} names no videos; expected {ACCEPTED}")
    return sources


def _rows(source: Path) -> list[Mapping[str, object]]:
    if source.suffix.lower() != ".txt":
        return [row for _, row in read_rows(source, ACCEPTED)]
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        raise InputError(f"{source} cannot be read; expected {ACCEPTED}") from None
    return [{"path": line.strip()} for line in lines if line.strip()]


def _job(row: Mapping[str, object], folder: Path) -> ClipSource:
    """Parse one row; its paths are relative to the manifest's folder."""
    values = {name: str(row.get(name) or "").strip() for name in _COLUMNS}
    if not values.get("path"):
        raise InputError(f"a row of the manifest has no path: {row!r:.80}; expected {ACCEPTED}")
    reference, portrait = (folder / values[name] if values[name] else None for name in ("reference", "portrait"))
    return ClipSource(values["path"], folder / values["path"], reference, portrait)


def pick_shard(sources: list[_Item], shard: str | None) -> list[_Item]:
    """Every n-th of `sources`, starting with the i-th, for a shard "i/n"; OptionError for anything else."""
    if shard is None:
        return sources
    number, count = parse_shard(shard)
    return sources[number - 1 :: count]


def file_digest(path: Path | None) -> str | None:
    """The sha256 of a file, in hex; None without a path or if it cannot be read."""
    if path is None:
        return None
    try:
        return checksum(path)
    except OSError:
        return None

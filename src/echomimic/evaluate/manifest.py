"""The clips to measure: a video, a folder of videos, or a manifest with references."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from echomimic.checkpoints import checksum
from echomimic.errors import InputError, OptionError

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


def _rows(source: Path) -> Iterable[Mapping[str, object]]:
    try:
        text = source.read_text(encoding="utf-8-sig")
        if source.suffix.lower() == ".txt":
            return [{"path": line.strip()} for line in text.splitlines() if line.strip()]
        if source.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        return list(csv.DictReader(text.splitlines()))
    except OSError as error:
        raise InputError(f"{source} cannot be read ({error.strerror}); expected {ACCEPTED}") from None
    except ValueError:
        raise InputError(f"{source} is no manifest that can be read; expected {ACCEPTED}") from None


def _job(row: Mapping[str, object], folder: Path) -> ClipSource:
    """Parse one row; its paths are relative to the manifest's folder."""
    values = {name: str(row.get(name) or "").strip() for name in _COLUMNS} if isinstance(row, Mapping) else {}
    if not values.get("path"):
        raise InputError(f"a row of the manifest has no path: {row!r:.80}; expected {ACCEPTED}")
    reference, portrait = (folder / values[name] if values[name] else None for name in ("reference", "portrait"))
    return ClipSource(values["path"], folder / values["path"], reference, portrait)


def pick_shard(sources: list[_Item], shard: str | None) -> list[_Item]:
    """Every n-th of `sources`, starting with the i-th, for a shard "i/n"; OptionError for anything else."""
    if shard is None:
        return sources
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise OptionError(f"shard {shard!r}; expected i/n with i from 1 to n, such as 1/4")
    return sources[int(number) - 1 :: int(count)]


def file_digest(path: Path | None) -> str | None:
    """The sha256 of a file, in hex; None without a path or if it cannot be read."""
    if path is None:
        return None
    try:
        return checksum(path)
    except OSError:
        return None

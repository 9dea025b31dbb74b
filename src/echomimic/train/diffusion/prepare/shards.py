"""Pack clips into WebDataset shards: tars of `id.mp4`, `id.flac`, `id.npz`, `id.json`, for object stores."""

import io
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from echomimic.errors import OptionError
from echomimic.media import atomic_path, make_folder, writing
from echomimic.train.diffusion.manifest import SUFFIXES, Row, format_row, row_files

FOLDER = "shards"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of a size such as 1GB, 500MB or 200000000. Raises OptionError."""
    found = _SIZE.fullmatch(text.strip())
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size < 1:
        raise OptionError(f"size of shards {text!r}; expected a number with KB, MB, GB or TB, such as 1GB")
    return size


def pack(folder: Path, rows: Sequence[Row], size: int) -> list[Row]:
    """Move the files of clips that are in no shard yet into new shards of about `size` bytes; return the new rows.

    Each tar appears whole; the single files are removed after it has its name.
    """
    loose = [row for row in rows if row.dropped is None and not row.shard]
    packed: dict[str, Row] = {}
    for group in _groups(folder, loose, size):
        name = f"{FOLDER}/{_next_number(folder):06d}.tar"
        group_rows = [replace(row, shard=name, clip="", sound="", track="") for row in group]
        _write_tar(folder, folder / name, group, group_rows)
        packed.update({row.id: row for row in group_rows})
        for row in group:
            for field in SUFFIXES:
                (folder / getattr(row, field)).unlink()
    return [packed.get(row.id, row) if row.dropped is None else row for row in rows]


def _groups(folder: Path, rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    group: list[Row] = []
    total = 0
    for row in rows:
        group.append(row)
        total += sum((folder / getattr(row, field)).stat().st_size for field in SUFFIXES)
        if total >= size:
            yield group
            group, total = [], 0
    if group:
        yield group


def _next_number(folder: Path) -> int:
    return 1 + max((int(path.stem) for path in (folder / FOLDER).glob("*.tar") if path.stem.isdecimal()), default=-1)


def _write_tar(folder: Path, path: Path, group: Sequence[Row], rows: Sequence[Row]) -> None:
    make_folder(path.parent)
    with atomic_path(path) as part, writing(), part.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for old, new in zip(group, rows, strict=True):
                files = row_files(folder, old)
                for field, suffix in SUFFIXES.items():
                    _add(tar, f"{old.id}{suffix}", Path(getattr(files, field)).read_bytes())
                _add(tar, f"{old.id}.json", format_row(new).encode())
        file.flush()
        os.fsync(file.fileno())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def index_shards(folder: Path) -> dict[str, str]:
    """The shard of each packed clip, by id; only the names of the members are read."""
    found: dict[str, str] = {}
    for path in sorted((folder / FOLDER).glob("*.tar")):
        with tarfile.open(path, "r:") as tar:
            found |= {Path(name).stem: f"{FOLDER}/{path.name}" for name in tar.getnames() if name.endswith(".json")}
    return found

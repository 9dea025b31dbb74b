"""The manifest of a training data set: one JSON line a clip in `manifest.jsonl`, beside the files of the clips.

A data set is a folder that `echomimic train prepare` writes:

    manifest.jsonl            one row a clip; rows of dropped clips state the reason
    clips/ab/abcd….mp4        the crop, 24 fps, without sound
    clips/ab/abcd….flac       the voice, 16 kHz mono, aligned to the frames
    clips/ab/abcd….npz        the motion track on the crop's canvas
    shards/000000.tar         instead of `clips`, with --shards: the same files as WebDataset samples
"""

import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from echomimic.checkpoints import checksum
from echomimic.errors import InputError
from echomimic.media import write_file, writing
from echomimic.train.diffusion.rights import Rights

FILE_NAME = "manifest.jsonl"
ACCEPTED = "a folder that `echomimic train prepare` wrote"
SUFFIXES = {"clip": ".mp4", "sound": ".flac", "track": ".npz"}
"""Files of a row by the name of its field, and their suffixes as members of a shard."""
Kind = Literal["face", "half"]
_CONFIG = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_CONFIG)
class Source:
    """The video that a clip was cut from; `start` and `stop` are seconds in it."""

    name: str
    sha256: str
    url: str = ""
    start: float = 0.0
    stop: float = 0.0


@dataclass(frozen=True, config=_CONFIG)
class SyncScore:
    """Lip sync of the source: frames by which the sound was late (already corrected), correlation, and its margin."""

    offset: int
    r: float
    confidence: float


@dataclass(frozen=True, config=_CONFIG)
class FaceScore:
    """Height of the face in fractions of the canvas' height, and the largest |yaw| in degrees."""

    share: float
    yaw: float


@dataclass(frozen=True, config=_CONFIG)
class Checksums:
    """Hex sha256 of the files of a clip."""

    clip: str
    sound: str
    track: str


@dataclass(frozen=True, config=_CONFIG)
class Row:
    """A clip, or a piece of video that was dropped.

    Attributes:
        id: hex name of the clip, derived from source, settings and place.
        kind: "face" (a square head crop) or "half" (an upper body).
        source: the video and the place in it.
        rights: licence and consent.
        settings: digest of the settings that prepared it.
        clip, sound, track: files, relative to the folder; empty for dropped rows.
        checksums: sha256 of these files; None for dropped rows.
        shard: the tar that holds them as `id.mp4`, `id.flac`, `id.npz`; empty for plain files.
        frames, fps, size: length, frame rate, (width, height).
        language: as stated in rights.toml.
        sync, face, speech, sharpness, hands: scores; None if not measured. `speech` is the fraction of the time with
            speech, `hands` the fraction of frames that show both hands.
        fingerprint: perceptual hash of pictures and sound, equal for duplicates.
        split: "train" or "val", decided by the subject.
        dropped, detail: the reason for dropping the clip, and the measured value; None for clips to train on.
    """

    id: str
    kind: Kind
    source: Source
    rights: Rights
    settings: str
    clip: str = ""
    sound: str = ""
    track: str = ""
    checksums: Checksums | None = None
    shard: str = ""
    frames: int = 0
    fps: float = 24.0
    size: tuple[int, int] = (0, 0)
    language: str = ""
    sync: SyncScore | None = None
    face: FaceScore | None = None
    speech: float | None = None
    sharpness: float | None = None
    hands: float | None = None
    fingerprint: str = ""
    split: Literal["train", "val"] = "train"
    dropped: str | None = None
    detail: str = ""

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return self.frames / self.fps


_ROW: TypeAdapter[Row] = TypeAdapter(Row)


@dataclass(frozen=True)
class RowFiles:
    """The files of a clip as paths that exist locally."""

    clip: Path
    sound: Path
    track: Path


def read_manifest(folder: Path, kind: Kind | None = None, *, dropped: bool = False) -> list[Row]:
    """Rows of a data set, in the order of the file, without dropped ones unless `dropped`.

    Raises InputError if there is no manifest, a line is broken, no clip is left, or clips of another kind than `kind`
    are among them.
    """
    path = folder / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no UTF-8"
        raise InputError(f"{path} cannot be read ({why}); expected {ACCEPTED}") from None
    rows = [parse_row(line, f"{path}:{number}") for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    kept = [row for row in rows if row.dropped is None]
    if not kept and not dropped:
        raise InputError(
            f"{path} has no clip to train on ({len(rows)} dropped); expected at least one: see the field detail"
        )
    other = next((row for row in kept if kind is not None and row.kind != kind), None)
    if other is not None:
        raise InputError(
            f"{path} mixes kinds: clip {other.id} is {other.kind!r}; expected {kind!r} only: prepare each kind into a "
            "folder of its own"
        )
    return rows if dropped else kept


def parse_row(line: str, where: str) -> Row:
    """A row from a line of JSON; `where` names the line in the InputError."""
    try:
        return _ROW.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "row"
        raise InputError(f"{where}: {place}: {first['msg']}; expected a row of {ACCEPTED}") from None


def format_row(row: Row) -> str:
    """A row as one line of JSON, without the newline."""
    return json.dumps(asdict(row), ensure_ascii=False, sort_keys=True)


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append lines to a manifest with one write, so that readers and other writers see no partial line."""
    data = "".join(f"{format_row(row)}\n" for row in rows).encode()
    with writing(), path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a whole manifest; it replaces the old one when it is complete."""
    write_file(path, "".join(f"{format_row(row)}\n" for row in rows))


def row_files(folder: Path, row: Row, cache: Path | None = None) -> RowFiles:
    """Paths of the files of a row; members of a shard are unpacked into `cache` (by default `folder`/cache/clips)."""
    if not row.shard:
        return RowFiles(**{name: folder / getattr(row, name) for name in SUFFIXES})
    place = (cache or folder / "cache" / "clips") / row.id[:2]
    paths = {name: place / f"{row.id}{suffix}" for name, suffix in SUFFIXES.items()}
    missing = {path.name: path for path in paths.values() if not path.is_file()}
    if missing:
        _unpack(folder / row.shard, missing)
    return RowFiles(**paths)


def _unpack(shard: Path, wanted: dict[str, Path]) -> None:
    """Write members of a tar to files, each whole or not at all."""
    try:
        with tarfile.open(shard, "r:") as tar:
            members = {member.name: member for member in tar if member.name in wanted}
            for name, path in wanted.items():
                stream = tar.extractfile(members[name])
                assert stream is not None
                write_file(path, stream.read())
    except (OSError, KeyError, tarfile.TarError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{shard} cannot be read ({why}); expected {ACCEPTED}: prepare it again") from None


def check_files(folder: Path, row: Row, cache: Path | None = None) -> RowFiles:
    """Paths of the files of a row. Raises InputError if one is missing or is no longer the file that was prepared."""
    files = row_files(folder, row, cache)
    for name in SUFFIXES:
        path: Path = getattr(files, name)
        try:
            digest = checksum(path)
        except OSError as error:
            raise InputError(
                f"{path} of clip {row.id} cannot be read ({error.strerror}); expected the file of the manifest: "
                "prepare the data again"
            ) from None
        if row.checksums is not None and digest != getattr(row.checksums, name):
            raise InputError(
                f"{path} of clip {row.id} has changed since it was prepared (sha256 {digest[:12]}…); expected the file "
                "of the manifest: prepare the data again"
            )
    return files


def hours_by_rights(rows: Iterable[Row]) -> dict[tuple[str, str], float]:
    """Hours of clips for each (licence, consent), the largest first."""
    hours: dict[tuple[str, str], float] = {}
    for row in rows:
        key = (row.rights.licence, row.rights.consent)
        hours[key] = hours.get(key, 0.0) + row.seconds / 3600
    return dict(sorted(hours.items(), key=lambda item: -item[1]))


def subjects(rows: Iterable[Row]) -> Iterator[str]:
    """Each subject once, in order."""
    yield from dict.fromkeys(row.rights.subject for row in rows)

"""The render record in a file's tags: everything that is needed to make the same video again, and no path or name."""

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from echomimic import __version__
from echomimic.checkpoints import checksum
from echomimic.errors import VideoError
from echomimic.media import read_tags
from echomimic.options import Options
from echomimic.provenance.mark import PAYLOAD_BYTES
from echomimic.types import Curves, LandmarkTrack, Motion, Portrait, PoseTrack, Speech

TAG = "echomimic"
"""Name of the tag that holds the record."""
_OF_MACHINE = ("workers", "device", "offload", "compile")
"""Options that do not change the frames."""
_LIBRARIES = {"numpy": "numpy", "opencv": "cv2", "av": "av", "torch": "torch"}
"""Modules that compute and encode frames."""


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RenderedPart:
    """Frames `first` (included) to `last` (excluded) that were rendered again, with these options and motion."""

    first: int
    last: int
    options: dict[str, Any]
    motion: str | None = None
    edits: list[dict[str, Any]] = field(default_factory=list)


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RenderRecord:
    """How a video was made. Digests are SHA-256 of files, or of the arrays of inputs that were not files.

    `options` are all options but those of the machine; `motion` is None if the voice drove the motion; `edits` are the
    edits that made the motion; `weights` are the digests of checkpoint files by part; `libraries` are the versions that
    computed the frames; `parts` are the frames that were rendered again afterwards, in that order.
    """

    version: str
    preset: str
    frames: int
    fps: float
    size: tuple[int, int]
    options: dict[str, Any]
    portrait: str
    speech: str
    motion: str | None = None
    edits: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)
    parts: list[RenderedPart] = field(default_factory=list)

    def to_json(self) -> str:
        """One line of JSON, the same for equal records."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    def payload(self) -> bytes:
        """The bytes by which the mark in the frames names the portrait, the voice, the preset and the options.

        The motion is left out, so that rendering a saved motion again gives the same frames.
        """
        named = {name: getattr(self, name) for name in ("portrait", "speech", "preset", "options")}
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).digest()[:PAYLOAD_BYTES]

    def key(self) -> str:
        """A digest of everything that determines the video except the versions; equal for equal inputs and options."""
        versions = ("version", "libraries", "frames", "fps", "size", "edits")  # edits are those of the motion
        named = {name: value for name, value in asdict(self).items() if name not in versions}
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def differing_versions(before: RenderRecord, now: RenderRecord) -> tuple[str, ...]:
    """Describe each difference between two records in versions and weights, as "numpy 2.1 instead of 1.26"."""
    old, new = ({"echomimic": each.version, **each.libraries} for each in (before, now))
    libraries = [
        f"{name} {new.get(name, '(absent)')} instead of {old.get(name, '(absent)')}" for name in _differing(old, new)
    ]
    return (*libraries, *(f"other weights ({part})" for part in _differing(before.weights, now.weights)))


def differing_inputs(before: RenderRecord, now: RenderRecord) -> tuple[str, ...]:
    """Describe each difference between two records in inputs and options."""
    inputs = ("portrait", "speech", "motion")
    differences = [f"another {name}" for name in inputs if getattr(before, name) != getattr(now, name)]
    differences += [f"preset {now.preset} instead of {before.preset}"] if before.preset != now.preset else []
    old, new = before.options, json.loads(json.dumps(now.options))  # tuples become lists, as in a record that was read
    options = [f"`{name}` {new.get(name)} instead of {old.get(name)}" for name in _differing(old, new)]
    return (*differences, *options)


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The names whose values differ, or that are missing in one of the two."""
    return [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]


def digest(value: Path | str | Portrait | Speech | Motion) -> str:
    """The SHA-256 of a file, of the files of a folder, or of the arrays of an input in memory."""
    if isinstance(value, (Path, str)):
        return _digest_path(Path(value))
    if isinstance(value, Speech):
        return checksum(value.path) if value.path is not None else _digest_arrays([value.samples, value.rate])
    if isinstance(value, Portrait):
        return _digest_arrays([value.pixels, value.alpha])
    return _digest_arrays(_parts(value))


def _digest_path(path: Path) -> str:
    if not path.is_dir():
        return checksum(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return _digest_arrays((file.relative_to(path).as_posix(), checksum(file)) for file in files)


def _parts(track: LandmarkTrack | PoseTrack) -> list[object]:
    values = [getattr(track, f.name) for f in fields(track)]
    return [value.values if isinstance(value, Curves) else value for value in values]


def _digest_arrays(values: Iterable[object]) -> str:
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            total.update(f"{value.dtype.str}{value.shape}".encode())
            total.update(np.ascontiguousarray(value).tobytes())
        else:
            total.update(repr(value).encode())
    return total.hexdigest()


def read_record(path: Path) -> RenderRecord | None:
    """Read the record of a video, GIF, picture or folder of pictures; None if it has none.

    Raises VideoError for a file that cannot be read or whose record is damaged.
    """
    text = recorded_tag(read_tags(path))
    if text is None:
        return None
    try:
        return TypeAdapter(RenderRecord).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the text"
        raise VideoError(
            f"{path} has a damaged render record ({place}: {first['msg']}); expected what echomimic wrote: "
            "make the video again"
        ) from None


def recorded_tag(tags: Mapping[str, str]) -> str | None:
    """The JSON text of a record in the tags of a file: a tag of its own, or a line of the comment."""
    if TAG in tags:
        return tags[TAG]
    lines = tags.get("comment", "").splitlines()
    return next((line.removeprefix(f"{TAG}: ") for line in lines if line.startswith(f"{TAG}: {{")), None)


def new_record(
    preset: str, options: Options, size: tuple[int, int], frames: int, fps: float, **digests: Any
) -> RenderRecord:
    """Make the record of a render with this version; `digests` are those of the inputs by field."""
    chosen = {f.name: getattr(options, f.name) for f in fields(Options) if f.name not in _OF_MACHINE}
    loaded = {name: sys.modules[module].__version__ for name, module in _LIBRARIES.items() if module in sys.modules}
    return RenderRecord(__version__, preset, frames, fps, size, chosen, libraries=loaded, **digests)

"""Check output paths before the work starts; write files beside their place and rename them when they are whole."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from echomimic.errors import OutputError
from echomimic.files import part_path, remove, sync_file
from echomimic.media.source import address_of

SUFFIXES = (".mp4", ".webm", ".gif")
ACCEPTED = f"a name that ends in {', '.join(SUFFIXES)}, or a folder name without a dot for png pictures"
LONGEST_NAME = 255
"""Bytes of a file name on every common file system."""

_FRAME = re.compile(r"frame_\d{6,}\.png")


def frame_name(number: int) -> str:
    """The name of a picture in a folder of frames, numbered from 1."""
    return f"frame_{number:06d}.png"


def check_output(path: str | Path) -> Path:
    """Return `path` if a result can be written there; else raise OutputError before any work is done.

    A name without a suffix is a folder of pictures. It may exist if it is empty or holds only such pictures, and is
    replaced as a whole.
    """
    path = Path(path)
    try:
        _check_name(path)
        _check_kind(path)
        check_place(path)
    except PermissionError:
        raise OutputError(f"{path} may not be written; choose another place or change its permissions") from None
    except OSError as fault:
        raise OutputError(f"{path} cannot be written ({fault.strerror}); expected {ACCEPTED}") from None
    return path


def _check_name(path: Path) -> None:
    """Raise OutputError for "-" (results are renamed into place), for addresses, and for names that are too long."""
    if str(path) == "-":
        raise OutputError("stdout cannot be an output; expected the name of a file: give one with `output`")
    address = address_of(path)
    if address and not path.parent.is_dir():
        raise OutputError(f"{address} is an address; only files are written: give the name of a file")
    size = len(os.fsencode(path.name))
    if size > LONGEST_NAME:
        raise OutputError(
            f"the name of the output has {size} bytes ({path.name[:24]}…); expected at most {LONGEST_NAME}: "
            "give a shorter one with `output`"
        )


def _check_kind(path: Path) -> None:
    """Raise OutputError unless the suffix is known and nothing of another kind has the name."""
    if is_folder(path):
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file; expected {ACCEPTED}")
        if path.is_dir() and not all(_FRAME.fullmatch(entry.name) for entry in path.iterdir()):
            raise OutputError(f"folder {path} holds other things than frames; expected a new or an empty one: name one")
    elif path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path} ends in {path.suffix!r}, which is not a known format; expected {ACCEPTED}")
    elif path.is_dir():
        raise OutputError(f"{path} is a folder; expected {ACCEPTED}: name a file in it")
    elif path.exists() and not path.is_file():
        raise OutputError(f"{path} is not a regular file; expected a file that may be replaced")


def check_place(path: Path) -> None:
    """Raise OutputError unless the parent folder exists and is writable."""
    _check_name(path)
    parent = Path(os.path.realpath(path)).parent
    if not parent.is_dir():
        raise OutputError(
            f"folder {parent} does not exist; expected an existing folder for {path.name}: create it first"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"folder {parent} is not writable; choose another or change its permissions")
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f"{path} may not be replaced: it is read-only; choose another name")


def make_folder(path: Path) -> None:
    """Make a folder for results, with those above it, if it is not there. Raises OutputError."""
    with writing(path):
        if path.exists() and not path.is_dir():
            raise OutputError(f"{path} is a file; expected the name of a folder: give another")
        path.mkdir(parents=True, exist_ok=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing, and make its folder if it is missing. Raises OutputError.

    Characters that UTF-8 cannot encode (lone surrogates) are written as escapes.
    """
    make_folder(path.parent)
    with atomic_path(path) as part, writing(path):
        part.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
        sync_file(part)


def is_folder(path: Path) -> bool:
    """Whether the name means a folder of pictures."""
    return not path.suffix


def check_not_input(output: str | Path, *inputs: object) -> None:
    """Raise OutputError if `output` is one of the `inputs` that are paths."""
    for given in inputs:
        if not isinstance(given, str | Path) or not Path(output).exists() or not Path(given).exists():
            continue
        if Path(output).samefile(given):
            raise OutputError(
                f"{output} is also an input; expected another name for the output: give one with `output`"
            )


def no_frames() -> OutputError:
    """The error of an engine that yields no frame."""
    return OutputError("there is no frame to write; expected at least one")


@contextmanager
def writing(what: object = "the result") -> Iterator[None]:
    """Turn errors of the system and of FFmpeg into an OutputError, which says that `what` was not written."""
    from av.error import FFmpegError

    try:
        yield
    except (OSError, FFmpegError) as fault:
        reason = "the disk is full" if fault.errno in (errno.ENOSPC, errno.EDQUOT) else fault.strerror
        raise OutputError(f"{what} could not be written ({reason}); make room or choose another place") from fault


@contextmanager
def atomic_path(path: str | Path, token: str | None = None) -> Iterator[Path]:
    """Yield a temporary name beside `path`, which is renamed to it if the block succeeds, and removed if it fails.

    It has the same suffix, and the block may make a file or a folder of it. Ctrl-C cleans up like any exception.
    `token` is in the name, which is random by default.
    """
    path = Path(os.path.realpath(path))
    part = part_path(path, path.suffix, token)
    try:
        yield part
        with writing():
            _put(part, path)
    except BaseException:
        remove(part)
        raise


def _put(part: Path, path: Path) -> None:
    """Rename to `path`. A folder cannot replace one that is not empty, so the old one is renamed first."""
    if not part.is_dir() or not path.is_dir():
        part.replace(path)
        return
    old = part_path(path, path.suffix)
    path.replace(old)
    try:
        part.replace(path)
    except BaseException:
        old.replace(path)
        raise
    remove(old)

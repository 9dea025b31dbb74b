"""Files out: checked before the work starts, written beside their place, and put there only when they are whole."""

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from echomimic.errors import OutputError
from echomimic.media.encode import RECIPES, encode
from echomimic.types import Picture, Speech

TEMPORARY = ".echomimic-part-"
"""How the names of unfinished files begin; after a power cut they may be deleted."""
SUFFIXES = (*RECIPES,)

_OURS = re.compile(r"frame_\d{6,}\.png")


def write_clip(
    path: str | Path,
    frames: Iterator[Picture],
    fps: float,
    speech: Speech | None,
    tags: Mapping[str, str],
) -> int:
    """Encode `frames` (H, W, 3) as they come, with the voice, into what the name asks for; how many were written.

    The sound is cut or continued with silence to the length of the frames. `tags` are stored in the file. What
    stands at `path` is replaced when all is done and is untouched if anything fails. Raises OutputError.
    """
    path = check_output(path)
    try:
        with atomic_path(path) as part:
            return encode(str(part), RECIPES[path.suffix.lower()], frames, fps, speech, tags)
    finally:
        close = getattr(frames, "close", None)
        if close:
            close()


def check_output(path: str | Path) -> Path:
    """`path` if a result can be written there; else OutputError in one line, before any work is done."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(SUFFIXES)}")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"{parent} is not a folder; expected one to write {path.name} in: make it first")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; expected a file name: name a file in it")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is not a regular file; expected a file name that may be replaced")
    if not os.access(parent, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise OutputError(f"{path} may not be written; expected a place that may: choose another or change permissions")
    return path


def check_not_input(output: str | Path, *inputs: object) -> None:
    """OutputError if `output` is one of the `inputs` that are paths: it would replace what it is made from."""
    for given in inputs:
        if not isinstance(given, str | Path) or not Path(output).exists() or not Path(given).exists():
            continue
        if Path(output).samefile(given):
            raise OutputError(f"{output} is an input too; expected another place: choose another name")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path`, put in its place when the block ends well, removed when it does not.

    It has the same suffix, and may become a file or a folder. Ctrl-C and every other exception clean up.
    """
    path = Path(os.path.realpath(path))
    part = path.with_name(f"{TEMPORARY}{secrets.token_hex(4)}{path.suffix}")
    try:
        yield part
        part.replace(path)
    except BaseException:
        _remove(part)
        raise


def _remove(path: Path) -> None:
    """Delete a file or folder if it is there."""
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

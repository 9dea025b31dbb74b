"""Names of unfinished files, deletion, syncing and locks. Imports nothing heavy: an idle server uses it too."""

import errno
import os
import secrets
import shutil
import sqlite3
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

TEMPORARY = ".echomimic-part-"
"""Prefix of unfinished files. Only a killed process leaves one behind; it may be deleted."""

WORK = ".echomimic-work-"
"""Prefix of work folders, from which an interrupted render resumes."""
_LONGEST = 200
"""Bytes of an output's name that the name of its work folder repeats."""


def part_path(beside: Path, suffix: str, token: str | None = None) -> Path:
    """The path of the unfinished version of a file, in the same folder."""
    return beside.with_name(f"{TEMPORARY}{token or secrets.token_hex(4)}{suffix}")


def work_path(output: Path) -> Path:
    """The path of the work folder of an output."""
    output = Path(os.path.realpath(output))
    name = os.fsencode(output.name)
    short = output.name if len(name) <= _LONGEST else sha256(name).hexdigest()[:32]
    return output.with_name(f"{WORK}{short}")


def user_cache(name: str) -> Path:
    """The cache folder `name` of the user, for files that can be downloaded or measured again."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "echomimic" / name


def write_once(path: Path, text: str) -> str:
    """Write a text file unless another process has written it already; return its content. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_path(path, path.suffix)
    try:
        part.write_text(text, encoding="utf-8")
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        remove(part)
    return path.read_text(encoding="utf-8")


def remove(path: Path) -> None:
    """Delete a file or folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk (fsync); on Windows files only."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


Lock = sqlite3.Connection
"""A held lock, which `close` releases."""


def lock_file(path: Path) -> Lock | None:
    """Hold a lock that ends with this process, however it ends: an SQLite transaction, which works on every system.

    None if another process holds it. Raises OSError if the file cannot be written.
    """
    try:
        lock = sqlite3.connect(path, isolation_level=None, timeout=2, check_same_thread=False)
    except sqlite3.OperationalError as fault:
        raise OSError(errno.EACCES, str(fault)) from None
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as fault:
        lock.close()
        if "locked" in str(fault):
            return None
        raise OSError(errno.EACCES, str(fault)) from None
    return lock

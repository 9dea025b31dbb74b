"""The memory of this process: its size, and the return of freed memory to the system. Imports nothing heavy."""

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any


@cache
def glibc() -> Any:
    """The C library if it is glibc, which keeps freed memory in its heaps; else None."""
    try:
        return ctypes.CDLL("libc.so.6") if sys.platform == "linux" else None
    except OSError:
        return None


def trim_heaps() -> None:
    """Return freed memory to the system; only glibc needs this."""
    if glibc() is not None:
        glibc().malloc_trim(0)


def resident_bytes() -> int:
    """Bytes of resident memory, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

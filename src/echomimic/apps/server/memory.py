"""Memory of a server that runs for days: what nobody uses goes back to the system."""

import asyncio
import ctypes
import sys
from functools import cache
from typing import Any

from starlette.concurrency import run_in_threadpool

_ARENAS = 2
_M_ARENA_MAX = -8
_IDLE_SECONDS = 60.0
"""A network of landmarks that nobody has used for so long is unloaded; loading all again takes 2 seconds."""
_TIDY_SECONDS = 20.0


@cache
def _glibc() -> Any:
    """The C library if it is glibc, which keeps freed memory; else None."""
    try:
        return ctypes.CDLL("libc.so.6") if sys.platform == "linux" else None
    except OSError:
        return None


def limit_arenas() -> None:
    """Let all threads share few heaps, since each heap keeps what its threads have freed."""
    if _glibc() is not None:
        _glibc().mallopt(_M_ARENA_MAX, _ARENAS)


def trim_memory() -> None:
    """Give freed memory back to the system."""
    if _glibc() is not None:
        _glibc().malloc_trim(0)


async def tidy_forever() -> None:
    """Unload what is idle, again and again."""
    while True:
        await asyncio.sleep(_TIDY_SECONDS)
        await run_in_threadpool(_tidy)


def _tidy() -> None:
    runtime = sys.modules.get("echomimic.landmarks.networks.runtime")
    if runtime is not None and runtime.release_networks(_IDLE_SECONDS):  # else nothing has been loaded
        trim_memory()

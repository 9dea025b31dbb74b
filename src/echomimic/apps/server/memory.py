"""Memory of a server that runs for days: unused memory is returned to the system."""

import asyncio
import sys

from starlette.concurrency import run_in_threadpool

from echomimic.memory import glibc, resident_bytes, trim_heaps

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Parameters of glibc's `mallopt`."""
_MB = 1 << 20
_GROWN = 16 * _MB
"""Growth of the resident memory from which freed memory is given back."""
_MUCH = 280 * _MB
_IDLE_SECONDS, _UNUSED_SECONDS = 60.0, 2.0
"""Seconds after which an unused network of landmarks is unloaded, and those in a process larger than `_MUCH`. Loading
all again takes 2 seconds."""
_TIDY_SECONDS = 20.0


def set_up_allocator() -> None:
    """Let all threads share few heaps, since each keeps what is freed, and pictures have pages of their own."""
    if glibc() is not None:
        glibc().mallopt(_M_ARENA_MAX, 2)
        glibc().mallopt(_M_MMAP_THRESHOLD, 4 * _MB)
        glibc().mallopt(_M_TRIM_THRESHOLD, 32 * _MB)


class Trimmer:
    """Gives freed memory back to the system whenever the process has grown."""

    def __init__(self) -> None:
        self._kept = 0

    def __call__(self, at_once: bool = False) -> None:
        """Trim the heaps if the resident memory has grown since the last time; if it is much, unload networks too."""
        if glibc() is None or not (at_once or resident_bytes() > self._kept + _GROWN):
            return
        trim_heaps()
        if resident_bytes() > _MUCH and _release_networks(_UNUSED_SECONDS):
            trim_heaps()
        self._kept = resident_bytes()


trim_memory = Trimmer()


def _release_networks(unused: float) -> int:
    runtime = sys.modules.get("echomimic.landmarks.networks.runtime")
    return runtime.release_networks(unused) if runtime is not None else 0  # else nothing has been loaded


async def tidy_forever() -> None:
    """Unload what is idle, again and again."""
    while True:
        await asyncio.sleep(_TIDY_SECONDS)
        await run_in_threadpool(_tidy)


def _tidy() -> None:
    trim_memory(at_once=_release_networks(_IDLE_SECONDS) > 0)

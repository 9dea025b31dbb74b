"""Waiting for states and never for durations, with one limit for all tests; limits on work count processor time."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

PATIENCE = int(os.environ.get("ECHOMIMIC_TEST_WAIT", "300"))
"""Seconds after which a test gives up waiting. It is long, since a shared machine may be busy."""
Found = TypeVar("Found")


def wait_until(look: Callable[[], Found], what: str = "") -> Found:
    """The first answer of `look` that is true. Raises AssertionError after PATIENCE seconds."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end, f"it did not happen: {what or look}"
        time.sleep(0.02)
    return found


def wait_for_names(folder: Path, *names: str) -> None:
    """Wait until the folder holds these files only: what has ended is tidied up a moment after its state says so."""
    wait_until(lambda: sorted(path.name for path in folder.iterdir()) == sorted(names), f"{folder} holds {names}")


@contextmanager
def at_most_cpu_seconds(limit: float) -> Iterator[None]:
    """The block takes at most `limit` seconds of this thread's processor time, however busy the machine is."""
    began = time.thread_time()
    yield
    assert time.thread_time() - began < limit

"""Stops long work that reports no progress: it asks between its pieces whether the user has cancelled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_check: ContextVar[Callable[[], object] | None] = ContextVar("echomimic_cancellation", default=None)


@contextmanager
def cancellable(check: Callable[[], object] | None) -> Iterator[None]:
    """Within the block and in its thread, `check_cancelled` calls `check`, which raises if the user has cancelled.

    Without a `check`, that of the block around this one stays.
    """
    token = _check.set(check or _check.get())
    try:
        yield
    finally:
        _check.reset(token)


def check_cancelled() -> None:
    """Raise what the innermost `cancellable` raises if the user has cancelled."""
    check = _check.get()
    if check is not None:
        check()

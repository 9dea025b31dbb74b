"""Cancellation of long work that reports no progress: it checks between its pieces whether the user has cancelled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_check: ContextVar[Callable[[], object] | None] = ContextVar("echomimic_cancellation", default=None)


@contextmanager
def cancellable(check: Callable[[], object] | None) -> Iterator[None]:
    """Let `check_cancelled` call `check`, which raises if the user has cancelled, inside the block and in its thread.

    Without a `check`, that of the enclosing block is kept.
    """
    token = _check.set(check or _check.get())
    try:
        yield
    finally:
        _check.reset(token)


def check_cancelled() -> None:
    """Call the `check` of the innermost `cancellable` block, which raises if the user has cancelled."""
    check = _check.get()
    if check is not None:
        check()

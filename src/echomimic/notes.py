"""Things worth saying that are no errors: which face was taken, that the sound is silent, which limit held."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_log = logging.getLogger("echomimic")
_collected: ContextVar[list[str] | None] = ContextVar("echomimic_notes", default=None)


def note(text: str) -> None:
    """Say one line to the user, once per job: to the log, and to whoever is collecting."""
    notes = _collected.get()
    if notes is None:
        _log.info(text)
    elif text not in notes:
        _log.info(text)
        notes.append(text)


@contextmanager
def collect_notes() -> Iterator[list[str]]:
    """Collect the notes made inside the block; an enclosing collection receives them too."""
    outer = _collected.get()
    inner: list[str] = []
    token = _collected.set(inner)
    try:
        yield inner
    finally:
        _collected.reset(token)
        if outer is not None:
            outer.extend(text for text in inner if text not in outer)

"""Notes for the user that are not errors, such as which face was used or that the sound is silent.

Every note has a stable code; docs/messages.md lists them all.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_log = logging.getLogger("echomimic")
_collected: ContextVar[list["Note"] | None] = ContextVar("echomimic_notes", default=None)


class Note(str):
    """One line of English with its `code` and the `values` in it, so that a front end can translate it."""

    code: str
    values: dict[str, Any]

    @classmethod
    def make(cls, code: str, template: str, **values: object) -> "Note":
        """A note whose text is `template.format(**values)`."""
        made = cls(template.format(**values))
        made.code, made.values = code, values
        return made


def note(code: str, template: str, **values: object) -> None:
    """Give the user one line: it goes to the log and to the innermost `collect_notes`, which drops repetitions."""
    emit(Note.make(code, template, **values))


def emit(made: Note) -> None:
    """Give the user a note that was made elsewhere."""
    notes = _collected.get()
    if notes is None:
        _log.info(made)
    elif made not in notes:
        _log.info(made)
        notes.append(made)


@contextmanager
def collect_notes() -> Iterator[list[Note]]:
    """Collect the notes that are made inside the block; an enclosing `collect_notes` receives them too."""
    outer = _collected.get()
    inner: list[Note] = []
    token = _collected.set(inner)
    try:
        yield inner
    finally:
        _collected.reset(token)
        if outer is not None:
            outer.extend(made for made in inner if made not in outer)

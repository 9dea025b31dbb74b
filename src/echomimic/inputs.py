"""A cache of the inputs that were read last, for runs of many clips with the same portraits, voices and motions."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from echomimic.checkpoints import checksum
from echomimic.media import read_picture, read_speech
from echomimic.motion import load_motion
from echomimic.notes import Note, collect_notes, emit
from echomimic.types import Motion, Portrait, Speech

_Input = TypeVar("_Input", Portrait, Speech, Motion)


class InputCache:
    """Reads inputs, and keeps the `most` recently used ones, keyed by the SHA-256 of their files.

    The same file gives the same object each time, so that an engine can reuse what it has prepared from it.
    """

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[object, ...], tuple[object, tuple[Note, ...]]] = OrderedDict()

    def portrait(self, path: Path) -> Portrait:
        """The picture in a file. Raises PictureError."""
        return self._read(("portrait",), path, read_picture)

    def speech(self, path: Path) -> Speech:
        """The voice in a file. Raises SoundError."""
        return self._read(("speech",), path, read_speech)

    def motion(self, path: Path, *, pose: bool) -> Motion:
        """The motion in a file or folder; of a video the body with `pose`, else the face. Raises MotionError."""
        return self._read(("motion", pose), path, lambda path: load_motion(path, pose=pose))

    def _read(self, kind: tuple[object, ...], path: Path, read: Callable[[Path], _Input]) -> _Input:
        """Read the input; notes made while it was read are repeated when it is used again."""
        if not path.is_file():
            return read(path)
        key = (*kind, path.name, checksum(path))
        if key in self._kept:
            self._kept.move_to_end(key)
            value, notes = self._kept[key]
            for made in notes:
                emit(made)
            return value  # type: ignore[return-value]
        with collect_notes() as found:
            value = read(path)
        self._kept[key] = value, tuple(found)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value

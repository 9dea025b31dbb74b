"""Open what the user handed in: judged by content, and when it cannot be used, named in one line."""

import codecs
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from echomimic.errors import InputError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

_HEAD = 4096
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
_TEXT_CONTROLS = frozenset("\t\n\r\f\x1b")


def check_file(path: str | Path, wanted: str, error: type[InputError]) -> Path:
    """`path` as a Path if it is a file with something in it that may be read; else `error` in one line."""
    path = Path(path)
    refuse_address(path, error)
    try:
        if not path.exists():
            raise error(f"{path} does not exist; expected {wanted}: check the path")
        if path.is_dir():
            raise error(f"{path} is a folder; expected {wanted}: name a file in it")
        if not path.is_file():
            raise error(f"{path} is not a regular file; expected {wanted}: save it to a file first")
        if path.stat().st_size == 0:
            raise error(f"{path} is empty; expected {wanted}: fetch or export it again")
        with path.open("rb"):
            return path
    except PermissionError:
        raise error(f"{path} may not be read; expected {wanted}: change its permissions") from None
    except OSError as fault:
        raise error(f"{path} cannot be read ({fault.strerror}); expected {wanted}: check the path") from None


def refuse_address(path: str | Path, error: type[InputError]) -> None:
    """Raise `error` if `path` is a URL; only files are read."""
    if _ADDRESS.match(str(path)) and not os.path.lexists(path):
        address = _ADDRESS.sub(r"\1://", str(path), count=1)  # Path made one slash of two
        raise error(f"{address} is an address; only files are read: download it, then give the file")


def is_text(file: BinaryIO) -> bool:
    """Whether `file` begins like text. Leaves it at its start."""
    head = file.read(_HEAD)
    file.seek(0)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in _TEXT_CONTROLS for character in text)


class _Nameless:
    """The parts of an open file that FFmpeg needs, without the name that it would guess from."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell, self.seekable = file.read, file.seek, file.tell, file.seekable


@contextmanager
def open_media(path: str | Path, wanted: str, error: type[InputError]) -> "Iterator[InputContainer]":
    """The demuxer of a sound or video file; `error` in one line where it is neither.

    Text never reaches FFmpeg, which would take playlists for media and follow what they point at. Files are handed
    over opened and without their names, so that none is taken for an address ("a:b.wav") or for what it claims.
    """
    import av
    from av.error import FFmpegError

    path = check_file(path, wanted, error)
    with path.open("rb") as file:
        if is_text(file):
            raise error(f"{path} holds text; expected {wanted}")
        try:
            container = av.open(
                _Nameless(file),
                "r",
                options={"protocol_whitelist": "none"},
                metadata_errors="replace",
                buffer_size=1 << 18,
            )
        except (FFmpegError, ValueError):
            what = "a picture" if is_picture(path) else "damaged, cut off, or of a kind that is not known"
            raise error(f"{path} is {what}; expected {wanted}") from None
        with container:
            yield container


def is_picture(path: Path) -> bool:
    """Whether Pillow takes `path` for a picture, going by its first bytes."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path).close()
        return True
    except Exception:  # of any kind: a damaged header may lead a decoder anywhere
        return False


def decoded_frames(container: "InputContainer", stream: "Stream", damaged: Callable[[], None]) -> Iterator[Any]:
    """Frames of a sound or picture stream as they are decoded; `damaged` is told of each packet that cannot be."""
    from av.error import FFmpegError

    packets = container.demux(stream)
    while True:
        try:
            frames = next(packets).decode()
        except StopIteration:
            return
        except FFmpegError:
            damaged()
            continue
        yield from frames

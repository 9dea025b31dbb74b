"""Open input files. The content decides what a file is, not its name; unusable files raise a one-line error."""

import codecs
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from echomimic.errors import InputError

if TYPE_CHECKING:
    from av import AudioStream, VideoStream
    from av.container import InputContainer
    from av.stream import Stream
    from PIL import ImageFile

Kind = Literal["picture", "video", "sound", "text", "other"]

_HEAD = 4096
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
_TEXT_CONTROLS = frozenset("\t\n\r\f\x1b")
_DATA = (b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"\x1f\x8b")
"""First bytes of zip, npy, pickle and gzip files, which FFmpeg may take for sound."""
_ANIMATED = frozenset({"GIF", "PNG", "AVIF"})
"""Picture formats whose animations FFmpeg decodes."""
_TAGS = (b"ID3", b"TAG", b"APETAGEX")


def check_file(path: str | Path, wanted: str, error: type[InputError]) -> Path:
    """Return `path` as a Path if it is a readable file with content; else raise `error`."""
    refuse_address(path, error)
    path = Path(path)
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
    address = address_of(path)
    if address:
        raise error(f"{address} is an address; only files are read: download it, then give the file")


def address_of(path: str | Path) -> str | None:
    """The URL that was given as a path; None if it is none, or a file of that name exists."""
    if not _ADDRESS.match(str(path)) or os.path.lexists(path):
        return None
    return _ADDRESS.sub(r"\1://", str(path), count=1)  # a Path makes one slash of two, also further on


def is_text(file: BinaryIO) -> bool:
    """Whether `file` begins with text. The position returns to the start."""
    head = file.read(_HEAD)
    file.seek(0)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in _TEXT_CONTROLS for character in text)


def content_kind(path: str | Path) -> Kind:
    """The kind of a file, judged by its content: an animated GIF, PNG or AVIF is a video, a cover picture is not.

    Never raises: a missing, empty or unreadable file is "other".
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(max(map(len, _DATA)))
            file.seek(0)
            if not head or head.startswith(_DATA):
                return "other"
            if is_text(file):
                return "text"
    except OSError:
        return "other"
    still, animated = _still_or_animated(path)
    if still:
        return "picture"
    try:
        with open_media(path, "", InputError) as container:
            if video_stream(container) is not None:
                return "video"
            return "sound" if container.streams.audio else "other"
    except InputError:
        return "picture" if animated else "other"


def _still_or_animated(path: str | Path) -> tuple[bool, bool]:
    """Whether Pillow takes the file for a still picture, and whether for an animation that FFmpeg may decode."""
    from PIL import Image

    try:
        image = open_image(path)
    except Image.DecompressionBombError:
        return True, False
    if image is None:
        return False, False
    with image:
        animated = image.format in _ANIMATED and bool(getattr(image, "is_animated", False))
    return not animated, animated


class _Nameless:
    """The methods of an open file that FFmpeg needs, without its name, from which FFmpeg would guess the format."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell, self.seekable = file.read, file.seek, file.tell, file.seekable


@contextmanager
def open_media(path: str | Path, wanted: str, error: type[InputError]) -> "Iterator[InputContainer]":
    """Open the demuxer of a sound or video file; raise `error` if it is neither.

    Text never reaches FFmpeg, which would take playlists for media and follow their entries. Files are passed open and
    without their names, so that none is taken for an address ("a:b.wav") or for what its suffix claims.
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
            what = "a picture" if is_picture(path) else "damaged, truncated, or of an unknown kind"
            raise error(f"{path} is {what}; expected {wanted}") from None
        with container:
            yield container


def video_stream(container: "InputContainer") -> "VideoStream | None":
    """The moving picture of a file: the stream marked as default, else the first. Cover pictures do not count."""
    from av.stream import Disposition

    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    known = [s for s in moving if s.codec_context is not None]
    return next((s for s in known if s.disposition & Disposition.default), known[0] if known else None)


def sound_streams(container: "InputContainer") -> "list[AudioStream]":
    """The sound tracks of a file: those marked as default first."""
    from av.stream import Disposition

    return sorted(container.streams.audio, key=lambda stream: not stream.disposition & Disposition.default)


def start_time(container: "InputContainer") -> Fraction:
    """Time stamp in seconds at which the file starts to play: the earliest start of its picture and sound.

    All times that this package reports count from it, so the offset between picture and sound is kept. What is stamped
    before 0 (an encoder's delay, or what an edit list cuts off) is not played.
    """
    picture = video_stream(container)
    streams = [*container.streams.audio, *([picture] if picture else [])]
    starts = [s.start_time * s.time_base for s in streams if s.start_time is not None and s.time_base is not None]
    start = Fraction(min(starts, default=Fraction(container.start_time or 0, 1_000_000)))
    return max(start, Fraction(0))


def open_image(path: str | Path) -> "ImageFile.ImageFile | None":
    """The picture in a file, not decoded yet; None if Pillow does not take it for one.

    Raises DecompressionBombError for sizes that Pillow refuses.
    """
    from PIL import Image

    try:
        with Path(path).open("rb") as file:
            if file.read(8)[4:] == b"ftyp":
                _register_heif()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size and odd metadata: what matters is reported by this package
            return Image.open(path)
    except Image.DecompressionBombError:
        raise
    except Exception:  # of any kind: a damaged header may fail anywhere in a decoder
        return None


def is_picture(path: Path) -> bool:
    """Whether Pillow takes `path` for a picture, judged by its first bytes."""
    return any(_still_or_animated(path))


@cache
def _register_heif() -> None:
    """Let Pillow open HEIC photos: their primary image, upright, without thumbnails and depth maps."""
    from pi_heif import register_heif_opener

    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


def decoded_frames(container: "InputContainer", stream: "Stream", damaged: Callable[[], None]) -> Iterator[Any]:
    """Decoded frames of a sound or picture stream; `damaged` is called for each packet that cannot be decoded.

    Tags between the parts of a file that was joined from several are not damage.
    """
    from av.error import FFmpegError

    packets = container.demux(stream)
    while True:
        packet = None
        try:
            packet = next(packets)
            frames = packet.decode()
        except StopIteration:
            return
        except FFmpegError:
            if packet is None or not bytes(packet)[:8].startswith(_TAGS):
                damaged()
            continue
        yield from frames

"""A multipart form, read as it comes in: files go straight to disk, and nothing is believed about their names."""

import errno
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from echomimic.apps.server.problems import Problem

LONGEST_FIELD = 1000
MOST_FIELDS = 100


def broken(why: str) -> Problem:
    """For a form that cannot be read."""
    return Problem(400, "broken_form", f"the form cannot be read ({why}); expected multipart/form-data: send it again")


def disk_full(fault: OSError) -> Problem:
    """For what the disk does not take."""
    full = fault.errno in (errno.ENOSPC, errno.EDQUOT)
    why = "the server's disk is full" if full else "the server cannot write to its disk"
    return Problem(507, "no_space", f"{why}; try again later", {"Retry-After": "60"})


class Form:
    """Takes the bytes of a form; `fields` and `files` hold what was in it. `names` are files, put into `folder`."""

    def __init__(self, boundary: bytes, folder: Path, names: tuple[str, ...]) -> None:
        self.fields: dict[str, str] = {}
        self.files: dict[str, int] = {}
        self._folder, self._names, self._whole = folder, names, False
        self._header, self._value, self._name = b"", b"", ""
        self._file: BinaryIO | None = None
        self._text = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_header,
                    "on_header_value": self._on_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._open,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._finish,
                },
            )
        except FormParserError as fault:
            raise broken(str(fault)) from None

    def feed(self, chunk: bytes) -> None:
        """Take some bytes. Raises Problem."""
        try:
            self._parser.write(chunk)
        except FormParserError as fault:
            raise broken(str(fault)) from None
        except OSError as fault:
            raise disk_full(fault) from None

    def close(self) -> None:
        """Let go of the file that is open."""
        if self._file:
            self._file.close()
            self._file = None

    def check_whole(self) -> None:
        """Raise Problem unless the form has come to its end."""
        if not self._whole:
            raise broken("it is cut off")

    def _begin(self) -> None:
        self._header, self._value, self._name = b"", b"", ""
        self._text = bytearray()

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            name = parse_options_header(self._value)[1].get(b"name", b"")
            self._name = name.decode("utf-8", "replace")
        self._header, self._value = b"", b""

    def _open(self) -> None:
        if not self._name:
            raise broken("a part has no name")
        if self._name in self.files or self._name in self.fields:
            raise Problem(422, "repeated_field", f"field {self._name[:100]!r} is given twice; expected it once")
        if len(self.fields) >= MOST_FIELDS:
            raise broken("too many fields")
        if self._name in self._names:
            self.files[self._name] = 0
            self._file = (self._folder / self._name).open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file:
            self.files[self._name] += self._file.write(data[start:end])
        elif len(self._text) + end - start > LONGEST_FIELD:
            raise Problem(422, "long_field", f"field {self._name[:100]!r} is over {LONGEST_FIELD} bytes long")
        else:
            self._text += data[start:end]

    def _end(self) -> None:
        if self._file:
            self.close()
            return
        try:
            self.fields[self._name] = self._text.decode()
        except UnicodeDecodeError:
            raise Problem(422, "not_text", f"field {self._name[:100]!r} is no UTF-8 text") from None

    def _finish(self) -> None:
        self._whole = True

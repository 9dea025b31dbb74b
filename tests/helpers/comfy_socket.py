"""A minimal WebSocket client (RFC 6455) that receives ComfyUI's messages."""

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PREVIEW = 4
"""The binary message of a preview, after the picture's metadata."""


class Listener:
    """A connection that yields messages: a dict for JSON text, or bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")

    def message(self) -> dict[str, Any] | bytes:
        """The next message; pings are ignored, because nothing waits for their answer within a test."""
        while True:
            first, second = self._file.read(2)
            length = second & 127
            if length >= 126:
                length = struct.unpack(">H", self._file.read(2))[0] if length == 126 else self._long()
            body = self._file.read(length)
            if first & 15 == 1:
                said: dict[str, Any] = json.loads(body)
                return said
            if first & 15 == 2:
                return body

    def _long(self) -> int:
        return int(struct.unpack(">Q", self._file.read(8))[0])

    def until(self, kind: str) -> dict[str, Any]:
        """The next text message of this kind."""
        while True:
            said = self.message()
            if isinstance(said, dict) and said["type"] == kind:
                return said

    def previews(self, count: int) -> Iterator[bytes]:
        """The next previews as pictures' files."""
        while count:
            said = self.message()
            if isinstance(said, bytes) and struct.unpack(">I", said[:4])[0] == PREVIEW:
                count -= 1
                yield said[8 + struct.unpack(">I", said[4:8])[0] :]


@contextmanager
def listening(address: str, client: str) -> Iterator[Listener]:
    """A listener for the messages of the server to this client; `address` is host:port."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET /ws?clientId={client} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade",
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += connection.recv(1)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        try:  # by this the client says that it understands previews with theirs
            connection.sendall(_masked(json.dumps({"type": "feature_flags", "data": FLAGS}).encode()))
            yield Listener(connection)
        finally:
            connection.shutdown(socket.SHUT_RDWR)


FLAGS = {"supports_preview_metadata": True}


def _masked(text: bytes) -> bytes:
    """A text message as a client has to send it."""
    mask = os.urandom(4)
    assert len(text) < 126
    return bytes([129, 128 | len(text)]) + mask + bytes(each ^ mask[place % 4] for place, each in enumerate(text))

"""The server process: listens, reports its address, and serves until a signal asks it to stop."""

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from echomimic.apps.jobs.request import JobError
from echomimic.apps.server.app import create_app
from echomimic.apps.server.memory import set_up_allocator
from echomimic.apps.server.settings import Settings
from echomimic.errors import OutputError

_GRACE_SECONDS = 2
"""Time for open responses after the signal to stop."""
_STOP_SECONDS = 4.0
"""Time after which the process ends whatever still runs."""


def run_server(settings: Settings, on_listening: Callable[[str], object]) -> None:
    """Serve until a signal comes; `on_listening` gets the address. Raises OptionError, OutputError."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("echomimic").setLevel(logging.INFO if settings.log else logging.WARNING)
    settings.check_access()
    set_up_allocator()
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as fault:
        where = f"{settings.host}:{settings.port}"
        raise OutputError(f"the server cannot listen on {where} ({fault.strerror}); choose another `port`") from None
    with listener:
        try:
            app = create_app(settings)
        except JobError as fault:
            raise OutputError(f"{settings.data}: {fault}") from None
        except OSError as fault:
            raise OutputError(f"{settings.data}: it cannot be written ({fault.strerror})") from None
        server = _Server(_config(app, settings))
        for stop in (signal.SIGINT, signal.SIGTERM):  # uvicorn handles these later, and raises them again at the end
            signal.signal(stop, lambda _number, _frame: setattr(server, "should_exit", True))
        on_listening(_address(listener))
        server.run(sockets=[listener])
        _join_threads()


def _join_threads() -> None:
    """Wait for threads that compute: a library in which one still is when the interpreter ends aborts the process."""
    end = time.monotonic() + _STOP_SECONDS
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not isinstance(thread, threading.Timer):
            thread.join(max(0.0, end - time.monotonic()))


def _config(app: Any, settings: Settings) -> uvicorn.Config:
    protocol: Any = partial(BoundedHeadersProtocol, header_seconds=settings.header_seconds)
    return uvicorn.Config(
        app,
        http=protocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


class _Server(uvicorn.Server):
    """A server that ends in bounded time, even if a thread computes and cannot be interrupted."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        timer = threading.Timer(_STOP_SECONDS, os._exit, (0,))
        timer.daemon = True
        timer.start()
        super().handle_exit(sig, frame)


class BoundedHeadersProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose request head is not complete within `header_seconds`."""

    def __init__(self, *given: Any, header_seconds: float, **named: Any) -> None:
        super().__init__(*given, **named)
        self._header_seconds = header_seconds
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._set_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._clear_timer()
        elif self._header_timer is None:
            self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_timer()
        super().connection_lost(exc)

    def _set_timer(self) -> None:
        self._header_timer = self.loop.call_later(self._header_seconds, self._close_if_waiting)

    def _clear_timer(self) -> None:
        if self._header_timer:
            self._header_timer.cancel()
            self._header_timer = None

    def _close_if_waiting(self) -> None:
        self._header_timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    listener.setblocking(False)
    # accepted connections inherit this; otherwise each small response waits 40 ms for an acknowledgement
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"

"""The server's process: listens, and serves until it is told to stop."""

import signal
import socket
import threading
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

_GRACE = 2


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. OSError where the address is not to be had."""
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setblocking(False)
    # what is accepted inherits it; without, each small answer waits 40 ms for an acknowledgement
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(app: FastAPI, listener: socket.socket, when_up: Callable[[], object] | None = None) -> None:
    """Serve until a signal comes; `when_up` is called beside it."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=_GRACE
    )
    for stop in (signal.SIGINT, signal.SIGTERM):  # uvicorn ends well on these, and then raises them once more
        signal.signal(stop, signal.SIG_IGN)
    if when_up:
        threading.Timer(1.0, when_up).start()
    with listener:
        uvicorn.Server(config).run(sockets=[listener])

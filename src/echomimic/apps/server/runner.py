"""The server process: listens, says where, and serves until it is told to stop."""

import logging
import signal
import socket
from collections.abc import Callable

import uvicorn

from echomimic.apps.server.app import create_app
from echomimic.apps.server.problems import Problem
from echomimic.apps.server.settings import Settings
from echomimic.errors import OutputError

_GRACE = 3


def run_server(
    settings: Settings, host: str, port: int, say: Callable[[str, Settings], None], log: bool = False
) -> None:
    """Serve until a signal comes, with a line on stderr for each request if `log`; faults are logged in any case.

    Raises OutputError where the port or the folder is not to be had.
    """
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("echomimic.rest").setLevel(logging.INFO if log else logging.WARNING)
    try:
        listener = _listen(host, port)
    except OSError as fault:
        raise OutputError(f"{host}:{port} cannot be listened on ({fault.strerror}); choose another `port`") from None
    with listener:
        try:
            app = create_app(settings)
        except (Problem, OSError) as fault:
            what = fault.detail if isinstance(fault, Problem) else f"it cannot be written ({fault.strerror})"
            raise OutputError(f"{settings.data}: {what}") from None
        say(_address(listener), settings)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE,
        )
        for stop in (signal.SIGINT, signal.SIGTERM):  # uvicorn ends well on these, and then raises them once more
            signal.signal(stop, signal.SIG_IGN)
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    listener.setblocking(False)
    # what is accepted inherits it; without, each small answer waits 40 ms for an acknowledgement
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"

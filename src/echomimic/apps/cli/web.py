"""`echomimic web`: the server with its page opened in a browser, and a folder of its own."""

import shutil
import tempfile
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echomimic.apps.cli.serve import _who_may_call
from echomimic.errors import EchoMimicError, SetupError

if TYPE_CHECKING:
    from echomimic.apps.server.settings import Settings

_PREFIX = "echomimic-web-"
_OPEN_AFTER = 1.0

_Data = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="keep videos here; default: a folder that is deleted at the end")
]


def web(
    host: Annotated[str, typer.Option(help="the address to listen on; 127.0.0.1 is this machine alone")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="the port; 0 takes a free one")] = 7860,
    data: _Data = None,
    max_upload: Annotated[int, typer.Option(min=1, help="MB that one upload may have")] = 200,
    no_key: Annotated[bool, typer.Option("--no-key", help="let everybody use it who can reach the address")] = False,
    browser: Annotated[bool, typer.Option(help="open the page in a browser")] = True,
) -> None:
    """Open the web page: a portrait, a voice, Generate, and the motion editor."""
    hosts, any_host = _who_may_call(host, False, no_key)
    try:
        from echomimic.apps.server.runner import run_server
        from echomimic.apps.server.settings import MB, Settings
    except ImportError as error:
        missing = f"{error.name} is missing; install what the page needs: pip install 'echomimic[web]'"
        raise SetupError(missing) from None
    _sweep()
    folder = data or Path(tempfile.mkdtemp(prefix=_PREFIX))

    def announce(address: str, _settings: "Settings") -> None:
        kept = f"videos are kept in {folder}" if data else "uploads and videos are deleted then"
        typer.echo(f"echomimic is at {address} (Ctrl-C stops; {kept})")
        if browser:
            threading.Timer(_OPEN_AFTER, webbrowser.open, [address]).start()

    try:
        run_server(Settings(folder, (), hosts, any_host, max_upload=max_upload * MB, warm=True), host, port, announce)
    finally:
        if not data:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Delete the folders of servers that were killed: nobody holds their locks."""
    from echomimic.apps.jobs.storage import Folders
    from echomimic.apps.server.problems import Problem

    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            Folders(folder).close()
        except (Problem, EchoMimicError, OSError):
            continue
        shutil.rmtree(folder, ignore_errors=True)

"""`echomimic web`: the server with its page opened in a browser, and a folder of its own."""

import shutil
import tempfile
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from echomimic.apps.cli.reporter import print_error, print_line
from echomimic.apps.cli.serve import make_settings
from echomimic.errors import SetupError
from echomimic.installation import missing_package

_PREFIX = "echomimic-web-"
_OPEN_AFTER = 1.0

_Data = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="keep videos here; default: a folder that is deleted at the end")
]
_AllowHost = Annotated[list[str] | None, typer.Option(help="a name by which browsers call this machine; repeatable")]


def web(
    host: Annotated[str, typer.Option(help="the address to listen on; 127.0.0.1 is this machine alone")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="the port; 0 takes a free one")] = 7860,
    allow_host: _AllowHost = None,
    data: _Data = None,
    max_upload: Annotated[float, typer.Option(min=0.001, help="MB that one upload may have")] = 200,
    no_key: Annotated[bool, typer.Option("--no-key", help="accept everybody who can reach the address")] = False,
    browser: Annotated[bool, typer.Option(help="open the page in a browser")] = True,
) -> None:
    """Open the web page: a portrait, a voice, Generate, and the motion editor."""
    try:
        from echomimic.apps.jobs.store import remove_abandoned_folders
        from echomimic.apps.server.runner import run_server
    except ImportError as error:
        raise SetupError(missing_package(error.name, "web", "the page needs")) from None
    access = {"host": host, "port": port, "allow_host": allow_host or (), "no_key": no_key}
    make_settings(**access)  # refused before a folder is made
    remove_abandoned_folders(_PREFIX)
    folder = data or Path(tempfile.mkdtemp(prefix=_PREFIX))

    def announce(address: str) -> None:
        kept = f"videos are kept in {folder}" if data else "uploads and videos are deleted then"
        print_line(f"echomimic is at {address} (Ctrl-C stops; {kept})")
        if settings.is_public and not settings.keys:
            print_error("everybody who can reach this address can use it and see its videos")
        if browser:
            threading.Timer(_OPEN_AFTER, webbrowser.open, [address]).start()

    try:
        settings = make_settings(**access, data=folder, max_upload=max_upload, warm=True)
        run_server(settings, announce)
    finally:
        if not data:
            shutil.rmtree(folder, ignore_errors=True)

"""`echomimic web`: the page in a browser, for this machine only unless asked otherwise."""

import shutil
import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from echomimic.errors import OutputError, SetupError


def web(
    host: Annotated[str, typer.Option(help="the address to listen on; 127.0.0.1 is this machine alone")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="the port; 0 takes a free one")] = 7860,
    max_upload: Annotated[int, typer.Option(min=1, help="MB that one file may have")] = 200,
    browser: Annotated[bool, typer.Option(help="open the page in a browser")] = True,
) -> None:
    """Open the web page: two drop zones, Generate, and the motion editor."""
    try:
        from echomimic.apps.web.app import create_app
        from echomimic.apps.web.settings import MB, Settings
        from echomimic.apps.web.stand import listen, serve
    except ImportError as error:
        raise _missing(error) from None
    try:
        listener = listen(host, port)
    except OSError as fault:
        raise OutputError(f"{host}:{port} cannot be listened on ({fault.strerror}); choose another --port") from None
    folder = Path(tempfile.mkdtemp(prefix="echomimic-web-"))
    try:
        loopback = host in ("localhost", "::1") or host.startswith("127.")
        known = ("127.0.0.1", "localhost", "[::1]", host) if loopback else ()
        try:
            app = create_app(Settings(folder, known, max_upload * MB))
        except ImportError as error:
            raise _missing(error) from None
        address = f"http://{'localhost' if host in ('0.0.0.0', '::') else host}:{listener.getsockname()[1]}"
        typer.echo(f"echomimic is at {address} (Ctrl-C stops; uploads and videos are deleted then)")
        if not loopback:
            typer.echo("everybody who can reach this address can use it", err=True)
        serve(app, listener, (lambda: webbrowser.open(address)) if browser else None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _missing(error: ImportError) -> SetupError:
    return SetupError(f"{error.name} is missing; install what the page needs: pip install 'echomimic[web]'")

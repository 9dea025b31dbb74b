"""`echomimic serve` and `web`: the HTTP server, by default reachable from this machine only; and `mcp`: tools."""

import shutil
import tempfile
import threading
import webbrowser
from importlib.util import find_spec
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, get_origin

import typer
from pydantic import ValidationError

from echomimic.apps.cli.flags import option, set_parameters
from echomimic.apps.cli.reporter import print_error, print_line
from echomimic.apps.server.settings import Settings
from echomimic.errors import OptionError, SetupError
from echomimic.installation import missing_package

_HELP = (
    "Serve the page, the motion editor and the HTTP API. Each flag can be set in the environment: ECHOMIMIC_PORT=80."
)
_TYPES: dict[str, Any] = {"bool": bool | None, "int": int | None, "float": float | None}


def add_serve(app: typer.Typer) -> None:
    """Add the command; its flags are the fields of the server's settings."""
    flags = [_flag(name, field) for name, field in Settings.model_fields.items() if field.description]

    def serve(**given: Any) -> None:
        run(make_settings(**{name: value for name, value in given.items() if value not in (None, [])}))

    set_parameters(serve, flags)
    app.command(help=_HELP)(serve)


def _flag(name: str, field: Any) -> Parameter:
    """The parameter that typer turns into a flag; None means that it is not given."""
    kind: Any = _TYPES.get(getattr(field.annotation, "__name__", ""), str | None)
    if get_origin(field.annotation) is tuple:
        kind = list[str] | None
    default = "" if field.default in (None, False, ()) else f" (default {field.default})"
    flag = f"--{name.replace('_', '-')}"
    option = typer.Option(None, flag, help=f"{field.description}{default}", show_default=False)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=option, annotation=kind)


def make_settings(**given: Any) -> Settings:
    """The settings from flags and the environment. Raises OptionError."""
    try:
        settings = Settings.from_environment(**given)
    except ValidationError as error:
        fault = error.errors()[0]
        flag = f"`{fault['loc'][0]}`"
        what = str(fault["msg"]).replace("Input should be", "expected")
        raise OptionError(f"{flag} is {fault['input']!r}; {what[0].lower()}{what[1:]}") from None
    settings.check_access()
    return settings


def run(settings: Settings) -> None:
    """Run the server until it is stopped."""
    try:
        from echomimic.apps.server.runner import run_server
    except ImportError as error:
        raise SetupError(missing_package(error.name, "serve", "the server needs")) from None

    def print_address(address: str) -> None:
        print_line(f"echomimic serves on {address} (Ctrl-C stops it; running jobs start again with the next server)")
        if not settings.keys:
            print_error("no API key is needed; set ECHOMIMIC_API_KEYS to require one")
        if settings.is_public and not settings.allow_host:
            print_error("requests under a host name are refused; --allow-host NAME accepts one")

    run_server(settings, print_address)


_PREFIX = "echomimic-web-"
_OPEN_AFTER = 1.0

_Data = Annotated[Path | None, option("FOLDER", "keep videos here; default: a folder that is deleted at the end")]
_AllowHost = Annotated[list[str] | None, typer.Option(help="a name by which browsers call this machine; repeatable")]


def web(
    host: Annotated[
        str, typer.Option(help="address to listen on; 127.0.0.1 is reached by this machine only")
    ] = "127.0.0.1",
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
        live = all(find_spec(name) for name in ("aiortc", "websockets"))  # the extra `live` is installed
        settings = make_settings(**access, data=folder, max_upload=max_upload, warm=True, live=live)
        run_server(settings, announce)
    finally:
        if not data:
            shutil.rmtree(folder, ignore_errors=True)


def mcp(
    allow: Annotated[
        list[Path] | None,
        option("DIR", "a folder to read and write; default: the current one; repeatable"),
    ] = None,
) -> None:
    """Serve tools for an assistant on stdin and stdout: animate, plan, track, edit_motion, evaluate, verify."""
    folders = allow or [Path()]
    for folder in folders:
        if not folder.is_dir():
            raise OptionError(f"`allow` {folder} is not a folder; expected one that exists")
    try:
        from echomimic.apps.mcp import make_server
    except ImportError as error:
        raise SetupError(missing_package(error.name, "mcp", "the server of tools needs")) from None
    make_server(folders).run("stdio")

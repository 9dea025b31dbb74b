"""`echomimic serve`: the HTTP door, opened to this machine only unless asked otherwise."""

import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echomimic.errors import OptionError, SetupError

if TYPE_CHECKING:
    from echomimic.apps.server.settings import Settings

_KEYS = "ECHOMIMIC_API_KEYS"


_Host = Annotated[str, typer.Option(help="the address to listen on; this machine alone can reach 127.0.0.1")]
_Port = Annotated[int, typer.Option(min=0, max=65535, help="the port; 0 takes a free one")]
_Data = Annotated[Path, typer.Option(metavar="FOLDER", help="where jobs and results are kept")]
_KeyFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help=f"API keys, one a line; {_KEYS} (with commas) adds to them")
]
_NoKey = Annotated[bool, typer.Option("--no-key", help="let everybody in who can reach the address")]
_Warm = Annotated[bool, typer.Option("--warm", help="load the engine at once, so that the first job is as quick")]
_Log = Annotated[bool, typer.Option("--log", help="a line on stderr for each request")]
_AllowUrls = Annotated[bool, typer.Option("--allow-urls", help="fetch inputs that clients name by URL")]


def serve(
    host: _Host = "127.0.0.1",
    port: _Port = 8765,
    data: _Data = Path("echomimic-jobs"),
    key_file: _KeyFile = None,
    no_key: _NoKey = False,
    allow_urls: _AllowUrls = False,
    warm: _Warm = False,
    log: _Log = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="jobs that are rendered at the same time")] = 1,
    queue: Annotated[int, typer.Option(min=1, max=100_000, help="jobs that may wait; more are sent away")] = 32,
    max_upload: Annotated[int, typer.Option(min=1, help="MB that one request may bring")] = 200,
    max_pixels: Annotated[float, typer.Option(min=0.01, help="million pixels that a portrait may have")] = 50.0,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="seconds that a video may last")] = 600.0,
    max_time: Annotated[float, typer.Option(min=1, help="seconds that a job may take")] = 3600.0,
    max_disk: Annotated[int, typer.Option(min=1, help="MB that all jobs together may take")] = 20_000,
    keep: Annotated[float, typer.Option(min=0.001, help="hours until a result is deleted")] = 24.0,
    idle: Annotated[float, typer.Option(min=0.01, help="minutes without a job after which engines are let go")] = 15.0,
) -> None:
    """Take jobs over HTTP: see / there for how, and /openapi.json for programs."""
    keys = _read_keys(key_file)
    hosts, any_host = _who_may_call(host, bool(keys), no_key)
    try:
        from echomimic.apps.server.runner import run_server
        from echomimic.apps.server.settings import MB, Settings
    except ImportError as error:
        raise SetupError(
            f"{error.name} is missing; install what the server needs: pip install 'echomimic[serve]'"
        ) from None
    settings = Settings(
        data,
        keys,
        hosts,
        any_host,
        allow_urls,
        workers,
        queue,
        max_upload=max_upload * MB,
        max_pixels=round(max_pixels * 1e6),
        max_seconds=max_seconds,
        max_job_seconds=max_time,
        max_disk=max_disk * MB,
        keep_seconds=keep * 3600,
        idle_seconds=idle * 60,
        warm=warm,
    )
    run_server(settings, host, port, _say, log)


def _say(address: str, settings: "Settings") -> None:
    typer.echo(f"echomimic serves on {address} (Ctrl-C stops; jobs that run begin again next time)")
    if not settings.keys:
        typer.echo(f"no API key is asked for; set {_KEYS} to ask for one", err=True)


def _read_keys(file: Path | None) -> tuple[str, ...]:
    """The keys of the environment and of the file."""
    given = os.environ.get(_KEYS, "").split(",")
    if file is not None:
        try:
            given += file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise OptionError(f"{file} cannot be read; expected a text file with an API key on each line") from None
    keys = tuple(key.strip() for key in given if key.strip())
    for key in keys:
        if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
            raise OptionError(
                f"an API key of {len(key)} characters is too easy to guess, or has spaces in it; expected 16 or more "
                "letters and digits: python -c 'import secrets; print(secrets.token_hex(16))'"
            )
    if file is not None and not keys:
        raise OptionError(f"{file} has no key in it; expected one on each line")
    return keys


def _who_may_call(host: str, has_keys: bool, open_door: bool) -> tuple[tuple[str, ...], bool]:
    """The names under which requests may come, and whether any will do. OptionError where the door stands open."""
    if host == "localhost" or _is_loopback(host):
        return ("127.0.0.1", "localhost", "::1", host), False
    if not has_keys and not open_door:
        raise OptionError(
            f"--host {host} lets other machines in, and no API key is asked for; expected keys in {_KEYS} or "
            "--key-file, or --no-key to let everybody in"
        )
    return (host,), True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

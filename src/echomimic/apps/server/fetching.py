"""Inputs by URL, where the server allows them: only from public addresses, only so much, and not for ever."""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

from echomimic.apps.server.multipart import disk_full
from echomimic.apps.server.problems import Problem
from echomimic.apps.server.settings import MB, Settings

_REDIRECTS = 5
_PIECE = 1 << 16
_WAIT = 10.0


class _Resolver(Protocol):
    def __call__(self, host: str, port: int) -> str: ...


def public_address(host: str, port: int) -> str:
    """An address of `host` that is out on the internet; Problem where any of its addresses is not.

    The connection goes to the address that was checked, so that the name cannot mean something else a moment later.
    """
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        raise Problem(422, "url_failed", f"host {host[:100]!r} is not known; expected one that answers") from None
    if not found or not all(ipaddress.ip_address(address.split("%")[0]).is_global for address in found):
        raise Problem(422, "url_refused", f"host {host[:100]!r} is not public; expected an address on the internet")
    return min(found)


def fetch_all(
    urls: Mapping[str, object], folder: Path, settings: Settings, resolve: _Resolver = public_address
) -> None:
    """Fetch each of `urls` into `folder`, under its field's name. Raises Problem."""
    until, left = time.monotonic() + settings.upload_seconds, settings.max_upload
    for name, url in urls.items():
        if not isinstance(url, str):
            raise Problem(422, "url_refused", f"field {name} is {type(url).__name__}; expected a URL as text")
        left -= _fetch(url, folder / name, left, until, resolve)


def _fetch(url: str, path: Path, most: int, until: float, resolve: _Resolver) -> int:
    """Save what `url` leads to; its size in bytes."""
    try:
        for _ in range(_REDIRECTS + 1):
            with closing(_connect(_parts(url), resolve)) as connection:
                response = connection.getresponse()
                target = response.getheader("Location")
                if response.status in (301, 302, 303, 307, 308) and target:
                    url = urljoin(url, target)
                    continue
                if response.status != 200:
                    raise Problem(422, "url_failed", f"{url[:200]} answers {response.status}; expected 200")
                return _save(response, path, most, until)
    except (http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError, socket.gaierror) as fault:
        raise Problem(422, "url_failed", f"{url[:200]} cannot be fetched ({type(fault).__name__})") from None
    except OSError as fault:
        raise disk_full(fault) from None
    raise Problem(422, "url_failed", f"{url[:200]} redirects too often; expected a file")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) and url.isascii()
    except ValueError:
        good = False
    if not good or len(url) > 2000 or any(ord(character) <= 32 for character in url):
        raise Problem(422, "url_refused", f"{url[:200]!r} is no URL that is taken; expected http:// or https://")
    return parts


def _connect(parts: SplitResult, resolve: _Resolver) -> http.client.HTTPConnection:
    """Ask for `parts`; the request goes to the address that was checked, under the name that was asked for."""
    secure = parts.scheme == "https"
    host, port = str(parts.hostname), parts.port or (443 if secure else 80)
    connection = http.client.HTTPConnection(host, port, timeout=_WAIT)
    plain = socket.create_connection((resolve(host, port), port), timeout=_WAIT)
    connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", target, headers={"User-Agent": "echomimic", "Accept": "*/*"})
    return connection


def _save(response: http.client.HTTPResponse, path: Path, most: int, until: float) -> int:
    size = 0
    with path.open("xb") as file:
        while piece := response.read(_PIECE):
            size += len(piece)
            if size > most:
                raise Problem(
                    413, "too_large", f"what the URLs lead to is too large; expected {most / MB:g} MB or less"
                )
            if time.monotonic() > until:
                raise Problem(408, "slow_upload", "fetching the URLs took too long; expected it faster")
            file.write(piece)
    if size == 0:
        raise Problem(422, "empty_file", f"field {path.name} is an empty file; expected one with something in it")
    return size

"""What every request passes: its name for the log, who may come in, the headers of every answer, the last resort."""

import hmac
import logging
import re
import time
from collections.abc import MutableMapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from echomimic.apps.server.metrics import Metrics
from echomimic.apps.server.problems import Problem, answer
from echomimic.apps.server.settings import Settings
from echomimic.apps.server.streams import CutOff

_log = logging.getLogger("echomimic.rest")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
OPEN = frozenset({"/", "/healthz", "/openapi.json"})
"""What anybody may see: that the server is there, and how to talk to it."""
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = _SAFE | {"POST", "DELETE"}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}


class Door:
    """ASGI middleware round everything else."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._keys = [sha256(key.encode()).digest() for key in settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, headers = time.monotonic(), Headers(scope=scope)
        given = headers.get("x-request-id", "")
        name = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = name
        status = 0

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = MutableHeaders(scope=message)
                own["X-Request-ID"] = name
                for header, text in _HEADERS.items():
                    own.setdefault(header, text)
            await send(message)

        try:
            state["owner"] = self._admit(scope, headers)
            await self._app(scope, receive, marked)
        except Problem as problem:
            await answer(problem, name)(scope, receive, marked)
        except CutOff as why:
            _log.info("%s closed: %s", name, why)
        except Exception:
            _log.exception("request %s", name)
            if not status:
                fault = Problem(500, "server_fault", "a fault of the server; its log has the request_id: report it")
                await answer(fault, name)(scope, receive, marked)
        finally:
            self._count(scope, status, time.monotonic() - began)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.answered(method, route, status, seconds)
        name = scope["state"]["request_id"]
        _log.info("%s %s %s %d %.3f s", name, method, ascii(scope["path"][:200]), status, seconds)

    def _admit(self, scope: Scope, headers: Headers) -> str:
        """Who asks, as text that tells keys apart but is none. Raises Problem."""
        self._check_host(headers)
        if scope["method"] not in _SAFE and _is_foreign(headers):
            why = "the request comes from a page of another site; expected a program, or a page of this server"
            raise Problem(403, "cross_site", why)
        if not self._keys or scope["path"] in OPEN:
            return ""
        given = {sha256(key.encode()).digest() for key in _given_keys(headers)}
        if len(given) != 1 or not self._is_known(*given):
            why = "no API key that is known; expected 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            raise Problem(401, "unauthorized", why, {"WWW-Authenticate": "Bearer"})
        return next(iter(given)).hex()[:32]

    def _is_known(self, given: bytes) -> bool:
        """Each key is compared, and each comparison takes the same time."""
        return sum(hmac.compare_digest(given, key) for key in self._keys) > 0

    def _check_host(self, headers: Headers) -> None:
        """Without keys the name in the request must be ours, or any page could reach us under a name of its own."""
        if self._settings.keys or self._settings.any_host:
            return
        try:
            host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        except ValueError:
            host = ""
        if host not in self._settings.hosts:
            why = f"the Host header names {host[:100]!r}; expected one of {', '.join(self._settings.hosts)}"
            raise Problem(421, "unknown_host", why)


def _given_keys(headers: Headers) -> list[str]:
    """The keys that a request brings; one that is brought in an unknown way is no key."""
    keys = headers.getlist("x-api-key")
    for line in headers.getlist("authorization"):
        scheme, _, token = line.partition(" ")
        keys.append(token.strip() if scheme.lower() == "bearer" else "")
    return keys


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page of another site made it send this."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")

"""ASGI middleware: request id, access control, limits of the body, security headers, access log and metrics, errors."""

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Iterator, MutableMapping
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from echomimic.apps.jobs.queue import JobQueue
from echomimic.apps.jobs.store import Job, State
from echomimic.apps.server.schemas import Problem, problem_of
from echomimic.apps.server.settings import MB, Settings
from echomimic.apps.server.streams import StreamAborted, StreamLimit

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts of requests and jobs, in a registry of its own."""

    def __init__(self, queue: JobQueue, streams: StreamLimit) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Gauges(queue, streams))
        names = ("method", "route", "status")
        self._requests = Counter("echomimic_requests", "responses", names, registry=self._registry)
        self._seconds = Histogram(
            "echomimic_request_seconds",
            "time from the request to the end of its response",
            ("route",),
            registry=self._registry,
        )
        self._jobs = Counter("echomimic_jobs_ended", "ended attempts", ("kind", "state"), registry=self._registry)
        self._work = Histogram(
            "echomimic_job_seconds",
            "time from the start of an attempt to its end",
            ("kind",),
            buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600),
            registry=self._registry,
        )
        queue.on_end = self.count_job

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_job(self, job: Job, state: State, seconds: float) -> None:
        """Count an attempt at a job; `queued` means that it will be tried again."""
        self._jobs.labels(job.kind, state).inc()
        self._work.labels(job.kind).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Gauges(Collector):
    """The present state."""

    def __init__(self, queue: JobQueue, streams: StreamLimit) -> None:
        self._queue, self._streams = queue, streams

    def collect(self) -> Iterator[Metric]:
        queue = self._queue
        jobs = GaugeMetricFamily("echomimic_jobs", "jobs that are kept", labels=("state",))
        for state, count in queue.store.counts().items():
            jobs.add_metric([state], count)
        yield jobs
        yield GaugeMetricFamily("echomimic_workers_busy", "workers that run a job", queue.busy)
        yield GaugeMetricFamily("echomimic_streams", "open streams", self._streams.count)
        yield GaugeMetricFamily("echomimic_stored_bytes", "disk usage of jobs", queue.store.bytes())
        yield GaugeMetricFamily("echomimic_disk_free_bytes", "free space of the disk", queue.files.free())


_log = logging.getLogger("echomimic.server")
PUBLIC = frozenset({"/", "/editor", "/live", "/docs", "/openapi.json", "/healthz", "/readyz", "/favicon.ico"})
PUBLIC_FOLDERS = ("/static/", "/locales/")
"""Addresses without private data: they need no key, and a link from another site may open them."""
KEY_COOKIE = "echomimic-key"
_MAX_BODY = 1_000_000
"""Bytes of a body that is not a form."""
_DRAIN_SECONDS = 2.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = _SAFE | {"POST", "PUT", "DELETE"}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
}


class SecurityMiddleware:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._keys = [sha256(key.encode()).digest() for key in settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._admit_socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, headers = time.monotonic(), Headers(scope=scope)
        given = headers.get("x-request-id", "")
        name = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = name
        body, status = _Body(receive, headers, self._settings), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = MutableHeaders(scope=message)
                own["X-Request-ID"] = name
                for header, text in _HEADERS.items():
                    own.setdefault(header, text)
                if status >= 400:
                    await body.drain()
            await send(message)

        try:
            state["owner"] = self._admit(scope, headers)
            await self._app(scope, body.receive, send_with_headers)
        except StreamAborted as why:
            _log.info("%s closed: %s", name, why)
        except Exception as error:
            problem = problem_of(error)
            if problem.code == "server_fault":
                _log.exception("request %s", name)
            if not status:
                await problem.response(name)(scope, receive, send_with_headers)
        finally:
            self._log_request(scope, name, status, time.monotonic() - began)

    async def _admit_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a WebSocket on that may send sound to a live session; refuse all others before they open."""
        try:
            if not (self._settings.live and scope["path"].startswith("/v1/live/")):
                raise Problem(404, "no_such_address", "there is no WebSocket at this address")
            scope.setdefault("state", {})["owner"] = self._admit(scope, Headers(scope=scope))
        except Problem:
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)

    def _log_request(self, scope: Scope, name: str, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.count_request(method, route, status, seconds)
        _log.info("%s %s %s %d %.3f s", name, method, ascii(scope["path"][:200]), status, seconds)

    def _admit(self, scope: Scope, headers: Headers) -> str:
        """The owner of the request: text that differs from key to key but reveals none. Raises Problem."""
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not self._settings.accepts_host(host):
            why = f"the Host header is {host[:100]!r}; expected this server or one of its allowed hosts"
            raise Problem(421, "unknown_host", why)
        path = scope["path"]
        is_public = path in PUBLIC or path.startswith(PUBLIC_FOLDERS)
        if not (is_public and scope.get("method") in _SAFE) and is_foreign(headers):
            why = "the request comes from a page of another origin; expected a program, or a page of this server"
            raise Problem(403, "cross_site", why)
        if not self._keys or is_public:
            return ""
        given = {sha256(key.encode()).digest() for key in _keys_in(headers)}
        owner = next(iter(given), b"")
        if len(given) != 1 or not sum(hmac.compare_digest(owner, key) for key in self._keys):  # in constant time
            why = "no known API key; expected 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            raise Problem(401, "unauthorized", why, {"WWW-Authenticate": "Bearer"})
        return owner.hex()[:32]


def is_foreign(headers: Headers) -> bool:
    """Whether a page of another origin, of this site or not, caused the request."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _keys_in(headers: Headers) -> list[str]:
    """The API keys of a request; one that is sent in an unknown way counts as a wrong key."""
    keys = headers.getlist("x-api-key")
    for line in headers.getlist("authorization"):
        scheme, _, token = line.partition(" ")
        keys.append(token.strip() if scheme.lower() == "bearer" else "")
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(KEY_COOKIE)
    except CookieError:
        cookie = None
    return keys or ([cookie.value] if cookie else [])


class _Body:
    """The body of a request, within limits of size and time."""

    def __init__(self, receive: Receive, headers: Headers, settings: Settings) -> None:
        self._receive, self._stall = receive, settings.stall_seconds
        is_form = headers.get("content-type", "").lower().startswith("multipart/form-data")
        self._limit = round(settings.max_upload * MB) if is_form else _MAX_BODY
        self._until = time.monotonic() + settings.upload_seconds
        length = headers.get("content-length", "")
        self._promised = int(length) if length.isdecimal() and len(length) < 19 else 0
        self._size, self._began, self._ended = 0, False, "content-length" not in headers
        self._ended = self._ended and "transfer-encoding" not in headers

    async def receive(self) -> Message:
        """The next message. Raises Problem if the body is too large or too slow."""
        if self._ended:
            return await self._receive()
        if self._promised > self._limit:
            raise self._too_large()
        message = await self._next(min(self._stall, self._until - time.monotonic()))
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise self._too_large()
        return message

    async def _next(self, seconds: float) -> Message:
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, seconds))
        except asyncio.TimeoutError:
            self._ended = True
            raise Problem(408, "slow_upload", "the upload stalled or took too long; try again", _CLOSE) from None
        self._ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read on for a moment, so that a client that is still sending gets the answer."""
        until = time.monotonic() + _DRAIN_SECONDS
        try:
            while not self._ended and time.monotonic() < until:
                await self._next(until - time.monotonic())
        except Problem:
            return

    def _too_large(self) -> Problem:
        why = f"the request is larger than {self._limit / MB:g} MB; expected less: shrink the files"
        return Problem(413, "too_large", why)


_CLOSE = {"Connection": "close"}

"""A client of the HTTP server; it needs the extra `client` (httpx).

>>> from echomimic.client import Client
>>> client = Client("http://127.0.0.1:8765")  # doctest: +SKIP
>>> job = client.animate("portrait.png", "voice.wav", size=512)  # doctest: +SKIP
>>> client.download(client.wait(job), "out.mp4")  # doctest: +SKIP
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from echomimic.errors import EchoMimicError, InputError, SetupError
from echomimic.installation import missing_package

try:
    import httpx
except ImportError:
    raise SetupError(missing_package("httpx", "client", "the client needs")) from None

Source = str | Path
Job = Mapping[str, Any]
"""A job as the server describes it: `id`, `state`, `progress`, `result`, `error`, `links`, …"""

_TRIES = 5
_RETRY_SECONDS = 1.0
_FINAL = ("succeeded", "failed", "cancelled")


class ServerError(EchoMimicError):
    """The server refused a request or did not answer; `status` is 0 if it did not answer."""

    code = "server_error"

    def __init__(self, detail: str, status: int = 0, code: str = "", retry_after: float = 0.0) -> None:
        super().__init__(detail, code=code or None)
        self.status, self.retry_after = status, retry_after


class Client:
    """A client of one server.

    `key` is an API key; a request fails if the server sends nothing for `timeout` seconds.
    If the server is full or does not answer, a submission is tried again for `patience` seconds; it makes only one job.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8765",
        key: str | None = None,
        timeout: float = 60.0,
        patience: float = 60.0,
    ) -> None:
        if not address.startswith(("http://", "https://")):
            raise InputError(f"{address!r} is not the address of a server; expected http://HOST:PORT")
        self._address, self._patience = address.rstrip("/"), patience
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self._address, headers=headers, timeout=timeout, trust_env=False)

    def animate(self, portrait: Source, speech: Source, motion: Source | None = None, **fields: object) -> Job:
        """Submit an animation; `fields` are preset, format, save_motion and the options. Returns the queued job.

        Raises ServerError, InputError.
        """
        return self._submit("animations", fields, portrait=portrait, speech=speech, motion=motion)

    def track(self, portrait: Source, speech: Source, motion: Source | None = None, **fields: object) -> Job:
        """Submit a job that predicts a motion track only; otherwise like `animate`."""
        return self._submit("tracks", fields, portrait=portrait, speech=speech, motion=motion)

    def track_video(self, video: Source, **fields: object) -> Job:
        """Submit a job that tracks a person in a video; `fields` are format, pose and person."""
        return self._submit("tracks", fields, video=video)

    def get(self, job: Job) -> Job:
        """The present state of a job."""
        return self._json("GET", job["links"]["self"])

    def wait(self, job: Job, progress: Callable[[int, int], None] | None = None) -> Job:
        """Wait until a job has succeeded, and report `progress(done, total)`. Raises ServerError if it fails."""
        while job["state"] not in _FINAL:
            for name, data in self.events(job):
                if name == "progress" and progress and data["total"]:
                    progress(data["done"], data["total"])
            job = self.get(job)
        if job["state"] != "succeeded":
            error = job["error"] or {"detail": f"the job was {job['state']}", "status": 409, "code": "job_cancelled"}
            raise ServerError(error["detail"], error["status"], error["code"])
        return job

    def events(self, job: Job) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the events of a job as they happen: (`job`, `progress` or `preview`, data)."""
        with self._stream(job["links"]["events"]) as response:
            name = ""
            for line in response.iter_lines():
                field, _, text = line.partition(": ")
                if field == "event":
                    name = text
                elif field == "data" and name != "heartbeat":
                    yield name, json.loads(text)

    def live(self, job: Job) -> Iterator[bytes]:
        """Yield the video as fragmented mp4 while it is made, for a player or a file."""
        with self._stream(job["links"]["live"]) as response:
            yield from response.iter_bytes()

    def download(self, job: Job, path: Source) -> Path:
        """Save the result of a job; a broken download is resumed. The file appears when it is complete."""
        from echomimic.media import atomic_path

        with atomic_path(path) as part, part.open("wb") as file:
            self._fetch(job["links"]["result"], file, int(job["result"]["bytes"]))
        return Path(path)

    def cancel(self, job: Job) -> Job:
        """Cancel a job."""
        return self._json("POST", job["links"]["cancel"])

    def delete(self, job: Job) -> None:
        """Delete a job and its files."""
        self._checked("DELETE", job["links"]["self"])

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _submit(self, plural: str, fields: Mapping[str, object], **files: Source | None) -> Job:
        texts = {name: _text(value) for name, value in fields.items()}
        key, until = {"Idempotency-Key": token_hex(16)}, time.monotonic() + self._patience
        while True:
            try:
                with ExitStack() as stack:
                    opened = {name: ("file", _open(path, stack)) for name, path in files.items() if path is not None}
                    return self._json("POST", f"/v1/{plural}", data=texts, files=opened, headers=key)
            except ServerError as refused:
                wait = refused.retry_after or _RETRY_SECONDS
                if refused.status not in (0, 429, 503, 507) or time.monotonic() + wait > until:
                    raise
                time.sleep(wait)

    def _fetch(self, link: str, file: BinaryIO, size: int) -> None:
        fault: ServerError | None = None
        for _ in range(_TRIES):
            try:
                with self._stream(link, {"Range": f"bytes={file.tell()}-"}) as response:
                    if response.status_code == 200:
                        file.seek(0)
                    for piece in response.iter_bytes():
                        file.write(piece)
            except ServerError as broken:
                if broken.status:
                    raise
                fault = broken
            if file.tell() == size:
                return
        raise ServerError(f"the connection broke {_TRIES} times ({fault}); {file.tell()} of {size} bytes came")

    def _json(self, method: str, link: str, **request: Any) -> Job:
        return self._checked(method, link, **request).json()

    def _checked(self, method: str, link: str, **request: Any) -> httpx.Response:
        """The response to a request. Raises ServerError if it is an error."""
        try:
            response = self._http.request(method, link, **request)
        except httpx.HTTPError as fault:
            raise self._lost(fault) from None
        return _success(response)

    @contextmanager
    def _stream(self, link: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """An open response. Raises ServerError if it is an error, or breaks."""
        try:
            with self._http.stream("GET", link, headers=headers) as response:
                if response.is_error:
                    response.read()
                yield _success(response)
        except httpx.ConnectError as fault:
            raise self._lost(fault) from None
        except httpx.HTTPError as fault:
            raise ServerError(f"the connection broke ({fault}); the job has failed, or the server is gone") from None

    def _lost(self, fault: httpx.HTTPError) -> ServerError:
        return ServerError(f"{self._address} does not answer ({fault}); expected a server: echomimic serve")


def _success(response: httpx.Response) -> httpx.Response:
    """The response. Raises ServerError with the problem of an error."""
    if not response.is_error:
        return response
    try:
        problem = response.json()
        detail, code = str(problem["detail"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        detail, code = f"the server answers {response.status_code}", ""
    wait = response.headers.get("Retry-After", "")
    raise ServerError(detail, response.status_code, code, float(wait) if wait.isdigit() else 0.0)


def _open(path: Source, stack: ExitStack) -> BinaryIO:
    try:
        return stack.enter_context(Path(path).open("rb"))
    except OSError as fault:
        raise InputError(f"{fault.filename} cannot be read ({fault.strerror}); expected a file") from None


def _text(value: object) -> str:
    """The text of a form field: booleans as true and false, tuples as numbers with commas."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)

"""A small client of the HTTP door, on the standard library alone.

>>> from echomimic.client import Client
>>> client = Client("http://127.0.0.1:8765")  # doctest: +SKIP
>>> job = client.animate("portrait.png", "voice.wav", size=512)  # doctest: +SKIP
>>> client.download(client.wait(job), "out.mp4")  # doctest: +SKIP
"""

import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from echomimic.errors import EchoMimicError, InputError

Job = Mapping[str, Any]
"""What the server says about a job: `id`, `state`, `progress`, `result`, `error`, `links`, …"""

_PIECE = 1 << 16
_TRIES = 5
_PAUSE = 1.0
_FINAL = ("succeeded", "failed", "cancelled")


class ServerError(EchoMimicError):
    """The server refused a request, or gave no answer: then `status` is 0 and `code` "server_error"."""

    code = "server_error"

    def __init__(self, detail: str, status: int = 0, code: str = "", retry_after: float = 0.0) -> None:
        super().__init__(detail, code=code or "server_error")
        self.status, self.retry_after = status, retry_after


class Client:
    """Talks to one server. `key` is its API key, `timeout` the seconds of silence after which it counts as gone."""

    def __init__(self, address: str = "http://127.0.0.1:8765", key: str | None = None, timeout: float = 60.0) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{address!r} is no address of a server; expected http://HOST:PORT")
        self._parts, self._timeout = parts, timeout
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def animate(
        self,
        portrait: str | Path,
        speech: str | Path,
        motion: str | Path | None = None,
        *,
        patience: float = 60.0,
        **fields: object,
    ) -> Job:
        """Ask for a video; `fields` are preset, format, save_motion and the options. Returns the job, which waits.

        While the server is full or away it is asked again for `patience` seconds; it makes one job in any case. Raises
        ServerError.
        """
        return self._submit("animations", {"portrait": portrait, "speech": speech, "motion": motion}, patience, fields)

    def track(
        self,
        portrait: str | Path,
        speech: str | Path,
        motion: str | Path | None = None,
        *,
        patience: float = 60.0,
        **fields: object,
    ) -> Job:
        """Ask for the motion alone, as data; otherwise like `animate`."""
        return self._submit("tracks", {"portrait": portrait, "speech": speech, "motion": motion}, patience, fields)

    def track_video(self, video: str | Path, *, patience: float = 60.0, **fields: object) -> Job:
        """Ask for the motion of a person in a video; `fields` are format, pose and person."""
        return self._submit("tracks", {"video": video}, patience, fields)

    def look(self, job: Job) -> Job:
        """The job as it is now."""
        return self._json("GET", job["links"]["self"])

    def wait(self, job: Job, progress: Callable[[int, int], None] | None = None) -> Job:
        """Wait until a job has ended; ServerError where it did not succeed. `progress(done, total)` on the way."""
        while job["state"] not in _FINAL:
            for name, said in self.events(job):
                if name == "progress" and progress and said["total"]:
                    progress(said["done"], said["total"])
            job = self.look(job)
        if job["state"] != "succeeded":
            error = job["error"] or {"detail": f"the job was {job['state']}", "status": 409, "code": "job_cancelled"}
            raise ServerError(error["detail"], error["status"], error["code"])
        return job

    def events(self, job: Job) -> Iterator[tuple[str, dict[str, Any]]]:
        """What happens to a job, as it happens: (`job`, `progress` or `preview`, what is said)."""
        with self._answer("GET", job["links"]["events"]) as answer:
            name = ""
            for line in _unbroken(iter(answer)):
                kind, _, text = line.decode().rstrip("\n").partition(": ")
                if kind == "event":
                    name = text
                elif kind == "data":
                    yield name, json.loads(text)

    def live(self, job: Job) -> Iterator[bytes]:
        """The video as fragmented mp4 while it is made, to be piped to a player or saved."""
        with self._answer("GET", job["links"]["live"]) as answer:
            yield from _unbroken(iter(lambda: answer.read1(_PIECE), b""))

    def download(self, job: Job, path: str | Path) -> Path:
        """Save the result of a job; a lost connection is taken up again where it broke. The file appears when whole."""
        from echomimic.media import atomic_path

        with atomic_path(path) as part, part.open("wb") as file:
            self._fetch(job["links"]["result"], file, int(job["result"]["bytes"]))
        return Path(path)

    def cancel(self, job: Job) -> Job:
        """Stop a job."""
        return self._json("POST", job["links"]["cancel"])

    def delete(self, job: Job) -> None:
        """Delete a job and its files."""
        with self._answer("DELETE", job["links"]["self"]):
            pass

    def _submit(
        self, plural: str, files: Mapping[str, str | Path | None], patience: float, fields: Mapping[str, object]
    ) -> Job:
        form = _Form({name: Path(path) for name, path in files.items() if path is not None}, fields)
        until = time.monotonic() + patience
        while True:
            try:
                return self._json("POST", f"/v1/{plural}", form)
            except ServerError as refused:
                wait = refused.retry_after or _PAUSE
                if refused.status not in (0, 429, 507) or time.monotonic() + wait > until:
                    raise
                time.sleep(wait)

    def _fetch(self, link: str, file: BinaryIO, size: int) -> None:
        fault: Exception | None = None
        for _ in range(_TRIES):
            try:
                with self._answer("GET", link, headers={"Range": f"bytes={file.tell()}-"}) as answer:
                    if answer.status == 200:
                        file.seek(0)
                    while piece := answer.read(_PIECE):
                        file.write(piece)
            except (http.client.HTTPException, ConnectionError, TimeoutError, ServerError) as broken:
                if isinstance(broken, ServerError) and broken.status:
                    raise
                fault = broken
            if file.tell() == size:
                return
        raise ServerError(f"the connection broke {_TRIES} times ({fault}); {file.tell()} of {size} bytes came")

    def _json(self, method: str, link: str, form: "_Form | None" = None) -> Job:
        with self._answer(method, link, form) as answer:
            said: Job = json.loads(answer.read())
        return said

    def _answer(
        self, method: str, link: str, form: "_Form | None" = None, headers: Mapping[str, str] | None = None
    ) -> "closing[_Answer]":
        """A good answer, open for reading; ServerError for any other."""
        connect = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = connect(str(self._parts.hostname), self._parts.port, timeout=self._timeout)
        sent = {**self._headers, **(headers or {}), **(form.headers if form else {})}
        try:
            connection.request(method, self._parts.path.rstrip("/") + link, form.pieces() if form else None, sent)
            answer = _Answer(connection, connection.getresponse())
        except (OSError, http.client.HTTPException) as fault:
            connection.close()
            where = f"{self._parts.scheme}://{self._parts.netloc}"
            raise ServerError(f"{where} does not answer ({fault}); expected a server: echomimic serve") from None
        if answer.status >= 400:
            with closing(answer):
                raise _refused(answer)
        return closing(answer)


class _Answer:
    """An answer, and the connection that ends with it."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection, self._response = connection, response
        self.status, self.read, self.read1 = response.status, response.read, response.read1
        self.header = response.getheader

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def close(self) -> None:
        """Hang up."""
        self._response.close()
        self._connection.close()


def _unbroken(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces; ServerError where the connection ends before they do."""
    try:
        yield from pieces
    except (http.client.HTTPException, OSError) as fault:
        raise ServerError(f"the connection broke ({fault}); the job has failed, or the server is gone") from None


def _refused(answer: _Answer) -> ServerError:
    """The problem that the server answered with."""
    try:
        said = json.loads(answer.read(_PIECE))
        detail, code = str(said["detail"]), str(said["code"])
    except (ValueError, KeyError, TypeError):
        detail, code = f"the server answers {answer.status}", ""
    wait = str(answer.header("Retry-After", ""))
    return ServerError(detail, answer.status, code, float(wait) if wait.isdigit() else 0.0)


class _Form:
    """Files and fields as multipart/form-data, read from disk as they are sent."""

    def __init__(self, files: Mapping[str, Path], fields: Mapping[str, object]) -> None:
        mark = token_hex(16)
        self._end = f"--{mark}--\r\n".encode()
        self._parts: list[tuple[bytes, Path | bytes]] = []
        for name, value in {**fields, **files}.items():
            kind = '; filename="file"\r\nContent-Type: application/octet-stream' if isinstance(value, Path) else ""
            head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{kind}\r\n\r\n'
            self._parts.append((head.encode(), value if isinstance(value, Path) else _text(value)))
        try:
            sizes = [path.stat().st_size if isinstance(path, Path) else len(path) for _, path in self._parts]
        except OSError as fault:
            raise InputError(f"{fault.filename} cannot be read ({fault.strerror}); expected a file") from None
        length = sum(len(head) + 2 for head, _ in self._parts) + sum(sizes) + len(self._end)
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={mark}",
            "Content-Length": str(length),
            "Idempotency-Key": mark,
        }

    def pieces(self) -> Iterator[bytes]:
        """The body, a piece at a time; from the beginning each time."""
        for head, value in self._parts:
            yield head
            if isinstance(value, Path):
                with value.open("rb") as file:
                    while piece := file.read(_PIECE):
                        yield piece
            else:
                yield value
            yield b"\r\n"
        yield self._end


def _text(value: object) -> bytes:
    """A field as text: true and false for truth, commas between numbers."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value)).encode()
    return str(value).encode()

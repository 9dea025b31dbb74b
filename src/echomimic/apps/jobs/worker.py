"""The worker process, which renders, and the server's handle to it; both speak JSON, one object a line.

Rendering has a process of its own so that a crash, a time limit or a lack of memory ends a job and not the server,
and so that an idle server holds no engine. The process ends when its stdin does: it never outlives the server.
"""

import asyncio
import json
import logging
import os
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TextIO

from echomimic.apps.option_specs import spell_options
from echomimic.errors import Cancelled, EchoMimicError, InputError, OutputError

if TYPE_CHECKING:
    from echomimic.apps.jobs.runner import EngineCache, JobRequest
    from echomimic.types import Picture

Message = dict[str, Any]
_log = logging.getLogger("echomimic.worker")
_MAX_LINE = 1 << 22
_START_SECONDS = 120.0
_EXIT_SECONDS = 5.0
_STDERR_LINES = 60
_PROGRESS_INTERVAL = 0.1
_DISK_INTERVAL = 0.5
_PREVIEW_INTERVAL = 0.5
_PREVIEW_FRACTION = 0.05
"""At most this fraction of the time goes into pictures that are decoded for a preview only."""
_PREVIEW_SIZE = 240


class WorkerDiedError(Exception):
    """The worker process ended while it ran a job."""


class WorkerStartError(Exception):
    """The worker process ended, or did not answer, before it was ready."""


class WorkerProcess:
    """The server's handle to a worker process, which is started on demand."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._stderr: asyncio.Task[None] | None = None
        self._lines: deque[str] = deque(maxlen=_STDERR_LINES)
        self._starting = asyncio.Lock()
        self._is_ready = False

    @property
    def is_ready(self) -> bool:
        return self._is_ready and self._process is not None and self._process.returncode is None

    async def ready(self) -> None:
        """Start the process if it does not run, and wait until it is ready. Raises WorkerStartError."""
        async with self._starting:
            if self.is_ready:
                return
            try:
                await self._start()
                message = await asyncio.wait_for(self._read(), _START_SECONDS)
            except (OSError, ValueError, asyncio.TimeoutError) as fault:
                await self.stop()
                why = getattr(fault, "strerror", None) or "it does not report ready"
                _log.error("the worker %s cannot start: %s", self._command, why)
                raise WorkerStartError(why) from None
            if message is None or message.get("event") != "ready":
                raise WorkerStartError(await self._explain_end("the worker cannot start"))
            self._is_ready = True

    async def _start(self) -> None:
        if self._process is not None and self._process.returncode is None:
            return
        self._is_ready = False
        self._lines.clear()
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_MAX_LINE,
            start_new_session=True,  # Ctrl-C is for the server, which then ends its workers
        )
        self._stderr = asyncio.create_task(self._follow_stderr(self._process))

    async def _follow_stderr(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            text = line.decode("utf-8", "replace").rstrip()
            self._lines.append(text)
            _log.info("worker %d: %s", process.pid, text)

    async def _read(self) -> Message | None:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    async def _explain_end(self, what: str) -> str:
        """Log how the process ended with the end of its stderr; returns the reason in one line."""
        assert self._process is not None
        try:
            code = await asyncio.wait_for(self._process.wait(), _EXIT_SECONDS)
        except asyncio.TimeoutError:
            self._process.kill()
            code = await self._process.wait()
        if self._stderr:
            await asyncio.wait([self._stderr], timeout=1)
        how = _describe_exit(code)
        _log.error("%s (%s):\n%s", what, how, "\n".join(self._lines))
        self._process, self._is_ready = None, False
        last = next((line for line in reversed(self._lines) if re.match(r"[\w.]+(Error|Exception)\b", line)), "")
        return f"{how}: {public_text(last)}" if last and code > 0 else how

    def log_fault(self, name: str) -> None:
        """Log the end of stderr after a job failed by a fault of this package."""
        _log.error("job %s failed unexpectedly:\n%s", name, "\n".join(self._lines))

    def send(self, order: Message) -> None:
        if self._process and self._process.stdin and self._process.returncode is None:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def follow(self, on_message: Callable[[Message], None]) -> Message:
        """Pass on the messages of a job; returns the one that ends it. Raises WorkerDiedError."""
        while (message := await self._read()) is not None:
            if message["event"] in ("done", "failed"):
                return message
            on_message(message)
        raise WorkerDiedError(await self._explain_end("the worker crashed"))

    async def stop(self) -> None:
        process, self._process, self._is_ready = self._process, None, False
        if process and process.returncode is None:
            process.kill()
            await process.wait()


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return f"{name}: out of memory?" if name == "SIGKILL" else name


def public_text(text: str, folder: str = "") -> str:
    """A message in one line for HTTP clients: without folders of the server, and with plain names of options."""
    text = spell_options(text)
    if folder:
        text = text.replace(f"{folder}{os.sep}", "").replace(folder, "the job")
    return " ".join(re.sub(r"(?<![\w/:.])(?:/[^\s/:'\"]+)+/(?=[^\s/])", "", text).split())


class MessageWriter:
    """Writes messages to the server, from any thread."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._lock = file, threading.Lock()

    def send(self, event: str, **values: object) -> None:
        with self._lock:
            self._file.write(json.dumps({"event": event, **values}) + "\n")
            self._file.flush()


class WorkerProgress:
    """A `Previewing` progress that reports to the server, and raises Cancelled once `stop` is set."""

    def __init__(self, writer: MessageWriter, spare_disk: int) -> None:
        self.stop = threading.Event()
        self._writer, self._spare = writer, spare_disk
        self._reported = self._checked = self._next_preview = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Report the number of finished frames. Raises Cancelled, and OutputError on a full disk."""
        self.check_cancelled()
        now = time.monotonic()
        if done == total or done == 1 or now - self._reported >= _PROGRESS_INTERVAL:
            self._reported = now
            self._writer.send("progress", done=done, total=total)
        if now - self._checked >= _DISK_INTERVAL:
            self._checked = now
            if shutil.disk_usage(Path.cwd()).free < self._spare:
                raise OutputError("the server's disk is nearly full; try again later, or ask for less", code="no_space")

    def preview(self, make: "Callable[[], Picture]") -> None:
        self.check_cancelled()
        began = time.monotonic()
        if began < self._next_preview:
            return
        self._writer.send("preview", jpeg=b64encode(_small_jpeg(make())).decode())
        now = time.monotonic()
        self._next_preview = now + max(_PREVIEW_INTERVAL, (now - began) / _PREVIEW_FRACTION)

    def check_cancelled(self) -> None:
        if self.stop.is_set():
            raise Cancelled("the job was cancelled")


def _small_jpeg(picture: "Picture") -> bytes:
    from PIL import Image

    image, file = Image.fromarray(picture), BytesIO()
    image.thumbnail((_PREVIEW_SIZE, _PREVIEW_SIZE))
    image.save(file, "JPEG", quality=75)
    return file.getvalue()


def perform(order: Message, writer: MessageWriter, progress: WorkerProgress, engines: "EngineCache") -> None:
    """Run one job and send its result or its error to the server."""
    from echomimic.apps.jobs.runner import run_job

    folder = order["folder"]
    try:
        os.chdir(folder)
        clip = run_job(_request_of(order), progress, engines=engines)
        writer.send("done", result=_result_of(clip, order["kind"]))
    except EchoMimicError as error:
        status = 422 if isinstance(error, InputError) else 500
        writer.send("failed", status=status, code=error.code, detail=public_text(str(error), folder))
    except MemoryError:
        detail = "out of memory; expected less to do: lower the size"
        writer.send("failed", status=500, code="out_of_memory", detail=detail)
    except Exception as error:
        traceback.print_exc()
        what = f"unexpected {type(error).__name__}: {public_text(str(error), folder)}"
        detail = f"{what}; this is a fault of echomimic, and the server's log has the traceback"
        writer.send("failed", status=500, code="render_failed", detail=detail, unexpected=True)


def _request_of(order: Message) -> "JobRequest":
    """The request of an order; file names are relative to the folder of the job."""
    from echomimic.apps.jobs.runner import JobRequest
    from echomimic.options import WorkOptions

    asked, is_video = order["request"], Path("video").exists()
    return JobRequest(
        Path(order["result"]),
        kind=order["kind"],
        portrait=None if is_video else Path("portrait"),
        speech=None if is_video else Path("speech"),
        motion=Path("motion") if Path("motion").exists() else None,
        video=Path("video") if is_video else None,
        preset=asked.get("preset") or "auto",
        options=asked.get("options") or {},
        save_motion=Path(order["motion"]) if asked.get("save_motion") else None,
        work=WorkOptions(**asked.get("work", {})),
        live=Path(order["live"]) if order["live"] else None,
        pose=bool(asked.get("pose")),
        person=asked.get("person"),
        max_pixels=order["limits"]["pixels"],
        max_seconds=order["limits"]["seconds"],
    )


def _result_of(clip: Any, kind: str) -> Message:
    names = ["frames", "fps", "width", "height", "seconds", "took"] + ["preset", "seed"] * (kind == "animation")
    return {name: getattr(clip, name) for name in names} | {"notes": [describe_note(each) for each in clip.notes]}


def describe_note(text: str) -> Message:
    """A note with its code and values, so that a front end can translate it."""
    return {"code": getattr(text, "code", ""), "text": public_text(text), "values": getattr(text, "values", {})}


class OrderReader:
    """Reads orders and cancellations from the server, and runs the orders one after another."""

    def __init__(self, writer: MessageWriter) -> None:
        self._writer, self._queue = writer, SimpleQueue[Message]()
        self._running: dict[str, WorkerProgress] = {}

    def listen(self, file: TextIO) -> None:
        """Read until the server closes the pipe, then end the process at once."""
        for line in file:
            order = json.loads(line)
            if "cancel" not in order:
                self._running[order["id"]] = WorkerProgress(self._writer, order["limits"]["spare"])
                self._queue.put(order)
            elif progress := self._running.get(order["cancel"]):
                progress.stop.set()
        os._exit(0)

    def serve(self) -> None:
        """Load the libraries, report ready, and run orders until the pipe is closed."""
        load_libraries()
        from echomimic.apps.jobs.runner import EngineCache

        engines = EngineCache()
        self._writer.send("ready")
        while True:
            order = self._queue.get()
            perform(order, self._writer, self._running[order["id"]], engines)
            del self._running[order["id"]]


def load_libraries() -> None:
    """Import what a job needs, so that the first job starts at once."""
    import numpy as np

    from echomimic import api
    from echomimic.landmarks.face import find_faces

    api.load("mesh")
    find_faces(np.zeros((64, 64, 3), np.uint8))


def main() -> None:
    """Run orders from stdin; stdout is reserved for messages, since libraries may print to it."""
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ.setdefault("MPLBACKEND", "Agg")
    orders = OrderReader(MessageWriter(messages))
    threading.Thread(target=orders.listen, args=(os.fdopen(os.dup(0), encoding="utf-8"),), daemon=True).start()
    try:
        orders.serve()
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()

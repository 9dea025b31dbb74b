"""The server's end of a worker: a process that renders, started when there is something to do."""

import asyncio
import json
import signal
from collections.abc import Callable
from typing import Any

_LONGEST_LINE = 1 << 22

Tell = Callable[[str, dict[str, Any]], None]


class Died(Exception):  # noqa: N818 - what happened, not an error of ours
    """The worker's process has ended in the middle of a job."""


class Worker:
    """A process that renders; started when there is something to do."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> asyncio.subprocess.Process:
        """The process; a new one where there is none."""
        async with self._starting:
            return await self._started()

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=_LONGEST_LINE,
                start_new_session=True,  # Ctrl-C is for the server, which then ends its workers
            )
        return self._process

    async def run(self, order: dict[str, Any], tell: Tell) -> dict[str, Any]:
        """Hand over an order; returns the line that ends it. Raises Died."""
        process = await self.start()
        self._send(process, order)
        assert process.stdout is not None
        while line := await process.stdout.readline():
            said: dict[str, Any] = json.loads(line)
            if said["event"] in ("done", "failed"):
                return said
            tell(said["event"], said)
        raise Died(_how(await process.wait()))

    def cancel(self, name: str) -> None:
        """Ask the worker to stop a job."""
        if self._process and self._process.returncode is None:
            self._send(self._process, {"cancel": name})

    async def stop(self) -> None:
        """End the process."""
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._process = None

    @staticmethod
    def _send(process: asyncio.subprocess.Process, order: dict[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")


def _how(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
    return f"{name}: out of memory?" if name == "SIGKILL" else name

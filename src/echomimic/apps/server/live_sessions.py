"""The live sessions that are open; what a session needs of WebRTC is loaded with the first one."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from echomimic.apps.server.schemas import Problem

if TYPE_CHECKING:
    from echomimic.apps.server.live import LiveSession

_WATCH_SECONDS = 1.0


@dataclass
class LiveSessions:
    """The open sessions. Those whose clients are gone are closed."""

    limit: int
    opening: int = 0
    sessions: dict[str, "LiveSession"] = field(default_factory=dict)
    _watching: "asyncio.Task[None] | None" = None

    def reserve(self) -> None:
        """Count a session that is being opened. Raises Problem if there are too many."""
        if len(self.sessions) + self.opening >= self.limit:
            why = f"{self.limit} live sessions are open, which is the limit; close one, or try again"
            raise Problem(429, "too_many_sessions", why, {"Retry-After": "10"})
        self.opening += 1

    def add(self, session: "LiveSession") -> None:
        self.sessions[session.id] = session
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    def find(self, name: str, owner: str) -> "LiveSession":
        found = self.sessions.get(name)
        if found is None or found.owner != owner:
            why = "there is no such live session; expected one that is open: POST /v1/live"
            raise Problem(404, "session_gone", why)
        return found

    async def close(self, session: "LiveSession") -> None:
        self.sessions.pop(session.id, None)
        await session.close()

    async def close_all(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        for session in list(self.sessions.values()):
            await self.close(session)

    async def _watch(self) -> None:
        while self.sessions:
            await asyncio.sleep(_WATCH_SECONDS)
            for session in list(self.sessions.values()):
                if await session.is_gone():
                    await self.close(session)

"""Live sessions: the frames of a stream are sent to a WebRTC peer, and received sound is pushed to the stream."""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any
from uuid import uuid4

import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, AudioResampler, VideoFrame

from echomimic.apps.server.schemas import Problem
from echomimic.errors import StreamError
from echomimic.media import Resampler
from echomimic.streaming import Frame, Stream
from echomimic.types import Floats

_log = logging.getLogger("echomimic.live")
RATE = 48_000
"""Samples per second of a session's stream: those of Opus."""
GONE_SECONDS = 8.0
"""A session without a connected client is closed after this time."""
_PICTURES = 3
"""Pictures that may wait for the network; older ones are dropped."""
_SOUND_PIECES = 25
"""Pieces of 20 ms of sound that may wait for the network."""
_PIECE = RATE // 50
_FULL_SECONDS = 20.0
"""Seconds of sound in the stream from which a sender is made to wait."""


class LiveSession:
    """One portrait that speaks: its stream, the peer that watches it, and the sounds that it is given."""

    def __init__(self, stream: Stream, owner: str) -> None:
        self.id, self.owner, self.stream = uuid4().hex, owner, stream
        self.senders = 0
        self.closed = False
        self._peer: RTCPeerConnection | None = None
        self._video, self._audio = VideoTrack(stream.fps), AudioTrack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: set[asyncio.Queue[str]] = set()
        self._seen, self._received = time.monotonic(), -1

    async def answer(self, offer: str, ice_servers: Sequence[str]) -> str:
        """Connect a peer by its SDP offer, in place of the one before; the SDP answer has all candidates."""
        await self.disconnect()
        servers = [RTCIceServer(address) for address in ice_servers]
        peer = self._peer = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        peer.on("track", self._listen_to)
        self._video, self._audio = VideoTrack(self.stream.fps), AudioTrack()
        try:
            await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            self._add_tracks(peer)
            await peer.setLocalDescription(await peer.createAnswer())
        except (ValueError, KeyError, IndexError, AttributeError, AssertionError) as fault:
            await self.disconnect()
            why = f"the offer cannot be used ({type(fault).__name__}); expected SDP that receives video and sound"
            raise Problem(422, "bad_offer", why) from None
        self._seen = time.monotonic()
        self._start(self._pump())
        return str(peer.localDescription.sdp)

    def _add_tracks(self, peer: RTCPeerConnection) -> None:
        kinds = {each.kind for each in peer.getTransceivers()}
        for track in (self._video, self._audio):
            if track.kind not in kinds:
                raise ValueError(track.kind)
            peer.addTrack(track)

    async def _pump(self) -> None:
        """Send the frames of the stream to the tracks."""
        async for frame in self.stream:
            self._video.put(frame)
            self._audio.put(frame)
            if frame.ended:
                for listener in self._listeners:
                    _put(listener, "ended")

    def _listen_to(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self._start(self._push_track(track))

    async def _push_track(self, track: MediaStreamTrack) -> None:
        """Push the sound of the peer's microphone."""
        resampler = AudioResampler(format="flt", layout="mono", rate=RATE)
        with suppress(MediaStreamError, StreamError):
            while True:
                frame: Any = await track.recv()
                for part in resampler.resample(frame):
                    self.stream.push(part.to_ndarray()[0])

    async def push(self, samples: Floats, resampler: Resampler) -> None:
        """Push sound of another rate; waits while the stream has enough, so that the sender waits too."""
        while self.stream.queued > _FULL_SECONDS and not self.closed:
            await asyncio.sleep(0.05)
        with suppress(StreamError):
            self.stream.push(resampler(samples))

    def listen(self) -> "asyncio.Queue[str]":
        """A queue of events, until `forget`."""
        queue: asyncio.Queue[str] = asyncio.Queue(100)
        self._listeners.add(queue)
        return queue

    def forget(self, queue: "asyncio.Queue[str]") -> None:
        self._listeners.discard(queue)

    @property
    def state(self) -> str:
        """`closed`, or that of the connection: `new`, `connecting`, `connected`, `failed`."""
        return "closed" if self.closed else self._peer.connectionState if self._peer else "new"

    async def is_gone(self) -> bool:
        """Whether nothing has come from any client for `GONE_SECONDS`: peers report several times in that time."""
        now = time.monotonic()
        received = await self._packets_received()
        if self.senders or received > self._received:
            self._seen = now
        self._received = received
        return now - self._seen > GONE_SECONDS

    async def _packets_received(self) -> int:
        if self._peer is None or self._peer.connectionState in ("closed", "failed"):
            return self._received
        report = await self._peer.getStats()
        return max((stats.packetsReceived for stats in report.values() if stats.type == "transport"), default=0)

    async def disconnect(self) -> None:
        """End the connection to the peer, if there is one; the stream continues."""
        peer, self._peer = self._peer, None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._received = -1
        if peer is not None:
            await peer.close()

    async def close(self) -> None:
        """End everything."""
        self.closed = True
        self.stream.close()
        await self.disconnect()

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            _log.error("live session %s", self.id, exc_info=task.exception())


class VideoTrack(MediaStreamTrack):
    """The pictures; if the network is slow, the oldest that wait are dropped."""

    kind = "video"

    def __init__(self, fps: float) -> None:
        super().__init__()
        self._base = 1 / Fraction(fps).limit_denominator(1001 * 120)
        self._frames: asyncio.Queue[VideoFrame] = asyncio.Queue(_PICTURES)

    def put(self, frame: Frame) -> None:
        made = VideoFrame.from_ndarray(frame.picture, format="rgb24").reformat(format="yuv420p")
        made.pts, made.time_base = frame.index, self._base
        _put(self._frames, made)

    async def recv(self) -> VideoFrame:
        return await self._frames.get()


class AudioTrack(MediaStreamTrack):
    """The sound in pieces of 20 ms."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._pieces: asyncio.Queue[AudioFrame] = asyncio.Queue(_SOUND_PIECES)
        self._rest = np.zeros(0, np.int16)
        self._sent: int | None = None

    def put(self, frame: Frame) -> None:
        if self._sent is None:
            self._sent = round(frame.time * RATE)
        for piece in self._cut(frame.sound):
            made = AudioFrame.from_ndarray(piece[None], format="s16", layout="mono")
            made.sample_rate, made.pts, made.time_base = RATE, self._sent, Fraction(1, RATE)
            self._sent += len(piece)
            _put(self._pieces, made)

    def _cut(self, sound: Floats) -> Iterator[Any]:
        self._rest = np.concatenate([self._rest, (np.clip(sound, -1, 1) * 32767).astype(np.int16)])
        while len(self._rest) >= _PIECE:
            yield self._rest[:_PIECE]
            self._rest = self._rest[_PIECE:]

    async def recv(self) -> AudioFrame:
        return await self._pieces.get()


def _put(queue: "asyncio.Queue[Any]", item: object) -> None:
    """Add to a queue; if it is full, the oldest item is dropped."""
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(item)

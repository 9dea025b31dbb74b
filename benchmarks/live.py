"""Figures of live sessions: delay to a WebRTC client, frame rate, faults of the network, drift, memory, barge-in.

    python benchmarks/live.py [--seconds 10] [--minutes 60] [--voices a.wav b.wav]

Server and WebRTC client run in one process on loopback, so decoding costs the same cores. The hour is simulated: its
clock jumps from frame to frame, and pictures are not drawn.
"""

import argparse
import asyncio
import platform
import resource
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aioice.ice
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.mediastreams import MediaStreamError

from echomimic import stream
from echomimic.apps.server.live import RATE, LiveSession, VideoTrack
from echomimic.apps.server.live_sessions import LiveSessions
from echomimic.data import demo_portrait, demo_voice
from echomimic.media import read_speech, sound_blocks
from echomimic.mesh.engine import MeshEngine
from echomimic.mesh.speech_stream import SpeechStream
from echomimic.mesh.speech_to_face import analyze_speech, shape_mouth
from echomimic.streaming import Frame, Stream
from echomimic.types import CURVE_NAMES

ENGINE = MeshEngine()
PACKET = 0.02
"""Seconds of sound in one packet of the sender."""
OFF = 1e-4
"""By how much the sender's clock is faster in the simulated hour."""


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def load() -> str:
    path = Path("/proc/loadavg")
    return path.read_text().split()[0] if path.exists() else "unknown"


def voice(rate: int) -> np.ndarray:
    return np.concatenate(list(sound_blocks(read_speech(demo_voice()), rate)))


BITS = 16


def stamped(picture: np.ndarray, index: int) -> np.ndarray:
    """The picture with its number as a row of black and white squares, and once more inverted to find faults."""
    side = picture.shape[1] // (2 * BITS)
    bits = index >> np.arange(BITS) & 1
    made = picture.copy()
    made[:side, : 2 * BITS * side] = np.repeat(np.concatenate([bits, 1 - bits]) * 255, side)[None, :, None]
    return made


def number_of(picture: np.ndarray) -> int | None:
    """The number in a decoded picture (H, W); None if it cannot be read."""
    side = picture.shape[1] // (2 * BITS)
    bits = picture[side // 4 : side - side // 4, : 2 * BITS * side].reshape(-1, 2 * BITS, side).mean(axis=(0, 2)) > 128
    return None if (bits[:BITS] == bits[BITS:]).any() else int((bits[:BITS] << np.arange(BITS)).sum())


class Recorded:
    """A session whose frames remember which pushed sample they begin with, and a client that watches it."""

    def __init__(self, size: int) -> None:
        self.stream = stream(demo_portrait(), size=size, rate=RATE, overflow="drop", engine=ENGINE)
        self.session = LiveSession(self.stream, "")
        self.pushed: list[float] = []  # when each packet came
        self.first: dict[int, int] = {}
        self.seen: list[tuple[float, int | None]] = []  # when each picture was decoded, and its number
        self._taken: deque[int] = deque()
        self._spoken = 0
        self._take, self._next = self.stream._queue.take, self.stream.next_frame
        self.stream._queue.take = self.take  # type: ignore[method-assign]
        self.stream.next_frame = self.next_frame  # type: ignore[method-assign]

    def take(self, count: int) -> Any:
        before, taken = self.stream._queue.length, self._take(count)
        if taken.speaking:
            self._taken.append(self._spoken + self.stream._queue.dropped)
            self._spoken += before - self.stream._queue.length
        return taken

    def next_frame(self, **how: Any) -> Frame:
        frame = self._next(**how)
        if frame.speaking:
            self.first[frame.index] = self._taken.popleft()
        return replace(frame, picture=stamped(frame.picture, frame.index))

    async def send(self, seconds: float) -> None:
        """Speak in real time."""
        sound, packet = voice(RATE), round(PACKET * RATE)
        began = time.monotonic()
        for k in range(round(seconds / PACKET)):
            await asyncio.sleep(max(0.0, began + k * PACKET - time.monotonic()))
            at = k * packet % (len(sound) - packet)
            self.pushed.append(time.monotonic())
            self.stream.push(sound[at : at + packet])

    async def connect(self) -> RTCPeerConnection:
        """A peer that receives; its pictures are decoded and read in the background."""
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        tracks: dict[str, Any] = {}
        peer.on("track", lambda track: tracks.__setitem__(track.kind, track))
        for kind in ("video", "audio"):
            peer.addTransceiver(kind, direction="recvonly")
        await peer.setLocalDescription(await peer.createOffer())
        answer = await self.session.answer(peer.localDescription.sdp, ())
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await tracks["video"].recv()
        self._watching = [
            asyncio.create_task(self._watch(tracks["video"])),
            asyncio.create_task(_drain(tracks["audio"])),
        ]
        return peer

    async def _watch(self, track: Any) -> None:
        with suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                self.seen.append((time.monotonic(), number_of(frame.to_ndarray(format="gray"))))

    async def watch(self, seconds: float) -> list[float]:
        """Connect a peer, speak and look; gives the time from each frame's first sample to its decoded picture."""
        peer = await self.connect()
        await self.send(seconds)
        await peer.close()
        await self.session.close()
        packet = round(PACKET * RATE)
        found = [(at, self.first[number] // packet) for at, number in self.seen if number in self.first]
        return [at - self.pushed[before] for at, before in found if before < len(self.pushed)]


async def _drain(track: Any) -> None:
    with suppress(MediaStreamError):
        while True:
            await track.recv()


def measure_delay(size: int, seconds: float) -> None:
    delays = np.array(asyncio.run(Recorded(size).watch(seconds)))
    print(
        f"sound to its decoded picture at {size}: median {np.median(delays):.3f} s, "
        f"p95 {np.quantile(delays, 0.95):.3f} s ({len(delays)} pictures of {round(25 * seconds)})"
    )


class Lossy:
    """The datagram transport of a peer; some packets of every kind are lost on it."""

    def __init__(self, transport: Any) -> None:
        self._transport, self.loss, self._draw = transport, 0.0, np.random.default_rng(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def sendto(self, data: bytes, address: Any = None) -> None:
        if self._draw.random() >= self.loss:
            self._transport.sendto(data, address)


def lossy(peer: RTCPeerConnection) -> list[Lossy]:
    """The transports of a connected peer, made lossy."""
    made = []
    for ice in {each.sender.transport.transport for each in peer.getTransceivers()}:
        for protocol in ice._connection._protocols:
            protocol.transport = Lossy(protocol.transport)
            made.append(protocol.transport)
    return made


async def _faults(seconds: float) -> None:
    recorded, sessions = Recorded(256), LiveSessions(1)
    sessions.add(recorded.session)
    peer = await recorded.connect()
    line = [*lossy(peer), *lossy(recorded.session._peer)]  # type: ignore[arg-type]

    async def speak_with(loss: float, seconds: float) -> float:
        for each in line:
            each.loss = loss
        await recorded.send(seconds)
        return time.monotonic()

    for loss in (0.0, 0.05):
        before = len(recorded.seen)
        await speak_with(loss, seconds)
        seen = [number for _, number in recorded.seen[before:]]
        print(
            f"{100 * loss:.0f} % of all packets lost: {len(set(seen)) / seconds:.1f} pictures a second decoded, "
            f"{seen.count(None)} of {len(seen)} spoiled; the session is {recorded.session.state}"
        )
    await speak_with(0, 2)
    over, before = await speak_with(1, 3), len(recorded.seen)
    await speak_with(0, seconds)
    again = next((at for at, number in recorded.seen[before:] if number is not None), np.inf)
    print(f"nothing for 3 s: pictures again {again - over:.2f} s after it; the session is {recorded.session.state}")
    for each in line:
        each.loss = 1.0
    gone = time.monotonic()
    while sessions.sessions and time.monotonic() - gone < 30:
        await asyncio.sleep(0.02)
    print(f"client gone without a goodbye: session freed after {time.monotonic() - gone:.1f} s")
    await peer.close()


async def _many(sessions: int, seconds: float) -> list[Recorded]:
    made = [Recorded(256) for _ in range(sessions)]
    await asyncio.gather(*(each.watch(seconds) for each in made))
    return made


def measure_cost(size: int) -> None:
    """CPU time of one frame, which another program on the same cores does not change much."""
    live, sound = stream(demo_portrait(), size=size, rate=RATE, engine=ENGINE), voice(RATE)
    live.push(sound)
    video, vp8, h264 = VideoTrack(25.0), Vp8Encoder(), H264Encoder()
    used = np.zeros(3)
    count = int(len(sound) / RATE * 25)
    for _ in range(count):
        marks = [time.process_time()]
        frame = live.next_frame()
        marks.append(time.process_time())
        video.put(frame)
        picture = video._frames.get_nowait()
        vp8.encode(picture)
        marks.append(time.process_time())
        h264.encode(picture)
        marks.append(time.process_time())
        used += np.diff(marks)
    drawn, one, other = 1000 * used / count
    print(f"CPU of a frame at {size}: hear and draw {drawn:.1f} ms, VP8 {one:.1f} ms, H.264 {other:.1f} ms")


def measure_rate(sessions: int, seconds: float) -> None:
    began = time.process_time()
    made = asyncio.run(_many(sessions, seconds))
    used = time.process_time() - began
    counts = [each.stream.statistics for each in made]
    shown = sum(c.frames - c.held for c in counts) / sum(c.frames for c in counts)
    print(
        f"{sessions} sessions at 256: {25 * shown:.1f} new pictures a second in each, "
        f"{sum(c.held for c in counts)} held, "
        f"{sum(c.stalls for c in counts)} stalls, {used / seconds:.2f} cores with the clients"
    )


class SimulatedClock:
    """A clock that is set to any time."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class NullRenderer:
    """Draws nothing."""

    def frame(self, row: np.ndarray) -> np.ndarray:
        return np.zeros((8, 8, 3), np.uint8)


class NullAnalyzer:
    """Analyzes nothing, with the delay of the real one."""

    def __init__(self, delay: int) -> None:
        self._left = delay

    def analyze(self, samples: np.ndarray) -> Any:
        from echomimic.mesh.speech_stream import AnalyzedFrame

        self._left -= 1
        return AnalyzedFrame(np.zeros(6, np.float32), 0.0) if self._left < 0 else None


def measure_hour(minutes: float, analysis: bool) -> None:
    clock = SimulatedClock()
    live = stream(demo_portrait(), size=128, mark=False, overflow="drop", clock=clock, engine=ENGINE)
    live._scene = NullRenderer()  # type: ignore[assignment]
    if not analysis:
        live._analyzer = NullAnalyzer(live._analyzer.delay)  # type: ignore[assignment]
    sound, sent, samples, queues, memory, worst = voice(16_000), 0, 0, [], [], 0.0
    sound = np.concatenate([sound, np.zeros(48_000, np.float32)])  # somebody speaks, and then listens
    for frame in live.frames():
        samples += len(frame.sound)
        worst = max(worst, abs(samples / 16_000 - (frame.index + 1) / 25))
        due = round(clock.time * (1 + OFF) * 16_000)
        while sent < due:
            at = sent % len(sound)
            piece = sound[at : at + min(320, due - sent)]
            live.push(piece)
            sent += len(piece)
        if frame.index % 250 == 0:
            queues.append(live.queued)
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        if clock.time > 60 * minutes:
            break
    early, late = np.mean(queues[5:25]), np.mean(queues[-20:])
    print(
        f"{minutes:g} min, {'with' if analysis else 'without'} analysis: pictures and sound at most "
        f"{1000 * worst:.1f} ms apart; delay in the queue {early:.3f} s "
        f"at first, {late:.3f} s at the end; sender's clock {OFF:.0e} fast, "
        f"{live.statistics.dropped / 16_000:.2f} s dropped; memory {memory[5]:.0f} MB -> {memory[-1]:.0f} MB"
    )


def measure_barge_in() -> None:
    times = []
    jaw, closure = CURVE_NAMES.index("jaw"), CURVE_NAMES.index("closure")
    sound = voice(16_000)
    for moment in range(30, 80, 5):
        live: Stream = stream(demo_portrait(), size=128, mark=False, engine=ENGINE)
        live._scene = NullRenderer()  # type: ignore[assignment]
        live.push(sound)
        for _ in range(moment):
            live.next_frame()
        live.clear()
        rows = [live.next_frame().curves for _ in range(15)]
        shut = [k for k, row in enumerate(rows) if row[jaw] * (1 - row[closure]) > 0.02]
        times.append((shut[-1] + 1 if shut else 0) / 25)
    print(
        f"barge-in: mouth shut after {max(times):.2f} s at most, {np.median(times):.2f} s in the median of {len(times)}"
    )


def measure_analysis(voices: list[Path]) -> None:
    """The demo's voice flatters itself: until somebody has spoken, it stands in for typical speech."""
    for path in voices or [Path(demo_voice())]:
        samples = np.concatenate(list(sound_blocks(read_speech(path), 16_000)))
        count, stream = len(samples) // 640, SpeechStream(25.0)
        padded = np.concatenate([samples, np.zeros(640 * stream.delay, np.float32)])
        began = time.process_time()
        analyzed = [stream.analyze(padded[k * 640 : (k + 1) * 640]) for k in range(count + stream.delay)]
        cost = 1000 * (time.process_time() - began) / len(analyzed)
        mouth = np.stack([h.mouth for h in analyzed if h is not None])
        whole = shape_mouth(analyze_speech([samples]), count, 25.0)
        opening = np.corrcoef(mouth[:, 0] * (1 - mouth[:, 4]), whole[:, 0] * (1 - whole[:, 4]))[0, 1]
        width = np.corrcoef(mouth[:, 1], whole[:, 1])[0, 1]
        print(f"analysis, {path.stem}: r of opening {opening:.3f}, of width {width:.3f}; {cost:.1f} ms a frame")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--voices", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    if not aioice.ice.get_host_addresses(True, False):
        aioice.ice.get_host_addresses = lambda *_, **__: ["127.0.0.1"]
    print(f"{cpu()}, load {load()} at the start")
    measure_analysis(given.voices)
    measure_barge_in()
    for size in (256, 512):
        measure_cost(size)
        measure_delay(size, given.seconds)
    asyncio.run(_faults(given.seconds))
    for sessions in (1, 2, 4):
        measure_rate(sessions, given.seconds)
    measure_hour(min(given.minutes, 2), analysis=True)
    measure_hour(given.minutes, analysis=False)
    print(f"load {load()} at the end")


if __name__ == "__main__":
    main()

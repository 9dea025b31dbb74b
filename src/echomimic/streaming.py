"""Live streams: a voice goes in while it is spoken, and frames with their sound come out at a steady rate.

Time is counted in samples: frame k carries the samples from `k * rate / fps` to `(k + 1) * rate / fps` of the output,
so sound and pictures cannot drift apart. Sound leaves together with the picture of its mouth, `Stream.delay` seconds
after it is pushed.

- Nothing was pushed: the face moves idly, and its frames carry silence.
- Sound arrives late: silence is inserted until there is enough again.
- Sound arrives early (a synthesiser is faster than speech): it waits, up to `queue_seconds`; more is refused
  (`overflow="hold"`). A microphone must not wait: `overflow="drop"` removes the oldest sound beyond 0.25 s, and silence
  before that.
- Rendering is late: the last picture is held, the sound continues. After a stall of a second, the clock is restarted.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from typing_extensions import Unpack

from echomimic.api import Source
from echomimic.errors import OptionError, StreamError
from echomimic.media import Resampler, read_picture
from echomimic.mesh.engine import MeshEngine, PreparedPortrait, own_options
from echomimic.mesh.live_idle import IdleStream
from echomimic.mesh.speech_stream import LOOKAHEAD, AnalyzedFrame, SpeechStream
from echomimic.mesh.speech_to_face import SAMPLE_RATE
from echomimic.options import Options, OptionsDict, make_options
from echomimic.provenance.mark import Marker
from echomimic.provenance.record import digest, new_record
from echomimic.types import CURVE_NAMES, MOUTH_CURVES, Floats, Picture, Portrait, Speech

Overflow = Literal["hold", "drop"]
_RESERVE = 0.02
"""Seconds of sound that must wait in the queue before speech begins, so that late packets make no gap."""
_SURPLUS, _LONGEST = 0.08, 0.25
"""With `drop`: seconds in the queue from which silence is removed, and from which sound is."""
_QUIET = 0.003
"""Root mean square of a frame that counts as silence."""
_ANTICIPATION = 0.08
"""Seconds of silence that are kept before speech when waiting sound is moved forward."""
_SHUT = 0.16
"""Seconds in which the mouth closes after `clear`."""
_FADE = 0.01
_STALL = 1.0
_PATIENCE = 2
"""Number of frames after which an incomplete frame of sound is used although no more sound has come."""


class Clock(Protocol):
    """The source of a stream's time; tests use their own."""

    def now(self) -> float:
        """Seconds since an arbitrary moment."""

    def sleep(self, seconds: float) -> None:
        """Wait for this time in seconds."""


class _SystemClock:
    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Frame:
    """One frame: `picture` (H, W, 3) uint8 RGB with the `sound` (n,) float32 that belongs to it, shown at `time` s.

    `curves` (18,) is its motion. `speaking` is True if the sound was pushed, `ended` if it contains the end of a
    segment (`Stream.end_segment`), `held` if the picture is that of the frame before because rendering was late.
    """

    index: int
    time: float
    picture: Picture
    sound: Floats
    curves: Floats
    speaking: bool = False
    ended: bool = False
    held: bool = False


@dataclass(frozen=True)
class StreamStatistics:
    """Counts since the start: `inserted` and `dropped` in samples, the others in frames."""

    frames: int = 0
    held: int = 0
    inserted: int = 0
    dropped: int = 0
    stalls: int = 0


@dataclass
class _Taken:
    """The sound of one frame whose picture is not rendered yet."""

    sound: Floats
    speaking: bool
    ended: bool


class Stream:
    """A portrait that speaks the pushed sound, made by `stream`; one thread may push while another takes frames."""

    def __init__(
        self,
        prepared: PreparedPortrait,
        options: Options,
        *,
        rate: int = SAMPLE_RATE,
        queue_seconds: float = 60.0,
        overflow: Overflow = "hold",
        clock: Clock | None = None,
    ) -> None:
        if not 8000 <= rate <= 192_000:
            raise OptionError(f"`rate` is {rate}; expected samples per second from 8000 to 192000")
        self.rate, self.fps, self.size = rate, options.fps, (prepared.crop.width, prepared.crop.height)
        self._scene = prepared.scene
        self._clock = clock or _SystemClock()
        self._queue = _SoundQueue(rate, queue_seconds, overflow)
        self._analyzer = SpeechStream(options.fps, options.mouth_strength)
        self._idle = IdleStream(options.fps, options.seed, options.motion_strength, options.blink_rate)
        self._resample = Resampler(rate, SAMPLE_RATE)
        self._marker = _marker(prepared, options) if options.mark else None
        self._waiting: deque[_Taken] = deque()
        self._lock = threading.Lock()
        self._index = self._sent = 0
        self._shutting: int | None = None
        self._mouth = np.zeros(len(MOUTH_CURVES), np.float32)
        self._picture: Picture | None = None
        self._counts = {"held": 0, "inserted": 0, "stalls": 0}
        self._closed = threading.Event()
        self.delay = LOOKAHEAD + _RESERVE + 1 / options.fps
        """Seconds between a sample and its frame, without the time that rendering takes."""

    def push(self, samples: npt.ArrayLike) -> None:
        """Add sound (n,) at `rate` Hz, float in -1..1 or int16. Raises StreamError if the queue is full or closed."""
        if self._closed.is_set():
            raise StreamError("the stream is closed; expected an open one: call echomimic.stream again")
        array = np.asarray(samples)
        scale = np.float32(1 / 32768) if array.dtype == np.int16 else np.float32(1)
        mono = np.nan_to_num(array.astype(np.float32, copy=False).reshape(-1)) * scale
        with self._lock:
            self._queue.push(np.clip(mono, -1, 1))

    def end_segment(self) -> None:
        """Mark the end of a segment: its last samples do not wait for more sound, and its last frame is `ended`."""
        with self._lock:
            self._queue.end()

    def clear(self) -> None:
        """Interrupt (barge-in): drop all sound that was not played yet; the mouth closes within 0.2 s."""
        with self._lock:
            self._queue.clear()
            for number, taken in enumerate(self._waiting):
                taken.sound = _faded(taken.sound, self.rate) if number == 0 else np.zeros_like(taken.sound)
                taken.speaking = taken.ended = False
            self._analyzer.forget()
            self._shutting = self._index

    def close(self) -> None:
        """End the iterators of frames and free the queues."""
        self._closed.set()
        with self._lock:
            self._queue.clear()

    @property
    def queued(self) -> float:
        """Seconds of pushed sound that is still waiting."""
        with self._lock:
            return self._queue.length / self.rate + sum(taken.speaking for taken in self._waiting) / self.fps

    @property
    def statistics(self) -> StreamStatistics:
        """The counts since the start."""
        return StreamStatistics(frames=self._index, dropped=self._queue.dropped, **self._counts)

    def frames(self) -> Iterator[Frame]:
        """Yield frames for ever, each when it is due; if rendering is late, the frame has the picture before it."""
        began, first = self._clock.now(), self._index
        while not self._closed.is_set():
            late = self._clock.now() - (began + (self._index - first) / self.fps)
            if late < 0:
                self._clock.sleep(-late)
            elif late > _STALL:
                began, first = self._clock.now(), self._index
                self._counts["stalls"] += 1
                late = 0.0
            if not self._closed.is_set():
                yield self.next_frame(hold=late > 1 / self.fps)

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self._async_frames()

    async def _async_frames(self) -> AsyncIterator[Frame]:
        """Yield the frames, which are rendered in a separate thread."""
        frames, pool = self.frames(), ThreadPoolExecutor(1, thread_name_prefix="stream")
        try:
            while True:
                frame = await asyncio.get_running_loop().run_in_executor(pool, next, frames, None)
                if frame is None:
                    return
                yield frame
        finally:
            pool.shutdown(wait=False)

    def next_frame(self, *, hold: bool = False) -> Frame:
        """Return the next frame at once, without a clock; with `hold` its picture is that of the frame before."""
        with self._lock:
            taken, analyzed = self._advance()
            index = self._index
            row = self._row(taken, analyzed)
            sound = self._sound_of(taken)
            self._index += 1
        held = hold and self._picture is not None
        if held:
            self._counts["held"] += 1
        else:
            picture = self._scene.frame(row)
            self._picture = picture if self._marker is None else self._marker.mark(picture, index)
        assert self._picture is not None
        return Frame(index, index / self.fps, self._picture, sound, row, taken.speaking, taken.ended, held)

    def _advance(self) -> tuple[_Taken, AnalyzedFrame]:
        """Analyse the sound of one more frame, or of several if sound waits behind silence; return the oldest frame."""
        analyzed = self._analyze()
        keep = max(1, round(_ANTICIPATION * self.fps))
        while analyzed is None or self._may_skip(keep):
            if analyzed is not None:
                self._waiting.popleft()
            analyzed = self._analyze()
        return self._waiting.popleft(), analyzed

    def _may_skip(self, keep: int) -> bool:
        """Whether the next frames are silence that nobody pushed, and sound waits."""
        silent = not any(taken.speaking for taken in list(self._waiting)[: keep + 1])
        return silent and self._shutting is None and self._queue.can_give(self._samples())

    def _analyze(self) -> AnalyzedFrame | None:
        taken = self._queue.take(self._samples())
        if not taken.speaking:
            self._counts["inserted"] += len(taken.sound)
        self._waiting.append(taken)
        return self._analyzer.analyze(self._resample(taken.sound))

    def _samples(self) -> int:
        """Number of samples of the next frame; over a second they add up to the rate exactly."""
        index = self._index + len(self._waiting)
        return round((index + 1) * self.rate / self.fps) - round(index * self.rate / self.fps)

    def _sound_of(self, taken: _Taken) -> Floats:
        """The sound of the frame, padded or cut where frames that were moved forward have a sample more or less."""
        sound = taken.sound
        if not taken.speaking:
            count = max(0, round((self._index + 1) * self.rate / self.fps) - self._sent)
            sound = np.pad(sound, (0, max(0, count - len(sound))))[:count]
        self._sent += len(sound)
        return sound

    def _row(self, taken: _Taken, analyzed: AnalyzedFrame) -> Floats:
        """The curves (18,) of the frame."""
        row = self._idle.row(analyzed.voice, analyzed.stress)
        mouth = analyzed.mouth
        if self._shutting is not None:
            passed = (self._index + 1 - self._shutting) / (_SHUT * self.fps)
            mouth = self._mouth * np.float32(max(0.0, 1 - passed))
            if passed >= 1 or taken.speaking:
                self._shutting = None
        else:
            self._mouth = mouth
        row[[CURVE_NAMES.index(name) for name in MOUTH_CURVES]] = mouth
        return row


class _SoundQueue:
    """Pushed sound that no frame has taken yet; not safe for threads."""

    def __init__(self, rate: int, seconds: float, overflow: Overflow) -> None:
        self.length = self.dropped = 0
        self._rate, self._limit, self._overflow = rate, round(seconds * rate), overflow
        self._pieces: deque[Floats] = deque()
        self._ends: deque[int] = deque()  # remaining samples before each end of a segment
        self._flowing = False
        self._seen, self._still = 0, 0

    def push(self, samples: Floats) -> None:
        if self._overflow == "hold" and self.length + len(samples) > self._limit:
            raise StreamError(
                f"the stream holds {self.length / self._rate:.0f} s of sound that is still to be spoken, and "
                f"{len(samples) / self._rate:.1f} s more were pushed; expected at most {self._limit / self._rate:g} s: "
                "push as it is spoken, or call clear",
                code="stream_full",
            )
        if len(samples):
            self._pieces.append(samples)
            self.length += len(samples)
        if self._overflow == "drop":
            self._drop(self.length - round(_LONGEST * self._rate))

    def end(self) -> None:
        self._ends.append(self.length)

    def clear(self) -> None:
        self._pieces.clear()
        self._ends.clear()
        self.length = self._seen = self._still = 0
        self._flowing = False

    def can_give(self, count: int) -> bool:
        """Whether `count` samples can be taken and the reserve remains."""
        return self.length >= count + round(_RESERVE * self._rate)

    def take(self, count: int) -> _Taken:
        """The next `count` samples; silence if there are not enough."""
        if self._overflow == "drop":
            self._shorten(count)
        self._still = self._still + 1 if self.length == self._seen else 0
        complete = bool(self._ends) or self._still >= _PATIENCE
        if not self._flowing:
            self._flowing = self.can_give(count) or (complete and self.length > 0)
        speaking = self._flowing and (self.length >= count or (complete and self.length > 0))
        self._flowing = self._flowing and speaking
        sound = np.zeros(count, np.float32)
        ended = False
        if speaking:
            part = self._pop(min(count, self.length))
            sound[: len(part)] = part
        while self._ends and self._ends[0] <= 0:
            self._ends.popleft()
            ended = True
        self._seen = self.length
        return _Taken(sound, speaking, ended)

    def _pop(self, count: int) -> Floats:
        """Remove and return the oldest `count` samples."""
        parts: list[Floats] = []
        missing = count
        while missing:
            piece = self._pieces.popleft()
            if len(piece) > missing:
                self._pieces.appendleft(piece[missing:])
                piece = piece[:missing]
            parts.append(piece)
            missing -= len(piece)
        self.length -= count
        self._ends = deque(end - count for end in self._ends)
        return np.concatenate(parts)

    def _drop(self, count: int) -> None:
        if count > 0:
            self._pop(count)
            self.dropped += count

    def _shorten(self, count: int) -> None:
        """Remove a frame of silence if more sound waits than the reserve: the sender's clock is faster than ours."""
        too_long = self.length > count + round(_SURPLUS * self._rate)
        if too_long and float(np.sqrt(np.mean(np.square(self._pieces[0])))) < _QUIET:
            self._drop(min(len(self._pieces[0]), count))


def stream(
    portrait: Source | Portrait,
    *,
    rate: int = SAMPLE_RATE,
    queue_seconds: float = 60.0,
    overflow: Overflow = "hold",
    clock: Clock | None = None,
    engine: MeshEngine | None = None,
    **options: Unpack[OptionsDict],
) -> Stream:
    """A live stream of `portrait`, by the mesh engine: push sound at `rate` Hz, take frames with their sound.

    `queue_seconds` bounds the sound that waits, `overflow` is what happens beyond that ("hold" refuses more, "drop" is
    for a microphone), `clock` replaces the system's, `engine` is a mesh engine to keep the prepared portrait in, and
    `options` are the fields of `Options`. Raises EchoMimicError.
    """
    settings = make_options(options)
    picture = portrait if isinstance(portrait, Portrait) else read_picture(portrait)
    prepared = (engine or MeshEngine()).prepare_portrait(picture, settings)
    settings = own_options(settings, prepared.portrait, Speech(0.0, rate))
    return Stream(prepared, settings, rate=rate, queue_seconds=queue_seconds, overflow=overflow, clock=clock)


def _faded(sound: Floats, rate: int) -> Floats:
    """The first 10 ms of a sound, faded out."""
    count = min(len(sound), round(_FADE * rate))
    faded = np.zeros_like(sound)
    faded[:count] = sound[:count] * np.linspace(1, 0, count, dtype=np.float32)
    return faded


def _marker(prepared: PreparedPortrait, options: Options) -> Marker:
    """The marker of the frames, whose payload names portrait and options, since a live voice has no digest."""
    width, height = prepared.crop.width, prepared.crop.height
    record = new_record(
        "mesh", options, (width, height), 0, options.fps, portrait=digest(prepared.portrait), speech="live"
    )
    return Marker(record.payload(), (height, width), options.fps)

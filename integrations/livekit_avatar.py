"""A LiveKit Agents avatar on this machine's CPU: sound of the agent in, video and its sound out.

Needs the extra `livekit`. `livekit_worker.py` runs it in a room.
"""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
from livekit import rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarOptions, VideoGenerator

from echomimic import Stream

FULL_SECONDS = 20.0
"""Seconds of sound in the stream from which the sender is made to wait."""


class EchoMimicVideoGenerator(VideoGenerator):
    """Feeds a stream with the frames of LiveKit, and LiveKit with the frames of the stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._resampler: rtc.AudioResampler | None = None

    @property
    def options(self) -> AvatarOptions:
        """What an AvatarRunner needs to know."""
        width, height = self._stream.size
        return AvatarOptions(width, height, self._stream.fps, self._stream.rate, 1)

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        """Take sound, or the end of a segment."""
        if isinstance(frame, AudioSegmentEnd):
            self._stream.end_segment()
            return
        while self._stream.queued > FULL_SECONDS:
            await asyncio.sleep(0.05)
        for part in self._resampled(frame):
            samples = np.frombuffer(part.data, np.int16).reshape(-1, part.num_channels)
            self._stream.push(samples.mean(axis=1) / 32768)

    def clear_buffer(self) -> None:
        """Barge-in: the mouth closes, the rest of the sound is forgotten."""
        self._stream.clear()

    async def __aiter__(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        """Video all the time, sound while somebody speaks, and the ends of segments."""
        width, height = self._stream.size
        async for frame in self._stream:
            yield rtc.VideoFrame(width, height, rtc.VideoBufferType.RGB24, frame.picture.tobytes())
            if frame.speaking:
                sound = (frame.sound * 32767).astype(np.int16)
                yield rtc.AudioFrame(sound.tobytes(), self._stream.rate, 1, len(sound))
            if frame.ended:
                yield AudioSegmentEnd()

    def _resampled(self, frame: rtc.AudioFrame) -> list[rtc.AudioFrame]:
        if frame.sample_rate == self._stream.rate:
            return [frame]
        if self._resampler is None:
            self._resampler = rtc.AudioResampler(frame.sample_rate, self._stream.rate, num_channels=frame.num_channels)
        return list(self._resampler.push(frame))

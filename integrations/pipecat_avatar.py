"""A Pipecat processor: frames of a synthesiser's sound in, pictures and their sound out, drawn on this machine's CPU.

Needs the extra `pipecat`. Put it between the text-to-speech service and the output transport, whose
parameters are `video_out_enabled`, `video_out_is_live`, `video_out_width` and `video_out_height`.
"""

import asyncio
from typing import Any

import numpy as np
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from echomimic import Stream

FULL_SECONDS = 20.0
"""Seconds of sound in the stream from which the synthesiser is made to wait."""


class EchoMimicAvatar(FrameProcessor):
    """Speaks what the pipeline says; the stream's rate must be that of the synthesiser."""

    def __init__(self, stream: Stream, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._stream = stream
        self._sending: asyncio.Task[None] | None = None
        self._stopped: list[TTSStoppedFrame] = []
        self._speaking = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take sound out of the pipeline; pass all else on, ends of speech when they were spoken."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            await self._push(frame)
        elif isinstance(frame, TTSStoppedFrame):
            self._stopped.append(frame)
            self._stream.end_segment()
        else:
            await self._control(frame)
            await self.push_frame(frame, direction)
            if isinstance(frame, StartFrame) and self._sending is None:
                self._sending = self.create_task(self._send())

    async def cleanup(self) -> None:
        """End the stream."""
        await super().cleanup()
        await self._stop()

    async def _control(self, frame: Frame) -> None:
        if isinstance(frame, InterruptionFrame):
            self._stopped.clear()
            self._stream.clear()
        elif isinstance(frame, EndFrame):
            # the last frame is drawn after its sound has left the queue, so wait for a silent one
            while (
                (self._speaking or self._stream.queued > 0) and self._sending is not None and not self._sending.done()
            ):
                await asyncio.sleep(0.02)
            await self._stop()
        elif isinstance(frame, CancelFrame):
            await self._stop()

    async def _push(self, frame: TTSAudioRawFrame) -> None:
        if frame.sample_rate != self._stream.rate:
            await self.push_error(
                f"sound at {frame.sample_rate} Hz for a stream at {self._stream.rate} Hz; expected the same: "
                "echomimic.stream(rate=…)"
            )
            return
        while self._stream.queued > FULL_SECONDS:
            await asyncio.sleep(0.05)
        samples = np.frombuffer(frame.audio, np.int16).reshape(-1, frame.num_channels)
        self._speaking = True
        self._stream.push(samples.mean(axis=1) / 32768)

    async def _send(self) -> None:
        async for frame in self._stream:
            image = OutputImageRawFrame(image=frame.picture.tobytes(), size=self._stream.size, format="RGB")
            image.sync_with_audio = frame.speaking
            await self.push_frame(image)
            if frame.speaking:
                sound = (frame.sound * 32767).astype(np.int16).tobytes()
                await self.push_frame(TTSAudioRawFrame(audio=sound, sample_rate=self._stream.rate, num_channels=1))
            if frame.ended and self._stopped:
                await self.push_frame(self._stopped.pop(0))
            self._speaking = frame.speaking or self._stream.queued > 0

    async def _finish(self) -> None:
        """Wait for a silent frame: the last one is drawn after its sound has left the queue."""
        while self._sending is not None and not self._sending.done() and (self._speaking or self._stream.queued > 0):
            await asyncio.sleep(0.02)

    async def _stop(self) -> None:
        self._stream.close()
        if self._sending is not None:
            task, self._sending = self._sending, None
            await self.cancel_task(task)

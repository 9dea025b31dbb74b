"""Run the avatar in a pipeline without a network: a file is the synthesiser, a counter is the transport.

python integrations/pipecat_example.py portrait.png voice.wav
"""

import asyncio
import sys
from collections import Counter

import numpy as np
from pipecat.frames.frames import EndFrame, Frame, TTSAudioRawFrame, TTSStartedFrame, TTSStoppedFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner
from pipecat_avatar import EchoMimicAvatar

import echomimic
from echomimic.media import sound_blocks


class Counts(FrameProcessor):
    """Counts what a transport would send."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Count a frame and pass it on."""
        await super().process_frame(frame, direction)
        self.counts[type(frame).__name__] += 1
        await self.push_frame(frame, direction)


async def main(portrait: str, voice: str) -> None:
    """Speak a file."""
    stream, counts = echomimic.stream(portrait, rate=24_000, size=256), Counts()
    worker = PipelineWorker(Pipeline([EchoMimicAvatar(stream), counts]), cancel_on_idle_timeout=False)
    frames: list[Frame] = [TTSStartedFrame()]
    for block in sound_blocks(echomimic.read_speech(voice), 24_000):
        frames.append(TTSAudioRawFrame((block * 32767).astype(np.int16).tobytes(), 24_000, 1))
    runner = WorkerRunner()
    await runner.add_workers(worker)
    await worker.queue_frames([*frames, TTSStoppedFrame(), EndFrame()])
    await runner.run()
    print(dict(counts.counts))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))

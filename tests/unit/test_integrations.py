"""The plugins of integrations/ with the real packages, in this process; skipped where these are absent."""

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import echomimic
from echomimic.data import demo_portrait

FOLDER = Path(__file__).resolve().parents[2] / "integrations"


@pytest.fixture(autouse=True)
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def stream() -> Iterator[echomimic.Stream]:
    made = echomimic.stream(demo_portrait(), size=64, rate=24_000, mark=False)
    yield made
    made.close()


def plugin(name: str) -> Any:
    sys.modules.pop(name, None)
    return importlib.import_module(name)


TONE = (np.sin(np.arange(12_000) / 9) * 9000).astype(np.int16)


def test_livekit_gets_video_and_the_sound_that_it_sent(stream: echomimic.Stream) -> None:
    pytest.importorskip("livekit.agents")
    from livekit import rtc
    from livekit.agents.voice.avatar import AudioSegmentEnd

    generator = plugin("livekit_avatar").EchoMimicVideoGenerator(stream)
    assert (generator.options.video_width, generator.options.audio_sample_rate) == (64, 24_000)

    async def speak() -> list[Any]:
        await generator.push_audio(rtc.AudioFrame(TONE.tobytes(), 24_000, 1, len(TONE)))
        await generator.push_audio(AudioSegmentEnd())
        found: list[Any] = []
        async for frame in generator:
            found.append(frame)
            if isinstance(frame, AudioSegmentEnd):
                return found
        return found

    found = asyncio.run(asyncio.wait_for(speak(), 60))
    heard = np.concatenate([np.frombuffer(f.data, np.int16) for f in found if isinstance(f, rtc.AudioFrame)])
    assert len(heard) >= len(TONE) and np.abs(heard[: len(TONE)] - TONE.astype(int)).max() <= 2
    assert sum(isinstance(f, rtc.VideoFrame) for f in found) >= 13
    asyncio.run(generator.push_audio(rtc.AudioFrame(TONE.tobytes(), 24_000, 1, len(TONE))))
    generator.clear_buffer()
    assert stream.queued == 0


def test_pipecat_gets_pictures_and_the_sound_that_it_sent(stream: echomimic.Stream) -> None:
    pytest.importorskip("pipecat")
    from pipecat.frames.frames import OutputImageRawFrame, TTSAudioRawFrame, TTSStoppedFrame
    from pipecat.tests.utils import run_test

    avatar = plugin("pipecat_avatar").EchoMimicAvatar(stream)
    sent = [TTSAudioRawFrame(TONE.tobytes(), 24_000, 1), TTSStoppedFrame()]
    down, _ = asyncio.run(asyncio.wait_for(run_test(avatar, frames_to_send=sent, start_timeout=30), 60))
    heard = np.concatenate([np.frombuffer(f.audio, np.int16) for f in down if isinstance(f, TTSAudioRawFrame)])
    assert len(heard) >= len(TONE) and np.abs(heard[: len(TONE)] - TONE.astype(int)).max() <= 2
    assert sum(isinstance(f, OutputImageRawFrame) for f in down) >= 13
    assert sum(isinstance(f, TTSStoppedFrame) for f in down) == 1

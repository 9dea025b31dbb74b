"""The plugins of integrations/ with the real packages, in this process; skipped where these are absent."""

import asyncio
import importlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import echomimic
from echomimic.data import demo_portrait, demo_voice
from echomimic.media import sound_blocks
from echomimic.mesh.speech_to_face import predict_mouth
from echomimic.types import CURVE_NAMES
from helpers.waiting import PATIENCE

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

    found = asyncio.run(asyncio.wait_for(speak(), PATIENCE))
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
    down, _ = asyncio.run(asyncio.wait_for(run_test(avatar, frames_to_send=sent, start_timeout=PATIENCE), PATIENCE))
    heard = np.concatenate([np.frombuffer(f.audio, np.int16) for f in down if isinstance(f, TTSAudioRawFrame)])
    assert len(heard) >= len(TONE) and np.abs(heard[: len(TONE)] - TONE.astype(int)).max() <= 2
    assert sum(isinstance(f, OutputImageRawFrame) for f in down) >= 13
    assert sum(isinstance(f, TTSStoppedFrame) for f in down) == 1


@dataclass
class AudioChunk:
    data: np.ndarray
    sample_rate: int


@dataclass
class VideoFrameData:
    data: np.ndarray
    width: int
    height: int
    timestamp_ms: float


def test_opentalking_gets_a_mouth_that_follows_its_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the names of OpenTalking that the adapter uses: the package is not published."""
    known: dict[str, type] = {}
    register = SimpleNamespace(register_model=lambda name: lambda kind: known.setdefault(name, kind))
    frames = SimpleNamespace(AudioChunk=AudioChunk, VideoFrameData=VideoFrameData)
    for name in ("", ".core", ".core.types", ".models"):
        monkeypatch.setitem(sys.modules, f"opentalking{name}", ModuleType(name))
    monkeypatch.setitem(sys.modules, "opentalking.core.types.frames", frames)
    monkeypatch.setitem(sys.modules, "opentalking.models.registry", register)
    plugin("opentalking_adapter")
    adapter = known["echomimic"]()
    shutil.copy(demo_portrait(), tmp_path / "reference.png")
    adapter.load_model()
    state = adapter.load_avatar(str(tmp_path))
    adapter.warmup()
    voice = np.concatenate(list(sound_blocks(echomimic.read_speech(demo_voice()), 24_000)))
    sound = (voice * 32767).astype(np.int16)
    chunks = [AudioChunk(sound[at : at + 12_000], 24_000) for at in range(0, 60_000, 12_000)]
    rows = [row for chunk in chunks for row in adapter.infer(adapter.extract_features(chunk), state)]
    assert 60 <= len(rows) <= 65
    whole = predict_mouth(sound_blocks(echomimic.read_speech(demo_voice()), 16_000), len(rows), 25.0)
    jaw = np.array([row[CURVE_NAMES.index("jaw")] for row in rows])
    assert np.corrcoef(jaw, whole[:, 0])[0, 1] > 0.7
    shown = adapter.compose_frame(state, 25, rows[int(jaw.argmax())])
    still = adapter.idle_frame(state, 26)
    assert shown.data.shape == (shown.height, shown.width, 3) and shown.timestamp_ms == 1000
    assert np.abs(shown.data.astype(int) - still.data).max() > 60

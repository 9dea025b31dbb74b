import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from echomimic import EchoMimicError, stream
from echomimic.data import demo_portrait, demo_voice
from echomimic.media import read_speech
from echomimic.media.sound import sound_blocks
from echomimic.mesh.engine import MeshEngine
from echomimic.mesh.live_idle import IdleStream
from echomimic.mesh.speech_stream import SpeechStream
from echomimic.mesh.speech_to_face import analyze_speech, shape_mouth
from echomimic.streaming import Frame, Stream, _SoundQueue
from echomimic.types import CURVE_NAMES

COLUMN = {name: k for k, name in enumerate(CURVE_NAMES)}


class FakeClock:
    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


@pytest.fixture(scope="module")
def engine() -> MeshEngine:
    return MeshEngine()


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return np.concatenate(list(sound_blocks(read_speech(demo_voice()), 16000)))


class StillScene:
    """Draws nothing: these tests are about time and sound."""

    def frame(self, row: np.ndarray) -> np.ndarray:
        return np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def made(engine: MeshEngine) -> Iterator:
    opened: list[Stream] = []

    def make(drawn: bool = False, **options) -> Stream:
        portrait = engine._prepared[0] if engine._prepared else demo_portrait()
        live = stream(portrait, size=128, mark=drawn, engine=engine, clock=FakeClock(), **options)
        live._scene = live._scene if drawn else StillScene()  # type: ignore[assignment]
        opened.append(live)
        return live

    yield make
    for one in opened:
        one.close()


def taken(live: Stream, count: int) -> list[Frame]:
    return [live.next_frame() for _ in range(count)]


def opening(frames: list[Frame]) -> np.ndarray:
    return np.array([f.curves[COLUMN["jaw"]] * (1 - f.curves[COLUMN["closure"]]) for f in frames])


def test_all_sound_leaves_once_in_order_with_a_whole_number_of_samples_per_frame(made, voice) -> None:
    live = made(rate=16000, fps=30)
    voice = voice[:32000]
    draw, at, frames = np.random.default_rng(0), 0, []
    while at < len(voice) or live.queued:
        step = int(draw.integers(0, 1600))
        live.push(voice[at : at + step])
        at += step
        frames.append(live.next_frame())
    sound = np.concatenate([f.sound for f in frames])
    assert len(sound) == round(len(frames) * 16000 / 30)
    spoken = np.concatenate([f.sound for f in frames if f.speaking])
    np.testing.assert_allclose(spoken[np.abs(spoken) > 0], voice[np.abs(voice) > 0], atol=1e-6)
    assert live.statistics.dropped == 0


def test_the_mouth_follows_its_sound_as_in_a_whole_recording(voice) -> None:
    stream, count = SpeechStream(25.0), len(voice) // 640
    padded = np.concatenate([voice, np.zeros(640 * stream.delay, np.float32)])
    analyzed = [stream.analyze(padded[k * 640 : (k + 1) * 640]) for k in range(count + stream.delay)]
    assert [h is None for h in analyzed] == [True] * stream.delay + [False] * count
    mouth = np.stack([h.mouth for h in analyzed if h])
    whole = shape_mouth(analyze_speech([voice]), count, 25.0)
    for a, b in ((mouth[:, 0] * (1 - mouth[:, 4]), whole[:, 0] * (1 - whole[:, 4])), (mouth[:, 1], whole[:, 1])):
        assert np.corrcoef(a, b)[0, 1] > 0.9
    assert any(h.stress is not None for h in analyzed if h)


def test_a_barge_in_shuts_the_mouth_in_a_fifth_of_a_second_and_the_next_words_open_it(made, voice) -> None:
    live = made()
    live.push(voice)
    frames = taken(live, 20)
    while opening(frames)[-1] < 0.3:
        frames += taken(live, 1)
    live.clear()
    after = taken(live, 25)
    assert live.queued == 0
    assert not any(f.sound[160:].any() for f in after), "at most a hundredth of a second fades out"
    assert (opening(after)[4:] < 0.02).all()
    live.push(voice)
    assert opening(taken(live, 25)).max() > 0.3


def test_the_face_moves_idly_while_nobody_speaks(made) -> None:
    idle = IdleStream(25.0, seed=3)
    rows = np.stack([idle.row() for _ in range(25 * 130)])
    blinks = np.flatnonzero(np.diff((rows[:, COLUMN["blink"]] > 0.5).astype(int)) > 0)
    assert 130 / 60 * 10 < len(blinks) < 130 / 60 * 26
    assert np.abs(np.diff(rows[:, COLUMN["yaw"]])).max() < 1.0, "segments are joined without a jump"
    assert rows[:, COLUMN["breath"]].max() > 0.4 and np.abs(rows[:, COLUMN["gaze_x"]]).max() > 3
    frames = taken(made(drawn=True), 20)
    assert not opening(frames).any() and not any(f.speaking for f in frames)
    assert any((f.picture != frames[0].picture).any() for f in frames)


def test_frames_keep_the_rate_and_a_late_one_holds_the_picture(made) -> None:
    live = made()
    clock, frames = live._clock, live.frames()
    some = [next(frames) for _ in range(5)]
    assert sum(clock.slept) == pytest.approx(4 / 25) and not any(f.held for f in some)
    clock.time += 0.1
    late = [next(frames) for _ in range(4)]
    assert [f.held for f in late] == [True, False, False, False]
    assert late[0].picture is some[-1].picture
    clock.time += 3
    assert not next(frames).held and live.statistics.stalls == 1
    clock.slept.clear()
    next(frames)
    assert sum(clock.slept) == pytest.approx(1 / 25), "no burst of frames after a stall"


def test_frames_can_be_awaited(made) -> None:
    async def some() -> list[Frame]:
        live = made()
        found = []
        async for frame in live:
            found.append(frame)
            if len(found) == 3:
                live.close()
        return found

    assert [f.index for f in asyncio.run(some())] == [0, 1, 2]


def test_queues_are_bounded(made) -> None:
    live = made(queue_seconds=1.0)
    live.push(np.zeros(16000, np.int16))
    with pytest.raises(EchoMimicError, match="push as it is spoken"):
        live.push(np.zeros(1, np.float32))
    live.close()
    with pytest.raises(EchoMimicError, match="closed"):
        live.push(np.zeros(1, np.float32))


def test_a_segment_ends_with_its_last_sample_and_waits_for_no_more(made, voice) -> None:
    live = made()
    live.push(voice[:6500])
    live.end_segment()
    frames = taken(live, 30)
    ends = [k for k, f in enumerate(frames) if f.ended]
    assert len(ends) == 1 and frames[ends[0]].speaking and not frames[ends[0] + 1].speaking


@pytest.mark.parametrize("faster", [-2e-3, 2e-3])
def test_two_clocks_that_differ_do_not_add_up(faster: float) -> None:
    """The sender's clock is 2 per mille off for 5 minutes: the queue stays short, silence takes up the difference."""
    queue, sent = _SoundQueue(16000, 60, "drop"), 0
    longest = 0
    for frame in range(25 * 300):
        due = round((frame + 1) * 640 * (1 + faster))
        level = 0.1 if frame % 100 < 70 else 0.0
        while sent < due:
            piece = min(320, due - sent)
            queue.push(np.full(piece, level, np.float32))
            sent += piece
        queue.take(640)
        longest = max(longest, queue.length)
    assert longest < 0.25 * 16000
    assert queue.dropped < 1.5 * abs(faster) * sent + 16000

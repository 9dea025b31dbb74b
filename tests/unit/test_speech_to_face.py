import tracemalloc
from io import BytesIO

import numpy as np
import pytest

from echomimic.data import data_path
from echomimic.engines import Part
from echomimic.media import speech_from_samples
from echomimic.mesh import engine, speech_curves, speech_to_face
from echomimic.mesh.engine import MeshRender, PreparedPortrait, own_options
from echomimic.mesh.mouth_range import jaw_of, spread_of
from echomimic.mesh.speech_curves import predict_curves
from echomimic.mesh.speech_to_face import (
    SAMPLE_RATE,
    SpeechFeatures,
    analyze_speech,
    frame_level,
    lip_opening,
    load_network,
    mel_blocks,
    normalized_log_mel,
    predict_mouth,
    shape_mouth,
    with_mouth,
)
from echomimic.options import Options
from echomimic.signals import runs
from echomimic.types import CURVES, MOUTH_CURVES, Curves, Portrait, Speech

REST = np.zeros(6, np.float32)


def demo() -> np.ndarray:
    from echomimic.media import read_speech, sound_blocks

    return np.concatenate(list(sound_blocks(read_speech(data_path("demo_voice.flac")), SAMPLE_RATE)))


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    return demo()


def features_like(frames: int, **columns: float | np.ndarray) -> SpeechFeatures:
    """Speech features of an open vowel throughout, except for the given ones."""
    values = dict.fromkeys(SpeechFeatures.__dataclass_fields__, 0.0) | {"gap": 0.7, "speech": 1.0, "level": 1e4}
    return SpeechFeatures(**{name: np.full(frames, value, np.float32) for name, value in (values | columns).items()})


def test_shipped_network_is_small_and_says_what_it_is():
    path = data_path("articulation.safetensors")
    network, about = load_network(path)
    assert path.stat().st_size < 1_000_000
    assert about["channels"].split() == list(speech_to_face.CHANNELS)
    assert network(np.zeros((101, 40), np.float32)).shape == (51, 7)


def test_mel_frames_do_not_depend_on_the_blocks(voice):
    whole = np.concatenate(list(mel_blocks([voice])))
    pieces = np.concatenate(list(mel_blocks(np.split(voice, [1, 7, 399, 5000, 5000, 30011]))))
    np.testing.assert_allclose(pieces, whole, rtol=1e-3, atol=1e-6)
    assert abs(len(whole) - len(voice) / 160) <= 1


def test_mel_power_follows_pitch_and_forgives_bad_samples():
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    low, high = (np.concatenate(list(mel_blocks([np.sin(2 * np.pi * f * time)])))[50] for f in (300, 3000))
    assert np.argmax(low) < 10 < 20 < np.argmax(high)
    spoilt = np.sin(2 * np.pi * 300 * time)
    spoilt[100:200] = np.nan
    assert np.isfinite(np.concatenate(list(mel_blocks([spoilt])))).all()


def test_features_are_the_same_at_any_loudness(voice):
    loud, soft = (np.concatenate(list(mel_blocks([voice * gain]))) for gain in (1.0, 0.1))
    assert np.abs(normalized_log_mel(loud) - normalized_log_mel(soft)).max() < 0.05
    assert frame_level(loud).mean() == pytest.approx(100 * frame_level(soft).mean(), rel=0.01)


def test_long_sound_in_pieces_gives_the_curves_of_the_whole(voice, monkeypatch):
    long = np.tile(voice, 6)
    monkeypatch.setattr(speech_to_face, "_CHUNK", 1000)
    pieces = analyze_speech(np.array_split(long, 37))
    monkeypatch.setattr(speech_to_face, "_CHUNK", 10**9)
    whole = analyze_speech([long])
    assert len(pieces) == len(whole)
    np.testing.assert_allclose(pieces.gap, whole.gap, atol=1e-5)
    np.testing.assert_allclose(pieces.closure, whole.closure, atol=1e-5)


def test_memory_stays_flat(voice):
    def peak(repeats: int) -> int:
        tracemalloc.start()
        predict_mouth((voice for _ in range(repeats)), 10, 25.0)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    short, long = peak(8), peak(24)
    assert long - short < 4 * 260 * 8 * 2000 * 0.4


def test_the_mouth_speaks_and_rests_at_both_ends(voice):
    padded = np.concatenate([np.zeros(SAMPLE_RATE), voice, np.zeros(2 * SAMPLE_RATE)]).astype(np.float32)
    frames = round(len(padded) / SAMPLE_RATE * 25)
    values = predict_mouth([padded], frames, 25.0)
    assert values.shape == (frames, 6) and values.dtype == np.float32
    assert 0.7 < np.percentile(values[:, 0], 98) < 0.97
    assert values[:, 1].min() < -0.2
    assert values[:, 4].max() == 1
    for edge in (values[:15], values[-20:]):
        np.testing.assert_allclose(edge, np.zeros_like(edge), atol=0.02)


@pytest.mark.parametrize("kind", ["silence", "hiss", "noise", "hum"])
def test_sounds_that_are_no_voice_leave_the_mouth_at_rest(kind):
    draw = np.random.default_rng(0)
    time = np.arange(6 * SAMPLE_RATE) / SAMPLE_RATE
    sound = {
        "silence": np.zeros(len(time)),
        "hiss": 1e-4 * draw.standard_normal(len(time)),
        "noise": 0.05 * draw.standard_normal(len(time)),
        "hum": 0.1 * np.sin(2 * np.pi * 50 * time) + 1e-4 * draw.standard_normal(len(time)),
    }[kind]
    values = predict_mouth([sound.astype(np.float32)], 150, 25.0)
    assert np.abs(values[:, 0]).mean() < 0.03


def test_empty_sound_leaves_the_mouth_at_rest():
    for blocks in ([], [np.zeros(0, np.float32)], [np.zeros(3, np.float32)]):
        np.testing.assert_array_equal(predict_mouth(blocks, 5, 25.0), np.tile(REST, (5, 1)))


@pytest.mark.parametrize("fps", [1.0, 12.5, 25.0, 29.97, 60.0, 120.0])
def test_the_motion_does_not_depend_on_the_frame_rate(voice, fps):
    frames = round(len(voice) / SAMPLE_RATE * fps)
    values = predict_mouth([voice], frames, fps)
    assert values.shape == (frames, 6) and np.isfinite(values).all()
    assert values[:, 0].mean() == pytest.approx(predict_mouth([voice], 163, 25.0)[:, 0].mean(), rel=0.15)


@pytest.mark.parametrize("fps", [12.0, 25.0, 30.0, 60.0])
def test_a_short_labial_is_never_skipped(fps):
    closure = np.zeros(200, np.float32)
    closure[[40, 41, 120]] = 0.9
    values = shape_mouth(features_like(200, closure=closure), int(4 * fps), fps)
    shut = runs(values[:, 4] > 0.99)
    assert len(shut) == 2
    assert abs(shut[0][0] / fps - 0.8) < 1.5 / fps


def test_pauses_close_the_mouth_and_gaps_between_words_do_not():
    speech = np.ones(500, np.float32)
    speech[100:106] = 0
    speech[200:212] = 0
    speech[250:400] = 0
    loudness = 40 * (speech - 1)
    jaw = shape_mouth(features_like(500, speech=speech, loudness=loudness), 250, 25.0)[:, 0]
    noisy = shape_mouth(features_like(500, speech=speech, loudness=0.25 * loudness), 250, 25.0)[:, 0]
    assert noisy[100:107].min() > 0.3 and noisy[131:190].max() < 0.01, "noise is closed upon if it is long"
    assert jaw[46:58].min() > 0.3, "0.12 s"
    assert jaw[100:107].min() < 0.1, "0.24 s"
    assert jaw[125 + 6 : 190].max() < 0.01, "shut within 0.25 s"
    assert jaw[205] > 0.3


@pytest.mark.parametrize("fps", [12.5, 25.0, 30.0])
def test_a_voice_that_is_cut_off_ends_with_a_shut_mouth(fps):
    jaw = shape_mouth(features_like(200), round(4 * fps), fps)[:, 0]
    assert jaw[-1] < 0.05 and jaw[round(3.8 * fps) - 2] > 0.3


def test_the_range_is_that_of_filmed_speakers():
    gap, width = np.linspace(0, 0.8, 50, dtype=np.float32), np.linspace(-0.5, 0.3, 50, dtype=np.float32)
    for curve in (jaw_of(gap), spread_of(width)):
        assert np.all(np.diff(curve) >= 0) and curve.dtype == np.float32
    assert jaw_of(gap)[gap < 0.15].max() == 0
    assert 0.85 < jaw_of(np.array([0.6]))[0] < 0.95
    assert spread_of(np.array([-0.3]))[0] < -0.5 and spread_of(np.array([0.13]))[0] > 0.5


def test_strength_scales_and_stays_in_range():
    features = features_like(100, width=-0.4)
    weak, usual, strong = (shape_mouth(features, 50, 25.0, s) for s in (0.5, 1.0, 2.0))
    np.testing.assert_allclose(weak[25, :2], usual[25, :2] / 2, atol=1e-6)
    assert strong[:, 0].max() <= 1 and strong[:, 1].min() == -1


def test_opening_and_width_are_what_the_curves_imply():
    values = np.zeros((3, 6), np.float32)
    values[:, 0], values[:, 1], values[1, 4] = 0.5, [-1, 0, 1], 1.0
    curves = with_mouth(Curves.rest(3, 25.0), values)
    np.testing.assert_allclose(lip_opening(curves), [0.5, 0, 0.5])
    np.testing.assert_allclose(curves["spread"], [-1, 0, 1])
    assert [curves[name].tolist() for name in MOUTH_CURVES[:2]] == [[0.5] * 3, [-1, 0, 1]]


def tone(seconds: float, rate: int = 16000) -> Speech:
    """A buzz with a moving formant, four syllables a second: enough like a voice to open a mouth."""
    time = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * 120 * time
    loud = np.clip(np.sin(2 * np.pi * 4 * time), 0, 1) * (time > 0.5) * (time < seconds - 0.5)
    buzz = sum(np.sin(k * phase) * np.exp(-(((120 * k - 700) / 500) ** 2)) for k in range(1, 40))
    return Speech(seconds, rate, samples=(0.1 * loud * buzz).astype(np.float32))


def silence(seconds: float) -> Speech:
    return Speech(seconds, 16000, samples=np.zeros(int(seconds * 16000), np.float32), silent=True)


def test_all_curves_in_range_and_repeatable():
    curves = predict_curves(tone(4.0), Options(seed=5), 100)
    again = predict_curves(tone(4.0), Options(seed=5), 100)
    assert curves.values.shape == (100, len(CURVES)) and curves.values.dtype == np.float32 and curves.fps == 25
    np.testing.assert_array_equal(curves.values, again.values)
    for k, curve in enumerate(CURVES):
        assert curves.values[:, k].min() >= curve.low and curves.values[:, k].max() <= curve.high


def test_silence_moves_everything_but_the_mouth():
    curves = predict_curves(silence(4.0), Options(seed=1), 100)
    for name in MOUTH_CURVES:
        assert not curves[name].any(), name
    for name in ("yaw", "blink", "gaze_x", "breath"):
        assert curves[name].any(), name


def test_the_seed_moves_the_head_and_not_the_mouth():
    one, other = (predict_curves(tone(3.0), Options(seed=seed), 75) for seed in (1, 2))
    np.testing.assert_array_equal(one.values[:, :6], other.values[:, :6])
    assert np.abs(one["yaw"] - other["yaw"]).max() > 0.3


def test_mouth_strength_zero_holds_the_mouth():
    curves = predict_curves(tone(3.0), Options(mouth_strength=0.0), 75)
    for name in MOUTH_CURVES:
        assert not curves[name].any(), name


def test_more_frames_than_voice_rest_and_fewer_are_cut():
    long, short = predict_curves(tone(3.0), Options(seed=2), 150), predict_curves(tone(3.0), Options(seed=2), 40)
    assert not long.values[110:, :6].any()
    np.testing.assert_allclose(short.values[:33, :6], long.values[:33, :6], atol=1e-6)
    assert len(predict_curves(tone(1.0), Options(), 1)) == 1


@pytest.mark.parametrize("frames", [30, 60, 75])
def test_a_video_that_ends_before_its_voice_ends_with_a_shut_mouth(voice, frames):
    speech = Speech(len(voice) / SAMPLE_RATE, SAMPLE_RATE, samples=voice)
    long, short = (lip_opening(predict_curves(speech, Options(), n)) for n in (150, frames))
    assert short[-1] < 0.02 and long[:frames].max() > 0.3
    np.testing.assert_allclose(short[:-7], long[: frames - 7], atol=1e-6)


def test_every_picture_and_voice_has_its_own_head_path():
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    options, one, other = Options(), Portrait(picture), Portrait(np.invert(picture))
    seeds = {own_options(options, p, tone(s)).seed for p in (one, other) for s in (2.0, 3.0)}
    assert len(seeds) == 4
    assert own_options(options, one, tone(2.0)) == own_options(options, Portrait(picture.copy()), tone(2.0))
    assert own_options(Options(seed=1), one, tone(2.0)) != own_options(options, one, tone(2.0))


class FullFile(BytesIO):
    """A file on a disk that is full after 50,000 bytes."""

    def __init__(self, buffering: int) -> None:
        super().__init__()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return super().write(data[: 50_000 - self.tell()])


def test_a_long_voice_has_the_same_curves_stretch_by_stretch(
    voice: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = np.zeros(5 * SAMPLE_RATE, np.float32)
    speech = speech_from_samples(np.concatenate([voice, pause, voice, 1e-3 * voice[::-1]]), SAMPLE_RATE)
    frames, portrait = speech.frames(29.97) + 400, Portrait(np.zeros((64, 64, 3), np.uint8))
    prepared = PreparedPortrait(portrait, None, None, False)  # type: ignore[arg-type]
    render = MeshRender(prepared, speech, None, Options(fps=29.97, seed=3), frames)
    whole = render.curves.values
    for module in (engine, speech_curves):
        monkeypatch.setattr(module, "LONG", 10.0)
    monkeypatch.setattr(speech_curves, "STRETCH", 7)
    for part in (Part(), Part(413, 420), Part(700, 1000)):
        if part.first == 700:
            monkeypatch.setattr(speech_curves, "TemporaryFile", FullFile)
        rows = MeshRender(prepared, speech, None, Options(fps=29.97, seed=3), frames)._rows(part)
        np.testing.assert_array_equal(np.stack(list(rows)), whole[part.first : part.end(frames)])

import numpy as np

from echomimic.mesh.performance import perform
from echomimic.options import Options
from echomimic.types import CURVES, MOUTH_CURVES, Speech


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
    curves = perform(tone(4.0), Options(seed=5), 100)
    again = perform(tone(4.0), Options(seed=5), 100)
    assert curves.values.shape == (100, len(CURVES)) and curves.values.dtype == np.float32 and curves.fps == 25
    np.testing.assert_array_equal(curves.values, again.values)
    for k, curve in enumerate(CURVES):
        assert curves.values[:, k].min() >= curve.low and curves.values[:, k].max() <= curve.high


def test_silence_moves_everything_but_the_mouth():
    curves = perform(silence(4.0), Options(seed=1), 100)
    for name in MOUTH_CURVES:
        assert not curves[name].any(), name
    for name in ("yaw", "blink", "gaze_x", "breath"):
        assert curves[name].any(), name


def test_the_seed_moves_the_head_and_not_the_mouth():
    one, other = (perform(tone(3.0), Options(seed=seed), 75) for seed in (1, 2))
    np.testing.assert_array_equal(one.values[:, :6], other.values[:, :6])
    assert np.abs(one["yaw"] - other["yaw"]).max() > 0.3


def test_mouth_strength_zero_holds_the_mouth():
    curves = perform(tone(3.0), Options(mouth_strength=0.0), 75)
    for name in MOUTH_CURVES:
        assert not curves[name].any(), name


def test_more_frames_than_voice_rest_and_fewer_are_cut():
    long, short = perform(tone(3.0), Options(seed=2), 150), perform(tone(3.0), Options(seed=2), 40)
    assert not long.values[110:, :6].any()
    np.testing.assert_allclose(short.values[:, :6], long.values[:40, :6], atol=1e-6)
    assert len(perform(tone(1.0), Options(), 1)) == 1

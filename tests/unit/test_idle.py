from typing import Any

import numpy as np
import pytest

from echomimic.mesh import idle
from echomimic.mesh.idle import BLINK_SECONDS, HEAD_SPREAD, Cues, IdleMotion, find_cues
from echomimic.signals import runs
from echomimic.types import CURVE_NAMES, MOUTH_CURVES, Curves, Floats


def idle_motion(frames: int, *arguments: Any, **more: Any) -> dict[str, Floats]:
    return IdleMotion(frames, *arguments, **more).curves(0, frames)


def speaking(frames: int) -> Cues:
    return Cues(np.ones(frames, np.float32))


def blink_starts(blink: np.ndarray) -> np.ndarray:
    return np.flatnonzero((blink[1:] > 0.5) & (blink[:-1] <= 0.5))


def test_every_curve_but_the_mouth_is_moved():
    assert set(idle_motion(50, 25.0, 0)) == set(CURVE_NAMES) - set(MOUTH_CURVES)


def test_same_seed_same_motion_and_another_seed_another():
    one, again, other = (idle_motion(100, 25.0, seed) for seed in (7, 7, 8))
    for name, curve in one.items():
        np.testing.assert_array_equal(curve, again[name])
    assert np.abs(one["yaw"] - other["yaw"]).max() > 0.5


def test_the_start_does_not_depend_on_the_length():
    short, long = idle_motion(100, 25.0, 3), idle_motion(1000, 25.0, 3)
    for name, curve in short.items():
        np.testing.assert_allclose(curve[:74], long[name][:74], atol=1e-6)


def test_the_frame_rate_only_samples():
    slow, fast = idle_motion(100, 25.0, 3), idle_motion(400, 100.0, 3)
    for name in ("yaw", "pitch", "roll", "breath", "blink", "shift_x"):
        np.testing.assert_allclose(slow[name], fast[name][::4], atol=1e-4)


@pytest.mark.parametrize(("frames", "fps"), [(1, 25.0), (2, 120.0), (7, 1.0), (300, 1.0), (5, 12.5)])
def test_any_length_and_rate_stays_in_range(frames, fps):
    moved = idle_motion(frames, fps, 1, strength=2.0, blink_rate=60.0)
    curves = Curves.rest(frames, fps)
    clipped = curves.replace(**moved)
    for name, curve in moved.items():
        assert curve.shape == (frames,) and curve.dtype == np.float32 and np.isfinite(curve).all()
        assert np.abs(clipped[name] - curve).max() < 3, name


def test_head_spread_is_half_of_what_was_filmed_and_slow():
    spreads: dict[str, list[float]] = {name: [] for name in HEAD_SPREAD}
    for seed in range(24):
        moved = idle_motion(250, 25.0, seed, cues=speaking(250))
        for name in HEAD_SPREAD:
            spreads[name].append(moved[name].std())
    for name, spread in HEAD_SPREAD.items():
        assert np.mean(spreads[name]) == pytest.approx(spread, rel=0.2)
    yaw = idle_motion(1500, 25.0, 5, cues=speaking(1500))["yaw"]
    power = np.abs(np.fft.rfft(yaw - yaw.mean())) ** 2
    assert power[np.fft.rfftfreq(1500, 1 / 25) < 1].sum() > 0.82 * power.sum()


def test_head_starts_at_rest_and_ends_near_it():
    for seed in range(10):
        yaw = idle_motion(200, 25.0, seed)["yaw"]
        assert yaw[0] == 0
        assert np.abs(np.diff(yaw)).max() < 1.0
    ends = [abs(idle_motion(200, 25.0, seed)["yaw"][-1]) for seed in range(30)]
    assert np.mean(ends) < 0.5 * HEAD_SPREAD["yaw"]


def test_strength_scales_the_head_and_zero_holds_it_still():
    full, half, still = (idle_motion(200, 25.0, 2, strength) for strength in (1.0, 0.5, 0.0))
    for name in ("yaw", "pitch", "roll", "brow", "shift_x", "shift_y", "sway", "breath"):
        np.testing.assert_allclose(half[name], full[name] / 2, atol=1e-5)
        assert not still[name].any()
    assert still["blink"].any()


@pytest.mark.parametrize("rate", [6.0, 16.0, 30.0])
def test_blinks_come_at_the_rate_asked_for(rate):
    starts = blink_starts(idle_motion(25 * 600, 25.0, 4, blink_rate=rate)["blink"])
    assert len(starts) / 10 == pytest.approx(rate, rel=0.2)
    gaps = np.diff(starts) / 25
    assert gaps.std() > 0.2 * gaps.mean()
    assert gaps.min() > BLINK_SECONDS


def test_no_blinks_at_rate_zero():
    assert not idle_motion(1000, 25.0, 4, blink_rate=0.0)["blink"].any()


@pytest.mark.parametrize("fps", [25.0, 50.0, 100.0])
def test_a_blink_lasts_about_eight_frames_at_25_fps(fps):
    blink = idle_motion(int(60 * fps), fps, 4)["blink"]
    closed = np.flatnonzero(blink > 0)
    lengths = [len(run) / fps for run in np.split(closed, np.flatnonzero(np.diff(closed) > 1) + 1)]
    assert np.median(lengths) == pytest.approx(BLINK_SECONDS, abs=0.04 + 1.5 / fps)
    assert blink.max() == pytest.approx(1.0, abs=0.1)


def test_blinks_differ_in_length_and_some_are_half():
    blink = idle_motion(100 * 600, 100.0, 4)["blink"]
    peaks = [float(blink[a:b].max()) for a, b in runs(blink > 0)]
    lengths = [(b - a) / 100 for a, b in runs(blink > 0)]
    assert 0.05 < np.mean(np.array(peaks) < 0.75) < 0.3
    assert np.mean(np.array(peaks) > 0.99) > 0.7
    assert 0.02 < np.std(lengths) < 0.08
    down = [np.argmax(blink[a:b] > 0.95) / 100 for a, b in runs(blink > 0) if blink[a:b].max() > 0.99]
    assert min(down) > 0.05 and max(down) < 0.13, "two to three frames at 25 per second"


def test_blinks_are_drawn_to_the_ends_of_phrases():
    frames, ends = 25 * 300, tuple(np.arange(2.0, 300.0, 1.2))
    free = blink_starts(idle_motion(frames, 25.0, 1)["blink"]) / 25
    drawn = blink_starts(idle_motion(frames, 25.0, 1, cues=Cues(np.ones(frames, np.float32), (), ends))["blink"]) / 25
    near = [np.mean([np.abs(np.array(ends) - at).min() < 0.15 for at in times]) for times in (free, drawn)]
    assert near[1] > 0.6 > near[0]


def test_eyes_rest_on_the_viewer_and_take_back_head_turns():
    moved = idle_motion(25 * 120, 25.0, 6)
    outward = moved["gaze_x"] + 0.7 * moved["yaw"]
    assert np.mean(np.abs(outward) < 1.5) > 0.5
    assert 3 < np.abs(outward).max() < 12
    assert np.mean(np.abs(np.diff(outward)) < 0.01) > 0.9, "fixations hold"


def test_stress_nods_and_raises_brows():
    cues = Cues(np.ones(500, np.float32), tuple(np.arange(2.0, 18.0, 1.0)))
    plain, stressed = idle_motion(500, 25.0, 1, cues=speaking(500)), idle_motion(500, 25.0, 1, cues=cues)
    assert (stressed["pitch"] - plain["pitch"]).max() > 0.4
    assert (stressed["brow"] - plain["brow"]).max() > 0.1
    np.testing.assert_array_equal(plain["yaw"], stressed["yaw"])


def test_nods_and_brows_are_on_the_stresses():
    found = []
    for seed in range(12):
        stresses = tuple(np.cumsum(np.random.default_rng(seed).uniform(0.7, 1.6, 16)).tolist())
        at = np.arange(500) / 25
        wanted = sum(np.exp(-(((at - s - 0.06) / 0.15) ** 2)) for s in stresses)
        moved = idle_motion(500, 25.0, seed, cues=Cues(np.ones(500, np.float32), stresses))
        found.append([np.corrcoef(wanted, moved[name])[0, 1] for name in ("pitch", "brow")])
    assert (np.mean(found, axis=0) > 0.5).all()


def test_find_cues_hears_loud_syllables_and_phrase_ends():
    time = np.arange(300) / 50
    loud = np.full(300, -10.0, np.float32) + 14 * np.exp(-(((time - 2.0) / 0.08) ** 2)).astype(np.float32)
    voice = ((time > 0.5) & (time < 4.0)).astype(np.float32)
    stresses, ends = find_cues(voice, loud, 50)
    assert np.allclose(stresses, [2.0], atol=0.05)
    assert np.allclose(ends, [4.0], atol=0.05)
    assert find_cues(voice[:1], loud[:1], 50) == ((), ())


def test_steps_add_up_and_hold_their_level() -> None:
    times = np.arange(400) / 25
    steps = [(0.5 + 1.5 * i, 0.05 + 0.1 * i, float((-1) ** i * (i + 1))) for i in range(10)]
    curve = idle._steps(times, np.array(steps))
    for i, (at, takes, _) in enumerate(steps):
        held = (times > at + takes) & (times < at + 1.5)
        assert np.allclose(curve[held], sum(change for _, _, change in steps[: i + 1]))
    assert curve[times < 0.5].tolist() == [0.0] * 13
    assert idle._steps(times, np.zeros((0, 3))).tolist() == [0.0] * 400


@pytest.mark.parametrize(("at", "expected"), [(0.0, 1.0), (1.4, 1.0), (1.6, 2.0), (9.0, 7.0), (5.0, 5.0)])
def test_the_nearest_mark_within_reach(at: float, expected: float) -> None:
    marks = np.array([1.0, 2.0, 7.0])
    assert idle._nearest(marks, at, 2.5 if at != 5.0 else 1.0, at) == expected

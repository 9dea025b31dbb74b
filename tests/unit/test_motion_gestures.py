"""Generated hands: rests, strokes, limits, seeds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.landmarks.body import Body
from echomimic.media import speech_from_samples
from echomimic.motion import gesture_track
from echomimic.motion.body_retarget import MARGIN, portrait_bones
from echomimic.motion.gestures import detect_rhythm
from echomimic.motion.schema import check_motion
from echomimic.types import Floats, Speech
from helpers.motion_samples import portrait_body

STRESSED = (0.6, 1.2, 1.9, 2.5, 4.6, 5.3, 6.0)


def voice(seconds: float = 8.0, at: tuple[float, ...] = STRESSED) -> Speech:
    """Harmonics of 120 Hz that swell at stressed moments, weaker between, and are silent from 3.2 to 4.2 s."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    tone = sum(np.sin(2 * np.pi * 120 * n * time) / n for n in range(1, 25))
    level = np.zeros_like(time)
    for stress in at:
        level += np.exp(-0.5 * ((time - stress) / 0.06) ** 2)
    for weak in np.array(at)[:-1] + np.diff(at) / 2:
        level += 0.12 * np.exp(-0.5 * ((time - weak) / 0.05) ** 2)
    level[(time > 3.2) & (time < 4.2)] = 0
    return speech_from_samples((0.3 * tone * level).astype(np.float32), 16_000)


def wrists(hands: Floats) -> Floats:
    return hands[:, :, 0, :2]


def steps(hands: Floats) -> Floats:
    return np.linalg.norm(np.diff(hands[..., :2], axis=0), axis=-1)


def landings(hands: Floats, fps: float) -> Floats:
    """Moments at which a wrist ends a way down of at least half a percent of the picture."""
    found = []
    for y in wrists(hands)[..., 1].T:
        lows = np.flatnonzero((y[1:-1] > y[:-2]) & (y[1:-1] >= y[2:])) + 1
        found += [low / fps for low in lows if y[low] - y[max(0, low - round(0.3 * fps)) : low].min() > 0.005]
    return np.array(found)


def test_rhythm_hears_stresses_and_rests() -> None:
    rhythm = detect_rhythm(voice())
    found = np.array(rhythm.stresses)
    assert all(np.abs(found - stress).min() < 0.05 for stress in STRESSED)
    assert len(found) <= len(STRESSED) + 2
    (a, b), (c, d) = rhythm.phrases
    assert a < 0.6 and 2.5 < b < 3.3 and 4.1 < c < 4.6 and d > 6
    assert len(rhythm.strengths) == len(found) and 0 <= min(rhythm.strengths) <= max(rhythm.strengths) <= 1


def test_a_long_voice_is_heard_in_blocks_without_seams() -> None:
    one = voice()
    assert one.samples is not None
    twice = speech_from_samples(np.tile(one.samples.ravel(), 4), 16_000)
    once, again = np.array(detect_rhythm(one).stresses), np.array(detect_rhythm(twice).stresses)
    for lap in range(4):
        assert all(np.abs(again - stress - 8 * lap).min() < 0.06 for stress in once)


def test_strokes_land_on_stresses_and_hands_rest_in_silence() -> None:
    track = gesture_track(voice(), seed=3)
    stresses = np.array(detect_rhythm(voice()).stresses)
    landed = landings(track.hands, 25)
    near = np.abs(landed[:, None] - stresses).min(axis=1) <= 0.12
    assert len(landed) >= 4 and near.mean() >= 0.6
    speaking, resting = steps(track.hands[20:65]).mean(), steps(track.hands[172:]).mean()
    assert resting < 0.4 * speaking
    assert np.linalg.norm(wrists(track.hands)[-1] - wrists(track.hands)[0], axis=-1).max() < 0.02


def test_same_seed_same_hands_and_other_seed_others() -> None:
    a, b, c = (gesture_track(voice(), seed=seed).hands for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.01


@settings(max_examples=12)
@given(st.sampled_from([24.0, 25.0, 50.0]), st.integers(0, 99), st.floats(0, 2), st.booleans())
def test_no_point_ever_jumps_or_leaves(fps: float, seed: int, strength: float, own: bool) -> None:
    body: Body | None = portrait_body() if own else None
    track = gesture_track(voice(), fps, seed=seed, body=body, size=(800, 1000), strength=strength)
    check_motion(track)
    assert steps(track.hands).max() * fps / 25 <= 0.03
    assert track.hands[..., :2].min() >= MARGIN - 1e-3 and track.hands[..., :2].max() <= 1 - MARGIN + 1e-3


def test_with_a_portrait_its_own_hands_are_where_it_starts() -> None:
    body = portrait_body()
    track = gesture_track(voice(), body=body, size=(800, 1000))
    np.testing.assert_allclose(track.hands[0, ..., :2], body.hands[..., :2], atol=0.02)
    assert portrait_bones(Body(track.body[40], track.hands[40], track.face[0]), (800, 1000)).shoulders > 0


def test_silence_gives_idle_hands_of_any_length() -> None:
    silent = speech_from_samples(np.zeros((16_000, 1), np.float32), 16_000)
    track = gesture_track(silent, frames=500)
    assert len(track) == 500
    assert 0 < steps(track.hands).max() < 0.002
    assert np.ptp(wrists(track.hands), axis=0).max() < 0.02


@pytest.mark.parametrize("frames", [1, 2])
def test_very_short_voices_give_gestures(frames: int) -> None:
    assert len(gesture_track(voice(), frames=frames)) == frames

"""A driver's gestures on a portrait's body: its bones, its reach, inside its picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.errors import MotionError
from echomimic.landmarks.body import Body, find_body
from echomimic.landmarks.topology import ELBOWS, HAND_BONES, NECK, SHOULDERS, WRISTS
from echomimic.media import read_picture
from echomimic.motion import align_pose, load_motion
from echomimic.motion.body_retarget import portrait_bones, propose_crop
from echomimic.types import Floats, PoseTrack
from helpers.motion_samples import driver, portrait_body, skeleton

SIZE = (800, 1000)


def pixels(points: Floats, size: tuple[int, int]) -> Floats:
    return points[..., :2] * np.array(size, np.float32)


def hand_bones(hands: Floats, size: tuple[int, int]) -> Floats:
    places = pixels(hands, size)
    return np.stack([np.linalg.norm(places[..., a, :] - places[..., b, :], axis=-1) for a, b in HAND_BONES], axis=-1)


def check(aligned: PoseTrack, body: Body, size: tuple[int, int]) -> None:
    """What the issue asks of every portrait and driver."""
    own = portrait_bones(body, size)
    seen = aligned.hands[..., 2] > 0
    places = aligned.hands[..., :2][seen]
    assert (places >= 0).all() and (places <= 1).all()
    lengths = hand_bones(aligned.hands, size)
    assert (lengths <= own.hand * 1.02 + 1e-3).all()
    np.testing.assert_allclose(lengths.reshape(-1, 20).max(axis=0), own.hand, rtol=0.02)
    points = pixels(aligned.body, size)
    for side in (0, 1):
        shoulder, elbow, wrist = (points[:, joint[side]] for joint in (SHOULDERS, ELBOWS, WRISTS))
        assert (np.linalg.norm(elbow - shoulder, axis=-1) <= own.arm[0] * 1.02).all()
        assert (np.linalg.norm(wrist - elbow, axis=-1) <= own.arm[1] * 1.02).all()
        np.testing.assert_allclose(np.linalg.norm(wrist - shoulder, axis=-1).clip(own.reach), own.reach, rtol=1e-3)


@settings(max_examples=25)
@given(st.floats(0, 1.5), st.integers(0, 50))
def test_bones_reach_and_picture_hold_for_any_swing(swing: float, seed: int) -> None:
    track = driver(20, swing, seed)
    aligned = align_pose(track, portrait_body(), SIZE)
    assert aligned.image_size == SIZE and aligned.fps == 25 and len(aligned) == 20
    check(aligned, portrait_body(), SIZE)


def test_small_gestures_keep_their_form_and_scale() -> None:
    track = driver(30, 0.05)
    aligned = align_pose(track, portrait_body(), SIZE)
    moved = pixels(aligned.hands[:, 0, 0], SIZE) - pixels(aligned.hands[:1, 0, 0], SIZE)
    drove = pixels(track.hands[:, 0, 0], track.image_size) - pixels(track.hands[:1, 0, 0], track.image_size)
    ratio = np.ptp(moved[:, 0]) / np.ptp(drove[:, 0])
    shoulders = portrait_bones(portrait_body(), SIZE).shoulders / (0.4 * 768)
    assert ratio == pytest.approx(shoulders, rel=0.25)
    assert np.corrcoef(moved[:, 0], drove[:, 0])[0, 1] > 0.99


def test_hands_can_start_where_the_portrait_has_them() -> None:
    body = portrait_body()
    aligned = align_pose(driver(10, 0.02), body, SIZE, from_start=True)
    start = pixels(aligned.hands[0, :, 0], SIZE)
    np.testing.assert_allclose(start, pixels(body.hands[:, 0], SIZE), atol=8)


def test_unseen_hands_stay_unseen_and_no_jumps_are_added() -> None:
    track = driver(40, 1.2)
    hands = track.hands.copy()
    hands[5:9, 0] = 0
    aligned = align_pose(replace(track, hands=hands), portrait_body(), SIZE)
    assert not aligned.hands[5:9, 0].any()
    steps = np.linalg.norm(np.diff(aligned.hands[9:, 1, 0, :2], axis=0), axis=-1).max()
    drove = np.linalg.norm(np.diff(track.hands[9:, 1, 0, :2], axis=0), axis=-1).max()
    assert steps < 1.5 * drove


def test_a_body_without_shoulders_is_refused_in_one_line() -> None:
    body = portrait_body()
    blind = Body(np.zeros_like(body.body), body.hands, body.face)
    with pytest.raises(MotionError, match="portrait shows no shoulders"):
        align_pose(driver(), blind, SIZE)
    track = driver()
    with pytest.raises(MotionError, match="driving motion shows no shoulders"):
        align_pose(replace(track, body=np.zeros_like(track.body)), body, SIZE)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["0035", "0077", "0222"])
@pytest.mark.parametrize("driving", ["01", "ultraman"])
def test_sample_motions_are_retargeted(shared: Path, name: str, driving: str) -> None:
    portrait = read_picture(shared / "data" / "half_body" / f"{name}.png")
    track = load_motion(shared / "data" / "pose" / driving, fps=24)
    assert isinstance(track, PoseTrack)
    body, size = find_body(portrait), (portrait.width, portrait.height)
    check(align_pose(track, body, size), body, size)


def test_the_proposed_square_puts_the_body_where_it_belongs() -> None:
    body = portrait_body()
    square = propose_crop(body, SIZE)
    assert not square.fits and "square" in square.text
    neck = pixels(body.body, SIZE)[NECK] - (square.left, square.top)
    np.testing.assert_allclose(neck / square.side, (0.5, 0.5), atol=0.01)
    track = driver()
    to_track = propose_crop(body, SIZE, track)
    width = portrait_bones(body, SIZE).shoulders / to_track.side
    assert width == pytest.approx(np.linalg.norm((track.body[0, 5] - track.body[0, 2])[:2]), rel=0.02)
    good, _ = skeleton(0.975, 0.5, 0.5)
    assert propose_crop(Body(good, body.hands, body.face), (768, 768)).fits

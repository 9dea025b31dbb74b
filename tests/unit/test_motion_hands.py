"""Hands as curves: the points follow what is drawn, at any image size and with hands that appear and vanish."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.errors import MotionError
from echomimic.landmarks.topology import WRISTS
from echomimic.media.sound import speech_from_samples
from echomimic.motion import (
    POSE_CURVES,
    apply_edits,
    curve_keys,
    draw_curve,
    find_curve,
    gesture_track,
    load_edits,
    load_motion,
    mirror,
    pose_curves,
    read_curve,
    read_edits,
    save_motion,
    scale_curve,
    select,
    set_curve,
)
from echomimic.types import PoseTrack

NAMES = tuple(curve.name for curve in POSE_CURVES)


def hands(image_size: tuple[int, int] = (768, 768)) -> PoseTrack:
    """Hands that gesture for two seconds."""
    time = np.arange(32_000) / 16_000
    sound = 0.4 * np.sin(900 * time) * (np.sin(8 * time) > 0)
    return gesture_track(speech_from_samples(sound.astype(np.float32), 16_000), 25.0, seed=3, size=image_size)


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 1000), image_size=st.sampled_from([(768, 768), (540, 960), (1280, 720)]))
@settings(max_examples=5)
def test_drawn_hand_curves_are_read_back(name: str, seed: int, image_size: tuple[int, int]) -> None:
    line = next(curve for curve in POSE_CURVES if curve.name == name)
    random = np.random.default_rng(seed)
    keys = [(second, random.uniform(line.low, line.high) * 0.9) for second in (0.0, 0.6, 1.0, 1.9)]
    before = hands(image_size)
    after = set_curve(before, name, keys)
    tolerance = 1e-3 * (line.high - line.low)
    read = read_curve(after, name)
    assert read[[0, 15, 25]] == pytest.approx([value for _, value in keys[:3]], abs=tolerance)
    side = name.split("_")[0]
    for other in NAMES:
        if other.split("_")[0] != side or other.split("_")[1] in {"x", "y"} - {name.split("_")[1]}:
            assert read_curve(after, other) == pytest.approx(read_curve(before, other), abs=1e-4), other
    assert np.array_equal(after.hands[..., 2], before.hands[..., 2])


def test_up_is_up_for_both_hands() -> None:
    track = set_curve(set_curve(hands(), "left_turn", [(0, 90.0)]), "right_turn", [(0, 90.0)])
    pointing = track.hands[:, :, 9, :2] - track.hands[:, :, 0, :2]
    assert (pointing[..., 1] < -0.01).all()
    assert np.abs(pointing[..., 0]).max() < 1e-3
    across = set_curve(set_curve(hands(), "left_turn", [(0, 0.0)]), "right_turn", [(0, 0.0)])
    pointing = across.hands[:, :, 9, 0] - across.hands[:, :, 0, 0]
    assert (pointing[:, 0] < -0.01).all()  # the person's left hand is on the right of the picture
    assert (pointing[:, 1] > 0.01).all()


def test_a_hand_keeps_its_shape_and_takes_its_wrist_along() -> None:
    before = hands()
    after = draw_curve(before, "left_x", [(0.4, 0.7), (1.2, 0.6)])
    shape = before.hands[:, 0, :, :2] - before.hands[:, 0, :1, :2]
    assert after.hands[:, 0, :, :2] - after.hands[:, 0, :1, :2] == pytest.approx(shape, abs=1e-5)
    assert after.hands[:, 0, 0, 0] == pytest.approx(after.body[:, WRISTS[0], 0], abs=1e-5)
    assert np.array_equal(after.hands[:, 1], before.hands[:, 1])
    assert np.array_equal(after.hands[:9], before.hands[:9])
    assert np.array_equal(after.hands[32:], before.hands[32:])


def test_scaling_moves_about_the_usual_place_and_0_holds_still() -> None:
    track = hands()
    usual = float(np.median(read_curve(track, "right_y")))
    twice = read_curve(scale_curve(track, "right_y", 2), "right_y")
    assert twice == pytest.approx(usual + 2 * (read_curve(track, "right_y") - usual), abs=1e-4)
    assert read_curve(scale_curve(track, "right_y", 0), "right_y") == pytest.approx(
        np.full(len(track), usual), abs=1e-4
    )


def test_hands_that_are_not_seen_stay_unseen() -> None:
    track = hands()
    points = track.hands.copy()
    points[10:20, 0] = 0
    partly = replace(track, hands=points)
    curve = pose_curves(partly)["left_x"]
    assert curve[10:20] == pytest.approx(np.linspace(curve[9], curve[20], 12)[1:-1], abs=1e-5)
    drawn = draw_curve(partly, "left_x", [(0.0, 0.9), (1.9, 0.9)])
    assert not drawn.hands[10:20, 0].any()
    assert drawn.hands[:10, 0, 0, 0] == pytest.approx(np.full(10, 0.9), abs=1e-4)
    never = replace(track, hands=np.zeros_like(track.hands))
    assert all((line == find_curve(never, name).rest).all() for name, line in pose_curves(never).items())
    assert not draw_curve(never, "right_size", [(0, 0.2), (1, 0.3)]).hands.any()


def test_a_mirror_swaps_the_curves() -> None:
    track, seen = hands(), mirror(hands())
    assert read_curve(seen, "left_x") == pytest.approx(1 - read_curve(track, "right_x"), abs=1e-5)
    assert read_curve(seen, "left_turn") == pytest.approx(read_curve(track, "right_turn"), abs=1e-2)


def test_lines_are_replayed_and_saved_with_hands(tmp_path) -> None:
    edits = read_edits(
        ("draw_curve(track, 'left_y', [(0.2, 0.5), (0.8, 0.4)])", "scale_curve(track, 'right_turn', 0.5)")
    )
    edited = apply_edits(hands(), edits)
    path = save_motion(tmp_path / "hands.npz", edited, edits)
    assert load_edits(path) == edits
    loaded = load_motion(path)
    assert isinstance(loaded, PoseTrack)
    assert np.array_equal(loaded.hands, edited.hands)


def test_keyframes_are_found_on_the_curves() -> None:
    track = hands()
    for name, line in pose_curves(track).items():
        keys = curve_keys(line, find_curve(track, name), track.fps)
        assert 2 <= len(keys) < len(track)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda track: draw_curve(track, "jaw", [(0, 0.5)]), "unknown curve 'jaw'; expected one of left_x"),
        (lambda track: draw_curve(track, "left_x", [(0, 7)]), "left_x was set to 7; expected -0.25 to 1.25"),
        (lambda track: draw_curve(track, "left_x", []), "keyframes"),
        (lambda track: scale_curve(track, "left_x", float("nan")), "cannot be scaled"),
        (lambda track: select(track, ["eyes"]), "select cannot be applied to a pose track"),
    ],
)
def test_impossible_edits_are_refused_with_a_reason(edit, said: str) -> None:
    with pytest.raises(MotionError, match=said):
        edit(hands())

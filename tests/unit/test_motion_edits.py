"""Edits of motions in time and space, on tracks of any length and rate."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.errors import MotionError
from echomimic.landmarks.head_pose import align, angles, face_template
from echomimic.motion import (
    amplify,
    blend,
    combine_curves,
    concat,
    loop,
    mirror,
    offset,
    resample,
    retime,
    select,
    set_curve,
    smooth,
    stretch,
    trim,
)
from echomimic.motion.time_edits import at_image_size
from echomimic.types import CURVE_NAMES, Curves, Floats, LandmarkTrack, PoseTrack
from helpers.motion_samples import face_track, pose_track

frame_counts = st.integers(1, 60)
rates = st.sampled_from([12.0, 24.0, 25.0, 30000 / 1001, 60.0])


def seconds(track: LandmarkTrack | PoseTrack) -> float:
    return len(track) / track.fps


@settings(max_examples=25)
@given(frame_counts, rates, rates)
def test_resample_keeps_the_length_in_seconds(frames: int, fps: float, wanted: float) -> None:
    for track in (face_track(frames, fps), pose_track(frames, fps)):
        changed = resample(track, wanted)
        assert changed.fps == wanted
        assert abs(seconds(changed) - seconds(track)) <= max(0.5 / wanted, 1 / wanted - seconds(track)) + 1e-9


def test_resample_to_the_same_rate_changes_nothing() -> None:
    track = face_track()
    np.testing.assert_array_equal(resample(track, 25).points, track.points)


def test_resample_interpolates_and_an_unseen_point_takes_no_part() -> None:
    pose = pose_track(2)
    hands = pose.hands.copy()
    hands[0, 0, 3] = (0, 0, 0)
    doubled = resample(replace(pose, hands=hands), 50)
    np.testing.assert_allclose(doubled.hands[1, 0, 3, :2], hands[1, 0, 3, :2])
    np.testing.assert_allclose(doubled.hands[1, 1, 3], hands[:, 1, 3].mean(axis=0), rtol=1e-5)


def test_frames_between_an_invalid_and_a_valid_one_are_invalid() -> None:
    track = replace(face_track(3), valid=np.array([True, False, True]))
    assert resample(track, 50).valid.tolist() == [True, False, False, False, True, True]


def test_trim_by_seconds_from_either_end() -> None:
    track = face_track(50)
    np.testing.assert_array_equal(trim(track, 0.4, 1.0).points, track.points[10:25])
    np.testing.assert_array_equal(trim(track, -0.4).points, track.points[40:])
    assert trim(track, 0.2).curves is not None and len(trim(track, 0.2).curves) == 45  # type: ignore[arg-type]
    with pytest.raises(MotionError, match="leaves nothing"):
        trim(track, 1.0, 0.5)


@settings(max_examples=20)
@given(frame_counts, st.floats(0.1, 10))
def test_back_and_forth_never_jumps_further_than_the_motion_does(frames: int, wanted: float) -> None:
    track = face_track(frames)
    looped = loop(track, wanted)
    assert len(looped) == max(1, round(wanted * 25))
    steps = np.abs(np.diff(track.points, axis=0)).max() if frames > 1 else 0
    if len(looped) > 1:
        assert np.abs(np.diff(looped.points, axis=0)).max() <= steps + 1e-3


def test_a_seam_is_blended_and_the_motion_runs_forwards() -> None:
    pose = pose_track(40)
    looped = loop(pose, 10, seam=0.4)
    np.testing.assert_allclose(looped.hands[:30], pose.hands[:30], atol=1e-6)
    jump = np.abs(pose.hands[-1] - pose.hands[0]).max()
    assert np.abs(np.diff(looped.hands, axis=0)).max() < 0.6 * jump
    with pytest.raises(MotionError, match="at least a frame"):
        loop(pose, 0)


def test_stretch_and_retime() -> None:
    track = face_track(50)
    slow = stretch(track, 4)
    assert len(slow) == 100
    np.testing.assert_allclose(slow.points[[0, -1]], track.points[[0, -1]], atol=1e-4)
    moved = retime(track, [(0.4, 0.8), (1.2, 1.2)])
    np.testing.assert_allclose(moved.points[20], track.points[10], atol=1e-3)
    np.testing.assert_allclose(moved.points[30], track.points[30], atol=1e-3)
    np.testing.assert_allclose(moved.points[40], track.points[40], atol=1e-3)
    with pytest.raises(MotionError, match="do not rise"):
        retime(track, [(0, 1), (1, 0.5)])


@settings(max_examples=15)
@given(st.integers(3, 60), st.floats(0.02, 0.5))
def test_smoothing_never_leaves_the_range_and_calms(frames: int, width: float) -> None:
    track = face_track(frames)
    noisy = replace(track, points=track.points + np.random.default_rng(1).normal(0, 2, track.points.shape).astype("f4"))
    calm = smooth(noisy, width)
    assert calm.points.max() <= noisy.points.max() + 1e-2 and calm.points.min() >= noisy.points.min() - 1e-2
    assert np.abs(np.diff(calm.points, axis=0)).mean() <= np.abs(np.diff(noisy.points, axis=0)).mean()


def test_smoothing_leaves_out_what_was_not_seen() -> None:
    pose = pose_track(9)
    hands = pose.hands.copy()
    hands[4, 0] = 0
    calm = smooth(replace(pose, hands=hands), 0.1)
    np.testing.assert_allclose(calm.hands[3, 0, :, :2], smooth(pose, 0.1).hands[3, 0, :, :2], atol=0.02)
    track = face_track(9)
    points = track.points.copy()
    points[4] = 1e6
    calm_face = smooth(replace(track, points=points, valid=np.arange(9) != 4), 0.1)
    assert calm_face.points.max() < 1000


def test_offset_in_time_and_place() -> None:
    track = face_track(20)
    late, shift = offset(track, 0.2, x=3, y=-2), np.array((3, -2, 0))
    np.testing.assert_allclose(late.points[5:], track.points[:-5] + shift, atol=1e-4)
    np.testing.assert_allclose(late.points[:5], np.tile(track.points[0] + shift, (5, 1, 1)), atol=1e-4)
    pose = pose_track(3)
    np.testing.assert_allclose(offset(pose, x=0.1).hands[..., 0], pose.hands[..., 0] + 0.1, atol=1e-6)


@pytest.mark.parametrize("track", [face_track(5), pose_track(5)])
def test_a_mirror_twice_is_the_motion(track: LandmarkTrack | PoseTrack) -> None:
    twice, once = mirror(mirror(track)), mirror(track)
    if isinstance(track, LandmarkTrack) and isinstance(twice, LandmarkTrack) and isinstance(once, LandmarkTrack):
        np.testing.assert_allclose(twice.points, track.points, atol=1e-3)
        turned = [angles(align(face_template(), t.points[3]).rotation)[0] for t in (track, once)]
        assert turned[0] == pytest.approx(-turned[1], abs=1) and abs(turned[0]) > 2
        assert track.curves is not None and once.curves is not None
        np.testing.assert_array_equal(once.curves["yaw"], -track.curves["yaw"])
        np.testing.assert_array_equal(once.curves["jaw"], track.curves["jaw"])
    if isinstance(track, PoseTrack) and isinstance(twice, PoseTrack) and isinstance(once, PoseTrack):
        np.testing.assert_allclose(twice.face, track.face, atol=1e-6)
        np.testing.assert_allclose(once.body[:, 2, 0], 1 - track.body[:, 5, 0], atol=1e-6)


def _yaws(track: LandmarkTrack) -> Floats:
    return np.array([angles(align(face_template(), points).rotation)[0] for points in track.points], np.float32)


def _lip_travel(track: LandmarkTrack) -> float:
    faces = np.stack([align(points, face_template()).apply(points) for points in track.points])
    return float(np.ptp(faces[:, 13, 1]))


def test_amplify_one_part_leaves_the_others() -> None:
    track = face_track()
    same = amplify(track, 1.0)
    np.testing.assert_allclose(same.points, track.points, atol=2e-3)
    mouth = amplify(track, 2.0, ["mouth"])
    assert _lip_travel(mouth) == pytest.approx(2 * _lip_travel(track), rel=0.05)
    np.testing.assert_allclose(_yaws(mouth), _yaws(track), atol=0.2)
    head = amplify(track, 0.5, ["head"])
    assert np.ptp(_yaws(head)) == pytest.approx(0.5 * np.ptp(_yaws(track)), rel=0.05)
    assert _lip_travel(head) == pytest.approx(_lip_travel(track), rel=0.05)
    assert mouth.curves is not None and track.curves is not None
    jaw = track.curves["jaw"]
    np.testing.assert_allclose(mouth.curves["jaw"], np.clip(2 * jaw - np.median(jaw), 0, 1), atol=1e-6)
    np.testing.assert_array_equal(mouth.curves["yaw"], track.curves["yaw"])
    assert np.ptp(_yaws(amplify(track, 0.0))) < 0.1
    with pytest.raises(MotionError, match="ears"):
        amplify(track, 2, ["ears"])


def test_amplified_hands_keep_their_shape() -> None:
    pose = pose_track()
    wide = amplify(pose, 2.0, ["hands"])
    bones = wide.hands[:, :, 1:, :2] - wide.hands[:, :, :1, :2]
    np.testing.assert_allclose(bones, pose.hands[:, :, 1:, :2] - pose.hands[:, :, :1, :2], atol=1e-5)
    assert np.ptp(wide.hands[:, 0, 0, 0]) == pytest.approx(2 * np.ptp(pose.hands[:, 0, 0, 0]), rel=1e-3)
    np.testing.assert_array_equal(wide.body, pose.body)


def test_select_chooses_the_driving_parts_and_combining_uses_them() -> None:
    track = face_track(10)
    assert select(track, ["pupils", "eyes"]).parts == ("eyes", "pupils")
    with pytest.raises(MotionError, match="ears"):
        select(track, ["ears"])
    assert track.curves is not None
    mixed = combine_curves(Curves.rest(10, 25), track.curves, ("eyes", "head"))
    np.testing.assert_array_equal(mixed["blink"], track.curves["blink"])
    np.testing.assert_array_equal(mixed["yaw"], track.curves["yaw"])
    assert not mixed["jaw"].any()


def test_blend_whole_and_in_parts() -> None:
    a, b = face_track(30), face_track(20, seed=5)
    np.testing.assert_allclose(blend(a, b, 0.0).points, a.points[:20], atol=1e-4)
    np.testing.assert_allclose(blend(a, b, 1.0).points, b.points, atol=1e-4)
    still = amplify(a, 0.0)
    talking = blend(still, a, 1.0, ["mouth"])
    assert _lip_travel(talking) == pytest.approx(_lip_travel(a), rel=0.05)
    assert np.ptp(_yaws(talking)) < 0.5
    turning = blend(still, a, 1.0, ["head"])
    assert np.ptp(_yaws(turning)) == pytest.approx(np.ptp(_yaws(a)), rel=0.05)
    with pytest.raises(MotionError, match="one kind"):
        blend(a, pose_track())  # type: ignore[type-var]


def test_set_draws_a_curve_between_keyframes() -> None:
    track = face_track(51)
    changed = set_curve(track, "yaw", [(0.4, 0.0), (0.8, 10.0), (1.2, -10.0)])
    assert changed.curves is not None and track.curves is not None
    yaw = changed.curves["yaw"]
    assert yaw[0] == yaw[10] == 0 and yaw[20] == 10 and yaw[-1] == -10
    assert (np.diff(yaw[10:21]) > 0).all()
    np.testing.assert_array_equal(changed.curves["jaw"], track.curves["jaw"])
    column = CURVE_NAMES.index("yaw")

    def face_of(row: Floats) -> Floats:
        return np.full((478, 3), row[column], np.float32)

    moved = set_curve(track, "yaw", [(0, 5.0)], face_of=face_of)
    expected = track.points + (5 - track.curves["yaw"])[:, None, None]
    np.testing.assert_allclose(moved.points, expected, atol=1e-3)
    for name, keys in (("ears", [(0, 1)]), ("yaw", [(0, 90)]), ("yaw", []), ("yaw", [(1, 2), (1, 3)])):
        with pytest.raises(MotionError):
            set_curve(track, name, keys)
    with pytest.raises(MotionError, match="no curves"):
        set_curve(replace(track, curves=None), "yaw", [(0, 1)])


def test_concat_blends_seams_and_brings_all_to_the_first() -> None:
    a, b = face_track(30), replace(face_track(30, fps=50.0, seed=3), image_size=(1024, 1024))
    joined = concat([a, b], seam=0.2)
    assert joined.fps == 25 and joined.image_size == (512, 512) and len(joined) == 30 + 15 - 5
    np.testing.assert_allclose(joined.points[:25], a.points[:25], atol=1e-4)
    np.testing.assert_allclose(joined.points[30:], resample(b, 25).points[5:] / 2, atol=1e-3)
    with pytest.raises(MotionError, match="same shape"):
        concat([a, replace(b, image_size=(1024, 512))])
    with pytest.raises(MotionError, match="at least one"):
        concat([])
    assert at_image_size(a, (256, 256)).points.max() == pytest.approx(a.points.max() / 2)

"""The landmarks and the curves of a face agree after every edit; every edit is quick, whatever its values."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echomimic.editing import edit_motion
from echomimic.errors import MotionError
from echomimic.landmarks.head_pose import align, angles, face_template
from echomimic.mesh.landmarks_to_curves import read_curves
from echomimic.motion import EDITS, amplify, blend, offset, read_edit, smooth
from echomimic.types import Floats, LandmarkTrack, Motion
from helpers.motion_samples import driver, face_track, rigged_track
from helpers.waiting import at_most_cpu_seconds

TOLERANCE = {"yaw": 2.0, "pitch": 2.5, "roll": 2.0, "shift_x": 0.05, "shift_y": 0.05, "jaw": 0.15, "gaze_x": 2.0}
"""How far a curve that is read off the landmarks may be from the stored one: the rig and the reader differ a little."""

start = st.floats(0.1, 0.6)
marks = st.tuples(start, st.floats(0.7, 1.2), st.floats(1.3, 2.0)).map(lambda t: [[t[0], t[1]], [t[2], t[2] + 0.6]])
PARTS = ("eyes", "brows", "mouth", "pupils", "nose", "head")
parts = st.lists(st.sampled_from(PARTS), unique=True, max_size=6)
keys = st.tuples(start, st.floats(0.7, 1.6)).map(lambda t: [[t[0], 0.1], [t[1], 0.5]])
turns = keys.map(lambda pair: [[at, 10 * value] for at, value in pair])
EDIT_VALUES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "select": {"parts": parts},
    "resample": {"fps": st.sampled_from([12.0, 24.0, 30.0, 50.0])},
    "trim": {"start": start, "end": st.floats(1.2, 3.0)},
    "loop": {"seconds": st.floats(0.5, 5.0), "seam": st.one_of(st.none(), st.floats(0.0, 0.6))},
    "stretch": {"seconds": st.floats(1.0, 5.0)},
    "smooth": {"seconds": st.floats(0.0, 0.3)},
    "amplify": {"gain": st.floats(0.0, 1.6), "parts": parts},
    "retime": {"marks": marks},
    "blend": {"other": st.just("other"), "share": st.floats(0.0, 1.0), "parts": parts},
    "offset": {"seconds": st.floats(-1.0, 1.0), "x": st.floats(-10, 10), "y": st.floats(-10, 10)},
    "mirror": {},
    "set_curve": {"curve": st.just("jaw"), "keys": keys},
    "draw_curve": {"curve": st.just("jaw"), "keys": keys},
    "shift_curve": {"curve": st.just("yaw"), "keys": turns, "ease": st.sampled_from(["smooth", "hold", "0.4,0,0.2,1"])},
    "express": {"expression": st.sampled_from(["nod", "shake", "surprise"]), "start": start},
    "layer": {
        "name": st.just("mine"),
        "edits": st.just([{"op": "express", "expression": "nod", "start": 0.2}, {"op": "mirror"}]),
        "strength": st.floats(0.0, 1.0),
        "muted": st.booleans(),
    },
    "scale_curve": {"curve": st.just("jaw"), "gain": st.floats(0.0, 1.5), "start": start},
    "concat": {"others": st.just(["other"]), "seam": st.floats(0.0, 0.5)},
    "note": {"text": st.text(max_size=20)},
}


def _disagreement(track: LandmarkTrack) -> dict[str, float]:
    """How far each stored curve is from what the landmarks give, against the median of each (jaw: the least)."""
    assert track.curves is not None
    read = read_curves(track)
    against = dict.fromkeys(TOLERANCE, np.median) | {"jaw": lambda values: np.percentile(values, 5)}
    return {
        name: float(
            np.percentile(
                np.abs((read[name] - level(read[name])) - (track.curves[name] - level(track.curves[name]))), 90
            )
        )
        for name, level in against.items()
    }


@pytest.mark.parametrize("op", EDITS)
@settings(max_examples=5)
@given(data=st.data())
def test_landmarks_and_curves_agree_after_every_edit(op: str, data: st.DataObject) -> None:
    values = {name: data.draw(strategy, name) for name, strategy in EDIT_VALUES[op].items()}
    edit = read_edit({"op": op, **values})
    edited = edit_motion(rigged_track(seed=1), [edit], lambda _: rigged_track(seed=2))
    assert isinstance(edited, LandmarkTrack)
    far = {name: value for name, value in _disagreement(edited).items() if value > TOLERANCE[name]}
    assert not far, str(edit)


def _yaw(points: Floats) -> float:
    return angles(align(face_template(), points).rotation)[0]


def test_a_head_that_is_held_turned_stays_so_without_motion() -> None:
    still = amplify(rigged_track(yaw=10.0), 0.0)
    assert still.curves is not None
    np.testing.assert_allclose(still.curves["yaw"], 10.0)
    assert _yaw(still.points[20]) == pytest.approx(10, abs=1.5)


def test_lips_do_not_cross_however_far_they_are_moved() -> None:
    wide = amplify(rigged_track(), 5.0, ["mouth"])
    faces = np.stack([align(points, face_template()).apply(points) for points in wide.points])
    assert (faces[:, 14, 1] - faces[:, 13, 1]).min() > -1e-3


def test_an_offset_moves_the_curves_of_the_head() -> None:
    track = rigged_track()
    moved = offset(track, x=12, y=-6)
    assert moved.curves is not None and track.curves is not None
    pixels = np.linalg.norm(track.points[0, 454] - track.points[0, 234])
    assert np.allclose((moved.curves["shift_x"] - track.curves["shift_x"]) * pixels, 12, atol=1.5)
    assert np.allclose((moved.curves["shift_y"] - track.curves["shift_y"]) * pixels, -6, atol=1)


def test_curves_that_are_not_known_are_dropped() -> None:
    track, bare = rigged_track(), replace(rigged_track(seed=2), curves=None)
    assert blend(track, bare, 0.5, ["mouth"]).curves is None
    assert blend(track, bare, 0.5, ["nose"]).curves is not None
    assert blend(track, bare, 0.5).curves is None


def test_frames_that_are_not_valid_count_neither_in_landmarks_nor_in_curves() -> None:
    track = rigged_track(31)
    assert track.curves is not None
    values = track.curves.values.copy()
    values[15] = 1e3
    holed = replace(track, valid=np.arange(31) != 15, curves=replace(track.curves, values=values))
    for calm in (smooth(holed, 0.1), amplify(holed, 0.5)):
        assert calm.curves is not None
        assert np.delete(calm.curves["yaw"], 15).max() < 20


def test_an_unseen_hand_takes_no_part_in_a_blend() -> None:
    one, other = driver(), driver()
    hands = one.hands.copy()
    hands[:, 0] = 0
    mixed = blend(replace(one, hands=hands), other, 0.5)
    np.testing.assert_allclose(mixed.hands[:, 0, :, :2], other.hands[:, 0, :, :2], atol=1e-5)
    with pytest.raises(MotionError, match="unknown part 'eyes'"):
        blend(one, other, 0.5, ["eyes"])


def _slow_mean(values: Floats, sigma: float) -> Floats:
    """The Gaussian mean by its definition, with the ends held."""
    steps = np.arange(-int(np.ceil(3 * sigma)), int(np.ceil(3 * sigma)) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    rows = np.clip(np.arange(len(values))[:, None] + steps, 0, len(values) - 1)
    return (values[rows] * weights[None, :, None]).sum(axis=1) / weights.sum()


@pytest.mark.parametrize("frames", [1, 5, 60, 200])
@pytest.mark.parametrize("seconds", [0.04, 0.4, 3.0, 40.0])
def test_smoothing_is_the_mean_that_it_says(frames: int, seconds: float) -> None:
    track = face_track(frames)
    assert track.curves is not None
    calm = smooth(track, seconds)
    assert calm.curves is not None
    np.testing.assert_allclose(calm.curves.values, _slow_mean(track.curves.values, seconds * 25), atol=1e-5)


@pytest.mark.parametrize("make", [face_track, driver])
def test_smoothing_takes_no_longer_for_longer_times(make: Callable[[int], Motion]) -> None:
    track = make(500)
    for seconds in (0.1, 10.0, 1e3, 1e6, 1e300):
        with at_most_cpu_seconds(2):
            smooth(track, seconds)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["smooth", "offset", "loop", "stretch", "resample", "amplify", "trim"])
def test_values_that_are_no_numbers_are_refused(name: str, value: float) -> None:
    from echomimic import motion

    with pytest.raises(MotionError) as error:
        getattr(motion, name)(face_track(5), value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("loop", 1e9), ("stretch", 1e9)])
def test_a_motion_of_too_many_frames_is_refused(name: str, value: float) -> None:
    from echomimic import motion

    with pytest.raises(MotionError, match="at most"):
        getattr(motion, name)(face_track(5), value)

"""Curves changed by hand: what is drawn is there, what is beside it stays, and lines of Python do it again."""

import numpy as np
import pytest

from echomimic.errors import MotionError
from echomimic.motion import curve_keys, draw_curve, follow_curves, load_edits, replay, save_motion, scale_curve
from echomimic.motion.curve_edits import find_curve
from echomimic.motion.replaying import write_edit
from echomimic.types import CURVE_NAMES, Curves, Floats, LandmarkTrack


def face(frames: int = 50) -> LandmarkTrack:
    random = np.random.default_rng(3)
    lines = Curves(random.uniform(0, 0.3, (frames, 18)).astype(np.float32), 25.0)
    return LandmarkTrack(np.zeros((frames, 478, 3), np.float32), (64, 64), 25.0, np.ones(frames, bool), lines)


def jaw(track: LandmarkTrack) -> Floats:
    assert track.curves is not None
    return track.curves["jaw"]


def test_a_drawn_stretch_goes_through_its_keys_and_leaves_the_rest() -> None:
    track = face()
    drawn = draw_curve(track, "jaw", [(0.4, 0.1), (0.8, 0.9), (1.2, 0.0)])
    assert jaw(drawn)[[10, 20, 30]] == pytest.approx([0.1, 0.9, 0.0], abs=1e-6)
    assert np.array_equal(np.delete(jaw(drawn), range(10, 31)), np.delete(jaw(track), range(10, 31)))
    assert drawn.curves is not None
    assert track.curves is not None
    others = [i for i, name in enumerate(CURVE_NAMES) if name != "jaw"]
    assert np.array_equal(drawn.curves.values[:, others], track.curves.values[:, others])


def test_scaling_mutes_and_doubles_and_eases_at_its_ends() -> None:
    track = face()
    assert not jaw(scale_curve(track, "jaw", 0)).any()
    assert jaw(scale_curve(track, "jaw", 2)) == pytest.approx(2 * jaw(track))
    part = jaw(scale_curve(track, "jaw", 0, 0.4, 1.2))
    assert not part[13:28].any()
    assert np.array_equal(part[:11], jaw(track)[:11])
    assert np.array_equal(part[30:], jaw(track)[30:])
    with pytest.raises(MotionError, match="start before end"):
        scale_curve(track, "jaw", 0, 2.0, 1.0)


def test_keys_follow_a_curve_and_are_few() -> None:
    line = find_curve(face(), "yaw")
    wave = (20 * np.sin(np.arange(100) / 25 * 3)).astype(np.float32)
    keys = curve_keys(wave, line, 25.0)
    drawn = np.interp(np.arange(100) / 25, *zip(*keys, strict=True))
    assert len(keys) < 25
    assert np.abs(drawn - wave).max() <= 0.051 * (wave.max() - wave.min())
    assert len(curve_keys(wave / 4, line, 25.0)) == len(keys)
    assert len(curve_keys(wave / 1000, line, 25.0)) == 2
    assert curve_keys(np.zeros(1, np.float32), line, 25.0) == [(0.0, 0.0)]


def test_landmarks_follow_the_curves() -> None:
    def face_of(row: Floats) -> Floats:
        return np.full((478, 3), row[0], np.float32)

    followed = follow_curves(draw_curve(face(), "jaw", [(0, 1.0)]), face_of)
    assert followed.points[0] == pytest.approx(1.0)
    assert np.array_equal(followed.points[:, 0, 0], jaw(followed))


def test_edits_are_saved_as_lines_and_replayed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    lines = (
        write_edit("draw_curve", "jaw", [(0.4, 0.1), (0.8, 0.9)]),
        write_edit("scale_curve", "blink", 0.5, 0.0, 1.0),
        "select(track, ['mouth', 'head'])",
        "smooth(track, seconds=0.1)",
    )
    track = replay(face(), lines)
    save_motion(tmp_path / "a.npz", track, lines)
    assert load_edits(tmp_path / "a.npz") == lines
    again = replay(face(), load_edits(tmp_path / "a.npz"))
    assert np.array_equal(jaw(again), jaw(track))
    assert again.parts == ("mouth", "head")
    assert len(replay(face(30), lines)) == 30


@pytest.mark.parametrize(
    "line",
    [
        "",
        "import os",
        "__import__('os').system('true')",
        "draw_curve(other, 'jaw', [(0, 0)])",
        "trim(track, 1)",
        "scale_curve(track, open('x'))",
        "scale_curve(track, **{})",
        "scale_curve(track, 'jaw')",
        "scale_curve(track, 'jaw', 'loud')",
        "draw_curve(track, 'nonsense', [(0, 0)])",
        "draw_curve(track, 'jaw', [])",
        "draw_curve(track, 'jaw', [(0, 7)])",
        "set jaw 0=0",
        "(" * 5000,
    ],
)
def test_what_is_no_edit_is_refused_in_one_line(line: str) -> None:
    with pytest.raises(MotionError) as error:
        replay(face(), [line])
    assert "\n" not in str(error.value)

"""Keyframes with Bezier handles: few of them follow a curve, edits keep them, and records draw the same again."""

import numpy as np
import pytest

from echomimic.errors import MotionError
from echomimic.motion import apply_edits, draw_curve, drawn_segments, fit_keys, load_edits, read_edit, save_motion
from echomimic.motion.curve_edits import find_curve
from echomimic.types import Curves, Floats, LandmarkTrack

FPS = 25.0


def syllables(seconds: int = 8) -> Floats:
    """A jaw that opens three times a second, each time differently."""
    time = np.arange(round(seconds * FPS)) / FPS
    heights = np.random.default_rng(2).uniform(0.3, 1.0, 3 * seconds)
    return np.asarray(np.sin(3 * np.pi * time) ** 2 * heights[(3 * time).astype(int)], np.float32)


def face(jaw: Floats) -> LandmarkTrack:
    values = np.zeros((len(jaw), 18), np.float32)
    values[:, 0] = jaw
    points = np.zeros((len(jaw), 478, 3), np.float32)
    return LandmarkTrack(points, (64, 64), FPS, np.ones(len(jaw), bool), Curves(values, FPS))


def jaw(track: LandmarkTrack) -> Floats:
    assert track.curves is not None
    return track.curves["jaw"]


def drawn(keys: list[tuple[float, ...]]) -> dict[str, object]:
    """The record that draws keyframes with their handles."""
    rounded = np.round(keys, 4)
    return {"op": "draw_curve", "curve": "jaw", "keys": rounded[:, :2].tolist(), "handles": rounded[:, 2:].tolist()}


def test_few_keys_draw_the_curve_again() -> None:
    wave = syllables()
    keys = fit_keys(wave, FPS, 0.12)
    assert 2 * 8 <= len(keys) <= 4 * 8 + 1
    again = apply_edits(face(0 * wave), [read_edit(drawn(keys))])
    assert np.abs(jaw(again) - wave).max() <= 0.12 + 1e-3
    assert len(fit_keys(wave, FPS, 0.02)) > len(keys)
    assert len(fit_keys(0 * wave, FPS, 0.1)) == 2
    assert fit_keys(wave[:1], FPS, 0.1) == [(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)]


def test_an_edited_point_stays_and_no_other_moves() -> None:
    wave = syllables()
    keys = fit_keys(wave, FPS, 0.1)
    second, value, before, low, after, high = keys[9]
    bent = (second, 0.5 * value, 0.5 * before, low - 0.3, 1.4 * after, high + 0.2)
    edit = read_edit(drawn([keys[8], bent, keys[10]]))
    changed = jaw(apply_edits(face(wave), [edit]))
    again = fit_keys(changed, FPS, 0.1, drawn_segments([edit], "jaw", FPS))
    assert len(again) == len(keys)
    assert np.abs(np.delete(again, range(8, 11), axis=0) - np.delete(keys, range(8, 11), axis=0)).max() < 1e-3
    assert again[9] == pytest.approx(bent, abs=1e-4)
    over = read_edit({"op": "draw_curve", "curve": "jaw", "keys": [[0.0, 0.1], [7.9, 0.1]]})
    assert drawn_segments([edit, over], "jaw", FPS) == drawn_segments([edit], "yaw", FPS) == {}


def test_records_with_handles_are_saved_and_drawn_alike(tmp_path: object) -> None:
    wave = syllables(2)
    record = {"op": "draw_curve", "curve": "jaw", "keys": [[0.4, 0.2], [0.8, 0.6]]}
    handles = [[0.0, 0.0, 0.3, 0.4], [0.1, 0.2, 0.0, 0.0]]
    edits = (read_edit(record), read_edit({**record, "handles": handles}))
    assert edits[0].record() == record  # as before there were handles
    assert read_edit(str(edits[1])) == edits[1]
    track = apply_edits(face(wave), edits)
    path = save_motion(tmp_path / "a.npz", track, edits)  # type: ignore[operator]
    assert load_edits(path) == edits
    assert np.array_equal(jaw(apply_edits(face(wave), load_edits(path))), jaw(track))
    assert jaw(track)[14] > 0.4  # the first handle lifts the curve
    assert np.array_equal(np.delete(jaw(track), range(10, 21)), np.delete(wave, range(10, 21)))


def test_handles_that_do_not_fit_are_refused_or_cut() -> None:
    keys = [(0.8, 0.6), (0.4, 0.2)]
    with pytest.raises(MotionError, match="expected handles of each, or none"):
        draw_curve(face(syllables(2)), "jaw", keys, handles=[(0, 0, 0.1, 0.1)])
    far = draw_curve(face(syllables(2)), "jaw", keys, handles=[(9, 0, 9, 0), (9, 0, 9, 0)])  # in the order of the keys
    assert (np.diff(jaw(far)[10:21]) >= -1e-6).all()
    line = find_curve(far, "jaw")
    wild = jaw(draw_curve(far, "jaw", keys, handles=[(0.1, 500, 0.1, 500)] * 2))
    assert line.low <= wild.min() and wild.max() <= line.high

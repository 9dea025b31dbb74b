"""Edits of curves: the drawn range changes, the rest stays, and records and lines of Python repeat them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echomimic.errors import Cancelled, MotionError
from echomimic.motion import (
    apply_edits,
    curve_keys,
    draw_curve,
    follow_curves,
    load_edits,
    read_edit,
    save_motion,
    scale_curve,
    shift_curve,
)
from echomimic.motion import edits as motion_edits
from echomimic.motion.curve_edits import find_curve
from echomimic.types import CURVE_NAMES, Curves, Floats, LandmarkTrack
from helpers.motion_samples import face_track
from helpers.waiting import at_most_cpu_seconds


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
    times, values = zip(*keys, strict=True)
    drawn = np.interp(np.arange(100) / 25, times, values)
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


def test_edits_are_saved_as_records_and_applied_again(tmp_path: Path) -> None:
    edits = tuple(
        read_edit(each)
        for each in (
            {"op": "draw_curve", "curve": "jaw", "keys": [[0.4, 0.1], [0.8, 0.9]]},
            "scale_curve(track, 'blink', 0.5, 0.0, 1.0)",
            "select(track, ['mouth', 'head'])",
            "smooth(track, seconds=0.1)",
        )
    )
    track = apply_edits(face(), edits)
    for name in ("a.npz", "a.json", "a.csv"):
        assert load_edits(save_motion(tmp_path / name, track, edits)) == edits
    again = apply_edits(face(), load_edits(tmp_path / "a.npz"))
    assert np.array_equal(jaw(again), jaw(track))
    assert again.parts == ("mouth", "head")
    assert len(apply_edits(face(30), edits)) == 30


@pytest.mark.parametrize(
    "line",
    [
        "",
        "import os",
        "__import__('os').system('true')",
        "draw_curve(other, 'jaw', [(0, 0)])",
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
def test_a_value_that_is_not_an_edit_is_refused_in_one_line(line: str) -> None:
    with pytest.raises(MotionError) as error:
        apply_edits(face(), [read_edit(line)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "record",
    [
        {"op": "select", "parts": ["mouth", "head"]},
        {"op": "resample", "fps": 30},
        {"op": "trim", "start": 0.4, "end": 1.5},
        {"op": "loop", "seconds": 3, "seam": 0.2},
        {"op": "stretch", "seconds": 1.5},
        {"op": "smooth", "seconds": 0.1},
        {"op": "amplify", "gain": 1.5, "parts": ["mouth"]},
        {"op": "retime", "marks": [[0.4, 0.8], [1.2, 1.2]]},
        {"op": "offset", "seconds": 0.2, "x": 3},
        {"op": "mirror"},
        {"op": "set_curve", "curve": "jaw", "keys": [[0, 0], [1, 0.5]]},
        {"op": "draw_curve", "curve": "jaw", "keys": [[0.4, 0.7]]},
        {"op": "scale_curve", "curve": "jaw", "gain": 0, "start": 0.5},
    ],
    ids=lambda record: record["op"],
)
def test_a_record_and_its_line_of_python_are_the_same(record: dict[str, Any]) -> None:
    edit = read_edit(record)
    assert read_edit(str(edit)) == edit
    assert read_edit(edit.record()) == edit
    assert apply_edits(face_track(), [edit]) is not None


def test_edits_are_shown_as_python() -> None:
    shown = [
        ({"op": "draw_curve", "curve": "jaw", "keys": [[0.4, 0.7]]}, "draw_curve(track, 'jaw', [(0.4, 0.7)])"),
        ({"op": "scale_curve", "curve": "jaw", "gain": 0}, "scale_curve(track, 'jaw', 0)"),
        ({"op": "trim", "end": 2.0}, "trim(track, end=2)"),
        ({"op": "blend", "other": "b.npz", "share": 1}, "blend(track, load_motion('b.npz'), share=1)"),
        ({"op": "concat", "others": ["b.npz"]}, "concat([track, load_motion('b.npz')], seam=0.2)"),
        ({"op": "note", "text": "track v.mp4"}, "# track v.mp4"),
    ]
    for record, line in shown:
        assert str(read_edit(record)) == line


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"op": "dance"}, "is not an edit"),
        ({"curve": "jaw"}, "is not an edit"),
        ({"op": "scale_curve", "curve": "jaw"}, "gain"),
        ({"op": "scale_curve", "curve": "jaw", "gain": 1, "loud": 1}, "loud"),
        ({"op": "smooth", "seconds": 1e9}, "less than or equal"),
        ({"op": "smooth", "seconds": float("nan")}, "finite"),
        ({"op": "amplify", "gain": 1e9}, "less than or equal"),
        ({"op": "draw_curve", "curve": "jaw", "keys": [[0, 0]] * 20_001}, "at most 20000"),
        ({"op": "draw_curve", "curve": "j" * 300, "keys": [[0, 0]]}, "at most 200"),
        ({"op": "blend", "other": "b.npz"}, "cannot be read here"),
    ],
)
def test_a_wrong_record_is_refused_in_one_line(record: dict[str, Any], words: str) -> None:
    with pytest.raises(MotionError, match=words) as error:
        apply_edits(face(), [read_edit(record)])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_what_version_1_saved_is_read(tmp_path: Path) -> None:
    path = save_motion(tmp_path / "a.npz", face())
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["edits"] = np.array(["scale_curve(track, 'jaw', 0.5)", "trim 0 to None", "track v.mp4"])
    np.savez(path, **arrays)
    assert [str(edit) for edit in load_edits(path)] == [
        "scale_curve(track, 'jaw', 0.5)",
        "# trim 0 to None",
        "# track v.mp4",
    ]


def test_the_edits_of_a_file_are_limited(tmp_path: Path) -> None:
    path = save_motion(tmp_path / "a.json", face())
    words = json.loads(path.read_text())
    for edits in (["smooth(track, 1000.0)"] * 10_000, ["smooth(track, 1000.0)" + " " * 99_000] * 900):
        path.write_text(json.dumps({**words, "edits": edits}))
        with at_most_cpu_seconds(5):
            (only,) = load_edits(path)
        assert "more than the 1000" in str(only)


def test_applying_edits_can_be_cancelled() -> None:
    done: list[int] = []

    def cancel_at_3(number: int, total: int) -> None:
        done.append(number)
        if number == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        apply_edits(face(), [read_edit({"op": "mirror"})] * 10, progress=cancel_at_3)
    assert done == [0, 1, 2, 3]


def test_eases_are_named_or_bezier_handles() -> None:
    track = face()
    ends = [(0.4, 0.0), (1.2, 1.0)]
    middle = {ease: float(jaw(draw_curve(track, "jaw", ends, ease))[20]) for ease in ("linear", "in", "out", "hold")}
    assert middle["linear"] == pytest.approx(0.5, abs=1e-5)
    assert middle["in"] < 0.35 < 0.65 < middle["out"]
    assert middle["hold"] == 0.0
    assert float(jaw(draw_curve(track, "jaw", ends, "0,0,1,1"))[25]) == pytest.approx(0.75, abs=1e-5)
    with pytest.raises(MotionError, match="ease is '2,0,0,0'; expected one of smooth"):
        draw_curve(track, "jaw", ends, "2,0,0,0")


def test_offsets_are_added_within_their_stretch() -> None:
    track = face()
    shifted = jaw(shift_curve(track, "jaw", [(0.4, 0.0), (0.8, 0.2), (1.2, 0.0)])) - jaw(track)
    assert shifted[20] == pytest.approx(0.2, abs=1e-6)
    assert not np.delete(shifted, range(10, 31)).any()


def test_layers_are_mixed_muted_and_heard_alone() -> None:
    track = face()
    closed = {"op": "scale_curve", "curve": "jaw", "gain": 0}
    whole, turned = (
        {"op": "layer", "name": name, "edits": [edit]}
        for name, edit in (("mouth", closed), ("head", {"op": "express", "expression": "nod", "start": 0.2}))
    )

    def after(*edits: dict[str, Any]) -> LandmarkTrack:
        edited = apply_edits(track, [read_edit(edit) for edit in edits])
        assert isinstance(edited, LandmarkTrack)
        return edited

    assert jaw(after(whole | {"strength": 0.25})) == pytest.approx(0.75 * jaw(track), abs=1e-6)
    assert np.array_equal(jaw(after(whole | {"muted": True})), jaw(track))
    alone = after(whole, turned | {"solo": True})
    assert alone.curves is not None and track.curves is not None
    assert np.array_equal(jaw(alone), jaw(track)) and (alone.curves["pitch"] != track.curves["pitch"]).any()
    edit = read_edit(whole | {"strength": 0.25})
    assert read_edit(str(edit)) == edit and read_edit(edit.record()) == edit
    for wrong in (whole, {"op": "trim", "end": 1}, {"op": "explode"}):
        with pytest.raises(MotionError):
            read_edit(whole | {"edits": [wrong]})
    with pytest.raises(MotionError, match="with those of layers"):
        motion_edits.read_edits([whole | {"edits": [closed] * 600}] * 2)

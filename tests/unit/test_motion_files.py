"""Saving and reading: exact round trips, and one line for every broken file."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from echomimic.errors import MotionError, OutputError
from echomimic.media import write_clip
from echomimic.motion import load_edits, load_motion, read_edit, save_motion, select
from echomimic.notes import collect_notes
from echomimic.types import CURVE_NAMES, Curves, LandmarkTrack, Motion, PoseTrack
from helpers.motion_samples import load_landmarks

EDITS = tuple(read_edit(record) for record in ({"op": "trim", "end": 1}, {"op": "mirror"}))


def face_track(frames: int = 4, fps: float = 24000 / 1001, seed: int = 0, curves: bool = True) -> LandmarkTrack:
    random = np.random.default_rng(seed)
    points = random.normal(256, 90, (frames, 478, 3)).astype(np.float32)
    lines = Curves(random.normal(0, 0.3, (frames, 18)).astype(np.float32), fps) if curves else None
    return LandmarkTrack(points, (640, 360), fps, random.random(frames) > 0.3, lines)


def pose_track(frames: int = 4, fps: float = 25.0, seed: int = 0) -> PoseTrack:
    random = np.random.default_rng(seed)
    body, hands, face = (random.random((frames, *shape, 3), np.float32) for shape in ((18,), (2, 21), (68,)))
    return PoseTrack(body, hands, face, fps, (768, 1024))


def assert_same(a: Motion, b: Motion) -> None:
    assert type(a) is type(b) and a.fps == b.fps and tuple(a.image_size) == tuple(b.image_size)
    if isinstance(a, LandmarkTrack) and isinstance(b, LandmarkTrack):
        assert b.points.dtype == np.float32 and b.valid.dtype == bool
        np.testing.assert_array_equal(a.points, b.points)
        np.testing.assert_array_equal(a.valid, b.valid)
        assert (a.curves is None) == (b.curves is None) and a.parts == b.parts
        if a.curves is not None and b.curves is not None:
            np.testing.assert_array_equal(a.curves.values, b.curves.values)
            assert a.curves.fps == b.curves.fps
    if isinstance(a, PoseTrack) and isinstance(b, PoseTrack):
        for name in ("body", "hands", "face"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("suffix", [".npz", ".json", ".csv"])
@pytest.mark.parametrize(
    "motion", [face_track(), face_track(curves=False), select(face_track(), ("eyes",)), pose_track()]
)
def test_round_trip_is_exact(tmp_path: Path, suffix: str, motion: Motion) -> None:
    path = save_motion(tmp_path / f"track{suffix}", motion, edits=EDITS)
    assert_same(motion, load_motion(path))
    assert load_edits(path) == EDITS
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_npz_to_json_to_csv_to_npz_is_exact(tmp_path: Path) -> None:
    motion: Motion = face_track()
    for name in ("a.npz", "b.json", "c.csv", "d.npz"):
        motion = load_motion(save_motion(tmp_path / name, motion))
    assert_same(face_track(), motion)


@settings(max_examples=15)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3))
def test_any_float32_survives_json(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    points = np.zeros((1, 478, 3), np.float32)
    points[0, 5] = values
    track = LandmarkTrack(points, (10, 10), 25, np.ones(1, bool))
    assert_same(track, load_motion(save_motion(tmp_path_factory.mktemp("json") / "t.json", track)))


def test_invalid_frames_without_numbers_are_interpolated(tmp_path: Path) -> None:
    track = face_track(5)
    points = track.points.copy()
    points[2] = np.nan
    holed = LandmarkTrack(points, track.image_size, track.fps, np.array([True, True, False, True, True]))
    back = load_motion(save_motion(tmp_path / "t.npz", holed))
    assert isinstance(back, LandmarkTrack) and not back.valid[2]
    np.testing.assert_allclose(back.points[2], (points[1] + points[3]) / 2, rtol=1e-5, atol=1e-4)


def _rewrite(path: Path, **changes: object) -> Path:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, value in changes.items():
        if value is None:
            arrays.pop(name)
        else:
            arrays[name] = np.asarray(value)
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "other"}, "not a motion file of this program"),
        ({"version": 99}, "version 99"),
        ({"kind": "dance"}, "'dance'"),
        ({"fps": 0.0}, "frames a second"),
        ({"fps": float("nan")}, "frames a second"),
        ({"fps": "fast"}, "expected numbers"),
        ({"canvas": [0, 512]}, "canvas"),
        ({"canvas": [512]}, "expected numbers"),
        ({"points": None}, "no 'points'"),
        ({"points": np.zeros((4, 470, 3), np.float32)}, "expected (4, 478, 3)"),
        ({"points": np.zeros((0, 478, 3), np.float32), "valid": np.ones(0, bool)}, "no frames"),
        ({"points": np.full((4, 478, 3), np.nan, np.float32), "valid": np.ones(4, bool)}, "not a number"),
        ({"points": np.array(["a", "b"])}, "expected numbers"),
        ({"valid": np.ones(3, bool)}, "expected (4,)"),
        ({"curves": np.zeros((4, 3), np.float32)}, "names"),
        ({"curves": np.zeros((2, 18), np.float32)}, "rows of curves"),
    ],
)
def test_a_wrong_npz_is_refused_in_one_line(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    path = _rewrite(save_motion(tmp_path / "t.npz", face_track()), **changes)
    with pytest.raises(MotionError) as caught:
        load_motion(path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"not an archive", bytes(200)])
@pytest.mark.parametrize("suffix", [".npz", ".json", ".csv"])
def test_rubbish_is_refused_in_one_line(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    with pytest.raises(MotionError) as caught:
        load_motion(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


def test_a_truncated_npz_is_refused(tmp_path: Path) -> None:
    path = save_motion(tmp_path / "t.npz", face_track())
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(MotionError):
        load_motion(path)


def test_an_npz_of_objects_is_refused_unopened(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", format=np.array([{"a": 1}], object))
    with pytest.raises(MotionError, match="Python objects"):
        load_motion(tmp_path / "t.npz")


def test_a_small_file_cannot_ask_for_a_large_array(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 478, 3)})
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("points.npy", header.getvalue())
    with pytest.raises(MotionError, match="promises"):
        load_motion(tmp_path / "t.npz")


def test_other_curve_columns_are_read_by_name(tmp_path: Path) -> None:
    track = face_track(3)
    assert track.curves is not None
    path = save_motion(tmp_path / "t.npz", track)
    names = [*reversed(CURVE_NAMES[1:]), "ears"]
    values = np.concatenate([track.curves.values[:, :0:-1], np.ones((3, 1), np.float32)], axis=1)
    _rewrite(path, curves=values, curve_names=names)
    with collect_notes() as notes:
        back = load_motion(path)
    assert isinstance(back, LandmarkTrack) and back.curves is not None
    np.testing.assert_array_equal(back.curves.values[:, 1:], track.curves.values[:, 1:])
    assert not back.curves["jaw"].any()
    assert "ears" in notes[0] and "jaw" in notes[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v | {"frames": []}, "no list of frames"),
        (lambda v: v | {"fps": 0}, "frames a second"),
        (lambda v: v | {"canvas": "big"}, "expected numbers"),
        (lambda v: v | {"frames": [*v["frames"][:2], {"points": [[1, 2]], "valid": True}]}, "frame 2"),
        (lambda v: v | {"frames": [{"points": "x"}]}, "not a number"),
        (lambda v: {k: w for k, w in v.items() if k != "fps"}, "no 'fps'"),
    ],
)
def test_a_wrong_json_is_refused_in_one_line(tmp_path: Path, change: object, words: str) -> None:
    path = save_motion(tmp_path / "t.json", face_track())
    path.write_text(json.dumps(change(json.loads(path.read_text()))))  # type: ignore[operator]
    with pytest.raises(MotionError) as caught:
        load_motion(path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:2], "no frames"),
        (lambda lines: [*lines[:3], "1,2,3"], "3 cells"),
        (lambda lines: [lines[0], lines[1], lines[2].replace("0,", "x,", 1)], "number"),
        (lambda lines: lines[1:], "not a motion table"),
    ],
)
def test_a_wrong_csv_is_refused_in_one_line(tmp_path: Path, change: object, words: str) -> None:
    path = save_motion(tmp_path / "t.csv", face_track())
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")  # type: ignore[operator]
    with pytest.raises(MotionError) as caught:
        load_motion(path)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def _resaved(text: str, delimiter: str) -> str:
    """A motion table as a spreadsheet saves it: cells with quotes are quoted, decimal commas beside semicolons."""
    lines = list(csv.reader(io.StringIO(text.split("\n", 1)[1])))
    if delimiter == ";":
        lines = [[cell.replace(".", ",") if i else cell for cell in row] for i, row in enumerate(lines)]
    first = text.split("\n", 1)[0]
    head = first.split(",") if delimiter == "," else [first]
    out = io.StringIO()
    table = csv.writer(out, delimiter=delimiter)
    table.writerow(head + [""] * (len(lines[0]) - len(head)))
    table.writerows(lines)
    return out.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("track", [face_track(2, fps=25.0), pose_track(2)], ids=["face", "pose"])
def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path: Path, track: Motion, delimiter: str, encoding: str) -> None:
    path = save_motion(tmp_path / "t.csv", track, EDITS)
    path.write_text(_resaved(path.read_text(), delimiter), encoding=encoding)
    assert_same(load_motion(path), track)
    assert load_edits(path) == EDITS


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("suffix", [".json", ".csv", ".txt", ""])
def test_the_content_decides_and_not_the_name(tmp_path: Path, encoding: str, suffix: str) -> None:
    for saved in (".json", ".csv"):
        path = tmp_path / f"named{suffix}"
        path.write_text(save_motion(tmp_path / f"t{saved}", face_track()).read_text(), encoding=encoding)
        assert_same(load_motion(path), face_track())
    path.write_bytes(save_motion(tmp_path / "t.npz", face_track()).read_bytes())
    assert_same(load_motion(path), face_track())


@pytest.mark.parametrize("name", ["driver.ts", "driver", "driver.txt"])
def test_a_video_is_known_by_its_content(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "v.mp4"
    write_clip(made, iter([np.zeros((64, 64, 3), np.uint8)] * 3), 25.0, None, {})
    path = made.rename(tmp_path / name)
    tracked: list[Path] = []
    monkeypatch.setattr("echomimic.motion.tracking.track_video", lambda path, pose: tracked.append(path))
    load_motion(path)
    assert tracked == [path]


@pytest.mark.parametrize("name", ["t.txt", "t", "t.docx", "t.png", "t.wav"])
def test_unreadable_files_are_refused_with_the_accepted_formats(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".png"):
        Image.new("RGB", (64, 64)).save(path)
    else:
        path.write_bytes(b"hello, hello")
    with pytest.raises(MotionError, match=r"is not a motion; expected a video, \.npz"):
        load_motion(path)


def test_unknown_names_and_unsound_motions_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(MotionError, match=r"\.npz"):
        save_motion(tmp_path / "t.pkl", face_track())
    broken = LandmarkTrack(np.zeros((2, 478, 3), np.float32), (0, 5), 25, np.ones(2, bool))
    with pytest.raises(MotionError, match="canvas"):
        save_motion(tmp_path / "t.npz", broken)
    with pytest.raises(OutputError, match="does not exist; expected an existing folder"):
        save_motion(tmp_path / "nowhere" / "t.npz", face_track())
    with pytest.raises(MotionError, match="no motion at"):
        load_motion(tmp_path / "none.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [lambda text: "\n" + text, lambda text: text.replace("\n", "\r")])
def test_a_table_with_a_blank_first_line_or_old_line_ends_is_read(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = save_motion(tmp_path / "t.csv", face_track())
    path.write_bytes(change(path.read_text(encoding="utf-8")).encode())
    np.testing.assert_array_equal(load_landmarks(path).points, face_track().points)


def test_a_picture_that_is_called_a_table_is_of_no_known_kind(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    with pytest.raises(MotionError, match="is not a motion; expected a video"):
        load_motion(tmp_path / "t.csv")

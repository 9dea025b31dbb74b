"""Motion files of other programs: all formats are read, broken files give one line, hostile files are refused."""

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echomimic.errors import MotionError
from echomimic.motion import load_motion, save_motion
from echomimic.notes import collect_notes
from echomimic.types import LandmarkTrack, PoseTrack
from helpers.motion_samples import v2_frame, write_v1, write_v2

SHARED = Path(os.environ.get("ECHOMIMIC_SHARED") or Path(__file__).resolve().parents[3] / "shared")
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the sample data beside the checkout")


def refusal(path: Path, **more: Any) -> str:
    with pytest.raises(MotionError) as caught:
        load_motion(path, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_v1_folder_of_any_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    points = np.random.default_rng(0).random((3, 478, 3)) * 512
    for i, frame in enumerate(points):
        (tmp_path / f"{i}.pkl").write_bytes(pickle.dumps(frame, protocol))
    with collect_notes() as notes:
        track = load_motion(tmp_path)
    assert isinstance(track, LandmarkTrack) and track.image_size == (512, 512) and track.fps == 24
    np.testing.assert_array_equal(track.points, points.astype(np.float32))
    assert "24 frames a second" in notes[0]
    assert load_motion(tmp_path, fps=30, image_size=(640, 480)).fps == 30


def test_v2_folder(tmp_path: Path) -> None:
    frames = [v2_frame() for _ in range(3)]
    track = load_motion(write_v2(tmp_path, frames), fps=25)
    assert isinstance(track, PoseTrack) and len(track) == 3 and track.image_size == (768, 768)
    np.testing.assert_array_equal(track.hands[0, ..., :2], frames[0]["hands"].astype(np.float32))
    np.testing.assert_array_equal(track.hands[0, ..., 2], frames[0]["hands_score"].astype(np.float32))
    np.testing.assert_array_equal(track.body[0, :, :2], frames[0]["bodies"]["candidate"].astype(np.float32))
    np.testing.assert_array_equal(track.face[0, ..., 2], frames[0]["faces_score"][0].astype(np.float32))


def test_v2_poses_of_a_crop_become_fractions_of_the_whole(tmp_path: Path) -> None:
    frame = v2_frame(params=[768, 384, 0, 768, 192, 576])
    track = load_motion(write_v2(tmp_path, [frame]))
    assert isinstance(track, PoseTrack)
    np.testing.assert_allclose(track.hands[0, ..., 0], 0.25 + frame["hands"][..., 0] / 2, atol=1e-6)
    np.testing.assert_allclose(track.hands[0, ..., 1], frame["hands"][..., 1], atol=1e-6)


def test_one_person_is_followed_among_several(tmp_path: Path) -> None:
    frames = []
    for i in range(4):
        frame = v2_frame(2)
        candidate = np.full((2, 18, 2), 0.2)
        candidate[i % 2] = 0.7 + 0.01 * i  # the right-hand person is first and second by turns
        scores = np.full((2, 18), 0.5)
        scores[i % 2] = 0.9
        frame["bodies"] |= {"candidate": candidate.reshape(36, 2), "score": scores}
        frames.append(frame)
    with collect_notes() as notes:
        track = load_motion(write_v2(tmp_path, frames), fps=24)
    assert isinstance(track, PoseTrack)
    np.testing.assert_allclose(track.body[:, 0, 0], 0.7 + 0.01 * np.arange(4), atol=1e-6)
    assert any("2 people" in text for text in notes)


@needs_shared
@pytest.mark.shared
@pytest.mark.parametrize(("name", "frames"), [("landmarks", 60), ("pose/01", 100), ("pose/ultraman", 121)])
def test_sample_motions_are_saved_as_npz_and_read_back(tmp_path: Path, name: str, frames: int) -> None:
    track = load_motion(SHARED / "data" / name, fps=24)
    assert len(track) == frames
    again = load_motion(save_motion(tmp_path / "t.npz", track))
    part = "points" if isinstance(track, LandmarkTrack) else "hands"
    np.testing.assert_array_equal(getattr(track, part), getattr(again, part))


def test_gaps_are_interpolated_with_a_note(tmp_path: Path) -> None:
    with collect_notes() as notes:
        track = load_motion(write_v1(tmp_path, numbers=[3, 4, 6, 7]), fps=24)
    assert isinstance(track, LandmarkTrack) and track.valid.tolist() == [True, True, False, True, True]
    np.testing.assert_allclose(track.points[2], (track.points[1] + track.points[3]) / 2, rtol=1e-5)
    assert any("1 of 5 frames" in text for text in notes)


def test_frames_without_numbers_are_interpolated_with_a_note(tmp_path: Path) -> None:
    write_v1(tmp_path, 5)
    (tmp_path / "2.pkl").write_bytes(pickle.dumps(np.full((478, 3), np.nan)))
    with collect_notes() as notes:
        track = load_motion(tmp_path, fps=24)
    assert isinstance(track, LandmarkTrack) and not track.valid[2] and np.isfinite(track.points).all()
    assert notes


def test_broken_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no motion" in refusal(empty)
    assert "no more than half" in refusal(write_v1(tmp_path / "far", numbers=[0, 1, 900_000_000]))
    assert "(470, 3)" in refusal(write_v1(tmp_path / "shape", shape=(470, 3)))
    mixed = write_v1(tmp_path / "mixed")
    np.save(mixed / "0.npy", np.zeros((478, 3)))
    assert "expected one kind: separate them" in refusal(mixed)
    twice = write_v1(tmp_path / "twice")
    (twice / "other_1.pkl").write_bytes((twice / "1.pkl").read_bytes())
    assert "1.pkl and other_1.pkl" in refusal(twice)
    uneven = write_v1(tmp_path / "uneven")
    (uneven / "2.pkl").write_bytes(pickle.dumps(np.zeros((478, 2))))
    assert "frame 2" in refusal(uneven)
    nothing = tmp_path / "nan"
    nothing.mkdir()
    (nothing / "0.pkl").write_bytes(pickle.dumps(np.full((478, 3), np.inf)))
    assert "no frame of numbers" in refusal(nothing)
    assert "frames a second" in refusal(write_v1(tmp_path / "fps"), fps=0)
    assert "canvas" in refusal(write_v1(tmp_path / "canvas"), image_size=(0, 5))


@pytest.mark.parametrize(
    "change",
    [
        {"hands": np.zeros((1, 21, 2))},
        {"hands": np.zeros((2, 20, 2))},
        {"hands": "two"},
        {"hands_score": np.zeros(5)},
        {"bodies": {"candidate": np.zeros((36, 2)), "score": np.zeros((2, 18))}},
        {"draw_pose_params": [1, 2]},
        {"hands": np.full((2, 21, 2), np.nan)},
    ],
)
def test_a_broken_pose_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    assert str(tmp_path) in refusal(write_v2(tmp_path, [v2_frame() | change]))


def openpose(points: int = 18, image_size: bool = True, scale: float = 500.0) -> dict[str, Any]:
    random = np.random.default_rng(0)
    person = {"pose_keypoints_2d": (random.random(points * 3) * scale).tolist()}
    person |= {f"hand_{side}_keypoints_2d": (random.random(63) * scale).tolist() for side in ("left", "right")}
    person |= {"face_keypoints_2d": (random.random(210) * scale).tolist()}
    return {"people": [person], **({"canvas_width": 1000, "canvas_height": 500} if image_size else {})}


def test_openpose_of_18_and_25_points(tmp_path: Path) -> None:
    for points, name in ((18, "a"), (25, "b")):
        folder = tmp_path / name
        folder.mkdir()
        frame = openpose(points)
        for i in range(3):
            (folder / f"clip_{i:012d}_keypoints.json").write_text(json.dumps(frame))
        track = load_motion(folder, fps=30)
        assert isinstance(track, PoseTrack) and len(track) == 3 and track.image_size == (1000, 500)
        flat = np.array(frame["people"][0]["pose_keypoints_2d"], np.float32).reshape(-1, 3)
        hip = 8 if points == 18 else 9
        np.testing.assert_allclose(track.body[1, 8, :2], flat[hip, :2] / (1000, 500), rtol=1e-5)


def test_openpose_with_gaps_people_and_no_canvas(tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    path.write_text(json.dumps([openpose(), {"people": []}, openpose()]))
    with collect_notes() as notes:
        track = load_motion(path, fps=30)
    assert len(track) == 3 and any("1 of 3 frames" in text for text in notes)
    path.write_text(json.dumps([openpose(image_size=False)]))
    assert "canvas" in refusal(path)
    assert load_motion(path, image_size=(1000, 500)).image_size == (1000, 500)
    path.write_text(json.dumps([{"people": []}]))
    assert "nobody" in refusal(path)
    frame = openpose()
    frame["people"][0]["pose_keypoints_2d"] = [1, 2, 3]
    path.write_text(json.dumps([frame]))
    assert "3 numbers" in refusal(path)


def test_mediapipe_dumps(tmp_path: Path) -> None:
    shares = np.random.default_rng(0).random((3, 478, 3))
    expected = (shares * (640, 480, 640)).astype(np.float32)
    np.save(tmp_path / "dump.npy", shares)
    points = [[{"x": x, "y": y, "z": z} for x, y, z in frame] for frame in shares.tolist()]
    dumps: dict[str, Any] = {
        "list": points,
        "nested": {"fps": 30, "width": 640, "height": 480, "frames": [{"face_landmarks": [frame]} for frame in points]},
        "proto": [{"multi_face_landmarks": [{"landmark": frame}]} for frame in points],
        "arrays": shares.tolist(),
    }
    for name, value in dumps.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
        track = load_motion(tmp_path / f"{name}.json", image_size=(640, 480))
        assert isinstance(track, LandmarkTrack) and track.image_size == (640, 480)
        np.testing.assert_allclose(track.points, expected, rtol=1e-5, atol=1e-4)
    assert load_motion(tmp_path / "nested.json").fps == 30
    np.testing.assert_allclose(load_motion(tmp_path / "dump.npy", image_size=(640, 480)).points, expected, rtol=1e-5)  # type: ignore[union-attr]


def test_fewer_points_and_missing_depth_are_completed_with_a_note(tmp_path: Path) -> None:
    np.save(tmp_path / "dump.npy", np.random.default_rng(0).random((2, 468, 2)) * 512)
    with collect_notes() as notes:
        track = load_motion(tmp_path / "dump.npy", fps=25)
    assert isinstance(track, LandmarkTrack) and (track.points[:, 468:, :2] > 0).all()
    assert len(notes) == 2


class _Attack:
    """Pickles into a call of whatever it is given."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.reduced = (call, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


def _attacks(flag: Path) -> dict[str, bytes]:
    """Pickles that would each touch `flag`, take the memory, or hang."""
    touch = f"open({str(flag)!r}, 'w').close()"
    objects = np.empty(1, object)
    objects[0] = _Attack(exec, touch)
    laughs: Any = [0]
    for _ in range(60):
        laughs = [laughs] * 2
    cycle: list[Any] = []
    cycle.append(cycle)
    array = pickle.dumps(np.zeros(3))
    return {
        "system": pickle.dumps(_Attack(os.system, f"touch {flag}")),
        "system, by its old name": f"cposix\nsystem\n(S'touch {flag}'\ntR.".encode(),
        "eval": pickle.dumps(_Attack(eval, f"__import__('pathlib').Path({str(flag)!r}).touch()")),
        "exec": pickle.dumps(_Attack(exec, touch)),
        "object array": pickle.dumps(objects),
        "deep inside": pickle.dumps({"hands": [{"x": (1, 2, _Attack(exec, touch))}]}),
        "by getattr": pickle.dumps(_Attack(getattr, 1, "real")),
        "instance": f"(i__main__\nopen\n(S'{flag}'\n.".encode(),
        "object opcode": b"(cbuiltins\nexec\nS'1'\no.",
        "new object": b"\x80\x02cbuiltins\nlist\n)\x81.",
        "persistent": b"P0\n.",
        "extension": b"\x80\x02\x82\x01.",
        "numpy's own loader": pickle.dumps(_Attack(np.load, str(flag))),
        "numpy's runner": b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
        "array of another class": b"cnumpy.core.multiarray\n_reconstruct\n(cbuiltins\nexec\n(K\x00tC\x01btR.",
        "state for a list": b"](K\x01K\x02tb.",
        "attribute dict for an array": array[:-1] + b"}X\x09\x00\x00\x00__class__K\x01sb.",
        "negative shape": array.replace(b"K\x03\x85", b"J\xff\xff\xff\xff\x85"),
        "large shape": array.replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"),
        "large memo": b"K\x01r\xff\xff\xff\x7f.",
        "large text": b"\x8d" + (2**62).to_bytes(8, "little") + b"x.",
        "large bytes": b"\x8e" + (2**62).to_bytes(8, "little") + b"x.",
        "large frame": b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"K\x01.",
        "large number": b"\x8b" + (2**20).to_bytes(4, "little") + b"\xff" * 2**20 + b".",
        "a billion laughs": pickle.dumps(laughs),
        "a list in itself": pickle.dumps(cycle),
        "set": pickle.dumps({1, 2}),
        "complex": pickle.dumps(1j),
        "path": pickle.dumps(Path("x")),
        "dates": pickle.dumps(np.zeros(3, "M8[s]")),
        "records": pickle.dumps(np.zeros(3, "f4,i4")),
        "nothing": b"",
        "half": array[: len(array) // 2],
        "no pickle": b"hello",
        "empty stack": b".",
        "bare mark": b"(.",
        "tuple of nothing": b"\x87.",
    }


ATTACKS = sorted(_attacks(Path("flag")))


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_hostile_files_are_refused_and_nothing_runs(tmp_path: Path, name: str, kind: str) -> None:
    flag = tmp_path / "flag"
    data = _attacks(flag)[name]
    folder = tmp_path / "folder"
    folder.mkdir()
    if kind == "v1":
        (folder / "0.pkl").write_bytes(data)
    else:
        header = io.BytesIO()
        np.lib.format.write_array(header, np.array({"a": 1}, object), allow_pickle=True)
        start = header.getvalue().index(b"\n") + 1
        (folder / "0.npy").write_bytes(header.getvalue()[:start] + data)
    refusal(folder)
    assert not flag.exists()


def test_the_hostile_files_run_code_in_an_unsafe_reader(tmp_path: Path) -> None:
    """Python's own reader runs them: so the test above proves something."""
    flag = tmp_path / "flag"
    for name in ("system", "eval", "exec", "object array", "deep inside"):
        pickle.loads(_attacks(flag)[name])  # noqa: S301
        assert flag.exists(), name
        flag.unlink()

"""Tracking of synthetic videos: the person, the times of frames, and notes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echomimic.errors import FaceError, MotionError
from echomimic.landmarks.face import find_faces
from echomimic.media import write_clip
from echomimic.motion import load_motion, track_video
from echomimic.motion.schema import check_motion
from echomimic.motion.tracking import _even, _hand_without_gaps
from echomimic.notes import collect_notes
from echomimic.types import LandmarkTrack, Picture, PoseTrack
from helpers.motion_samples import face_track


@pytest.fixture(scope="module")
def face(portrait_file: Path) -> Picture:
    return np.asarray(Image.open(portrait_file).convert("RGB").resize((256, 256)), np.uint8)


def write(path: Path, frames: list[Picture], fps: float = 25.0) -> Path:
    def each() -> Iterator[Picture]:
        yield from frames

    write_clip(path, each(), fps, None, {})
    return path


def test_a_moving_face_is_followed_at_the_true_rate(face: Picture, tmp_path: Path) -> None:
    frames = [np.roll(face, 2 * i, axis=1) for i in range(8)]
    seen: list[tuple[int, int]] = []
    track = track_video(write(tmp_path / "v.mp4", frames, 30), progress=lambda done, total: seen.append((done, total)))
    assert isinstance(check_motion(track), LandmarkTrack) and isinstance(track, LandmarkTrack)
    assert len(track) == 8 and track.fps == pytest.approx(30) and track.image_size == (256, 256) and track.valid.all()
    assert seen[-1] == (8, 8)
    middle = track.points[:, :, 0].mean(axis=1)
    assert middle[-1] - middle[0] == pytest.approx(14, abs=3)
    np.testing.assert_allclose(track.points[0, :, :2], find_faces(face)[0].landmarks[:, :2], atol=6)


def test_gaps_are_interpolated_marked_and_noted(face: Picture, tmp_path: Path) -> None:
    black = np.zeros_like(face)
    frames = [face, face, face, black, black, face, face, face]
    with collect_notes() as notes:
        track = load_motion(write(tmp_path / "v.mp4", frames))
    assert isinstance(track, LandmarkTrack)
    assert not track.valid[3:5].any() and track.valid[[0, 1, 2, 6, 7]].all()
    np.testing.assert_allclose(track.points[3], track.points[0], atol=8)
    assert any("show nobody" in text for text in notes)


def test_nobody_or_hardly_anybody_is_refused(face: Picture, tmp_path: Path) -> None:
    black = np.zeros_like(face)
    with pytest.raises(FaceError, match="nobody in any of its 4 frames"):
        track_video(write(tmp_path / "none.mp4", [black] * 4))
    with pytest.raises(MotionError, match="expected at least 10%"):
        track_video(write(tmp_path / "few.mp4", [face] + [black] * 39))


def test_the_requested_person_of_two_is_tracked(face: Picture, tmp_path: Path) -> None:
    both = np.concatenate([face, face[::2, ::2].repeat(2, 0).repeat(2, 1)[:, ::-1]], axis=1)
    path = write(tmp_path / "v.mp4", [both] * 4)
    for person, low, high in ((1, 0, 256), (2, 256, 512)):
        track = track_video(path, person=person)
        assert isinstance(track, LandmarkTrack) and low < track.points[..., 0].mean() < high
    with collect_notes() as notes:
        track_video(path)
    assert any("2 faces" in text for text in notes)
    with pytest.raises(FaceError, match="fewer than 3"):
        track_video(path, person=3)


def test_a_small_face_that_comes_late_is_found(face: Picture, tmp_path: Path) -> None:
    shown = np.zeros((480, 640, 3), np.uint8)
    shown[40:296, 380:636] = face
    frames = [np.zeros_like(shown)] * 13 + [shown] * 14
    track = track_video(write(tmp_path / "v.mp4", frames))
    assert isinstance(track, LandmarkTrack) and track.valid[-2:].all() and not track.valid[:13].any()
    assert 380 < track.points[-1, :, 0].mean() < 636


def test_body_and_hands(face: Picture, tmp_path: Path) -> None:
    track = load_motion(write(tmp_path / "v.mp4", [face] * 2), pose=True)
    assert isinstance(track, PoseTrack) and len(track) == 2
    assert track.body[0, 0, 2] > 0.5 and 0 < track.body[0, 0, 0] < 1
    check_motion(track)


def test_a_hand_that_hides_long_is_gone_and_one_that_blinks_is_not() -> None:
    hand = np.ones((60, 21, 3), np.float32)
    hand[10:13] = 0
    hand[30:50] = 0
    with collect_notes() as notes:
        filled = _hand_without_gaps(hand, 0, 25)
    assert (filled[10:13] == 1).all() and not filled[30:50].any()
    assert "left hand is hidden in 23 of 60" in notes[0]


def test_frames_of_a_varying_rate_are_put_on_an_even_grid() -> None:
    track = face_track(10)
    times = [i / 25 for i in range(10)]
    assert _even(track, times, 0) is track
    times[5] += 0.03
    with collect_notes() as notes:
        even = _even(track, times, 0)
    assert len(even) == 10 and not np.array_equal(even.points[5], track.points[5]) and "varies" in notes[0]


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_video_that_is_not_upright_is_turned_with_a_note(face: Picture, tmp_path: Path, turn: int) -> None:
    wide = np.ascontiguousarray(np.pad(face, ((0, 0), (0, 64), (0, 0)), mode="edge"))
    frames = [np.ascontiguousarray(np.rot90(np.roll(wide, 2 * i, axis=1), -turn)) for i in range(6)]
    with collect_notes() as notes:
        track = track_video(write(tmp_path / "v.mp4", frames))
    assert [note.code for note in notes] == ["video_turned"]
    assert isinstance(track, LandmarkTrack) and track.image_size == (320, 256)
    np.testing.assert_allclose(track.points[0, :, :2], find_faces(wide)[0].landmarks[:, :2], atol=6)


def test_a_video_that_starts_late_gives_a_track_from_the_start(tmp_path: Path) -> None:
    track = face_track(6)
    late = _even(track, [0.48 + index / track.fps for index in range(6)], 12)
    assert isinstance(late, LandmarkTrack)
    assert len(late) == 18
    np.testing.assert_array_equal(late.points[:12], np.repeat(track.points[:1], 12, axis=0))
    np.testing.assert_array_equal(late.points[12:], track.points)


@pytest.mark.shared
def test_the_motion_of_a_clip_whose_pictures_start_late_stays_in_step(shared: Path) -> None:
    path = shared / "cases" / "video_starts_late.mp4"
    with collect_notes() as notes:
        track, without = track_video(path), track_video(path, keep_start=False)
    assert isinstance(track, LandmarkTrack) and isinstance(without, LandmarkTrack)
    assert (len(track), len(without)) == (72, 60)
    assert [note.code for note in notes] == ["video_starts_late"]
    np.testing.assert_allclose(track.points[12:], without.points, atol=1e-3)

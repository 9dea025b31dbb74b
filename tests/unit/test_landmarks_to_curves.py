"""Reading curves off landmarks, and fitting a motion to a clip."""

import numpy as np
import pytest

from echomimic.errors import MotionError
from echomimic.landmarks.head_pose import face_template, rotation_matrix
from echomimic.mesh.engine import MeshEngine, clip_curves
from echomimic.mesh.landmarks_to_curves import read_curves
from echomimic.mesh.rig import Rig
from echomimic.motion.time_edits import clip_length
from echomimic.notes import collect_notes
from echomimic.options import make_options
from echomimic.types import Curves, LandmarkTrack, Portrait, PoseTrack, Speech

FRAMES, FPS = 150, 25.0
SILENCE = Speech(FRAMES / FPS, 16000, samples=np.zeros(round(FRAMES / FPS * 16000), np.float32), silent=True)


@pytest.fixture(scope="module")
def commanded() -> Curves:
    def wave(hertz: float, phase: float) -> np.ndarray:
        return np.sin(2 * np.pi * hertz * np.arange(FRAMES) / FPS + phase)

    return Curves.rest(FRAMES, FPS).replace(
        jaw=np.clip(wave(1.7, 0), 0, 1) * 0.6,
        spread=wave(0.9, 1) * 0.6,
        smile=np.clip(wave(0.31, 2), 0, 1) * 0.6,
        blink=np.clip(wave(0.4, 2) * 3 - 2, 0, 1),
        brow=wave(0.3, 1) * 0.5,
        yaw=wave(0.2, 0) * 10,
        pitch=wave(0.27, 1) * 7,
        roll=wave(0.23, 2) * 6,
        shift_x=wave(0.35, 1) * 0.05,
    )


@pytest.fixture(scope="module")
def track(commanded: Curves) -> LandmarkTrack:
    rig = Rig(face_template() * 200 + np.array([256, 220, 0], np.float32))
    points = np.stack([rig.points(row) for row in commanded.values])
    return LandmarkTrack(points, (512, 512), FPS, np.ones(FRAMES, bool))


@pytest.mark.parametrize("name", ["jaw", "spread", "smile", "blink", "brow", "yaw", "pitch", "roll", "shift_x"])
def test_curves_are_read_back_off_the_landmarks(commanded, track, name):
    read = read_curves(track)[name]
    assert np.corrcoef(commanded[name], read)[0, 1] > 0.93
    assert np.polyfit(commanded[name], read, 1)[0] == pytest.approx(1, abs=0.3)


def test_a_nod_of_a_turned_head_is_no_turn(commanded: Curves) -> None:
    turned = face_template() @ rotation_matrix(32.0, 5.0, 8.0).T.astype(np.float32)
    rig = Rig(turned * 200 + np.array([256, 220, 0], np.float32))
    nods = Curves.rest(FRAMES, FPS).replace(pitch=commanded["pitch"])
    points = np.stack([rig.points(row) for row in nods.values])
    read = read_curves(LandmarkTrack(points, (512, 512), FPS, np.ones(FRAMES, bool)))
    assert np.ptp(read["yaw"]) < 0.5 and np.ptp(read["roll"]) < 0.5
    assert np.polyfit(nods["pitch"], read["pitch"], 1)[0] == pytest.approx(1, abs=0.05)


def test_frames_without_a_face_are_filled_in_between_their_neighbours(track):
    valid = track.valid.copy()
    valid[40:44] = False
    points = track.points.copy()
    points[40:44] = np.nan
    whole, holed = read_curves(track), read_curves(LandmarkTrack(points, track.image_size, FPS, valid))
    assert np.isfinite(holed.values).all()
    assert np.abs(whole["yaw"] - holed["yaw"])[40:44].max() < 1


def test_a_track_without_any_face_is_refused(track):
    with pytest.raises(MotionError, match="no frame with a face"):
        read_curves(LandmarkTrack(track.points, track.image_size, FPS, np.zeros(FRAMES, bool)))


@pytest.mark.parametrize(("end", "frames"), [("loop", FRAMES), ("hold", FRAMES), ("stop", 50)])
def test_a_motion_shorter_than_the_voice_is_looped_held_or_ends_the_clip_with_a_note(commanded, end, frames):
    first = Curves(commanded.values[:50], FPS)
    short = LandmarkTrack(np.zeros((50, 478, 3), np.float32), (512, 512), FPS, np.ones(50, bool), first)
    options = make_options({"motion_end": end})
    with collect_notes() as notes:
        curves = clip_curves(SILENCE, short, options, clip_length(SILENCE, short, options))
    assert len(curves) == frames
    assert len(notes) == 1 and "the motion lasts 2.0 s" in notes[0]
    if end == "hold":
        assert np.array_equal(curves.values[-1], first.values[-1])
    if end == "loop":
        assert np.abs(np.diff(curves["yaw"])).max() < 2


def test_a_motion_at_another_rate_keeps_its_timing(commanded):
    track = LandmarkTrack(np.zeros((FRAMES, 478, 3), np.float32), (512, 512), FPS, np.ones(FRAMES, bool), commanded)
    fast = clip_curves(SILENCE, track, make_options({"fps": 50}), 2 * FRAMES)
    assert len(fast) == 2 * FRAMES
    assert np.abs(fast["yaw"][::2] - commanded["yaw"]).max() < 1e-4


def test_a_pose_track_is_refused_by_the_mesh_engine():
    pose = PoseTrack(np.zeros((5, 18, 3)), np.zeros((5, 2, 21, 3)), np.zeros((5, 68, 3)), 25.0)
    portrait = Portrait(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(MotionError, match="expected face landmarks"):
        MeshEngine().prepare(portrait, SILENCE, pose, make_options({}))


def test_frames_option_limits_the_clip():
    assert clip_length(SILENCE, None, make_options({"frames": 7})) == 7
    assert clip_length(SILENCE, None, make_options({})) == FRAMES


def test_eyes_that_close_a_little_are_read_and_noise_on_open_ones_is_not():
    rig = Rig(face_template() * 200 + np.array([256, 220, 0], np.float32))
    rows = Curves.rest(FRAMES, FPS)
    rows["blink"][20:25] = 0.2
    points = np.stack([rig.points(row) for row in rows.values])
    points += np.random.default_rng(0).normal(0, 0.3, points.shape).astype(np.float32)
    read = read_curves(LandmarkTrack(points, (512, 512), FPS, np.ones(FRAMES, bool)))["blink"]
    assert 0.15 < read[20:25].mean() < 0.35
    assert np.delete(read, range(20, 25)).max() < 0.03

"""The hands at the motion editor, without a browser: the track for V2 is edited, saved and loaded."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echomimic import motion
from echomimic.diffusion.condition_images import draw_motion
from echomimic.editing import EditingSession, visible_body
from echomimic.errors import FaceError, MotionError
from echomimic.media import read_picture, read_speech
from echomimic.motion import read_edit
from echomimic.motion.gestures import portrait_gestures
from echomimic.motion.time_edits import fit_to_clip
from echomimic.options import make_options
from echomimic.presets import PRESETS
from echomimic.types import Portrait, PoseTrack

EDIT = "draw_curve(track, 'left_y', [(0.2, 0.8), (0.5, 0.6), (0.8, 0.8)])"


@pytest.fixture
def session(portrait_file: Path, voice_file: Path) -> EditingSession:
    return EditingSession(portrait_file, voice_file)


@pytest.fixture
def closeup(portrait_file: Path, tmp_path: Path) -> Path:
    """A face without shoulders."""
    path = tmp_path / "closeup.png"
    Image.open(portrait_file).crop((160, 30, 290, 175)).resize((390, 435)).save(path)
    return path


def test_the_hands_are_those_that_v2_would_follow(
    session: EditingSession, portrait_file: Path, voice_file: Path
) -> None:
    options = make_options({}, PRESETS["v2"].defaults)
    wanted = portrait_gestures(read_picture(portrait_file), read_speech(voice_file), options)
    np.testing.assert_array_equal(session.hands.history.track.hands, wanted.hands)
    assert session.hands.history.track.fps == options.fps == 24
    assert [line.name for line in session.hands.table] == list(session.hands.values())
    assert "no left hand" in session.hands.notes[0]


def test_the_body_is_searched_only_on_request(
    portrait_file: Path, voice_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_portrait: Portrait) -> None:
        raise AssertionError("the face editor looked for a body")

    monkeypatch.setattr("echomimic.editing.find_body", never)
    session = EditingSession(portrait_file, voice_file)
    session.apply({"face": ["scale_curve(track, 'jaw', 0)"]})
    assert session.edits == {"face": (read_edit("scale_curve(track, 'jaw', 0)"),), "hands": ()}


def test_the_picture_shows_the_hands_where_they_are(session: EditingSession) -> None:
    hands = session.hands
    before = hands.picture(12)
    high = hands.history.preview([read_edit("draw_curve(track, 'left_y', [(0, 0.3), (0.96, 0.3)])")])
    moved = np.abs(hands.picture(12, track=high).astype(int) - before).max(axis=2) > 20
    rows, columns = np.nonzero(moved)
    assert rows.min() / hands.size[1] < 0.36
    assert columns.min() / hands.size[0] > 0.35  # the person's own left is on the picture's right
    np.testing.assert_array_equal(hands.picture(12), before)


def test_edits_are_undone_and_saved_with_the_track(session: EditingSession, tmp_path: Path) -> None:
    hands = session.hands
    session.apply({"hands": [EDIT, "scale_curve(track, 'right_x', 0)"], "face": ["scale_curve(track, 'yaw', 0)"]})
    assert hands.values()["left_y"].min() == pytest.approx(0.6, abs=0.02)
    assert np.ptp(hands.values()["right_x"]) < 1e-6
    hands.history.undo()
    assert hands.history.edits == (read_edit(EDIT),)
    assert session.face.history.edits == (read_edit("scale_curve(track, 'yaw', 0)"),)  # each has its own undo
    hands.history.redo()
    path = hands.save(tmp_path / "hands.npz")
    assert motion.load_edits(path) == hands.history.edits
    saved = motion.load_motion(path)
    assert isinstance(saved, PoseTrack)
    np.testing.assert_allclose(saved.hands, hands.history.track.hands, atol=1e-6)


def test_a_loaded_pose_track_goes_to_the_hands(
    session: EditingSession, portrait_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    session.apply({"hands": [EDIT]})
    path = session.hands.save(tmp_path / "hands.npz")
    again = EditingSession(portrait_file, voice_file)
    assert again.load(path) == "hands"
    assert again.hands.history.edits == (read_edit(EDIT),)  # of this voice: it can be undone
    other = EditingSession(portrait_file, voice_file, {"seed": 3})
    assert other.load(path) == "hands"
    assert (other.hands.history.baked, other.hands.history.edits) == ((read_edit(EDIT),), ())
    np.testing.assert_allclose(other.hands.history.track.hands, session.hands.history.track.hands, atol=1e-5)
    foreign = motion.save_motion(tmp_path / "hands.json", session.hands.history.track)
    assert other.load(foreign) == "hands"
    assert other.load(session.face.save(tmp_path / "face.npz")) == "face"


def test_without_shoulders_the_reason_is_given(closeup: Path, voice_file: Path, tmp_path: Path) -> None:
    session = EditingSession(closeup, voice_file)
    with pytest.raises(FaceError, match=r"closeup shows no shoulders.*expected head and shoulders"):
        _ = session.hands
    with pytest.raises(FaceError):
        session.apply({"hands": [EDIT]})
    session.apply({"face": ["scale_curve(track, 'jaw', 0)"]})
    with pytest.raises(FaceError, match="no body found"):
        visible_body(Portrait(np.full((128, 128, 3), 90, np.uint8)))


def test_hands_that_became_too_fast_give_a_note(session: EditingSession) -> None:
    assert not any("jump" in text for text in session.hands.notes)
    session.apply({"hands": ["draw_curve(track, 'left_y', [(0.2, 0.9), (0.3, 0.3), (0.4, 0.9)])"]})
    assert any("hands jump" in text for text in session.hands.notes)
    session.hands.history.undo()
    assert not any("jump" in text for text in session.hands.notes)


def test_a_wrong_line_is_refused_in_one_line(session: EditingSession) -> None:
    with pytest.raises(MotionError, match="unknown curve 'jaw'; expected one of left_x"):
        session.apply({"hands": ["scale_curve(track, 'jaw', 0)"]})
    assert session.hands.history.edits == ()


def test_the_network_gets_the_edited_hands(session: EditingSession, tmp_path: Path) -> None:
    conditioning = pytest.importorskip("echomimic.diffusion.conditioning", reason="needs the diffusion extra")
    preset, hands = PRESETS["v2"], session.hands
    session.apply({"hands": [EDIT]})
    saved = motion.load_motion(hands.save(tmp_path / "hands.npz"))
    options = make_options({"size": 256}, preset.defaults)
    reference = conditioning.prepare_reference(session.read_portrait(), options, preset)
    given = fit_to_clip(saved, len(hands.history.track), options)
    shown = conditioning.DrivingFrames(preset, reference, given, options).pictures([0, 12])
    for picture, frame in zip(shown, (0, 12), strict=True):
        np.testing.assert_array_equal(picture, draw_motion(hands.history.track, frame, reference.size))
    assert (shown[0] != shown[1]).any()


@pytest.mark.shared
@pytest.mark.parametrize("name", ["0035", "0077"])
def test_a_half_body_is_edited(name: str, shared: Path, voice_file: Path) -> None:
    hands = EditingSession(shared / "data" / "half_body" / f"{name}.png", voice_file).hands
    assert hands.notes == ()
    first = {line: values[0] for line, values in hands.values().items()}
    assert first["left_x"] > 0.5 > first["right_x"]
    assert hands.picture(0).shape[:2] == hands.size[::-1]

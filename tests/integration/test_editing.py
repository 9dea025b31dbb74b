"""Editing sessions from Python: edits without effect give notes, hostile files end quickly, a server can stop them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import write_wav
from echomimic import motion
from echomimic.editing import EditingSession
from echomimic.errors import Cancelled, MotionError
from echomimic.motion import read_edit
from helpers.waiting import at_most_cpu_seconds


@pytest.fixture
def session(portrait_file: Path, voice_file: Path) -> EditingSession:
    return EditingSession(portrait_file, voice_file)


def _saved(session: EditingSession, path: Path, edits: list[object]) -> Path:
    """The session's track with edits put into its file."""
    words = json.loads(session.face.save(path).read_text())
    path.write_text(json.dumps({**words, "edits": edits}))
    return path


@pytest.mark.parametrize(
    "edits",
    [
        ["smooth(track, 1000.0)"] * 100,
        ["smooth(track, 1000.0)"] * 10_000,
        [{"op": "smooth", "seconds": 36_000}] * 1000,
        [{"op": "draw_curve", "curve": "jaw", "keys": [[i / 1000, 0.5] for i in range(20_000)]}] * 8,
        ["(" * 50_000] * 50,
        [{"op": "loop", "seconds": 36_000}] * 100,
    ],
    ids=["smooth", "many", "records", "keys", "brackets", "loops"],
)
def test_a_hostile_list_of_edits_ends_quickly(session: EditingSession, tmp_path: Path, edits: list[object]) -> None:
    path = _saved(session, tmp_path / "t.json", edits)
    with at_most_cpu_seconds(10):  # one on a quiet machine, hours if the edits were applied
        assert session.load(path) == "face"
    session.apply({"face": [{"op": "scale_curve", "curve": "jaw", "gain": 0}]})
    session.face.history.undo()


def test_edits_can_be_stopped(portrait_file: Path, voice_file: Path) -> None:
    stopping = False

    def check(_done: int, _total: int) -> None:
        if stopping:
            raise Cancelled("the server stops")

    session = EditingSession(portrait_file, voice_file, progress=check)
    session.apply({"face": [{"op": "scale_curve", "curve": "jaw", "gain": 0}] * 2})
    before, stopping = session.face.history.track, True
    with pytest.raises(Cancelled):
        session.apply({"face": [{"op": "mirror"}]})
    with pytest.raises(Cancelled):
        session.face.history.undo()
    assert session.face.history.track is before


def test_edits_that_take_too_long_are_refused(session: EditingSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echomimic.editing.EditHistory._applied.__defaults__", (0.0,))
    with pytest.raises(MotionError, match="2 edits take longer than 0 s"):
        session.apply({"face": ["mirror(track)", "mirror(track)"]})
    assert session.face.history.edits == ()


def test_one_wrong_edit_changes_nothing(session: EditingSession) -> None:
    with pytest.raises(MotionError, match="unknown curve 'ears'"):
        session.apply({"face": ["mirror(track)", "scale_curve(track, 'ears', 0)"]})
    assert session.face.history.edits == ()
    session.apply({"face": ["mirror(track)", "scale_curve(track, 'jaw', 0)"]})
    session.face.history.undo()
    assert list(map(str, session.face.history.edits)) == ["mirror(track)"]


def test_edits_of_parts_that_do_not_drive_give_a_note_and_can_be_undone_after_saving(
    session: EditingSession, portrait_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    session.apply({"face": [{"op": "scale_curve", "curve": "jaw", "gain": 0}]})
    assert not session.face.notes and not session.warnings("mesh")
    session.apply({"face": [{"op": "select", "parts": ["eyes", "head"]}]})
    (said,) = map(str, session.face.notes)
    assert "edits of jaw have no effect: mouth is not ticked" in said
    assert session.warnings("mesh") == (said,)
    again = EditingSession(portrait_file, voice_file)
    again.load(session.face.save(tmp_path / "saved.npz"))
    assert again.face.history.edits == session.face.history.edits
    again.face.history.undo()
    assert again.face.history.track.parts is None and not again.face.notes


def test_hands_that_a_preset_does_not_render_give_a_warning(session: EditingSession) -> None:
    session.apply({"hands": [{"op": "scale_curve", "curve": "left_x", "gain": 0}]})
    assert session.warnings("v2") == ()
    assert session.warnings("mesh") == ("preset mesh follows the face: 1 edits of the hands have no effect",)


def test_edits_are_applied_to_another_voice(session: EditingSession, portrait_file: Path, tmp_path: Path) -> None:
    session.apply({"face": [{"op": "amplify", "gain": 0.5, "parts": ["mouth"]}, "scale_curve(track, 'yaw', 0)"]})
    path = session.face.save(tmp_path / "t.npz")
    longer = write_wav(tmp_path / "longer.wav", 0.3 * np.sin(np.arange(48_000) / 9))
    other = EditingSession(portrait_file, longer)
    other.apply(session.edits)
    assert other.face.history.edits == session.face.history.edits == motion.load_edits(path)
    assert not other.face.values()["yaw"].any()


def test_an_edit_that_changes_the_length_is_refused(session: EditingSession) -> None:
    with pytest.raises(MotionError, match="trim changes the length"):
        session.face.history.apply([read_edit({"op": "trim", "end": 0.5})])
    session.apply({"face": [{"op": "trim", "end": 0.5}, {"op": "note", "text": "hello"}]})
    assert session.face.history.edits == ()
    assert session.face.notes == ("trim: left out, since the voice gives the length of the motion here",)


def test_a_saved_track_holds_landmarks_where_its_curves_put_them(session: EditingSession, tmp_path: Path) -> None:
    session.apply({"face": [{"op": "set_curve", "curve": "yaw", "keys": [[0, 10]]}]})
    saved: Any = motion.load_motion(session.face.save(tmp_path / "t.npz"))
    assert saved.image_size == session.face.size
    rows = session.face.curves().values
    np.testing.assert_allclose(saved.points[5], session.face.view.rig.points(rows[5]), atol=1e-3)

"""The editor's sessions, without a browser: what they leave behind, how many stay, names that are too long."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the page needs the web extra")
from fastapi.testclient import TestClient

from conftest import write_wav
from echomimic.apps.web import desk as desks
from echomimic.apps.web.app import create_app
from echomimic.apps.web.desk import Desk, GoneError
from echomimic.apps.web.settings import Settings
from echomimic.apps.web.studio import Studio
from echomimic.editing import EditingSession, _peaks
from echomimic.errors import MotionError
from echomimic.media import read_speech, sound_blocks


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(Studio(Settings(tmp_path / "server")))
    yield desk
    desk.studio.close()


def test_a_session_that_cannot_begin_leaves_nothing(
    desk: Desk, head_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.npz"
    wrong.write_bytes(b"no track")
    with pytest.raises(MotionError):
        desk.begin({"portrait": head_file, "voice": voice_file, "track": wrong}, {})
    with pytest.raises(MotionError):
        desk.begin({"portrait": head_file, "voice": voice_file}, {"edits": '{"face": ["nonsense"]}'})
    assert list(desk.folder.iterdir()) == []


def test_long_tracks_are_forgotten_sooner(
    desk: Desk, head_file: Path, voice_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "_KEPT_FRAMES", 60)  # a track of one second has 25
    first, second, _ = (desk.open(head_file, voice_file, {}) for _ in range(3))
    with pytest.raises(GoneError):
        desk.find(first.id)
    assert not desk.home(first).exists()
    assert desk.find(second.id) is second
    monkeypatch.setattr(desks, "_KEPT_FRAMES", 1)
    desk.tidy()
    assert [each.name for each in desk.folder.iterdir()] == [second.id], "what was used last stays, however long"


def test_what_is_old_is_deleted_though_nobody_comes(
    head_file: Path, voice_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echomimic.apps.web.app._TIDY_EVERY", 0.05)
    settings = Settings(tmp_path / "server", hosts=(), keep_seconds=0.3)
    with TestClient(create_app(settings, warm=False)) as client:
        files = {"portrait": head_file.read_bytes(), "voice": voice_file.read_bytes()}
        name = client.post("/editor/sessions", files=files).json()["id"]
        home, until = settings.folder / "sessions" / name, time.monotonic() + 10
        assert home.exists()
        while home.exists() and time.monotonic() < until:
            time.sleep(0.02)
        assert client.get(f"/editor/sessions/{name}").status_code == 404


def test_names_longer_than_a_file_system_takes(head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    with TestClient(create_app(Settings(tmp_path / "server", hosts=()), warm=False)) as client:
        files = {
            "portrait": ("长" * 120 + ".png", head_file.read_bytes()),
            "voice": ("..", voice_file.read_bytes()),
        }
        begun = client.post("/editor/sessions", files=files)
        assert begun.status_code == 200, begun.text
        saved = client.get(f"/editor/sessions/{begun.json()['id']}/face/track")
        assert saved.status_code == 200
        assert saved.content[:2] == b"PK"


def test_an_error_names_the_file_and_not_its_folder(head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    with TestClient(create_app(Settings(tmp_path / "server", hosts=()), warm=False)) as client:
        files = {
            "portrait": ("me.png", head_file.read_bytes()),
            "voice": ("me.wav", voice_file.read_bytes()),
            "track": ("wrong.npz", b"no track"),
        }
        assert client.post("/editor/sessions", files=files).json()["error"].startswith("wrong.npz cannot be read")


def test_the_voice_is_read_in_pieces(head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    session = EditingSession(head_file, voice_file)
    written = read_speech(session.write_voice(tmp_path / "voice.wav"))
    sound = np.abs(np.concatenate([*sound_blocks(written, 24_000)]))
    loud = [sound[at : at + 240].max() for at in range(0, len(sound), 240)]
    np.testing.assert_allclose(session.peaks[: len(loud)], loud / max(loud), atol=2e-3)
    assert [each.name for each in tmp_path.glob("*.part")] == []
    pieces = [np.array([0.1, -0.2, 0.3]), np.array([-0.4]), np.array([0.0, 0.1, -0.9])]
    assert [float(each) for part in _peaks(pieces, 2) for each in part] == [0.2, 0.4, 0.1, 0.9]


def test_a_track_of_another_length_says_what_is_done_with_it(head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    longer = write_wav(tmp_path / "longer.wav", 0.3 * np.sin(np.arange(24_000) / 9))
    saved = EditingSession(head_file, voice_file).face.save(tmp_path / "saved.npz")
    session = EditingSession(head_file, longer)
    assert not session.face.notes
    session.load(saved)
    assert "back and forth" in session.face.notes[0]

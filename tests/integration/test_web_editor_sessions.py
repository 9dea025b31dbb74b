"""The editor's sessions without a browser: what they leave behind, how long they stay, errors, and renders."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the editor needs the serve extra")
from fastapi.testclient import TestClient

from conftest import write_wav
from echomimic import motion
from echomimic.apps.server.app import create_app
from echomimic.apps.server.routes import editor, editor_state
from echomimic.apps.server.settings import Settings
from echomimic.editing import EditingSession, _peaks
from echomimic.editing.views import PortraitView
from echomimic.media import read_speech, sound_blocks
from echomimic.types import LandmarkTrack, PoseTrack
from helpers.waiting import PATIENCE

MUTE = {"op": "scale_curve", "curve": "jaw", "gain": 0}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(data=tmp_path / "server", worker_command=("false",))
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        yield client


def files(portrait: Path, voice: Path, **more: tuple[str, bytes]) -> dict[str, Any]:
    return {"portrait": ("me.png", portrait.read_bytes()), "speech": ("talk.wav", voice.read_bytes()), **more}


def begin(client: TestClient, portrait: Path, voice: Path, **more: tuple[str, bytes]) -> str:
    answer = client.post("/editor/sessions", files=files(portrait, voice, **more))
    assert answer.status_code == 200, answer.text
    return f"/editor/sessions/{answer.json()['id']}"


def folders(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "server" / "incoming").iterdir())


def test_a_session_that_cannot_begin_leaves_nothing(
    client: TestClient, head_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    wrong = ("wrong.npz", b"no motion")
    answer = client.post("/editor/sessions", files=files(head_file, voice_file, motion=wrong))
    assert (answer.status_code, answer.json()["code"]) == (422, "motion_unusable")
    assert str(tmp_path) not in answer.text
    answer = client.post("/editor/sessions", files={"portrait": head_file.read_bytes()})
    assert answer.json()["code"] == "missing_field"
    assert folders(tmp_path) == []


def test_edits_are_records_that_are_shown_as_python(client: TestClient, head_file: Path, voice_file: Path) -> None:
    here = begin(client, head_file, voice_file)
    state = client.post(f"{here}/face/edits", json={"edits": [MUTE]}).json()
    assert state["edits"] == [{"record": MUTE, "text": "scale_curve(track, 'jaw', 0)"}]
    assert max(state["curves"]["jaw"]) == 0
    wrong = client.post(f"{here}/face/edits", json={"edits": [{"op": "explode"}]})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "motion_unusable")
    shown = client.post(f"{here}/face/preview", json={"edits": [MUTE | {"gain": 0.5}], "at": 10**20})
    assert shown.status_code == 200
    assert client.post(f"{here}/face/undo", json={}).json()["undone"] == 1
    assert client.get(f"{here}/face/frame/{10**20}").headers["content-type"] == "image/jpeg"
    assert client.get(f"{here}/tail/frame/0").status_code == 404
    saved = client.get(f"{here}/face/motion")
    assert saved.headers["content-disposition"].endswith('filename="me-talk.npz"')


def test_edits_that_the_browser_kept_are_applied_to_a_new_session(
    client: TestClient, head_file: Path, voice_file: Path
) -> None:
    here = begin(client, head_file, voice_file)
    state = client.post(f"{here}/restore", json={"face": [MUTE], "hands": []}).json()
    assert [each["record"] for each in state["edits"]["face"]] == [MUTE]


def test_the_server_answers_while_it_analyzes_a_voice(
    client: TestClient, head_file: Path, voice_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on, answers = Event(), Event(), []

    def blocks(*given: Any) -> Iterator[Any]:
        for block in sound_blocks(*given):
            yield block
            began.set()
            assert go_on.wait(PATIENCE)

    monkeypatch.setattr("echomimic.editing.sound_blocks", blocks)
    sent, token = files(head_file, voice_file), {"token": "abc"}
    opening = Thread(target=lambda: answers.append(client.post("/editor/sessions", files=sent, data=token)))
    opening.start()
    assert began.wait(PATIENCE)
    assert client.get("/healthz").status_code == 200
    assert client.get("/editor/analysis/abc").json() == {"done": 0, "total": 1}
    go_on.set()
    opening.join()
    assert answers[0].status_code == 200
    assert client.get("/editor/analysis/abc").json() == {"done": 0, "total": 0}


def test_a_long_clip_comes_with_the_points_of_one_curve(
    client: TestClient, head_file: Path, voice_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = begin(client, head_file, voice_file)
    every = client.get(f"{here}/face").json()["keys"]
    assert len(every) == 18 and len(every["jaw"][0]) == 6
    monkeypatch.setattr(editor_state, "_KEYS_AT_ONCE", 400)  # 25 frames of 18 curves
    assert client.get(f"{here}/face").json()["keys"] == {"jaw": every["jaw"]}
    assert client.get(f"{here}/face?curve=yaw").json()["keys"] == {"yaw": every["yaw"]}
    assert client.get(f"{here}/face/keys/yaw").json() == every["yaw"]
    assert client.get(f"{here}/face/keys/nose").json()["code"] == "motion_unusable"
    changed = client.post(f"{here}/face/edits", json={"edits": [MUTE], "curve": "yaw", "revision": 0}).json()
    assert (list(changed["curves"]), changed["keys"]) == (["jaw"], {})


def test_a_session_in_use_is_not_closed(
    client: TestClient, head_file: Path, voice_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(editor, "_MAX_FRAMES", 60)  # a motion of one second has 25
    first, second = begin(client, head_file, voice_file), begin(client, head_file, voice_file)
    answer = client.post("/editor/sessions", files=files(head_file, voice_file))
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_sessions")
    assert len(folders(tmp_path)) == 2
    monkeypatch.setattr(editor, "_ABANDONED_SECONDS", 0.0)
    assert client.get(f"{first}/alive").status_code == 200
    third = begin(client, head_file, voice_file)  # the one that was used last stays
    assert [client.get(f"{each}/alive").status_code for each in (first, second, third)] == [200, 404, 200]
    assert len(folders(tmp_path)) == 2


def test_an_idle_session_is_closed_and_its_files_are_deleted(
    client: TestClient, head_file: Path, voice_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(editor, "_SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(editor, "_IDLE_SECONDS", 0.1)
    here = begin(client, head_file, voice_file)
    while folders(tmp_path):
        client.get("/healthz")
    assert client.get(f"{here}/alive").json()["code"] == "session_gone"


def test_a_server_that_stops_leaves_no_uploads(head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "server", worker_command=("false",))
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        begin(client, head_file, voice_file)
        assert len(folders(tmp_path)) == 1
    assert folders(tmp_path) == []


def test_unused_renderers_are_released_and_made_again(
    client: TestClient, head_file: Path, voice_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[PortraitView] = []
    release = PortraitView.release

    def spied(view: PortraitView) -> None:
        released.append(view)
        release(view)

    monkeypatch.setattr(PortraitView, "release", spied)
    monkeypatch.setattr(editor, "_MAX_VIEW_BYTES", 1)
    first, second = begin(client, head_file, voice_file), begin(client, head_file, voice_file)

    def drawn(here: str) -> list[bytes]:
        return [client.get(f"{here}/{kind}/frame/3").content for kind in ("face", "hands")]

    before = drawn(first)
    assert drawn(second) == before
    client.post(f"{first}/face/edits", json={"edits": [MUTE]})
    client.post(f"{first}/face/undo", json={})
    assert drawn(first) == before
    assert client.get(f"{second}/face/motion").status_code == 200
    views = list(dict.fromkeys(released))
    assert len(released) > len(views) > 1
    assert sum(view.held_bytes > 0 for view in views) <= 1


def test_names_of_any_length_are_only_shown(client: TestClient, head_file: Path, voice_file: Path) -> None:
    given = {"portrait": ("长" * 120 + ".png", head_file.read_bytes()), "speech": ("..", voice_file.read_bytes())}
    here = client.post("/editor/sessions", files=given).json()["id"]
    saved = client.get(f"/editor/sessions/{here}/face/motion")
    assert saved.status_code == 200
    assert saved.content[:2] == b"PK"


@pytest.mark.parametrize("preset", ["mesh", "tiny"])
def test_a_render_is_a_job_with_the_motion_of_the_session(
    preset: str, client: TestClient, portrait_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    here = begin(client, portrait_file, voice_file)
    client.post(f"{here}/face/edits", json={"edits": [MUTE]})
    job = client.post(f"{here}/render", json={"preset": preset, "options": {"size": "128"}}).json()
    assert job["request"]["preset"] == preset
    assert job["request"]["options"]["size"] == 128
    assert client.get(job["links"]["self"]).status_code == 200
    wrong = client.post(f"{here}/render", json={"preset": preset, "options": {"size": "many"}})
    assert wrong.json()["code"] == "option_invalid"
    for base, codes in ((job["id"], ("not_finished", "job_failed")), ("0" * 32, ("unknown_job",))):
        span = client.post(f"{here}/render", json={"span": [0.2, 0.4], "base": base})
        assert span.json()["code"] in codes
    assert len(folders(tmp_path)) == 1


@pytest.mark.parametrize("preset", ["mesh", "v1", "v1-landmarks-acc", "tiny", "v2", "v2-acc"])
def test_every_preset_is_given_the_motion_that_it_follows(
    preset: str, portrait_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    from echomimic.apps.server.uploads import Upload

    session = EditingSession(portrait_file, voice_file)
    found = editor.OpenSession(session, Upload(tmp_path), "")
    (tmp_path / "job").mkdir()
    editor._prepare_render(found, tmp_path / "job", {"preset": preset, "options": {}})
    given = motion.load_motion(tmp_path / "job" / "motion")
    assert isinstance(given, PoseTrack if preset.startswith("v2") else LandmarkTrack)
    if isinstance(given, LandmarkTrack) and preset.startswith("v1"):
        assert given.image_size == (512, 512)  # what the network sees: the crop


def test_the_voice_is_read_in_pieces(head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    session = EditingSession(head_file, voice_file)
    written = read_speech(session.write_voice(tmp_path / "voice.wav"))
    sound = np.abs(np.concatenate([*sound_blocks(written, 24_000)]))
    loud = [sound[at : at + 240].max() for at in range(0, len(sound), 240)]
    np.testing.assert_allclose(session.peaks[: len(loud)], loud / max(loud), atol=2e-3)
    assert [each.name for each in tmp_path.glob("*.part")] == []
    pieces = [np.array([0.1, -0.2, 0.3]), np.array([-0.4]), np.array([0.0, 0.1, -0.9])]
    assert [float(each) for part in _peaks(pieces, 2) for each in part] == [0.2, 0.4, 0.1, 0.9]


def test_a_motion_of_another_length_makes_a_note(head_file: Path, voice_file: Path, tmp_path: Path) -> None:
    longer = write_wav(tmp_path / "longer.wav", 0.3 * np.sin(np.arange(24_000) / 9))
    saved = EditingSession(head_file, voice_file).face.save(tmp_path / "saved.npz")
    session = EditingSession(head_file, longer)
    assert not session.face.notes
    session.load(saved)
    assert "back and forth" in session.face.notes[0]

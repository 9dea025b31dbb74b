"""Project files of the editor: saved, opened after a restart, refused if hostile; the queue's order; bare addresses."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the editor needs the serve extra")
from fastapi.testclient import TestClient

from echomimic.apps.server.app import create_app
from echomimic.apps.server.settings import Settings

MUTE = {"op": "scale_curve", "curve": "jaw", "gain": 0.0}
LAYER = {"op": "layer", "name": "mine", "edits": [{"op": "express", "expression": "nod", "start": 0.2}]}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(data=tmp_path / "server", worker_command=("false",), max_upload=5)
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def saved(client: TestClient, head_file: Path, voice_file: Path) -> bytes:
    files = {"portrait": ("me.png", head_file.read_bytes()), "speech": ("talk.wav", voice_file.read_bytes())}
    here = f"/editor/sessions/{client.post('/editor/sessions', files=files).json()['id']}"
    client.post(f"{here}/face/edits", json={"edits": [MUTE, LAYER]})
    take = {"name": "Take 1", "at": 1.0, "preset": "mesh", "edits": {"face": [MUTE]}}
    assert client.post(f"{here}/takes", json={"takes": [take]}).json() == {"takes": 1}
    answer = client.get(f"{here}/project")
    assert answer.headers["content-disposition"].endswith('filename="me-talk.echomimic.zip"')
    return answer.content


def opened(client: TestClient, data: bytes) -> Any:
    return client.post("/editor/projects", files={"project": ("p.zip", data)})


def test_a_project_opens_on_another_server_with_all_that_was_in_it(saved: bytes, tmp_path: Path) -> None:
    with TestClient(create_app(Settings(data=tmp_path / "other")), base_url="http://127.0.0.1") as other:
        state = other.get(f"/editor/sessions/{opened(other, saved).json()['id']}").json()
        assert (state["portrait"], state["voice"]) == ("me.png", "talk.wav")
        assert [each["record"]["op"] for each in state["edits"]["face"]] == ["scale_curve", "layer"]
        assert max(state["face"]["curves"]["jaw"]) == 0
        assert [each["name"] for each in state["takes"]] == ["Take 1"]


def rewritten(data: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    change(parts)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def facts(**values: object) -> Callable[[dict[str, bytes]], None]:
    def change(parts: dict[str, bytes]) -> None:
        parts["project.json"] = json.dumps({**json.loads(parts["project.json"]), **values}).encode()

    return change


HOSTILE: dict[str, Callable[[dict[str, bytes]], None]] = {
    "climbs": lambda parts: parts.update({"../evil": b"x"}),
    "bomb": lambda parts: parts.update({"voice": bytes(40_000_000)}),
    "lacks": lambda parts: parts.update({"other": parts.pop("voice")}),
    "facts": lambda parts: parts.update({"project.json": b"[" * 100_000}),
    "edits": facts(edits={"face": [{"op": "explode"}]}),
    "takes": facts(takes=[{"name": "x", "at": 0, "preset": "mesh", "job": "../../etc"}]),
    "portrait": lambda parts: parts.update({"portrait": b"no picture"}),
    "motion": lambda parts: parts.update({"face.npz": b"no motion"}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_project_is_refused_in_one_line_and_leaves_nothing(
    case: str, client: TestClient, saved: bytes, tmp_path: Path
) -> None:
    before = set((tmp_path / "server" / "incoming").iterdir())
    answer = opened(client, rewritten(saved, HOSTILE[case]))
    assert answer.status_code == 422, answer.text
    assert "\n" not in answer.json()["detail"] and str(tmp_path) not in answer.text
    assert set((tmp_path / "server" / "incoming").iterdir()) == before
    assert opened(client, b"PK no zip").json()["code"] == "motion_unusable"


def test_a_waiting_job_is_made_before_another(client: TestClient, head_file: Path, voice_file: Path) -> None:
    names = []
    for _ in range(3):
        files = {"portrait": head_file.read_bytes(), "speech": voice_file.read_bytes()}
        names.append(client.post("/v1/animations", files=files, data={"preset": "mesh"}).json()["id"])
    states = {each["id"]: each for each in client.get("/v1/animations").json()["items"]}
    waiting = [name for name in names if states[name]["state"] == "queued"]
    if len(waiting) > 1:
        client.post(f"/ui/jobs/{waiting[-1]}/earlier")
        order = sorted(
            (each for each in client.get("/v1/animations").json()["items"] if each["position"]),
            key=lambda each: each["position"],
        )
        assert [each["id"] for each in order].index(waiting[-1]) < len(order) - 1 or len(order) < 2
    assert client.post(f"/ui/jobs/{'0' * 32}/earlier").status_code == 404


@pytest.mark.parametrize("path", ["/editor/sessions/%00", "/ui/portraits/%00", "/v1/animations/%00", "/static/%00"])
def test_a_null_byte_is_reported_as_an_error_of_the_client(path: str, client: TestClient) -> None:
    assert client.get(path).status_code in (400, 404)
    number = 10**400
    assert client.get(f"/editor/sessions/x/face/frame/{number}").status_code in (404, 422)

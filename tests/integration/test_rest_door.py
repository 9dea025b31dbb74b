"""Who may come in, what the server says of itself, and what survives a stop."""

import json
import re
import time
from pathlib import Path

import pytest

from echomimic.apps.cli import serve as serve_cli
from echomimic.apps.cli.main import run
from echomimic.apps.jobs import worker
from echomimic.apps.jobs.job_types import ANIMATION, KINDS, Way
from echomimic.apps.option_specs import OPTION_SPECS
from echomimic.apps.server import runner as stand
from echomimic.apps.server.problems import Problem
from echomimic.apps.server.settings import Settings
from echomimic.apps.server.validation import field_schemas, read_wishes
from echomimic.client import Client, ServerError
from echomimic.errors import InputError
from echomimic.options import OPTION_NAMES
from helpers.rest_server import serving
from helpers.rest_worker import SLOW

SETTINGS = Settings(Path("nowhere"))
KEYS = ("a-key-of-sixteen-letters", "another-key-of-letters")


def test_keys(tmp_path: Path) -> None:
    with serving(tmp_path, keys=KEYS) as server:
        assert server.ask("GET", "/healthz").status == 200
        refused = server.ask("GET", "/v1/animations")
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        for wrong in ({"Authorization": f"Basic {KEYS[0]}"}, {"X-API-Key": KEYS[0][:-1]}, {"Authorization": "Bearer"}):
            assert server.ask("GET", "/metrics", headers=wrong).status == 401
        mine, other = ({"X-API-Key": key} for key in KEYS)
        server.headers = mine
        job = server.ended(server.post().json)
        assert server.client.look(job)["state"] == "succeeded"
        assert server.ask("GET", "/v1/animations").json["items"][0]["id"] == job["id"]
        server.headers = other
        assert server.ask("GET", "/v1/animations").json["items"] == []
        for method, link in (
            ("GET", "/result"),
            ("DELETE", ""),
            ("POST", "/cancel"),
            ("GET", "/live"),
            ("GET", "/events"),
        ):
            assert server.ask(method, f"{job['links']['self']}{link}").status == 404, "somebody else's job is not there"
        assert b"key-of" not in (tmp_path / "jobs.sqlite").read_bytes() + (tmp_path / "jobs.sqlite-wal").read_bytes()


def test_what_runs_when_the_server_stops_runs_again(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        done = server.ended(server.post().json)
        cut = server.until(server.post(seed=str(SLOW), frames="100").json, "running")
        waiting = server.post(seed="5").json
    left = tmp_path / "jobs" / cut["id"]
    (left / ".echomimic-part-1234.mp4").write_bytes(b"half")
    (tmp_path / "incoming" / "half").mkdir()
    (tmp_path / "jobs" / "0123").mkdir()
    with serving(tmp_path) as server:
        assert server.ask("GET", done["links"]["result"]).status == 200
        assert server.ask("GET", f"{cut['links']['self']}/result").status == 409
        again = server.ended(cut)
        assert (again["state"], again["attempt"]) == ("succeeded", 2)
        assert server.ended(waiting)["attempt"] == 1
        assert [path.name for path in left.iterdir()] == ["result.mp4"]
        assert not (tmp_path / "incoming" / "half").exists()
        assert not (tmp_path / "jobs" / "0123").exists()


def test_a_job_that_is_cut_off_for_ever_is_given_up(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        job = server.until(server.post(seed=str(SLOW), frames="500").json, "running")
    with serving(tmp_path, restarts=0) as server:
        failed = server.ended(job)
        assert (failed["state"], failed["error"]["code"]) == ("failed", "cut_off")


def test_one_server_a_folder(tmp_path: Path) -> None:
    with serving(tmp_path), pytest.raises(Problem, match="another server"):
        stand.create_app(Settings(tmp_path))


def test_the_paper_names_every_option_and_every_answer(tmp_path: Path) -> None:
    with serving(tmp_path, keys=KEYS) as server:
        paper = server.ask("GET", "/openapi.json").json
        page = server.ask("GET", "/")
    form = paper["paths"]["/v1/animations"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert list(form["properties"]) == [
        "portrait",
        "speech",
        "motion",
        "preset",
        "save_motion",
        "format",
        *OPTION_NAMES,
    ]
    assert form["additionalProperties"] is False
    assert (form["properties"]["fps"]["minimum"], form["properties"]["fps"]["maximum"]) == (1.0, 120.0)
    text = json.dumps(paper)
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) == set(paper["components"]["schemas"])
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(rb"(?:src|href)=.?(?:https?:)?//", page.body), "nothing comes from elsewhere"
    assert all(f"<code>{control.name}</code>".encode() in page.body for control in OPTION_SPECS)
    assert str(tmp_path) not in text + page.body.decode()


def test_metrics(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.ended(server.post().json)
        server.ask("GET", "/nothing/of/the/sort")
        until, text = time.monotonic() + 10, ""
        while "jobs_ended_total{" not in text and time.monotonic() < until:
            text = server.ask("GET", "/metrics").body.decode()
    for line in (
        'echomimic_jobs{state="succeeded"} 1.0',
        'echomimic_jobs_ended_total{kind="animation",state="succeeded"} 1.0',
        'echomimic_requests_total{method="POST",route="/v1/animations",status="202"} 1.0',
        'echomimic_requests_total{method="GET",route="none",status="404"} 1.0',
        "echomimic_workers_busy 0.0",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("way", [way for kind in KINDS.values() for way in kind.ways], ids=lambda way: way.needs[0])
def test_every_default_may_be_given(way: Way) -> None:
    kind = next(kind for kind in KINDS.values() if way in kind.ways)
    fields = {name: schema["default"] for name, schema in field_schemas(kind, way).items() if "default" in schema}
    wishes = read_wishes(kind, way, fields, SETTINGS)
    assert read_wishes(kind, way, {name: str(value) for name, value in fields.items()}, SETTINGS) == wishes


def test_what_json_brings_has_the_right_type() -> None:
    (way,) = ANIMATION.ways
    assert read_wishes(ANIMATION, way, {"fps": "25"}, SETTINGS)["options"] == {"fps": 25.0}
    for name, value in (("fps", True), ("seed", 1.5), ("framing", 3), ("still_background", 1), ("preset", [])):
        with pytest.raises(Problem):
            read_wishes(ANIMATION, way, {name: value}, SETTINGS)


def test_the_client_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected http"):
        Client("nowhere")
    with pytest.raises(ServerError, match="echomimic serve"):
        Client("http://127.0.0.1:1", timeout=1).animate(__file__, __file__, patience=0)
    with pytest.raises(InputError, match="cannot be read"):
        Client().animate(tmp_path / "missing.png", __file__)
    with serving(tmp_path / "data") as server:
        with pytest.raises(ServerError) as caught:
            server.client.animate(__file__, __file__, seed=-1)
        assert (caught.value.status, caught.value.code) == (422, "invalid_option")
        with pytest.raises(ServerError, match="speech holds text"):
            server.client.wait(server.client.animate(__file__, __file__))


def test_a_worker_that_cannot_start_fails_the_job_and_not_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, worker=(str(tmp_path / "missing"),)) as server:
        for _ in range(2):
            failed = server.ended(server.post().json)
            assert (failed["state"], failed["error"]["code"]) == ("failed", "server_fault")


Captured = pytest.CaptureFixture[str]


def test_serve_is_careful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    started: list[Settings] = []
    monkeypatch.setattr(stand, "run_server", lambda settings, *_: started.append(settings))
    monkeypatch.delenv("ECHOMIMIC_API_KEYS", raising=False)
    assert run(["serve", "--host", "0.0.0.0"]) == 2
    assert "--no-key" in capsys.readouterr().err
    short = tmp_path / "short"
    short.write_text("secret\n")
    assert run(["serve", "--key-file", str(short)]) == 2
    assert "16 or more" in capsys.readouterr().err
    assert run(["serve", "--key-file", str(tmp_path / "none")]) == 2
    assert started == []
    assert run(["serve"]) == 0
    assert (started[-1].keys, started[-1].any_host, started[-1].allow_urls) == ((), False, False)
    monkeypatch.setenv("ECHOMIMIC_API_KEYS", ",".join(KEYS))
    assert run(["serve", "--host", "0.0.0.0", "--max-upload", "5", "--keep", "2"]) == 0
    assert (started[-1].keys, started[-1].max_upload, started[-1].keep_seconds) == (KEYS, 5_000_000, 7200)


def test_a_port_that_is_taken(tmp_path: Path, capsys: Captured) -> None:
    with serving(tmp_path / "a") as server:
        assert run(["serve", "--port", str(server.port), "--data", str(tmp_path / "b")]) == 2
        assert "--port" in capsys.readouterr().err


def test_messages_lose_the_folder_of_the_server() -> None:
    folder = "/srv/jobs/12"
    assert worker._plain("/srv/jobs/12/speech is\nempty; see /srv/jobs/12", folder) == "speech is empty; see the job"


def test_who_may_call() -> None:
    assert serve_cli._who_may_call("127.0.0.2", False, False) == (("127.0.0.1", "localhost", "::1", "127.0.0.2"), False)
    assert serve_cli._who_may_call("0.0.0.0", True, False) == (("0.0.0.0",), True)

"""Access, the description of the API, settings, and what survives a stop."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from echomimic.apps.cli.main import run
from echomimic.apps.jobs import worker
from echomimic.apps.jobs.request import ANIMATION, JOB_TYPES, InputVariant, JobError, JobSettings, JobType
from echomimic.apps.option_specs import OPTION_SPECS
from echomimic.apps.server import runner
from echomimic.apps.server.app import create_app
from echomimic.apps.server.schemas import Problem
from echomimic.apps.server.settings import Settings
from echomimic.apps.server.validation import field_schemas, parse_request
from echomimic.client import Client, ServerError
from echomimic.errors import InputError
from echomimic.options import OPTION_NAMES
from helpers.rest_server import serving
from helpers.waiting import wait_for_names, wait_until

KEYS = ("a-key-of-sixteen-letters", "another-key-of-letters")


def test_api_keys_are_required_and_separate_the_jobs(tmp_path: Path) -> None:
    with serving(tmp_path, api_keys=KEYS) as server:
        assert server.ask("GET", "/healthz").status == 200
        refused = server.ask("GET", "/v1/animations")
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        for wrong in ({"Authorization": f"Basic {KEYS[0]}"}, {"X-API-Key": KEYS[0][:-1]}, {"Authorization": "Bearer"}):
            assert server.ask("GET", "/metrics", headers=wrong).status == 401
        mine, other = ({"X-API-Key": key} for key in KEYS)
        server.headers = mine
        job = server.ended(server.post().json)
        assert server.client.get(job)["state"] == "succeeded"
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


def test_a_job_that_runs_when_the_server_stops_runs_again(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        done = server.ended(server.post().json)
        cut = server.held()
        waiting = server.post(seed="5").json
    left = tmp_path / "jobs" / cut["id"]
    (left / ".echomimic-part-1234.mp4").write_bytes(b"half")
    (tmp_path / "incoming" / "half").mkdir()
    (tmp_path / "jobs" / "0123").mkdir()
    with serving(tmp_path) as server:
        server.release(cut)
        assert server.ask("GET", done["links"]["result"]).status == 200
        again = server.ended(cut)
        assert (again["state"], again["attempt"]) == ("succeeded", 2)
        assert server.ended(waiting)["attempt"] == 1
        wait_for_names(left, "result.mp4")
        assert not (tmp_path / "incoming" / "half").exists()
        assert not (tmp_path / "jobs" / "0123").exists()


def test_a_job_that_is_interrupted_too_often_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path) as server:
        job = server.held()
    monkeypatch.setattr("echomimic.apps.server.settings.JobSettings", partial(JobSettings, max_restarts=0))
    with serving(tmp_path) as server:
        failed = server.ended(job)
        assert (failed["state"], failed["error"]["code"]) == ("failed", "interrupted")


def test_only_one_server_uses_a_folder(tmp_path: Path) -> None:
    with serving(tmp_path), pytest.raises(JobError, match="another server"):
        create_app(Settings(data=tmp_path))


def test_the_description_names_every_option_and_every_response(tmp_path: Path) -> None:
    with serving(tmp_path, api_keys=KEYS) as server:
        description = server.ask("GET", "/openapi.json").json
        page = server.ask("GET", "/docs")
    form = description["paths"]["/v1/animations"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
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
    text = json.dumps(description)
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) == set(description["components"]["schemas"])
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(rb"(?:src|href)=.?(?:https?:)?//", page.body), "nothing comes from elsewhere"
    assert all(f"<code>{spec.name}</code>".encode() in page.body for spec in OPTION_SPECS)
    assert str(tmp_path) not in text + page.body.decode()


def test_metrics(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.ended(server.post().json)
        server.ask("GET", "/nothing/of/the/sort")
        text = wait_until(
            lambda: text if "jobs_ended_total{" in (text := server.ask("GET", "/metrics").body.decode()) else ""
        )
    for line in (
        'echomimic_jobs{state="succeeded"} 1.0',
        'echomimic_jobs_ended_total{kind="animation",state="succeeded"} 1.0',
        'echomimic_requests_total{method="POST",route="/v1/animations",status="202"} 1.0',
        'echomimic_requests_total{method="GET",route="none",status="404"} 1.0',
        "echomimic_workers_busy 0.0",
    ):
        assert line in text.splitlines()


VARIANTS = [(job_type, variant) for job_type in JOB_TYPES.values() for variant in job_type.variants]


@pytest.mark.parametrize(("job_type", "variant"), VARIANTS, ids=lambda each: getattr(each, "name", None))
def test_every_default_can_be_sent(job_type: JobType, variant: InputVariant) -> None:
    schemas = field_schemas(job_type, variant)
    fields = {name: str(schema["default"]) for name, schema in schemas.items() if "default" in schema}
    assert set(parse_request(job_type, variant, fields, 600)) >= set(variant.fields)


LOADED_AT_START = ("runner", "routes.ui", "routes.editor", "routes.live")


def test_an_idle_server_loads_no_numpy() -> None:
    names = ", ".join(f"echomimic.apps.server.{name}" for name in LOADED_AT_START)
    script = (
        f"import sys, echomimic.apps.cli.main, {names}; sys.exit(bool({{'numpy', 'cv2', 'av'}} & {{*sys.modules}}))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_fields_become_values_of_the_right_type() -> None:
    (variant,) = ANIMATION.variants
    assert parse_request(ANIMATION, variant, {"guidance": "2"}, 600)["options"] == {
        "guidance_scale": 2.0
    }  # the old name
    assert parse_request(ANIMATION, variant, {"fps": "25"}, 600)["options"] == {"fps": 25.0}
    assert parse_request(ANIMATION, variant, {"fps": "30000/1001"}, 600)["options"] == {"fps": 30000 / 1001}
    for name, text in (("fps", "fast"), ("seed", "1.5"), ("framing", "3"), ("still_background", "2"), ("preset", "[]")):
        with pytest.raises(Problem):
            parse_request(ANIMATION, variant, {name: text}, 600)


def test_the_client_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected http"):
        Client("nowhere")
    with pytest.raises(ServerError, match="echomimic serve"):
        Client("http://127.0.0.1:1", timeout=1, patience=0).animate(__file__, __file__)
    with pytest.raises(InputError, match="cannot be read"):
        Client().animate(tmp_path / "missing.png", __file__)
    with serving(tmp_path / "data") as server:
        with pytest.raises(ServerError) as caught:
            server.client.animate(__file__, __file__, seed=-1)
        assert (caught.value.status, caught.value.code) == (422, "option_invalid")
        with pytest.raises(ServerError, match="speech holds text"):
            server.client.wait(server.client.animate(__file__, __file__))


def test_a_worker_that_cannot_start_fails_the_job_and_not_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, worker_command=(str(tmp_path / "missing"),)) as server:
        for _ in range(2):
            failed = server.ended(server.post().json)
            assert (failed["state"], failed["error"]["code"]) == ("failed", "worker_start_failed")


Captured = pytest.CaptureFixture[str]


def test_serve_refuses_unsafe_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    started: list[Settings] = []
    monkeypatch.setattr(runner, "run_server", lambda settings, _: started.append(settings))
    monkeypatch.delenv("ECHOMIMIC_API_KEYS", raising=False)
    assert run(["serve", "--host", "0.0.0.0"]) == 2
    assert "--no-key" in capsys.readouterr().err
    short = tmp_path / "short"
    short.write_text("secret\n")
    assert run(["serve", "--key-file", str(short)]) == 2
    assert "16 or more" in capsys.readouterr().err
    assert run(["serve", "--key-file", str(tmp_path / "none")]) == 2
    assert run(["serve", "--workers", "0"]) == 2
    assert "--workers is 0" in capsys.readouterr().err
    assert started == []
    assert run(["serve"]) == 0
    assert (started[-1].keys, started[-1].is_public) == ((), False)
    monkeypatch.setenv("ECHOMIMIC_API_KEYS", ",".join(KEYS))
    monkeypatch.setenv("ECHOMIMIC_QUEUE", "7")
    monkeypatch.setenv("ECHOMIMIC_MAX_UPLOAD", "6")
    names = ("--allow-host", "a.example", "--allow-host", "b.example")
    assert run(["serve", "--host", "0.0.0.0", "--max-upload", "5", "--keep", "2", *names]) == 0
    assert (started[-1].keys, started[-1].max_upload, started[-1].jobs.keep_seconds) == (KEYS, 5, 7200)
    assert (started[-1].queue, started[-1].allow_host) == (7, ("a.example", "b.example"))


def test_a_port_that_is_taken(tmp_path: Path, capsys: Captured) -> None:
    with serving(tmp_path / "a") as server:
        assert run(["serve", "--port", str(server.port), "--data", str(tmp_path / "b")]) == 2
        assert "--port" in capsys.readouterr().err


def test_messages_name_no_folder_and_no_flag() -> None:
    folder = "/srv/jobs/12"
    assert (
        worker.public_text("/srv/jobs/12/speech is\nempty; see /srv/jobs/12", folder) == "speech is empty; see the job"
    )
    assert worker.public_text("vae is not in /home/me/weights/v1/vae.pth") == "vae is not in vae.pth"
    assert worker.public_text("say where with `face_box`, or lower `size`") == "say where with face_box, or lower size"


def test_accepted_host_names() -> None:
    local, everywhere = Settings(), Settings(host="0.0.0.0", allow_host=("me.example",))
    for header in ("127.0.0.1:8765", "localhost", "[::1]:80", "LOCALHOST:1"):
        assert local.accepts_host(header)
        assert everywhere.accepts_host(header)
    for header in ("evil.example", "192.168.1.5", "", "[::1", "localhost.evil.example", "127.0.0.1.evil.example"):
        assert not local.accepts_host(header)
    assert everywhere.accepts_host("192.168.1.5:8765"), "a page cannot rebind an address"
    assert everywhere.accepts_host("me.example:8765")
    assert not everywhere.accepts_host("evil.example")
    assert Settings(host="127.0.0.2").accepts_host("127.0.0.2")
    assert not Settings(host="127.0.0.2").is_public

"""Faults found in use: workers, cancelling, full disks, pages of other origins, slow clients."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from echomimic.apps.jobs.queue import JobQueue
from echomimic.apps.jobs.store import Store
from echomimic.apps.jobs.worker import WorkerProcess
from helpers.rest_server import Server, form, free_port, png, serving, start, wav
from helpers.rest_worker import BREAK, HANG
from helpers.waiting import PATIENCE, wait_until

BROKEN = (sys.executable, "-c", "import a_module_that_is_missing")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with serving(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server that waits half a second for the head of a request."""
    with serving(tmp_path_factory.mktemp("impatient"), header_seconds=0.5) as running:
        yield running


# workers


@pytest.mark.parametrize("warm", [False, True])
def test_a_worker_that_cannot_start_fails_each_job_with_the_reason(
    warm: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(tmp_path, worker_command=BROKEN, warm=warm) as server:
        for _ in range(2):
            failed = server.ended(server.post().json)
            assert (failed["state"], failed["error"]["code"]) == ("failed", "worker_start_failed")
            assert "No module named 'a_module_that_is_missing'" in failed["error"]["detail"]
        ready = server.ask("GET", "/readyz")
        assert (ready.status, ready.json["code"]) == (503, "worker_start_failed")
        assert server.ask("GET", "/healthz").status == 200
    assert "Traceback" in caplog.text, "the log has the stderr of the worker"


def test_ready_once_a_worker_can_start(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.ask("GET", "/readyz").json == {"status": "ready"}
    with serving(tmp_path, worker_command=BROKEN) as server:
        assert server.ask("GET", "/readyz").status == 503, "nobody has sent a job yet"


def test_an_unexpected_error_leaves_its_traceback_in_the_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    failed = server.ended(server.post(seed=str(BREAK)).json)
    assert failed["error"]["code"] == "render_failed"
    assert "Traceback" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_job_cancelled_before_its_worker_has_it_is_not_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, claimed, cancelled, sent = JobQueue._claim, threading.Event(), threading.Event(), list[Any]()

    async def slow_claim(queue: JobQueue) -> Any:
        job = await claim(queue)
        while job and not cancelled.is_set():
            claimed.set()
            await asyncio.sleep(0.01)
        return job

    monkeypatch.setattr(JobQueue, "_claim", slow_claim)
    monkeypatch.setattr(WorkerProcess, "send", lambda self, order: sent.append(order))
    with serving(tmp_path) as server:
        job = server.post().json
        assert claimed.wait(PATIENCE)
        assert server.ask("POST", job["links"]["cancel"]).json["state"] == "cancelled"
        cancelled.set()
        later = server.post().json
        wait_until(lambda: [order for order in sent if "cancel" not in order], "the next job is sent to the worker")
        assert {order["id"] for order in sent} == {later["id"]}
        assert server.ended(job)["state"] == "cancelled"


def test_previews_come_with_every_format(server: Server) -> None:
    for kind in ("webm", "gif"):
        job = server.held(format=kind)
        events = server.client.events(job)
        image = next(data["image"] for name, data in events if name == "preview")
        assert image.startswith("data:image/jpeg;base64,/9j/")
        server.release(job)
        assert list(events)[-1][1]["state"] == "succeeded"


def test_a_waiting_stream_has_heartbeats(server: Server) -> None:
    first = server.held()
    job = server.post().json
    with server.connect() as connection:
        connection.sendall(f"GET {job['links']['events']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        received = b""
        while b"event: heartbeat" not in received:
            more = connection.recv(1000)
            assert more, received
            received += more
    server.ask("DELETE", first["links"]["self"])
    assert server.ended(job)["state"] == "succeeded"


# disk


def test_delete_works_on_a_full_disk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    done = server.ended(server.post().json)
    running = server.held()
    with monkeypatch.context() as patched:
        patched.setattr("echomimic.apps.jobs.queue._RETRY_SECONDS", 0.05)
        for name in ("finish", "mark_deleted"):
            patched.setattr(Store, name, full)
        for job in (done, running):
            assert server.ask("DELETE", job["links"]["self"]).status == 204
            assert not (server.settings.data / "jobs" / job["id"]).exists()
            assert server.ask("GET", job["links"]["self"]).status == 410
    assert server.ended(server.post().json)["state"] == "succeeded", "the worker is free again"
    assert server.ask("GET", running["links"]["self"]).status == 410


def test_running_out_of_file_descriptors_has_its_own_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("echomimic.apps.server.uploads.Path.open", none_left)
    answer = server.post()
    assert (answer.status, answer.json["code"]) == (503, "too_many_open_files")


def test_uploads_in_progress_count_for_the_quota(tmp_path: Path) -> None:
    with serving(tmp_path, max_disk=1.0) as server, server.connect() as slow:
        body, headers = form(portrait=bytes(1_500_000), speech=wav())
        head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        slow.sendall(f"POST /v1/animations HTTP/1.1\r\nHost: localhost\r\n{head}".encode())
        slow.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:1_400_000])
        wait_until(lambda: server.post().status == 507, "the quota is used up")
        assert server.post().json["code"] == "no_space"


def test_the_leftovers_of_a_killed_server_are_deleted(tmp_path: Path) -> None:
    port = free_port()
    process = start(tmp_path, port)
    upload = Server(port, None).connect()  # type: ignore[arg-type]
    body, headers = form(portrait=bytes(300_000), speech=wav())
    upload.sendall(b"POST /v1/animations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400000\r\n")
    upload.sendall(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body[:200_000])
    wait_until(lambda: list((tmp_path / "incoming").glob("*/portrait")), "the upload has begun")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((tmp_path / "incoming").glob("*/portrait"))
    (tmp_path / "jobs" / "0123").mkdir()
    with serving(tmp_path):
        assert list((tmp_path / "incoming").iterdir()) == list((tmp_path / "jobs").iterdir()) == []


# requests


def test_an_idempotency_key_belongs_to_one_content(server: Server) -> None:
    def ask(**parts: bytes | str) -> Any:
        body, headers = form(**{"portrait": png(), "speech": wav(), **parts})
        return server.ask("POST", "/v1/animations", body, {**headers, "Idempotency-Key": "one"})

    first = ask(seed="1")
    assert ask(seed="1").json["id"] == first.json["id"]
    for other in (ask(seed="2"), ask(seed="1", portrait=png(65)), ask(seed="1", motion=b"x")):
        assert (other.status, other.json["code"]) == (409, "idempotency_key_reused")
    done = server.ended(first.json)
    assert ask(seed="1").json["state"] == "succeeded"
    assert server.ask("DELETE", done["links"]["self"]).status == 204
    assert (ask(seed="1").status, ask(seed="1").json["code"]) == (410, "deleted")


def test_presets_without_weights_are_refused_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOMIMIC_WEIGHTS", str(server.settings.data / "no-weights"))
    presets = {preset["name"]: preset for preset in server.ask("GET", "/v1/presets").json["items"]}
    assert presets["mesh"]["ready"]
    assert presets["v1"]["missing_files"][0] == "v1/denoising_unet"
    answer = server.post(preset="v1")
    assert (answer.status, answer.json["code"]) == (409, "weights_missing")
    assert "v1/denoising_unet" in answer.json["detail"]
    assert str(server.settings.data) not in answer.body.decode() + json.dumps(presets)


def test_errors_name_fields_and_no_flags(server: Server) -> None:
    answer = server.post(face_box="1,2,3")
    assert answer.status == 422
    assert "--" not in answer.json["detail"]
    assert "face_box" in answer.json["detail"]


def test_the_description_has_every_status_of_a_submission(server: Server) -> None:
    responses = server.ask("GET", "/openapi.json").json["paths"]["/v1/animations"]["post"]["responses"]
    assert {"202", "400", "403", "408", "409", "410", "413", "415", "422", "429", "503", "507"} <= set(responses)


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"G"])
def test_half_a_request_head_is_cut_off(impatient: Server, sent: bytes) -> None:
    with impatient.connect() as connection:
        connection.sendall(sent)
        assert connection.recv(100) == b""


def test_half_a_second_head_is_cut_off_too(impatient: Server) -> None:
    with impatient.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = connection.recv(10_000)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost")
        while piece := connection.recv(1000):
            received += piece
        assert received.count(b"200 OK") == 1


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_pages_of_other_origins_can_neither_change_nor_read(server: Server, headers: dict[str, str]) -> None:
    for method, path in (
        ("POST", "/v1/animations"),
        ("DELETE", "/v1/animations/0"),
        ("GET", "/v1/animations"),
        ("GET", "/v1/animations/0/events"),
        ("GET", "/metrics"),
        ("HEAD", "/v1/animations/0/result"),
        ("OPTIONS", "/v1/animations"),
    ):
        answer = server.ask(method, path, headers={**headers, "Access-Control-Request-Method": "POST"})
        assert answer.status == 403, (method, path)
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert server.ask("GET", "/docs", headers=headers).status == 200, "a link may lead to what is public"


def test_a_page_of_this_server_can(server: Server) -> None:
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert server.ask("GET", "/v1/animations", headers=own).status == 200
    assert server.ask("DELETE", "/v1/animations/0", headers=own).status == 404


def test_a_name_that_is_bound_to_this_machine_is_refused(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /v1/animations HTTP/1.1\r\nHost: rebound.example\r\n\r\n")
        assert b" 421 " in connection.recv(200)
    with server.connect() as connection:
        connection.sendall(b"GET /v1/animations HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(200)[9:12] in (b"400", b"421")


def test_the_policy_allows_nothing_unsafe_and_nothing_foreign(server: Server) -> None:
    headers = server.ask("GET", "/docs").headers
    assert "unsafe" not in headers["content-security-policy"]
    assert "http" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_the_key_may_come_as_a_cookie(tmp_path: Path) -> None:
    key = "a-key-of-sixteen-letters"
    with serving(tmp_path, api_keys=(key,)) as server:
        assert server.ask("GET", "/v1/animations", headers={"Cookie": f"a=b; echomimic-key={key}"}).status == 200
        assert server.ask("GET", "/v1/animations", headers={"Cookie": f"echomimic-key={key}x"}).status == 401


def test_request_bodies_that_are_not_forms_are_limited(tmp_path: Path) -> None:
    from fastapi import Request
    from fastapi.testclient import TestClient

    from echomimic.apps.server.app import create_app
    from echomimic.apps.server.settings import Settings

    app = create_app(Settings(data=tmp_path))

    @app.post("/json")
    async def count(request: Request) -> int:
        return len(await request.json())

    client = TestClient(app, base_url="http://localhost")
    assert client.post("/json", json=["x"] * 3).json() == 3
    for body in ({"json": ["x" * 10] * 100_000}, {"content": (b"[1,1" * 99_999 for _ in range(9))}):
        answer = client.post("/json", **body)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_sigterm_ends_the_server_whatever_runs(tmp_path: Path) -> None:
    port = free_port()
    process = start(tmp_path, port)
    server = Server(port, None)  # type: ignore[arg-type]
    job = server.until(server.post(seed=str(HANG)).json, "running")
    wait_until(lambda: _children_of(tmp_path), "the job has begun")
    streams = [server.connect() for _ in range(2)]
    for stream, what in zip(streams, (f"GET {job['links']['events']}", "GET /healthz/blocked"), strict=True):
        stream.sendall(f"{what} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert streams[0].recv(100).startswith(b"HTTP/1.1 200")
    wait_until((tmp_path / "blocked").exists, "the other request is being answered")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    wait_until(lambda: not _children_of(tmp_path), "no worker outlives the server")


def _children_of(data: Path) -> list[str]:
    """The processes of workers that run a job in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if b"rest_worker.py" in (process / "cmdline").read_bytes():
                found += [process.name] * ((process / "cwd").readlink().is_relative_to(data))
    return found

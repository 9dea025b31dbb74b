"""Invalid requests: each is answered by a problem, and the server continues."""

import json
import socket
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.rest_server import Server, form, png, serving, wav
from helpers.waiting import wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("bad")
    limits = {"max_upload": 0.3, "max_pixels": 1, "max_seconds": 5.0, "streams": 4}
    with serving(data, **limits) as running:
        yield running


@pytest.fixture(autouse=True)
def goes_on(server: Server) -> Iterator[None]:
    """After each test the server still does its job, and no unfinished upload is left."""
    yield
    assert server.ended(server.post().json)["state"] == "succeeded"
    assert list((server.settings.data / "incoming").iterdir()) == []


def bomb(side: int) -> bytes:
    """A picture of many pixels in few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def check(answer, status: int, code: str) -> str:
    assert (answer.status, answer.json["code"]) == (status, code), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert answer.json["status"] == status
    return str(answer.json["detail"])


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"size": "huge"}, "option_invalid", "option size is 'huge'"),
        ({"size": "7"}, "option_invalid", "option size is 7"),
        ({"fps": "nan"}, "option_invalid", "fps"),
        ({"seed": ""}, "option_invalid", "seed"),
        ({"framing": "round"}, "option_invalid", "framing"),
        ({"still_background": "maybe"}, "option_invalid", "still_background is 'maybe'"),
        ({"context_frames": "4", "context_overlap": "4"}, "option_invalid", "lower it"),
        ({"preset": "best"}, "option_invalid", "preset is 'best'; expected one of auto, mesh"),
        ({"format": "avi"}, "option_invalid", "expected one of mp4, webm, gif"),
        ({"frames": "126"}, "too_long", "at most 5 s"),
        ({"colour": "blue"}, "unknown_field", "unknown field 'colour'"),
        ({"../../etc/passwd": "x"}, "unknown_field", "unknown field"),
        ({"portrait": b""}, "empty_file", "field portrait is an empty file"),
        ({"seed": "1" * 2000}, "long_field", "over 1000 bytes"),
    ],
)
def test_wrong_fields_are_refused(server: Server, fields: dict[str, bytes | str], code: str, words: str) -> None:
    assert words in check(server.post(**fields), 422, code)


def test_missing_and_repeated_fields(server: Server) -> None:
    assert "-F speech=@FILE" in check(server.ask("POST", "/v1/tracks", *form(portrait=png())), 422, "missing_field")
    body, headers = form(portrait=png(), speech=wav())
    again = body.replace(
        b"--mark--\r\n", b'--mark\r\nContent-Disposition: form-data; name="speech"\r\n\r\nx\r\n--mark--\r\n'
    )
    check(server.ask("POST", "/v1/animations", again, headers), 422, "repeated_field")
    check(
        server.ask("POST", "/v1/tracks", *form(portrait=png(), speech=wav(), save_motion="yes")), 422, "unknown_field"
    )


def test_a_track_is_of_a_voice_or_of_a_video(server: Server) -> None:
    for parts, code, words in (
        ({"video": b"x", "speech": wav()}, "unknown_field", "field speech does not go with video"),
        ({"video": b"x", "seed": "1"}, "unknown_field", "expected video, format, pose, person"),
        ({"video": b""}, "empty_file", "field video"),
        ({"video": b"x", "person": "0"}, "option_invalid", "1 to 6"),
        ({"video": b"x", "pose": "both"}, "option_invalid", "true or false"),
        ({"portrait": png()}, "missing_field", "speech"),
    ):
        assert words in check(server.ask("POST", "/v1/tracks", *form(**parts)), 422, code)
    check(server.post(video=b"x"), 422, "unknown_field")
    failed = server.ended(server.ask("POST", "/v1/tracks", *form(video=b"no video", pose="yes")).json)
    assert (failed["error"]["code"], failed["request"]) == (
        "video_unusable",
        {"format": "npz", "pose": True, "person": None},
    )


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"", "multipart/form-data; boundary=mark", 400, "broken_form"),
        (b"--mark\r\nnonsense", "multipart/form-data; boundary=mark", 400, "broken_form"),
        (b"x" * 100, "multipart/form-data", 400, "broken_form"),
        (b"x", "multipart/form-data; boundary=" + "m" * 300, 400, "broken_form"),
        (
            b"--mark\r\nContent-Disposition: form-data\r\n\r\nx\r\n--mark--\r\n",
            "multipart/form-data; boundary=mark",
            400,
            "broken_form",
        ),
        (b"--mark\r\n" + b"a: b\r\n" * 99 + b"\r\n", "multipart/form-data; boundary=mark", 400, "broken_form"),
        (b"portrait=x", "application/x-www-form-urlencoded", 415, "wrong_content_type"),
        (b"x", "", 415, "wrong_content_type"),
        (b"{}", "application/json", 415, "wrong_content_type"),
    ],
)
def test_wrong_bodies_are_refused(server: Server, body: bytes, kind: str, status: int, code: str) -> None:
    check(server.ask("POST", "/v1/animations", body, {"Content-Type": kind}), status, code)


def test_a_form_that_is_cut_off(server: Server) -> None:
    body, headers = form(portrait=png(), speech=wav())
    assert "cut off" in check(server.ask("POST", "/v1/animations", body[:-12], headers), 400, "broken_form")


def test_names_of_files_are_never_used(server: Server) -> None:
    job = server.ended(server.post().json)  # its files are called ../../etc/passwd
    assert job["state"] == "succeeded"
    assert "passwd" not in json.dumps(job)
    files = {path.name for path in (server.settings.data / "jobs").rglob("*") if path.is_file()}
    assert files <= {"result.mp4", "result.npz"}


def test_huge_and_endless_uploads(server: Server) -> None:
    assert "0.3 MB" in check(server.post(portrait=bytes(400_000)), 413, "too_large")
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/animations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=mark\r\n\r\n"
            + b'3e\r\n--mark\r\nContent-Disposition: form-data; name="portrait"\r\n\r\n\r\n'
        )
        connection.settimeout(5)
        sent = 0
        try:
            while sent < 50_000_000:
                connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                sent += 65536
        except OSError:
            pass
        assert sent < 50_000_000, "the server hung up"


def test_a_slow_upload_is_given_up(tmp_path: Path) -> None:
    with serving(tmp_path, stall_seconds=0.3) as server, server.connect() as connection:
        connection.sendall(
            b"POST /v1/animations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=mark\r\n\r\n--mark\r\n"
        )
        assert b" 408 " in connection.recv(200)


def test_a_client_that_disconnects_leaves_nothing(server: Server) -> None:
    body, headers = form(portrait=png(), speech=wav())
    with server.connect() as connection:
        connection.sendall(
            b"POST /v1/animations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
            b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body[:3000]
        )
    job = server.held()
    for link in (job["links"]["live"], job["links"]["events"]):
        with server.connect() as connection:
            connection.sendall(f"GET {link} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.release(job)
    assert server.ended(job)["state"] == "succeeded"
    wait_until(lambda: b"echomimic_streams 0.0" in server.ask("GET", "/metrics").body, "both streams are closed")


def test_too_many_streams(server: Server) -> None:
    job = server.held()
    streams = [server.client.events(job) for _ in range(4)]
    assert [next(stream)[0] for stream in streams] == ["job"] * 4
    check(server.ask("GET", job["links"]["live"]), 429, "too_many_streams")
    server.ask("POST", job["links"]["cancel"])
    for stream in streams:
        assert [name for name, _ in stream][-1] == "job"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"portrait": bomb(12_000)}, "too many pixels"),
        ({"portrait": b"<svg/>"}, "portrait"),
        ({"portrait": png()[:60]}, "portrait"),
        ({"speech": b"#EXTM3U\nhttp://127.0.0.1/x"}, "speech holds text"),
        ({"speech": wav(6.0)}, "at most 5 s"),
        ({"motion": b"PK\x03\x04 no archive"}, "motion"),
        ({"motion": b'{"a": 1}'}, "motion"),
    ],
)
def test_files_that_cannot_be_used_fail_the_job(server: Server, parts: dict[str, bytes | str], words: str) -> None:
    job = server.ended(server.post(**parts).json)
    assert (job["state"], job["error"]["status"]) == ("failed", 422)
    assert job["error"]["code"] in ("picture_unusable", "sound_unusable", "motion_unusable", "input_unusable")
    assert words in job["error"]["detail"]
    assert check(server.ask("GET", f"{job['links']['self']}/result"), 409, "job_failed")


def test_unknown_addresses_and_methods(server: Server) -> None:
    check(server.ask("GET", "/v1/animations/0"), 404, "unknown_job")
    check(server.ask("GET", "/v1/animations/..%2f..%2fjobs.sqlite/result"), 404, "no_such_address")
    check(server.ask("GET", "/v1/animations/%00"), 404, "unknown_job")
    job = server.ended(server.post().json)
    check(server.ask("GET", f"/v1/tracks/{job['id']}"), 404, "unknown_job")
    answer = server.ask("PUT", "/v1/animations")
    check(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]
    check(server.ask("GET", "/v1/animations?limit=0"), 422, "invalid")


def test_wrong_headers_are_refused(server: Server) -> None:
    check(server.ask("GET", "/healthz", headers={"Host": "evil.example"}), 421, "unknown_host")
    check(server.ask("GET", "/healthz", headers={"Host": "[::1"}), 421, "unknown_host")
    check(server.ask("POST", "/v1/animations", headers={"Origin": "http://evil.example"}), 403, "cross_site")
    check(server.ask("POST", "/v1/animations", headers={"Sec-Fetch-Site": "cross-site"}), 403, "cross_site")
    assert server.ask("GET", "/healthz", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    odd = server.ask("GET", "/healthz", headers={"X-Request-ID": "a b" * 99}).headers["x-request-id"]
    assert len(odd) == 32
    with server.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 50_000)
        assert b" 400 " in connection.recv(100)
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01 no http at all\r\n\r\n")
        assert b" 400 " in connection.recv(100)


def test_a_full_disk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("echomimic.apps.server.uploads.Path.open", full)
        check(server.post(), 507, "no_space")
    with monkeypatch.context() as patched:
        patched.setattr("echomimic.apps.jobs.store.sync_file", full)
        check(server.post(), 507, "no_space")
    with monkeypatch.context() as patched:
        patched.setattr(
            "echomimic.apps.jobs.store.Store.add", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("full"))
        )
        check(server.post(), 507, "no_space")


def test_a_full_disk_and_a_job_that_ends(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def full(_store: object, *state: object, **_: object) -> None:
        asked.append(state[1])
        raise sqlite3.OperationalError("database or disk is full")

    job = server.held()
    with monkeypatch.context() as patched:
        patched.setattr("echomimic.apps.jobs.queue._RETRY_SECONDS", 0.05)
        patched.setattr("echomimic.apps.jobs.store.Store.finish", full)
        check(server.ask("POST", job["links"]["cancel"]), 507, "no_space")
        server.release(job)
        wait_until(lambda: "succeeded" in asked, "the job has ended")
        assert server.ask("GET", job["links"]["self"]).json["state"] == "running", (
            "what is not written down is not said"
        )
    assert server.ended(job)["state"] == "succeeded"


def test_an_internal_error_shows_no_details(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echomimic.apps.server.routes.jobs.parse_request", lambda *_: {"open": 1}["secret"])
    answer = server.post()
    assert check(answer, 500, "server_fault").startswith("a fault of the server")
    assert b"secret" not in answer.body

"""Jobs of the HTTP API, from request to result, over a real connection and with a worker process."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import pytest

from echomimic.client import ServerError
from helpers.rest_server import Server, form, png, serving, wav
from helpers.rest_worker import BREAK, CRASH, HANG, HOLD
from helpers.waiting import PATIENCE, wait_for_names, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("jobs"), queue=8) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "me.png").write_bytes(png())
    (tmp_path / "voice.wav").write_bytes(wav())
    return tmp_path / "me.png", tmp_path / "voice.wav"


def decoded(path: Path) -> int:
    with av.open(str(path)) as container:
        assert container.streams.audio
        return sum(1 for _ in container.decode(video=0))


def test_a_job_renders_the_video(server: Server, files: tuple[Path, Path], tmp_path: Path) -> None:
    client, seen = server.client, []
    job = client.animate(*files, seed=4, face_box=(1, 2, 3, 4), still_background=False)
    assert job["state"] in ("queued", "running")
    assert job["request"]["options"] == {"seed": 4, "face_box": [1, 2, 3, 4], "still_background": False}
    (tmp_path / "live.mp4").write_bytes(b"".join(client.live(job)))
    job = client.wait(job, lambda done, total: seen.append((done, total)))
    assert job["result"] | {"took": 0, "bytes": 0} == {
        "preset": "mesh",
        "frames": 25,
        "fps": 25.0,
        "width": 64,
        "height": 64,
        "seconds": 1.0,
        "seed": 4,
        "took": 0,
        "notes": [],
        "bytes": 0,
    }
    assert job["progress"] == {"done": 25, "total": 25, "share": 1.0, "speed": 0.0, "seconds_left": 0.0}
    assert client.download(job, tmp_path / "out.mp4").stat().st_size == job["result"]["bytes"]
    assert decoded(tmp_path / "out.mp4") == decoded(tmp_path / "live.mp4") == 25
    raw = (tmp_path / "out.mp4").read_bytes()
    assert raw.index(b"moov") < raw.index(b"mdat")
    assert b"".join(client.live(job)) == raw, "who comes late gets the finished file"


def test_only_results_stay(server: Server, files: tuple[Path, Path]) -> None:
    client = server.client
    job = client.wait(client.animate(*files, save_motion=False))
    wait_for_names(server.settings.data / "jobs" / job["id"], "result.mp4")


def test_events_report_progress(server: Server, files: tuple[Path, Path]) -> None:
    job = server.client.animate(*files, seed=HOLD, frames=100)
    events = []
    for event in server.client.events(job):
        events.append(event)
        if event[0] == "preview":
            server.release(job)
    kinds = [name for name, _ in events]
    assert {"job", "progress", "preview"} == set(kinds)
    assert kinds[-1] == "job"
    assert events[-1][1]["state"] == "succeeded"
    steps = [said for name, said in events if name == "progress" and said["total"]]
    assert [said["done"] for said in steps] == sorted(said["done"] for said in steps)
    assert steps[-1]["speed"] > 0
    assert steps[-1]["seconds_left"] >= 0
    image = next(said["image"] for name, said in events if name == "preview")
    assert image.startswith("data:image/jpeg;base64,/9j/")


def test_live_video_is_sent_while_it_is_rendered(server: Server, files: tuple[Path, Path]) -> None:
    job = server.client.animate(*files, seed=HOLD, frames=100)
    pieces = server.client.live(job)
    first = next(pieces)
    assert b"ftyp" in first[:12]
    assert server.client.get(job)["state"] == "running"
    answer = server.ask("GET", f"{job['links']['self']}/preview")
    assert (answer.status, answer.body[:2]) in [(200, b"\xff\xd8"), (409, b'{"')]
    server.release(job)
    rest = b"".join(pieces)
    assert (first + rest).count(b"moof") > 4


@pytest.mark.parametrize("kind", ["webm", "gif"])
def test_webm_and_gif_are_rendered(server: Server, files: tuple[Path, Path], kind: str) -> None:
    job = server.client.wait(server.client.animate(*files, format=kind))
    answer = server.ask("GET", job["links"]["result"])
    assert answer.headers["content-type"] == {"webm": "video/webm", "gif": "image/gif"}[kind]
    assert "live" not in job["links"]
    assert server.ask("GET", f"{job['links']['self']}/live").json["code"] == "not_live"


@pytest.mark.parametrize("kind", ["npz", "json", "csv"])
def test_tracks_are_predicted_and_tracked(server: Server, files: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    from echomimic.motion import load_motion

    job = server.client.wait(server.client.track(*files, format=kind))
    assert job["result"]["frames"] == 25
    path = server.client.download(job, tmp_path / f"track.{kind}")
    assert len(load_motion(path)) == 25
    again = server.client.wait(server.client.animate(*files, path))
    assert again["state"] == "succeeded", "a track of any format can be handed back"


def test_ranges_of_a_result_are_served(server: Server) -> None:
    job = server.ended(server.post().json)
    link, size = job["links"]["result"], job["result"]["bytes"]
    whole = server.ask("GET", link)
    assert (len(whole.body), whole.headers["accept-ranges"]) == (size, "bytes")
    for asked, part in {"0-9": whole.body[:10], "5-": whole.body[5:], "-7": whole.body[-7:]}.items():
        answer = server.ask("GET", link, headers={"Range": f"bytes={asked}"})
        assert (answer.status, answer.body) == (206, part)
        assert answer.headers["content-range"].endswith(f"/{size}")
    tag = whole.headers["etag"]
    assert server.ask("GET", link, headers={"Range": "bytes=0-9", "If-Range": '"old"'}).status == 200
    assert server.ask("GET", link, headers={"Range": "bytes=0-9", "If-Range": tag}).status == 206
    assert server.ask("GET", link, headers={"If-None-Match": tag}).status == 304
    assert server.ask("HEAD", link).headers["content-length"] == str(size)
    assert server.ask("GET", link, headers={"Range": "lines=1-2,5"}).status == 200
    outside = server.ask("GET", link, headers={"Range": f"bytes={size}-"})
    assert (outside.status, outside.headers["content-range"]) == (416, f"bytes */{size}")


def test_cancel_a_running_job(server: Server) -> None:
    job = server.held()
    live = server.client.live(job)
    said: list[Any] = []

    def watch() -> None:
        with pytest.raises(ServerError, match="broke"):
            said.extend(live)

    watcher = threading.Thread(target=watch)
    watcher.start()
    wait_until(lambda: said or not watcher.is_alive(), "the video begins")
    cancelled = server.ask("POST", job["links"]["cancel"])
    assert (cancelled.status, cancelled.json["state"]) == (200, "cancelled")
    watcher.join(PATIENCE)
    assert not watcher.is_alive(), "who watches is cut off, not left waiting"
    twice = server.ask("POST", job["links"]["cancel"])
    assert (twice.status, twice.json["code"]) == (409, "already_ended")
    assert server.ask("GET", f"{job['links']['self']}/result").json["code"] == "job_cancelled"
    wait_for_names(server.settings.data / "jobs" / job["id"])


def test_a_job_that_does_not_end_is_ended(tmp_path: Path) -> None:
    with serving(tmp_path, max_time=1.0) as server:
        failed = server.ended(server.post(seed=str(HANG)).json)
        assert (failed["state"], failed["error"]["code"]) == ("failed", "too_slow")


def test_a_worker_that_dies_gets_a_second_chance_and_no_third(server: Server) -> None:
    failed = server.ended(server.post(seed=str(CRASH)).json)
    assert (failed["attempt"], failed["error"]["code"]) == (2, "worker_died")
    assert "SIGKILL" in failed["error"]["detail"]


def test_failures_show_no_path_of_the_server(server: Server) -> None:
    failed = server.ended(server.post(seed=str(BREAK)).json)
    assert "unexpected ZeroDivisionError" in failed["error"]["detail"]
    for answer in (failed, server.ended(server.post(portrait=b"no picture").json)):
        assert str(server.settings.data) not in json.dumps(answer)
    assert answer["error"]["detail"].startswith("portrait ")
    assert answer["error"]["code"] == "picture_unusable"


def test_a_job_is_deleted(server: Server) -> None:
    done = server.ended(server.post().json)
    running = server.held()
    for job in (done, running):
        assert server.ask("DELETE", job["links"]["self"]).status == 204
        assert not (server.settings.data / "jobs" / job["id"]).exists()
        for link in (job["links"]["self"], f"{job['links']['self']}/result", f"{job['links']['self']}/live"):
            assert (server.ask("GET", link).status, server.ask("GET", link).json["code"]) == (410, "deleted")
        assert server.ask("DELETE", job["links"]["self"]).status == 410
    assert done["id"] not in server.ask("GET", "/v1/animations?limit=100").body.decode()


def test_the_client_queues_a_video_cancels_and_deletes(server: Server, tmp_path: Path) -> None:
    (tmp_path / "talk.mp4").write_bytes(b"no video")
    held, client = server.held(), server.client
    queued = client.track_video(tmp_path / "talk.mp4", format="json")
    assert queued["state"] == "queued" and queued["request"]["format"] == "json"
    assert client.cancel(queued)["state"] == "cancelled"
    with pytest.raises(ServerError, match="the job was cancelled"):
        client.wait(queued)
    for job in (held, queued):
        client.delete(job)
        with pytest.raises(ServerError) as gone:
            client.get(job)
        assert gone.value.status == 410
    client.close()


def test_results_are_refused_before_the_job_is_done(server: Server) -> None:
    job = server.held()
    early = server.ask("GET", f"{job['links']['self']}/result")
    assert (early.status, early.json["code"]) == (409, "not_finished")
    assert server.ask("GET", f"{job['links']['self']}/motion").status == 409
    server.release(job)
    assert server.ended(job)["state"] == "succeeded"
    assert server.ask("GET", f"{job['links']['self']}/motion").json["code"] == "not_asked_for"


def test_the_queue_is_bounded(server: Server) -> None:
    first = server.held()
    jobs = [server.post() for _ in range(10)]
    assert [answer.status for answer in jobs] == [202] * 8 + [429] * 2
    assert jobs[-1].json["code"] == "queue_full"
    assert 1 <= int(jobs[-1].headers["retry-after"]) <= 120
    assert [answer.json["position"] for answer in jobs[:8]] == list(range(1, 9))
    assert server.ask("POST", jobs[7].json["links"]["cancel"]).json["state"] == "cancelled"
    server.ask("POST", first["links"]["cancel"])
    assert {server.ended(answer.json)["state"] for answer in jobs[:7]} == {"succeeded"}


def test_a_repeated_request_gets_one_job(server: Server) -> None:
    def ask(path: str, key: str) -> Any:
        body, headers = form(portrait=png(), speech=wav())
        return server.ask("POST", path, body, {**headers, "Idempotency-Key": key})

    before = len(server.ask("GET", "/v1/animations?limit=100").json["items"])
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ask("/v1/animations", "mine"), range(6)))
    assert [answer.status for answer in answers] == [202] * 6
    assert len({answer.json["id"] for answer in answers}) == 1
    assert len(server.ask("GET", "/v1/animations?limit=100").json["items"]) == before + 1
    other = [ask("/v1/animations", "other").json["id"], ask("/v1/tracks", "mine").json["id"]]
    assert answers[0].json["id"] not in other
    assert ask("/v1/animations", "m" * 101).status == ask("/v1/animations", "a b").status == 422
    assert server.ended(answers[0].json)["state"] == "succeeded"
    assert len(list((server.settings.data / "incoming").iterdir())) == 0


def test_results_are_deleted_after_a_while(tmp_path: Path) -> None:
    with serving(tmp_path, keep=0.4 / 3600) as server:
        job = server.post().json
        wait_until(lambda: server.ask("GET", job["links"]["self"]).status == 410, "the result is deleted")
        assert server.ask("GET", job["links"]["self"]).json["code"] == "deleted"
        assert list((tmp_path / "jobs").iterdir()) == []


def test_a_full_disk_fails_the_job(tmp_path: Path) -> None:
    with serving(tmp_path, spare_disk=1 << 40) as server:
        answer = server.post()
        assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (507, "no_space", "60")
    with serving(tmp_path, max_disk=0.003) as server:
        assert server.ended(server.post().json)["state"] == "succeeded"
        assert server.post().json["code"] == "no_space"


def test_an_upload_needs_no_promise_of_its_length(server: Server) -> None:
    body, headers = form(portrait=png(), speech=wav())
    with server.connect() as connection:
        headers |= {"Host": "localhost", "Transfer-Encoding": "chunked"}
        head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        connection.sendall(f"POST /v1/animations HTTP/1.1\r\n{head}\r\n".encode())
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        assert b" 202 " in connection.recv(1000)

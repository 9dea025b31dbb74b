"""/v1/videos with the OpenAI Python client: what it sends, what it reads."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from helpers.rest_server import Server, form, png, serving, wav

pytestmark = pytest.mark.skipif(find_spec("openai") is None, reason="openai is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("videos"), api_keys=("0123456789abcdef",)) as server:
        server.headers["X-API-Key"] = "0123456789abcdef"
        yield server


def client_of(server: Server) -> Any:
    import openai

    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key=server.settings.keys[0], max_retries=0)


def test_the_client_makes_reads_lists_downloads_and_deletes_a_video(server: Server) -> None:
    import openai

    client = client_of(server)
    files = [("image_reference", ("a.png", png())), ("audio_reference", ("a.wav", wav()))]
    fields = {"model": "mesh", "seconds": "2", "size": "720x1280", "seed": "7", "prompt": "ignored"}
    made = client.post(
        "/videos",
        cast_to=openai.types.Video,
        body=fields,
        files=files,
        options={"headers": {"Content-Type": "multipart/form-data"}},
    )
    assert made.object == "video" and made.status in ("queued", "in_progress", "completed") and made.model == "mesh"
    job = server.ended(server.ask("GET", f"/v1/animations/{made.id}").json)
    assert job["request"]["options"] == {"size": 1280, "seed": 7, "frames": 50}
    done = client.videos.retrieve(made.id)
    assert (done.status, done.progress) == ("completed", 100) and done.completed_at and done.expires_at
    assert client.videos.download_content(made.id).read() == server.ask("GET", f"/v1/animations/{made.id}/result").body
    listed = client.videos.list(limit=1)
    assert [video.id for video in listed.data] == [made.id]
    assert client.videos.delete(made.id).deleted
    with pytest.raises(openai.APIStatusError) as gone:
        client.videos.retrieve(made.id)
    assert gone.value.status_code == 410


def test_what_the_client_alone_can_send_lacks_a_voice(server: Server) -> None:
    import openai

    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client_of(server).videos.create(prompt="x", input_reference=("a.png", png()))
    assert "speech" in refused.value.response.json()["detail"]


@pytest.mark.parametrize(
    "fields", [{"size": "big"}, {"seconds": "-1"}, {"seconds": "1e9"}, {"portrait": png()}, {"model": "sora-2"}]
)
def test_wrong_fields_are_refused_with_a_message(server: Server, fields: dict[str, Any]) -> None:
    parts = {"image_reference": png(), "audio_reference": wav(), **fields}
    answer = server.ask("POST", "/v1/videos", *form(**parts))
    assert answer.status == 422 and "expected" in answer.json["detail"]


def test_a_failed_job_says_why(server: Server, tmp_path: Path) -> None:
    answer = server.ask("POST", "/v1/videos", *form(image_reference=b"no picture", audio_reference=wav())).json
    server.ended(server.ask("GET", f"/v1/animations/{answer['id']}").json)
    shown = server.ask("GET", f"/v1/videos/{answer['id']}").json
    assert shown["status"] in ("failed", "completed")  # the fake worker decides
    assert (shown["error"] is None) == (shown["status"] == "completed")

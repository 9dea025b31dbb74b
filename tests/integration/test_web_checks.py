"""The page's checks of a portrait and a voice without a browser: the bad-input table, crops, and what stays on disk."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the page needs the serve extra")
from fastapi.testclient import TestClient
from PIL import Image

from echomimic.apps.server.app import create_app
from echomimic.apps.server.routes.ui import describe_presets
from echomimic.apps.server.settings import Settings
from echomimic.options import make_options
from echomimic.presets import PRESETS
from helpers.bad_input import BAD

ADDRESS = "http://127.0.0.1"
OTHERS = ("missing", "folder", "npz", "address", "output", "motion", "fps", "frames", "seed", "preset", "flag", "size")
ROWS = [case for case in BAD if not any(word in case for word in OTHERS)]
"""Rows about the two inputs and the face: the other flags are checked with the job."""
CODES = {
    "picture_unusable",
    "picture_empty",
    "input_unusable",
    "face_not_found",
    "face_too_small",
    "face_number_invalid",
}
CODES |= {"option_invalid", "sound_unusable"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(data=tmp_path / "server")), base_url=ADDRESS) as client:
        yield client


@pytest.fixture
def folder(portrait_file: Path, voice_file: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "me.png").write_bytes(portrait_file.read_bytes())
    (folder / "voice.wav").write_bytes(voice_file.read_bytes())
    return folder


def is_clean(tmp_path: Path) -> bool:
    return list((tmp_path / "server" / "incoming").iterdir()) == []


@pytest.mark.parametrize("case", ROWS)
def test_a_bad_input_is_one_line(case: str, client: TestClient, folder: Path, tmp_path: Path) -> None:
    portrait, voice, *rest = BAD[case][0](folder)
    fields = {flag.removeprefix("--").replace("-", "_"): text for flag, text in zip(rest[::2], rest[1::2], strict=True)}
    if voice == "voice.wav":
        answer = client.post("/ui/portraits", data=fields, files={"portrait": (folder / portrait).read_bytes()})
    else:
        answer = client.post("/ui/voices", files={"speech": (folder / voice).read_bytes()})
    problem = answer.json()
    assert answer.status_code == 422, problem
    assert problem["code"] in CODES
    assert "\n" not in problem["detail"] and str(tmp_path) not in problem["detail"]
    assert is_clean(tmp_path)


def test_a_portrait_is_sent_once_and_described_for_other_options(client: TestClient, folder: Path) -> None:
    files = {"portrait": (folder / "me.png").read_bytes()}
    first = client.post("/ui/portraits", data={"preset": "mesh"}, files=files).json()
    assert first["video"] == {"width": 512, "height": 512}
    assert len(first["faces"]) == 1
    again = client.get(f"/ui/portraits/{first['id']}", params={"preset": "v1", "face": "1"}).json()
    assert again["crop"]["width"] < first["crop"]["width"]
    assert again["face"] == first["faces"][0]
    assert client.get(f"/ui/portraits/{first['id']}", params={"face": "3"}).json()["code"] == "face_number_invalid"
    assert client.get(f"/ui/portraits/{'0' * 64}").json()["code"] == "portrait_dropped"


def test_a_portrait_on_its_side_is_shown_upright_with_a_note(client: TestClient, folder: Path) -> None:
    upright, turned = BytesIO(), BytesIO()
    with Image.open(folder / "me.png") as picture:
        picture.crop((0, 0, picture.width, picture.height - 32)).save(upright, "PNG")
        picture.crop((0, 0, picture.width, picture.height - 32)).rotate(90, expand=True).save(turned, "PNG")
    one, other = (
        client.post("/ui/portraits", files={"portrait": file.getvalue()}).json() for file in (upright, turned)
    )
    for key in ("width", "height", "crop", "video"):
        assert one[key] == other[key]
    assert other["face"]["x"] == pytest.approx(one["face"]["x"], abs=1)
    assert [each["code"] for each in other["notes"]] == ["picture_turned"] and one["notes"] == []


def test_a_picture_with_too_many_pixels_is_refused_by_its_header(folder: Path, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "small", max_pixels=0.01)
    with TestClient(create_app(settings), base_url=ADDRESS) as client:
        answer = client.post("/ui/portraits", files={"portrait": (folder / "me.png").read_bytes()})
    assert "too many pixels" in answer.json()["detail"]


def test_every_quality_of_every_offered_preset_is_valid() -> None:
    offered = describe_presets()
    assert "tiny" not in [preset["name"] for preset in offered]
    for preset in offered:
        for options in preset["qualities"].values():
            make_options(options, PRESETS[preset["name"]].defaults)


def test_pages_are_public_and_checks_need_the_key(tmp_path: Path) -> None:
    key = "0123456789abcdef0123"
    with TestClient(create_app(Settings(data=tmp_path, api_keys=(key,))), base_url=ADDRESS) as client:
        for path in ("/", "/editor", "/static/page.js", "/locales/zh.json"):
            assert client.get(path).status_code == 200, path
        for path in ("/ui/config", "/ui/example/voice", "/editor/sessions/none"):
            assert client.get(path).status_code == 401, path
        client.cookies.set("echomimic-key", key)
        assert client.get("/ui/config").status_code == 200


def test_only_files_of_the_page_are_served(client: TestClient) -> None:
    for path in ("/static/../routes/ui.py", "/static/%2e%2e/routes/ui.py", "/locales/../app.py", "/static/none.js"):
        assert client.get(path).status_code == 404, path
    icon = client.get("/favicon.ico")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")

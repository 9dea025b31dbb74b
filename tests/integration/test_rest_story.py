"""The commands of docs/rest.md run against a new server with the real engine."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from PIL import Image

from echomimic.apps.server.schemas import Problem
from echomimic.motion import load_motion
from echomimic.types import LandmarkTrack
from helpers.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "rest.md").read_text(encoding="utf-8")
SOURCES = [ROOT / "src" / "echomimic" / "apps" / name for name in ("server", "jobs")]


def block(kind: str) -> str:
    found = re.search(rf"<!-- test: {kind} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh `echomimic serve`."""
    data = tmp_path_factory.mktemp("serve") / "data"
    command = [sys.executable, "-m", "echomimic", "serve", "--port", "0", "--data", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found
    yield found[0]
    process.terminate()
    assert process.wait(PATIENCE) == 0, "it ends well on SIGTERM"


@pytest.fixture
def folder(portrait_file: Path, voice_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Image.open(portrait_file).resize((400, 400)).save(tmp_path / "portrait.png")
    shutil.copy(voice_file, tmp_path / "voice.wav")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("bash"), reason="needs curl and bash")
def test_the_curl_commands_of_the_page_run(address: str, folder: Path) -> None:
    script = block("curl").replace("http://127.0.0.1:8765", address).replace("python3", sys.executable)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert frames(folder / "live.mp4") == frames(folder / "out.mp4") == 25
    assert (folder / "part").stat().st_size == 100
    assert len(load_motion(folder / "motion.csv")) == 25
    assert isinstance(load_motion(folder / "seen.npz"), LandmarkTrack)
    assert "event: job\n" in done.stdout
    assert '"state":"succeeded"' in done.stdout


def test_the_python_of_the_page_runs(address: str, folder: Path) -> None:
    exec(compile(block("python").replace("http://127.0.0.1:8765", address), "rest.md", "exec"), {})
    assert frames(folder / "live.mp4") == frames(folder / "out.mp4") == 25


def test_every_code_is_on_the_page() -> None:
    paths = [path for source in SOURCES for path in source.rglob("*.py") if path.name not in ("ui.py", "editor.py")]
    text = "".join(path.read_text(encoding="utf-8") for path in paths)
    codes = set(re.findall(r'(?:Problem\(\s*\d+,|_error\(|code=|code = )\s*"(\w+)"', text))
    codes |= set(re.findall(r'JobError\([^()]*?,\s*"(\w+)"', text)) - {"in_use"}
    codes -= {"server_fault", "refused"}
    assert len(codes) > 25
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
    assert Problem(404, "x", "a\nb").detail == "a b"

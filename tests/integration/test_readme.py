"""What the README tells a newcomer to type works, word for word."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from echomimic.apps.cli.main import run
from echomimic.presets import PRESETS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
BLOCK = re.compile(
    r"(?:<!-- test: (?P<kind>\w+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


def blocks(kind: str | None) -> list[str]:
    """The code blocks of the README that carry the mark `test: kind`."""
    return [found["text"] for found in BLOCK.finditer(README) if found["kind"] == kind]


COMMANDS = [line for block in blocks("shell") for line in block.splitlines()]


@pytest.fixture
def folder(head_file: Path, voice_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README names, and a motion that an earlier command of it saves."""
    (tmp_path / "portrait.png").write_bytes(head_file.read_bytes())
    (tmp_path / "voice.wav").write_bytes(voice_file.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_run_one_after_another(folder: Path) -> None:
    assert len(COMMANDS) >= 4
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        assert program == "echomimic"
        assert run(arguments) == 0, line
    made = {path.name for path in folder.iterdir()}
    assert made == {
        "portrait.png",
        "voice.wav",
        "out.mp4",
        "first.mp4",
        "again.mp4",
        "motion.npz",
        "portrait-voice.mp4",
    }


def test_the_python_runs(folder: Path) -> None:
    (block,) = blocks("python")
    assert len([line for line in block.splitlines() if line]) == 5
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert (folder / "calm.mp4").stat().st_size > 0
    assert np.all(names["calm"].curves["yaw"] == 0)


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (block,) = blocks(None)
    targets = re.findall(r"^make (\w+)", block, re.MULTILINE)
    assert targets == ["demo", "test"]
    for target in (*targets, "check", "fix", "bench"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_plain_lines_do_what_make_does() -> None:
    (block,) = blocks("install")
    venv, install, demo = block.splitlines()
    assert venv.endswith("-m venv .venv")
    assert install == ".venv/bin/python -m pip install -e ."
    assert demo.startswith(".venv/bin/echomimic demo")


def test_every_preset_is_in_the_table() -> None:
    table = README.split("## Presets")[1].split("## ")[0]
    listed = [
        name for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`(.+?)`", row)
    ]
    assert sorted(listed) == sorted(PRESETS)


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 140


def test_the_pictures_are_there() -> None:
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert len(pictures) >= 1
    assert min(Image.open(ROOT / picture).width for picture in pictures) >= 600


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"(?<!!)\[[^]]*\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


def test_every_command_is_on_the_page_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    commands = re.findall(r"^[│|] ([a-z]+) +[A-Z]", capsys.readouterr().out, re.MULTILINE)
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert {"animate", "doctor"} < set(commands)
    assert {command for command in commands if f"echomimic {command}" not in page} == set()

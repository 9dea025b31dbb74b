"""Bad input gives one line (what was wrong, what is accepted, what to do) and exit code 2; nothing is written."""

import os
from pathlib import Path

import pytest

from echomimic.apps.cli.main import run
from helpers.bad_input import BAD, contents


@pytest.fixture
def folder(portrait_file: Path, voice_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good portrait, a good voice, and a video that must survive."""
    (tmp_path / "me.png").write_bytes(portrait_file.read_bytes())
    (tmp_path / "voice.wav").write_bytes(voice_file.read_bytes())
    (tmp_path / "old.mp4").write_bytes(b"what was here before")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_one_line_and_leaves_everything(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words = BAD[case]
    arguments = make(folder)
    before = contents(folder)
    output = [] if "-o" in arguments else ["-o", "old.mp4"]
    code = run(["animate", *arguments, *output])
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert code == 2, line
    assert said.out == ""
    assert said.err.splitlines()[-1] == line
    assert "Traceback" not in said.err
    assert words in line
    assert line.count("; ") >= 1, f"says what was got, but not what was expected or what to do: {line}"
    assert contents(folder) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_folder_that_is_not_writable(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "locked").mkdir(mode=0o500)
    assert run(["animate", "me.png", "voice.wav", "-o", "locked/out.mp4"]) == 2
    assert "locked" in capsys.readouterr().err
    assert list((folder / "locked").iterdir()) == []

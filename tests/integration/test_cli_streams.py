"""File names that are not UTF-8, and standard streams that are closed, full or read only in part, in a real process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX shells, signals and file names")
PORTRAIT, VOICE, VIDEO = (os.fsdecode(name) for name in (b"caf\xe9.png", b"voi\xff.wav", b"out\xe8.mp4"))
SHORT = ["--preset", "mesh", "--frames", "3", "--size", "64"]


@pytest.fixture
def folder(head_file: Path, voice_file: Path, tmp_path: Path) -> Path:
    """A portrait and a voice under plain names and under names that are not UTF-8."""
    for source, names in ((head_file, ("me.png", PORTRAIT)), (voice_file, ("voice.wav", VOICE))):
        for name in names:
            (tmp_path / name).write_bytes(source.read_bytes())
    return tmp_path


def shell(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which $E is the command."""
    command = f"{sys.executable} -m echomimic animate me.png voice.wav {' '.join(SHORT)}"
    every = {**os.environ, "E": command, **environment}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=every, capture_output=True, timeout=PATIENCE, check=False
    )


@pytest.mark.parametrize(("encoding", "flags"), [("ascii", []), ("utf-8", ["--json"])])
def test_names_that_are_not_utf8(folder: Path, encoding: str, flags: list[str]) -> None:
    names = [PORTRAIT, VOICE, "-o", VIDEO, "--save-motion", os.fsdecode(b"m\xe8.json")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C.UTF-8" if encoding == "utf-8" else "C"}
    command = [sys.executable, "-m", "echomimic", "animate", *names, *SHORT, *flags]
    made = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert (made.returncode, b"error" in made.stderr) == (0, False), made.stderr
    assert (folder / VIDEO).stat().st_size > 500
    last = made.stdout.decode(encoding).splitlines()[-1]
    assert json.loads(last)["path"] == VIDEO if flags else last.startswith("out\\udce8.mp4: 3 frames")


@pytest.mark.parametrize("suffix", [".webm", ".gif", ""])
def test_every_container_takes_a_title_that_is_not_utf8(folder: Path, suffix: str) -> None:
    from echomimic.apps.cli.main import run

    assert run(["animate", str(folder / PORTRAIT), str(folder / VOICE), "-o", str(folder / f"o{suffix}"), *SHORT]) == 0


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_motions_take_names_that_are_not_utf8(folder: Path, suffix: str) -> None:
    command = f"{sys.executable} -m echomimic motion"
    made = shell(folder, f"{command} hands $'voi\\xff.wav' -o $'m\\xe8{suffix}' && {command} show $'m\\xe8{suffix}'")
    assert (made.returncode, made.stderr) == (0, b"")
    assert b"hands voi\\udcff.wav" in made.stdout


@pytest.mark.parametrize("streams", [">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_does_not_stop_the_run(folder: Path, streams: str) -> None:
    made = shell(folder, f"$E -o o.mp4 {streams}")
    assert (made.returncode, b"Traceback" in made.stderr) == (0, False), made.stderr
    assert (folder / "o.mp4").read_bytes()[4:8] == b"ftyp"


def test_a_full_stdout_is_named_and_the_video_is_there(folder: Path) -> None:
    made = shell(folder, "$E -o o.mp4 > /dev/full")
    assert made.returncode == 1
    line = made.stderr.decode().splitlines()[-1]
    assert line == "error: stdout cannot be written (No space left on device); the video is complete: o.mp4"
    assert (folder / "o.mp4").is_file()


def test_a_full_stderr_does_not_stop_the_run(folder: Path) -> None:
    assert shell(folder, "$E -o o.mp4 2> /dev/full").returncode == 0
    assert (folder / "o.mp4").is_file()


def test_a_closed_pipe_ends_the_run_with_one_line(folder: Path) -> None:
    made = shell(folder, "$E -o o.mp4 --json | true; exit ${PIPESTATUS[0]}")
    assert made.returncode == 141
    assert made.stderr.decode().splitlines()[-1].startswith("error: stdout was closed by the program that read it")
    assert not list(folder.glob(".echomimic-part*"))


def test_a_closed_terminal_removes_the_unfinished_file(folder: Path) -> None:
    """SIGHUP; test_story_mesh.py sends SIGINT and SIGTERM."""
    command = [sys.executable, "-m", "echomimic", "animate", "me.png", "voice.wav", "--preset", "mesh"]
    command += ["--frames", "100000", "--size", "64", "-o", "o.mp4"]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a process inherits that nohup ignores SIGHUP
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE) as process:
        signal.signal(signal.SIGHUP, before)
        wait_until(lambda: list(folder.glob(".echomimic-part*")), "the file is begun")
        process.send_signal(signal.SIGHUP)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 129
    assert said.splitlines()[-1] == b"error: stopped; nothing was written"
    assert not list(folder.glob(".echomimic-part*"))
    assert not (folder / "o.mp4").exists()


def test_a_stop_signal_that_a_library_swallowed_is_raised_at_the_next_frame(folder: Path) -> None:
    """Python drops what a signal raises in a finalizer; here the first frame's report loses it."""
    program = """
import contextlib, signal
from echomimic.apps.cli import main, reporter
status = reporter.Reporter.status
def lossy(self, done, total, *rest, **values):
    status(self, done, total, *rest, **values)
    with contextlib.suppress(BaseException):
        if done == 1:
            signal.raise_signal(signal.SIGTERM)
reporter.Reporter.status = lossy
main.main()
"""
    command = [sys.executable, "-c", program, "animate", "me.png", "voice.wav", *SHORT, "-o", "o.mp4"]
    made = subprocess.run(command, cwd=folder, capture_output=True, timeout=PATIENCE, check=False)
    assert (made.returncode, made.stderr.splitlines()[-1]) == (143, b"error: stopped; nothing was written")
    assert not list(folder.glob("*.mp4"))

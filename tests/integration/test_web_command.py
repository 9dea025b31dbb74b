"""`echomimic web`: its folder is its own, and is deleted at the end or, after a kill, at the next start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the page needs the serve extra")
from echomimic.apps.cli.main import run
from helpers.waiting import PATIENCE
from helpers.web_browser import WebServer, ask


def start(temporary: Path, *extra: str) -> "subprocess.Popen[str]":
    """A server whose temporary folder is `temporary`, when it listens."""
    command = [sys.executable, "-m", "echomimic", "web", "--port", "0", "--no-browser", *extra]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout is not None
    assert "http://127.0.0.1:" in process.stdout.readline()
    return process


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path) -> None:
    first = start(tmp_path)
    first.send_signal(signal.SIGKILL)
    first.wait(PATIENCE)
    assert len(list(tmp_path.iterdir())) == 1
    second = start(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1  # that of the killed server is gone
    third = start(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # that of a running server stays
    for process in (second, third):
        process.terminate()
        process.wait(PATIENCE)
    assert list(tmp_path.iterdir()) == []


def test_a_server_ends_in_order_while_it_loads_libraries_and_keeps_a_given_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    server = WebServer("--data", str(tmp_path / "mine"))
    ask(f"{server.address}/ui/config")
    server.stop()
    assert (tmp_path / "mine" / "jobs.sqlite").exists()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_other_machines_are_accepted_only_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["web", "--host", "0.0.0.0", "--no-browser"]) == 2
    assert "--no-key" in capsys.readouterr().err

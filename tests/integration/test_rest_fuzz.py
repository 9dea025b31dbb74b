"""Schemathesis finds nothing in a short run; `benchmarks/rest_fuzz.py` is the long one."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[2] / "benchmarks" / "rest_fuzz.py"


def test_a_short_run() -> None:
    pytest.importorskip("schemathesis")
    command = [sys.executable, str(FUZZ), "--examples", "3", "--seconds", "5"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "server alive: True" in done.stdout

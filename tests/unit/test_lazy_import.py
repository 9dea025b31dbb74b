"""Heavy modules are imported when they are first needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch",
    "ai_edge_litert",
    "mediapipe",
    "cv2",
    "fastapi",
    "diffusers",
    "scipy",
    "skimage",
    "matplotlib",
    "av",
)
LINES = {
    "--help": 0,
    "--version": 0,
    "presets": 0,
    "animate --help": 0,
    "animate": 2,
    "animate a b --nonsense": 2,
    "animate a b --fps 0": 2,
    "animate a b --preset nonsense": 2,
    "animate a b -o missing/out.mp4": 2,
}
SCRIPT = f"""
import contextlib, io, json, sys
def heavy(*more):
    return [name for name in ({HEAVY!r} + more) if name in sys.modules]
found = {{}}
import echomimic
found["import echomimic"] = [0, heavy("numpy", "pydantic", "typer", "rich")]
echomimic.Options, echomimic.PRESETS, echomimic.Clip, echomimic.EchoMimicError
found["its names"] = [0, heavy()]
from echomimic.apps.cli.main import run
for line in {list(LINES)!r}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        found[line] = [run(line.split()), heavy()]
json.dump(found, sys.stdout)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list[str]]]:
    """For each step, in one process after another: its exit code, and what is loaded after it."""
    folder = tmp_path_factory.mktemp("empty")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=folder, check=True)
    assert list(Path(folder).iterdir()) == []
    steps: dict[str, tuple[int, list[str]]] = json.loads(done.stdout)
    return steps


@pytest.mark.parametrize("step", ["import echomimic", "its names", *LINES])
def test_heavy_modules_are_imported_lazily(found: dict[str, tuple[int, list[str]]], step: str) -> None:
    code, loaded = found[step]
    assert loaded == []
    assert code == LINES.get(step, 0)

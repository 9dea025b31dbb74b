"""The scripts and the notebook of examples/ run as they are."""

import json
import runpy
import sys
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from echomimic.media import read_video
from helpers.motion_samples import load_landmarks
from helpers.rest_server import serving

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, *arguments: object) -> None:
    """Run an example as a script with these arguments."""
    script = EXAMPLES / name
    before, sys.argv = sys.argv, [str(script), *map(str, arguments)]
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv = before


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_speak(head_file: Path, voice_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("speak.py", head_file, voice_file, "out.mp4")
    assert read_video("out.mp4").count == 25 and "out.mp4: 512x512" in capsys.readouterr().err


def test_edit_motion(head_file: Path, voice_file: Path) -> None:
    run("edit_motion.py", head_file, voice_file, "edited.mp4")
    track = load_landmarks("edited.npz")
    assert read_video("edited.mp4").count == len(track) == 25
    assert track.curves is not None
    assert track.curves["yaw"][0] == pytest.approx(-8, abs=0.5)


def test_frames(head_file: Path, voice_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("frames.py", head_file, voice_file)
    assert "25 frames of (256, 256)" in capsys.readouterr().out


def test_batch(head_file: Path, voice_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    voices = tmp_path / "voices"
    voices.mkdir()
    (voices / "a.wav").write_bytes(voice_file.read_bytes())
    (voices / "b.wav").write_text("no sound")
    run("batch.py", voices, head_file, "clips")
    assert [path.name for path in Path("clips").iterdir()] == ["a.mp4"]
    assert "b.wav: " in capsys.readouterr().err


def test_http_client(tmp_path: Path, head_file: Path, voice_file: Path) -> None:
    with serving(tmp_path) as server:
        run("http_client.py", f"http://127.0.0.1:{server.port}", head_file, voice_file, "remote.mp4")
    assert Path("remote.mp4").stat().st_size > 0


def test_the_notebook() -> None:
    cells = json.loads((EXAMPLES / "quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "quickstart.ipynb", "exec"), names)
    assert read_video("notebook.mp4").count > 100


def test_gradio_space(monkeypatch: pytest.MonkeyPatch, head_file: Path, voice_file: Path) -> None:
    """The function behind the demo; Gradio itself is a stand-in that takes anything."""
    gradio = MagicMock()
    gradio.Error = RuntimeError
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    names = runpy.run_path(str(EXAMPLES / "gradio_space.py"))
    video, _ = names["speak"](str(head_file), str(voice_file), 64.0, 3.0, lambda fraction: None)
    assert read_video(video).count == 25
    with pytest.raises(RuntimeError, match="choose both"):
        names["speak"](None, str(voice_file), 64.0, 3.0, None)
    assert len((EXAMPLES / "gradio_space.py").read_text(encoding="utf-8").splitlines()) <= 60


def test_every_example_is_in_the_table_and_has_a_test() -> None:
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert len(names) == 7 and all(f"[{name}]({name})" in table for name in names)

"""The commands `echomimic track` and `echomimic motion …`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from echomimic.apps.cli.motion import motion_app, track
from echomimic.errors import EchoMimicError
from echomimic.media import write_clip
from echomimic.motion import load_edits, load_motion, save_motion
from echomimic.types import LandmarkTrack, PoseTrack
from helpers.motion_samples import driver, face_track, load_landmarks, v2_frame, write_v1, write_v2

app = typer.Typer()
app.command()(track)
app.add_typer(motion_app, name="motion")
Run = Callable[..., str]


@pytest.fixture
def run() -> Run:
    def call(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return call


@pytest.fixture
def face(tmp_path: Path) -> Path:
    return save_motion(tmp_path / "face.npz", face_track(50))


@pytest.fixture
def pose(tmp_path: Path) -> Path:
    return save_motion(tmp_path / "pose.npz", driver(30))


def test_every_kind_of_motion_is_converted(tmp_path: Path, run: Run) -> None:
    v1, v2 = write_v1(tmp_path / "v1"), write_v2(tmp_path / "v2", [v2_frame()] * 3)
    said = run("motion", "convert", v1, tmp_path / "a.npz", "--fps", 30, "--canvas", "256,256")
    assert "landmarks, 4 frames" in said and "30 a second, canvas 256x256" in said
    run("motion", "convert", tmp_path / "a.npz", tmp_path / "b.json")
    run("motion", "convert", tmp_path / "b.json", tmp_path / "c.csv")
    back = load_motion(tmp_path / "c.csv")
    assert isinstance(back, LandmarkTrack)
    np.testing.assert_array_equal(back.points, load_motion(v1).points)  # type: ignore[union-attr]
    assert "pose, 3 frames" in run("motion", "convert", v2, tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        (("select", "--parts", "eyes,pupils"), 50),
        (("resample", "50"), 100),
        (("trim", "--start", "0.4", "--end", "1.0"), 15),
        (("loop", "5"), 125),
        (("loop", "5", "--seam", "0.3"), 125),
        (("stretch", "1"), 25),
        (("smooth", "--seconds", "0.1"), 50),
        (("amplify", "1.5", "--parts", "mouth"), 50),
        (("retime", "0.4=0.8", "1.2=1.2"), 50),
        (("offset", "--seconds", "-0.2", "--x", "3"), 50),
        (("mirror",), 50),
        (("set", "yaw", "0=0", "1=10", "2=-10"), 50),
        (("draw", "jaw", "0.4=0", "0.8=0.5"), 50),
        (("scale", "jaw", "0", "--start", "0.4"), 50),
    ],
)
def test_every_edit_is_saved_with_its_motion(
    face: Path, tmp_path: Path, run: Run, words: tuple[str, ...], frames: int
) -> None:
    run("motion", words[0], face, *words[1:], "-o", tmp_path / "out.npz")
    run("motion", "mirror", tmp_path / "out.npz", "-o", tmp_path / "twice.npz")
    assert len(load_motion(tmp_path / "out.npz")) == frames
    edits = load_edits(tmp_path / "twice.npz")
    assert edits[0].op.startswith(words[0]) and edits[1].op == "mirror"
    assert f"edit     {edits[0]}" in run("motion", "show", tmp_path / "twice.npz")


def test_edits_are_replayed_on_another_motion(face: Path, tmp_path: Path, run: Run) -> None:
    run("motion", "amplify", face, "0.5", "--parts", "mouth", "-o", tmp_path / "a.npz")
    run("motion", "blend", tmp_path / "a.npz", face, "--parts", "head", "-o", tmp_path / "b.npz")
    other = save_motion(tmp_path / "other.npz", face_track(30, seed=4))
    run("motion", "replay", other, tmp_path / "b.npz", "-o", tmp_path / "c.npz")
    assert load_edits(tmp_path / "c.npz") == load_edits(tmp_path / "b.npz")
    assert len(load_motion(tmp_path / "c.npz")) == 30


def test_set_moves_the_landmarks_even_without_curves(tmp_path: Path, run: Run) -> None:
    plain = face_track(20)
    save_motion(tmp_path / "t.npz", LandmarkTrack(plain.points, plain.image_size, plain.fps, plain.valid))
    run("motion", "set", tmp_path / "t.npz", "blink", "0=0", "0.4=1", "-o", tmp_path / "out.npz")
    track = load_motion(tmp_path / "out.npz")
    assert isinstance(track, LandmarkTrack) and track.curves is not None and track.curves["blink"][10] == 1
    lids = track.points[:, 145, 1] - track.points[:, 159, 1]
    assert lids[10] < 0.5 * lids[0]


def test_blend_and_concat(face: Path, pose: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "out.npz"
    run("motion", "blend", face, face, "--share", "1", "--parts", "head", "-o", out)
    assert len(load_motion(out)) == 50
    run("motion", "concat", pose, pose, pose, "--seam", "0.2", "-o", out)
    assert len(load_motion(out)) == 30 * 3 - 2 * 5
    assert [edit.record() for edit in load_edits(out)] == [{"op": "concat", "others": ["pose.npz", "pose.npz"]}]


@pytest.mark.parametrize(
    "words",
    [
        ("select", "pose.npz", "-o", "o.npz"),
        ("set", "pose.npz", "yaw", "0=1", "-o", "o.npz"),
        ("set", "face.npz", "yaw", "zero", "-o", "o.npz"),
        ("blend", "face.npz", "pose.npz", "-o", "o.npz"),
        ("convert", "face.npz", "o.npz", "--canvas", "big"),
        ("convert", "nothing.npz", "o.npz"),
        ("mirror", "face.npz", "-o", "o.pkl"),
    ],
)
def test_errors_are_ours_and_one_line(
    face: Path, pose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EchoMimicError) as caught:
        CliRunner().invoke(app, ["motion", *words], catch_exceptions=False)
    assert "\n" not in str(caught.value) and not (tmp_path / "o.npz").exists()


def test_show_and_preview_print_warnings(pose: Path, voice_file: Path, tmp_path: Path, run: Run) -> None:
    long = save_motion(tmp_path / "short.npz", driver(10))
    said = run("motion", "show", long, "--voice", voice_file)
    assert "warning  the motion lasts 0.4 s and the voice 1.0 s" in said
    assert '"kind": "pose"' in run("motion", "show", pose, "--json")
    said = run("motion", "preview", long, "-o", tmp_path / "sheet.png", "--voice", voice_file)
    assert "warning" in said and (tmp_path / "sheet.png").stat().st_size > 1000
    run("motion", "preview", pose, "-o", tmp_path / "play.mp4", "--voice", voice_file)
    assert (tmp_path / "play.mp4").exists()


def test_track_align_and_hands(portrait_file: Path, voice_file: Path, tmp_path: Path, run: Run) -> None:
    pixels = np.asarray(Image.open(portrait_file).convert("RGB").resize((256, 256)), np.uint8)
    write_clip(tmp_path / "v.mp4", iter([pixels] * 4), 25.0, None, {})
    said = run("track", tmp_path / "v.mp4", "-o", tmp_path / "t.npz")
    assert "landmarks, 4 frames" in said and str(load_edits(tmp_path / "t.npz")[0]) == "# track v.mp4"
    run("motion", "align", tmp_path / "t.npz", portrait_file, "-o", tmp_path / "a.npz")
    aligned = load_landmarks(tmp_path / "a.npz")
    assert aligned.image_size == Image.open(portrait_file).size
    Image.open(portrait_file).rotate(180).save(tmp_path / "over.png")
    said = run("motion", "align", tmp_path / "t.npz", tmp_path / "over.png", "-o", tmp_path / "c.npz")
    np.testing.assert_allclose(load_landmarks(tmp_path / "c.npz").points, aligned.points, atol=1)
    said = run("motion", "align", save_motion(tmp_path / "p.npz", driver(5)), portrait_file, "-o", tmp_path / "b.npz")
    assert "shoulders take" in said
    run("motion", "hands", voice_file, "-o", tmp_path / "h.npz", "--seed", 4)
    assert isinstance(load_motion(tmp_path / "h.npz"), PoseTrack)

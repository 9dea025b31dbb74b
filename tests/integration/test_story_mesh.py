"""Whole runs of the mesh engine, through the command line and through Python, at a small size."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import echomimic
import echomimic.errors
from conftest import write_wav
from echomimic.apps.cli.main import run
from echomimic.data import demo_voice
from echomimic.media import read_picture, read_speech, read_video
from echomimic.motion import load_motion
from helpers.waiting import PATIENCE

SMALL = ("--size", "192", "--workers", "1")


@pytest.fixture
def folder(head_file: Path, voice_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, with spaces and letters beyond ASCII in its name, with a portrait and a voice."""
    home = tmp_path / "Größe und 口型"
    home.mkdir()
    (home / "mein Bild ñ.png").write_bytes(head_file.read_bytes())
    (home / "声音 é.wav").write_bytes(voice_file.read_bytes())
    monkeypatch.chdir(home)
    return home


def inputs(folder: Path) -> tuple[Path, Path]:
    """The portrait and the voice."""
    return folder / "mein Bild ñ.png", folder / "声音 é.wav"


def pictures(path: Path) -> np.ndarray:
    """All frames of a video: (T, H, W, 3)."""
    return np.stack([picture for _, picture in read_video(path).frames()])


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The mean absolute difference of two stacks of frames, in grey values."""
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def test_the_command_line_makes_a_video_that_moves_and_has_the_voice(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    portrait, voice = inputs(folder)
    assert run(["animate", portrait.name, voice.name, *SMALL]) == 0
    made = folder / "mein Bild ñ-声音 é.mp4"
    assert str(made.name) in capsys.readouterr().out
    with av.open(str(made)) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]
        video, audio = file.streams
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert abs(float(video.duration * video.time_base) - 1.0) < 0.05
        assert "AI-generated" in file.metadata["comment"]
    frames = pictures(made)
    assert frames.shape == (25, 192, 192, 3)
    assert difference(frames[:-1], frames[1:]) > 0.05
    assert {path.name for path in folder.iterdir()} == {portrait.name, voice.name, made.name}


def test_the_first_frame_is_the_portrait(folder: Path) -> None:
    portrait, voice = inputs(folder)
    echomimic.animate(portrait, voice, output=folder / "o.mp4", size=256, frames=2, workers=1)
    shown = pictures(folder / "o.mp4")[0]
    assert difference(shown, read_picture(portrait).pixels) < 6


def test_a_motion_is_saved_edited_and_rendered(folder: Path) -> None:
    portrait, voice = inputs(folder)
    short = ("--frames", "12", *SMALL)
    assert run(["animate", *map(str, inputs(folder)), "-o", "a.mp4", "--save-motion", "m.npz", *short]) == 0
    assert run(["animate", *map(str, inputs(folder)), "-o", "b.mp4", "--motion", "m.npz", *short]) == 0
    assert np.array_equal(pictures(folder / "a.mp4"), pictures(folder / "b.mp4"))
    track = load_motion(folder / "m.npz")
    assert isinstance(track, echomimic.LandmarkTrack)
    assert track.curves is not None
    assert (len(track), len(track.curves), track.fps) == (12, 12, 25.0)
    shut = echomimic.LandmarkTrack(
        track.points, track.image_size, track.fps, track.valid, track.curves.replace(jaw=0, yaw=0, blink=1)
    )
    echomimic.animate(portrait, voice, shut, output=folder / "c.mp4", size=192, frames=12, workers=1)
    assert difference(pictures(folder / "a.mp4"), pictures(folder / "c.mp4")) > 0.2


def test_same_seed_same_frames_and_another_seed_others(folder: Path) -> None:
    portrait, voice = inputs(folder)
    clips = {
        name: echomimic.animate(
            portrait,
            voice,
            output=folder / f"{name}.mp4",
            size=192,
            frames=12,
            seed=seed,
            workers=workers,
            motion_strength=2,
        )
        for name, seed, workers in (("a", 3, 1), ("b", 3, 2), ("c", 4, 1))
    }
    assert (clips["a"].seed, clips["a"].frames, clips["a"].preset) == (3, 12, "mesh")
    a, b, c = (pictures(folder / f"{name}.mp4") for name in "abc")
    assert np.array_equal(a, b)
    assert difference(a, c) > 0.05


def test_the_engine_is_kept_and_gives_frames_one_by_one(folder: Path) -> None:
    portrait, voice = read_picture(inputs(folder)[0]), read_speech(inputs(folder)[1])
    engine = echomimic.load("mesh")
    seen: list[tuple[int, int]] = []
    options = echomimic.Options(size=128, workers=1)
    frames = engine.prepare(portrait, voice, None, options).frames(lambda done, total: seen.append((done, total)))
    assert isinstance(frames, Iterator)
    first = next(frames)
    assert first.shape == (128, 128, 3) and first.dtype == np.uint8
    assert len(list(frames)) == 24
    assert seen[-1] == (25, 25)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_progress_that_raises_cancels_and_leaves_nothing(folder: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 3:
            raise echomimic.errors.Cancelled("enough")

    before = sorted(folder.iterdir())
    with pytest.raises(echomimic.errors.Cancelled):
        echomimic.animate(*inputs(folder), output=folder / "o.mp4", size=128, workers=1, progress=stop)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("flags", "width", "height", "frames"),
    [
        (("--framing", "crop", "--size", "128"), 128, 128, 25),
        (("--size", "131", "--fps", "12.5"), 132, 132, 12),
        (("--size", "128", "--frames", "7", "--fps", "60"), 128, 128, 7),
    ],
)
def test_framing_size_rate_and_length(
    folder: Path, flags: tuple[str, ...], width: int, height: int, frames: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["animate", *map(str, inputs(folder)), "-o", "o.mp4", "--json", "--workers", "1", *flags]
    assert run([*arguments, "--plan"]) == 0
    plan = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert run(arguments) == 0
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    shape = pictures(folder / "o.mp4").shape
    for said in (plan, done):
        assert abs(said["width"] - width) <= 4
        assert (shape[0], shape[1], shape[2]) == (said["frames"], said["height"], said["width"])
    assert abs(shape[0] - frames) <= 1


@pytest.mark.parametrize("name", ["o.webm", "o.gif", "frames"])
def test_every_kind_of_output_is_written(folder: Path, name: str) -> None:
    assert run(["animate", *map(str, inputs(folder)), "-o", name, "--frames", "4", *SMALL]) == 0
    made = folder / name
    if name == "frames":
        assert [Image.open(path).size for path in sorted(made.iterdir())] == [(192, 192)] * 4
    else:
        assert len(pictures(made)) == 4


def test_notes_are_printed_and_returned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    face = np.array(Image.open(inputs(folder)[0]).convert("RGB"))
    Image.fromarray(np.hstack([face, face])).save(folder / "two.png")
    write_wav(folder / "silence.wav", np.zeros(8000))
    assert run(["animate", "two.png", "silence.wav", "-o", "o.mp4", "--face", "2", "--frames", "3", *SMALL]) == 0
    assert run(["animate", "two.png", "silence.wav", "-o", "o.mp4", "--frames", "3", *SMALL]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert any("silent" in line for line in notes)
    assert any("--face" in line for line in notes)
    clip = echomimic.animate("two.png", "silence.wav", output="o.mp4", size=128, frames=2, workers=1)
    assert len(clip.notes) >= 2


def test_pictures_of_every_format_are_read(folder: Path) -> None:
    whole = Image.open(inputs(folder)[0]).convert("RGB")
    alpha = whole.copy()
    alpha.putalpha(200)
    kinds = {
        "jpeg called.png": (whole, "JPEG"),
        "alpha.png": (alpha, "PNG"),
        "cmyk.tif": (whole.convert("CMYK"), "TIFF"),
    }
    kinds |= {"palette.gif": (whole.convert("P"), "GIF"), "grey.webp": (whole.convert("L"), "WEBP")}
    for name, (image, kind) in kinds.items():
        image.save(folder / name, kind)
        assert run(["animate", name, str(inputs(folder)[1]), "-o", "o.mp4", "--frames", "1", "--size", "64"]) == 0, name


def test_the_demo_says_a_few_sentences() -> None:
    speech = read_speech(demo_voice())
    assert 3 < speech.duration < 20
    assert not speech.silent


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_and_leaves_nothing(folder: Path, signum: int, code: int) -> None:
    portrait, voice = inputs(folder)
    before = sorted(folder.iterdir())
    command = [sys.executable, "-m", "echomimic", "animate", str(portrait), str(voice), "-o", "o.mp4", "--json"]
    with subprocess.Popen(
        [*command, "--frames", "50000", *SMALL], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if json.loads(line)["event"] == "progress":
                break
        os.kill(running.pid, signum)
        rest, error = running.communicate(timeout=PATIENCE)
    assert running.returncode == code
    assert error == "error: stopped; nothing was written\n"
    assert json.loads(rest.splitlines()[-1])["event"] == "error"
    assert sorted(folder.iterdir()) == before

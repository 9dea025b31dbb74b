"""Video in: upright RGB frames with the seconds they belong to, whatever the frame rate does."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from echomimic.errors import VideoError
from echomimic.media import read_video
from echomimic.notes import collect_notes
from helpers.media_samples import moving, picture, tone, write_sound, write_video


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".avi"])
def test_every_container(tmp_path: Path, suffix: str) -> None:
    video = read_video(write_video(tmp_path / f"a{suffix}", 20))
    assert (video.width, video.height, video.count) == (96, 64, 20)
    assert video.fps == pytest.approx(25, rel=2e-3)
    assert video.duration == pytest.approx(0.8, abs=2e-3)
    frames = list(video.frames())
    assert [seconds for seconds, _ in frames] == pytest.approx([i / 25 for i in range(20)], abs=2e-3)
    for (_, got), wanted in zip(frames, moving(20), strict=True):
        assert got.shape == (64, 96, 3)
        assert got.dtype == np.uint8
        assert np.abs(got.astype(int) - wanted).mean() < 8


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(1), Fraction(120)])
def test_exact_rates(tmp_path: Path, fps: Fraction) -> None:
    video = read_video(write_video(tmp_path / "a.mp4", 12, fps=fps))
    assert video.fps == pytest.approx(float(fps), rel=1e-4)
    assert video.duration == pytest.approx(float(12 / fps), rel=1e-3)


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    stamps = [0, 1, 2, 7, 8, 20]
    video = read_video(write_video(tmp_path / "a.mp4", 6, stamps=stamps))
    assert [seconds for seconds, _ in video.frames()] == pytest.approx([stamp / 25 for stamp in stamps], abs=1e-3)
    assert video.fps == pytest.approx(5 * 25 / 20)


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV cannot write rotation")
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.set_display_rotation(degrees)
        frame = av.VideoFrame.from_ndarray(picture(), "rgb24").reformat(format="yuv420p")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = read_video(path)
    shown = np.rot90(picture(), degrees // 90)  # FFmpeg counts anticlockwise
    assert (video.height, video.width) == shown.shape[:2]
    _, pixels = next(video.frames())
    assert np.abs(pixels.astype(int) - shown).mean() < 8


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5])
def test_colours_follow_the_matrix_and_range_of_the_file(tmp_path: Path, matrix: int, full: bool) -> None:
    path = tmp_path / "a.mp4"
    colours = np.zeros((64, 96, 3), np.uint8)
    for index, colour in enumerate([(200, 30, 30), (30, 200, 30), (30, 30, 200)]):
        colours[:, 32 * index : 32 * index + 32] = colour
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame.from_ndarray(colours, "rgb24")
        frame = frame.reformat(
            format="yuv420p", dst_colorspace=matrix, src_color_range=2, dst_color_range=2 if full else 1
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    _, pixels = next(read_video(path).frames())
    for middle in (16, 48, 80):
        assert pixels[32, middle].astype(int) == pytest.approx(colours[32, middle], abs=5)


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    path = tmp_path / "dv.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), "rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    video = read_video(path)
    assert (video.width, video.height) == (128, 64)
    assert next(video.frames())[1].shape == (64, 128, 3)


def test_frames_can_be_read_again_and_left_early(tmp_path: Path) -> None:
    video = read_video(write_video(tmp_path / "a.mp4", 30))
    first = next(video.frames())
    again = next(video.frames())
    assert first[0] == again[0]
    assert (first[1] == again[1]).all()


def test_a_video_that_starts_late_keeps_its_place(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 10, stamps=[i + 10 for i in range(10)], sound=tone(1.0, 48000))
    assert next(read_video(path).frames())[0] == pytest.approx(0.4, abs=0.03)


def test_a_cut_off_video_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    data = write_video(tmp_path / "a.mkv", 250).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    with collect_notes():
        video = read_video(tmp_path / "cut.mkv")
        count = len(list(video.frames()))
    assert 50 < count < 200
    assert abs(video.count - count) <= 2
    assert video.duration == pytest.approx(video.count / 25, abs=0.3)  # the last frames may lack their references


BAD = {
    "missing": (lambda path: None, "does not exist"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "empty": (lambda path: path.touch(), "is empty"),
    "text": (lambda path: path.write_text("no video\n"), "holds text"),
    "noise": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(9000)), "expected a video"),
    "picture": (lambda path: Image.fromarray(picture()).save(path, "PNG"), "is a picture"),
    "sound": (lambda path: write_sound(path.with_suffix(".mp3"), tone(1, 48000)).rename(path), "is a sound"),
    "cut before the frames": (
        lambda path: path.write_bytes(write_video(path.with_suffix(".mov")).read_bytes()[:1500]),
        "damaged",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_video_gets_one_line(tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, words = BAD[case]
    path = tmp_path / "film.mp4"
    make(path)
    with pytest.raises(VideoError, match=words) as caught:
        read_video(path)
    assert "\n" not in str(caught.value)
    assert "film.mp4" in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.shared
def test_the_sample_driving_video(shared: Path) -> None:
    video = read_video(shared / "data" / "driving" / "a.mp4")
    assert (video.width, video.height, video.fps, video.count) == (512, 512, 24.0, 288)

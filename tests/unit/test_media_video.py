"""Video in: upright RGB frames with the seconds they belong to, whatever the frame rate does."""

import pickle
import struct
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from echomimic.errors import VideoError
from echomimic.media import read_speech, read_video, sound_blocks
from echomimic.media.source import content_kind
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


def with_display_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """An mp4 whose track header maps stored (x, y) to (a x + c y, b x + d y), for `matrix` (a, b, c, d)."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    a, b, c, d = (value * 65536 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("across", [1, -1])
@pytest.mark.parametrize("down", [1, -1])
def test_every_orientation_of_a_display_matrix_is_applied(
    tmp_path: Path, transpose: bool, across: int, down: int
) -> None:
    matrix = (0, down, across, 0) if transpose else (across, 0, 0, down)
    path = write_video(tmp_path / "phone.mp4", 3)
    stored = next(read_video(path).frames())[1]
    video = read_video(with_display_matrix(path, matrix))
    shown = (stored.swapaxes(0, 1) if transpose else stored)[::down, ::across]
    assert (video.height, video.width) == shown.shape[:2]
    np.testing.assert_array_equal(next(video.frames())[1], shown)


@pytest.mark.shared
def test_the_sample_of_a_front_camera_is_mirrored_back(shared: Path) -> None:
    pairs = zip(
        *(read_video(shared / "cases" / name).frames() for name in ("m_hflip.mp4", "m_upright.mp4")), strict=True
    )
    assert max(float(np.abs(a.astype(int) - b).mean()) for (_, a), (_, b) in pairs) < 2


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".ts"])
@pytest.mark.parametrize("late", [0, 12])
def test_the_offset_of_pictures_and_sound_is_kept(tmp_path: Path, suffix: str, late: int) -> None:
    stamps = [late + index for index in range(15)]
    path = write_video(tmp_path / f"a{suffix}", 15, stamps=stamps, sound=tone(1.0, 48000), sound_start=0.24)
    zero = min(late / 25, 0.24)
    video, speech = read_video(path), read_speech(path)
    samples = np.concatenate(list(sound_blocks(speech)))
    assert video.start == pytest.approx(late / 25 - zero, abs=0.03)
    assert next(video.frames())[0] == pytest.approx(video.start, abs=1e-3)
    assert np.flatnonzero(np.abs(samples) > 0.2)[0] / 16000 == pytest.approx(0.24 - zero, abs=0.05)
    assert len(list(video.even_frames())) == 15 + round(video.start * 25)


def test_even_frames_hold_the_first_and_follow_a_variable_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", 4, stamps=[5, 6, 9, 10], sound=tone(1.0, 48000))
    video = replace(read_video(path), fps=25.0)
    grey = [int(pixels[-8, -8].mean()) for pixels in video.even_frames()]
    own = [int(pixels[-8, -8].mean()) for _, pixels in video.frames()]
    assert grey == [own[0]] * 6 + [own[1]] * 3 + own[2:]


def test_b_frames_do_not_shift_the_start(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv", ".ts"):
        video = read_video(write_video(tmp_path / f"b{suffix}", 30))
        assert video.start < 0.01


def with_cover(path: Path, source: Path) -> Path:
    """`source` with a picture attached as its first stream."""
    cover = BytesIO()
    Image.fromarray(picture()).save(cover, "PNG")
    with av.open(str(source)) as given, av.open(str(path), "w", "mp4") as made:
        attached = made.add_stream("png", rate=1)
        attached.width, attached.height, attached.pix_fmt = 96, 64, "rgb24"
        attached.disposition = Disposition.attached_pic
        streams = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        made.mux(attached.encode(av.VideoFrame.from_ndarray(picture(), "rgb24")))
        made.mux(attached.encode(None))
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)
    return path


def test_a_cover_picture_is_not_the_video(tmp_path: Path) -> None:
    path = with_cover(tmp_path / "a.mp4", write_video(tmp_path / "plain.mp4", 12))
    assert (read_video(path).count, content_kind(path)) == (12, "video")


def test_a_sound_with_a_cover_is_a_sound(tmp_path: Path) -> None:
    path = with_cover(tmp_path / "a.m4a", write_sound(tmp_path / "plain.m4a", tone(1.0, 48000)))
    assert content_kind(path) == "sound"
    assert read_speech(path).duration == pytest.approx(1.0, abs=0.06)
    with pytest.raises(VideoError, match="is a sound"):
        read_video(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".ts"])
def test_a_video_of_one_frame_is_read(tmp_path: Path, suffix: str) -> None:
    video = read_video(write_video(tmp_path / f"a{suffix}", 1, fps=Fraction(30)))
    assert (video.count, len(list(video.frames()))) == (1, 1)
    assert 24 < video.fps < 31
    assert video.duration == pytest.approx(1 / video.fps)


def test_content_decides_what_a_file_is(tmp_path: Path) -> None:
    kinds = {
        "video": [write_video(tmp_path / "a.ts", 5), write_video(tmp_path / "b.mkv", 5, sound=tone(0.2, 48000))],
        "sound": [write_sound(tmp_path / "a.mp3", tone(1, 48000)), write_sound(tmp_path / "a.flac", tone(1, 48000))],
        "picture": [tmp_path / "a.png", tmp_path / "a.jpg", tmp_path / "a.gif", tmp_path / "a.tiff"],
        "text": [tmp_path / "a.csv"],
        "other": [
            tmp_path / "a.npz",
            tmp_path / "a.npy",
            tmp_path / "a.pkl",
            tmp_path / "empty",
            tmp_path / "none",
            tmp_path,
        ],
    }
    for path in kinds["picture"]:
        Image.fromarray(picture()).save(path)
    frames = [Image.fromarray(pixels) for pixels in moving(4)]
    for name in ("a.apng", "moving.gif"):
        frames[0].save(
            tmp_path / name, format="GIF" if "gif" in name else "PNG", save_all=True, append_images=frames[1:]
        )
        kinds["video"].append(tmp_path / name)
    kinds["text"][0].write_text("jaw,blink\n0.1,0.2\n")
    np.savez(tmp_path / "a.npz", points=np.zeros((4, 3)))
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((500, 3)))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(list(range(5000))))
    (tmp_path / "empty").touch()
    for kind, paths in kinds.items():
        for number, path in enumerate(paths):
            assert content_kind(path) == kind, path
            if path.is_file():
                bare = path.rename(tmp_path / f"{kind}{number}")
                assert content_kind(bare) == kind, path


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

"""Raw videos become clips: cuts, reasons, offset of the sound, resuming, workers, bad input."""

import json
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from echomimic.apps.cli.main import run as run_command
from echomimic.errors import InputError, OptionError, OutputError
from echomimic.landmarks.crop import Crop
from echomimic.media import read_speech, read_video, sound_blocks
from echomimic.motion import load_motion
from echomimic.motion.lags import Sync
from echomimic.parallel import Runner
from echomimic.train.diffusion.manifest import Row, Source, SyncScore, check_files, parse_row, read_manifest, row_files
from echomimic.train.diffusion.prepare.quality import VideoSync, check_sync, duplicates, score_sync, sync_of_video
from echomimic.train.diffusion.prepare.run import (
    check_survivors,
    find_videos,
    forecast,
    judge_set,
    prepare_videos,
    rate,
    sampled,
)
from echomimic.train.diffusion.prepare.settings import REASONS, make_settings
from echomimic.train.diffusion.prepare.shards import parse_size
from echomimic.train.diffusion.prepare.tracks import (
    TrackedPiece,
    crop_body,
    face_of_pose,
    fraction_outside,
    hands_seen,
)
from echomimic.train.diffusion.prepare.video import DroppedError, Piece, find_cuts, split
from echomimic.train.diffusion.prepare.worker import Item, Prepare
from echomimic.train.diffusion.rights import Recording, Rights
from echomimic.types import LandmarkTrack, PoseTrack
from helpers.media_samples import tone
from helpers.media_samples import write_video as write_plain_video
from helpers.prepare_workers import DyingPrepare, FullPrepare
from helpers.talking_videos import RATE, RIGHTS, Take, demo_sound, head_picture, render, write_video

pytestmark = pytest.mark.slow
SETTINGS = replace(make_settings("face", 192), shortest=1.8)


class StoppedPrepare(DyingPrepare):
    """Is stopped by the user at the second video."""

    def work(self, item: Item) -> list[Row]:
        if not item.path.endswith("1.mp4"):
            raise KeyboardInterrupt
        return super().work(item)


def numbered(folder: Path, names: Sequence[str]) -> list[Item]:
    """Files of different content, with rights."""
    folder.mkdir(exist_ok=True)
    (folder / "rights.toml").write_text(RIGHTS)
    for number, name in enumerate(names):
        (folder / f"{name}.mp4").write_text(str(number))
    return find_videos([folder])


@pytest.fixture(scope="module")
def takes(tmp_path_factory: pytest.TempPathFactory) -> list[Take]:
    """Two parts of the demo's voice, spoken by the demo's portrait."""
    head = head_picture(tmp_path_factory.mktemp("head"))
    return [render(head, demo_sound(start, 2.0), 256, seed) for start, seed in ((0.0, 1), (3.1, 2))]


@pytest.fixture(scope="module")
def videos(takes: list[Take], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one video of two takes whose sound is late by 3 frames, the second with text, and its rights."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "talk.mp4", [takes[0], takes[1].mirrored().with_text()], late=3)
    (folder / "rights.toml").write_text(RIGHTS)
    return folder


@pytest.fixture(scope="module")
def prepared(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of these videos."""
    folder = tmp_path_factory.mktemp("data")
    prepare_videos(find_videos([videos]), folder, SETTINGS, Runner(0))
    return folder


def test_a_video_becomes_a_clip_and_a_reason(prepared: Path, takes: list[Take]) -> None:
    kept, dropped = read_manifest(prepared, dropped=True)
    assert (kept.dropped, dropped.dropped) == (None, "text")
    assert kept.frames == len(takes[0].frames) and kept.size == (192, 192) and kept.split == "train"
    assert kept.sync is not None and kept.sync.offset == 3 and kept.sync.r > 0.7
    assert kept.face is not None and 0.4 < kept.face.share < 0.6 and kept.face.yaw < 15
    assert kept.speech is not None and kept.speech > 0.7
    assert kept.rights.subject == "portrait" and kept.source.name.endswith("/talk.mp4")
    assert read_manifest(prepared) == [kept]


def test_the_files_of_a_clip_fit_each_other(prepared: Path, takes: list[Take]) -> None:
    (row,) = read_manifest(prepared, "face")
    files = check_files(prepared, row)
    video = read_video(files.clip)
    assert (video.count, video.fps, video.width, video.height) == (row.frames, 24, 192, 192)
    track = load_motion(files.track)
    assert isinstance(track, LandmarkTrack) and len(track) == row.frames and track.image_size == (192, 192)
    assert track.points[..., :2].min() > 0 and track.points[..., :2].max() < 192
    sound = np.concatenate(list(sound_blocks(read_speech(files.sound), RATE)))
    assert len(sound) == round(row.frames / 24 * RATE)
    spoken = takes[0].sound[: len(sound)]
    lags = np.arange(-3000, 3001)
    scores = [float(np.dot(sound[3000:-3000], np.roll(spoken, lag)[3000:-3000])) for lag in lags[::50]]
    assert abs(lags[::50][int(np.argmax(scores))]) < RATE // 24


def test_key_frames_come_every_twelve_frames(prepared: Path) -> None:
    import av

    (row,) = read_manifest(prepared)
    with av.open(str(row_files(prepared, row).clip)) as container:
        keys = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]
        assert not container.streams.audio
    assert max(np.diff([*keys, row.frames])) <= 12


def test_the_same_rows_with_workers_and_again_without_work(videos: Path, prepared: Path, tmp_path: Path) -> None:
    rows = read_manifest(prepared, dropped=True)
    again = prepare_videos(find_videos([videos]), tmp_path, SETTINGS, Runner(2))
    assert read_manifest(tmp_path, dropped=True) == rows and again.videos == 1 and rate(again) is not None
    (tmp_path / "manifest.jsonl").unlink()
    (videos / "rights.toml").write_text(RIGHTS.replace("CC0-1.0", "CC-BY-4.0"))
    once_more = prepare_videos(find_videos([videos]), tmp_path, SETTINGS, Runner(0))
    (videos / "rights.toml").write_text(RIGHTS)
    assert once_more.videos == 0 and rate(once_more) is None
    assert [replace(row, rights=rows[0].rights) for row in once_more.rows] == rows
    assert {row.rights.licence for row in once_more.rows} == {"CC-BY-4.0"}


def test_a_worker_that_dies_loses_nothing(tmp_path: Path) -> None:
    items = numbered(tmp_path / "videos", ("dies always", "dies once", "lives 1", "lives 2"))
    done = prepare_videos(items, tmp_path / "data", SETTINGS, Runner(2), worker=DyingPrepare)
    assert [row.source.name.removeprefix("videos/") for row in done.rows] == [Path(item.path).name for item in items]
    assert [row.dropped for row in done.rows] == ["crash", "no_face", "duplicate", "duplicate"]
    assert not list((tmp_path / "data").rglob(".*"))


def test_an_interrupted_run_is_resumed(tmp_path: Path) -> None:
    items = numbered(tmp_path / "videos", ("1", "2"))
    with pytest.raises(KeyboardInterrupt):
        prepare_videos(items, tmp_path / "data", SETTINGS, Runner(0), worker=StoppedPrepare)
    assert [row.dropped for row in read_manifest(tmp_path / "data", dropped=True)] == ["no_face"]
    done = prepare_videos(items, tmp_path / "data", SETTINGS, Runner(0), worker=DyingPrepare)
    assert done.videos == 1 and [row.dropped for row in done.rows] == ["no_face", "duplicate"]


def test_shards_hold_the_same_files(videos: Path, prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    prepare_videos(find_videos([videos]), tmp_path, SETTINGS, Runner(0), shards=parse_size("1MB"))
    (row,) = read_manifest(tmp_path)
    (single,) = read_manifest(prepared)
    assert row.shard == "shards/000000.tar" and not list((tmp_path / "clips").rglob("*.mp4"))
    assert check_files(tmp_path, row).clip.read_bytes() == (prepared / single.clip).read_bytes()
    assert check_files(tmp_path, row).sound.read_bytes() == (prepared / single.sound).read_bytes()
    with tarfile.open(tmp_path / row.shard) as tar:
        described = tar.extractfile(f"{row.id}.json")
        assert described is not None and parse_row(described.read().decode(), "the shard") == row
    prepare_videos(find_videos([videos]), tmp_path, SETTINGS, Runner(0), shards=parse_size("1MB"))
    assert read_manifest(tmp_path) == [row]


def test_other_videos_join_a_data_set_of_the_same_settings(videos: Path, prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    more = tmp_path / "more"
    more.mkdir()
    (more / "rights.toml").write_text(RIGHTS)
    write_plain_video(more / "silent.mp4", 80)
    joined = prepare_videos(find_videos([more]), tmp_path, SETTINGS, Runner(0))
    assert [row.dropped for row in joined.rows] == [None, "text", "no_sound"]
    with pytest.raises(OptionError, match="other settings"):
        prepare_videos(find_videos([more]), tmp_path, make_settings("face", 256), Runner(0))
    with pytest.raises(OptionError, match="prepared as 'face'"):
        prepare_videos(find_videos([more]), tmp_path, make_settings("half", 256), Runner(0))


def test_unusable_videos_get_their_reason(tmp_path: Path) -> None:
    (tmp_path / "rights.toml").write_text(RIGHTS)
    write_plain_video(tmp_path / "a_faceless.mp4", 60, (192, 128), sound=tone(4, 48000))
    write_plain_video(tmp_path / "b_mute.mp4", 60)
    write_plain_video(tmp_path / "c_short.mp4", 25, sound=tone(1, 48000))
    (tmp_path / "d_broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    write_plain_video(tmp_path / "e_silent.mp4", 60, sound=tone(4, 48000, loud=0))
    settings = replace(SETTINGS, least_speech=0.0)
    done = prepare_videos(find_videos([tmp_path]), tmp_path / "data", settings, Runner(0))
    assert [row.dropped for row in done.rows] == ["no_face", "no_sound", "short", "unreadable", "no_sound"]
    assert all(row.detail and row.dropped in REASONS for row in done.rows)
    with pytest.raises(InputError, match=r"0 of 5 pieces are usable \(dropped: no_sound 2, ") as caught:
        check_survivors(done)
    assert "\n" not in str(caught.value)


def test_a_failure_of_a_library_stops_only_its_video(videos: Path, tmp_path: Path) -> None:
    class Failing(Prepare):
        def work(self, item: Item) -> list[Row]:
            raise ValueError("a fault\nof two lines")

    done = prepare_videos(find_videos([videos]), tmp_path, SETTINGS, Runner(0), worker=Failing)
    assert [(row.dropped, row.detail) for row in done.rows] == [("error", "ValueError: a fault of two lines")]
    assert not (tmp_path / "sources").exists()  # the next run tries again


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_stops_the_run_in_one_line(tmp_path: Path, workers: int) -> None:
    items = numbered(tmp_path / "videos", ("1", "2"))
    with pytest.raises(OutputError, match="disk is full"):
        prepare_videos(items, tmp_path / "data", SETTINGS, Runner(workers), worker=FullPrepare)
    assert not list((tmp_path / "data").rglob("*"))


def test_missing_videos_and_rights_are_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no videos"):
        find_videos([tmp_path])
    with pytest.raises(InputError, match="does not exist"):
        find_videos([tmp_path / "none"])
    (tmp_path / "talk.mp4").write_bytes((videos / "talk.mp4").read_bytes())
    with pytest.raises(InputError, match=r"rights\.toml cannot be read"):
        find_videos([tmp_path / "talk.mp4"])
    (tmp_path / "rights.toml").write_text(RIGHTS.replace("consent", "# consent"))
    with pytest.raises(InputError, match="consent"):
        find_videos([tmp_path])


def test_the_command_prints_reasons_and_a_forecast(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "prepare", str(videos), "-o", str(tmp_path / "data"), "--size", "192", "--workers", "1"]
    assert run_command([*arguments, "--time"]) == 2
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["reason", "pieces"], ["short", "2"]]
    assert "videos an hour a core" in lines[2] and "1 videos of" in lines[2]
    assert "0 of 2 pieces are usable" in err.splitlines()[-1] and "1 of 1 videos" in err
    assert run_command([*arguments, "--json"]) == 2
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    event = next(event for event in events if event["event"] == "prepared")
    assert event["reasons"]["short"]["pieces"] == 2
    assert run_command([*arguments[:4], str(tmp_path / "other"), "--shards", "one"]) == 2
    assert "size of shards 'one'" in capsys.readouterr().err


# the parts by themselves


def test_cuts_stand_out_from_their_neighbours() -> None:
    changes = np.full(200, 1.0, np.float32)
    changes[[0, 80, 120]] = 0, 40, 11
    changes[140:170] = 15  # quick motion is not a cut
    assert np.flatnonzero(find_cuts(changes, SETTINGS)).tolist() == [80]


def test_pieces_are_equal_and_short_or_frozen_ones_dropped() -> None:
    changes = np.full(24 * 28, 1.0, np.float32)
    changes[24 * 25] = 50
    spans = split(changes, SETTINGS)
    assert [(span.count, span.dropped) for span in spans] == [(200, None)] * 3 + [(72, None)]
    changes[:150] = 0
    changes[24 * 26] = 50
    assert [span.dropped for span in split(changes, SETTINGS)] == ["repeated", None, None, "short", None]


def test_a_piece_takes_the_nearest_frames(tmp_path: Path) -> None:
    source = read_video(write_plain_video(tmp_path / "a.mp4", 60, fps=Fraction(30)))
    frames = [pixels[-8, -8, 0] for _, pixels in Piece.of(source, 24, 0.5, 24).frames()]
    assert np.abs(np.array(frames, int) - np.round((0.5 + np.arange(24) / 24) * 30)).max() <= 3
    late = [(time, pixels[-8, -8, 0]) for time, pixels in Piece.of(source, 24, 0.5, 24).frames(0.5)]
    assert [time for time, _ in late] == pytest.approx([k / 24 for k in range(12, 24)])
    assert [value for _, value in late] == frames[12:]


def pose_of(width: int, height: int, frames: int = 6) -> PoseTrack:
    """A person with raised hands in the middle of a picture."""
    rng = np.random.default_rng(0)
    corner, scale = np.array([0.4, 0.1]), np.array([0.2, 0.2])
    face = np.concatenate([corner + scale * rng.random((frames, 68, 2)), np.ones((frames, 68, 1))], axis=2)
    body = np.full((frames, 18, 3), 0.5)
    body[:, 2, :2], body[:, 5, :2] = (0.3, 0.45), (0.7, 0.45)
    hands = np.concatenate([rng.random((frames, 2, 21, 2)) * 0.1 + 0.6, np.full((frames, 2, 21, 1), 0.9)], axis=3)
    hands[0, 0, :, 2] = 0
    body, hands, face = (part.astype(np.float32) for part in (body, hands, face))
    return PoseTrack(body, hands, face, fps=24.0, image_size=(width, height))


def test_an_upper_body_is_cropped_to_multiples_of_64() -> None:
    track = pose_of(1280, 720)
    piece = Piece(Path("a.mp4"), 1280, 720, 24.0, 0.25, 6, 0.0, None, 0.0)  # type: ignore[arg-type]
    crop = crop_body(piece, track, make_settings("half", 512))
    assert max(crop.width, crop.height) == 512 and crop.width % 64 == crop.height % 64 == 0
    assert crop.source_width / crop.source_height == pytest.approx(crop.width / crop.height, rel=0.01)
    assert fraction_outside(crop, 1280, 720) < 0.05
    face = face_of_pose(track)
    tracked = TrackedPiece(piece, track, face, crop, 0.2, hands_seen(track))
    assert tracked.hands == pytest.approx(5 / 6)
    canvas = tracked.canvas_track()
    assert isinstance(canvas, PoseTrack) and canvas.image_size == (crop.width, crop.height)
    assert canvas.face[..., :2].min() >= 0 and canvas.hands[..., :2].max() <= 1
    across = (track.face[0, 0, 0] * 1280 - crop.left) / crop.source_width
    assert canvas.face[0, 0, 0] == pytest.approx(across, abs=1e-5)
    boxes = tracked.canvas_boxes()
    assert boxes[0, 0] == pytest.approx(canvas.face[0, :, 0].min() * crop.width, abs=0.01)
    assert fraction_outside(Crop(-50, 0, 100, 100, 64, 64), 1000, 1000) == 0.5


def test_the_offset_of_the_video_settles_that_of_unsure_pieces() -> None:
    def scan(**peaks: float) -> Sync:
        values = np.zeros(25)
        for name, value in peaks.items():
            values[12 + int(name[1:]) * (-1 if name[0] == "m" else 1)] = value
        return Sync(values, 24)

    sure, unsure, other = scan(p3=0.8), scan(p3=0.50, m7=0.55), scan(m2=0.9)
    common = sync_of_video([sure, unsure, None, sure], [100, 50, 80, 100], SETTINGS)
    assert common == VideoSync(3, True)
    assert [score_sync(sync, common).offset for sync in (sure, unsure, other)] == [3, 3, -2]
    assert score_sync(unsure, common).r == 0.5
    assert sync_of_video([None], [80], SETTINGS) is None
    alone = sync_of_video([unsure], [80], SETTINGS)
    assert alone == VideoSync(-7, False)


def test_short_pieces_must_correlate_better_unless_their_video_is_in_sync() -> None:
    score, sure = SyncScore(2, 0.5, 0.5), VideoSync(2, True)
    check_sync(score, 10, None, SETTINGS)
    check_sync(score, 3, sure, SETTINGS)
    for video in (None, VideoSync(2, False), VideoSync(1, True)):
        with pytest.raises(DroppedError, match=r"sync_weak: correlation 0\.50"):
            check_sync(score, 3, video, SETTINGS)
    with pytest.raises(DroppedError, match="does not move"):
        check_sync(None, 10, sure, SETTINGS)
    with pytest.raises(DroppedError, match=r"sync_offset: -7 frames"):
        check_sync(SyncScore(-7, 0.9, 0.9), 10, None, SETTINGS)


def test_the_set_shows_duplicates_and_blur() -> None:
    def row(name: str, sharpness: float, mark: str) -> Row:
        source = Source("a.mp4", "00")
        return Row(name, "face", source, Rights("CC0", "written"), "s", fingerprint=mark, sharpness=sharpness)

    rows = [row(f"{k:02x}", 8 + k / 20, f"{k * 7919 % 65536:04x}" * 16) for k in range(20)]
    assert judge_set(rows, SETTINGS) == rows  # an even set loses nothing
    judged = judge_set([*rows, row("ff", 3, "1234" * 16), row("fe", 8, rows[3].fingerprint), rows[0]], SETTINGS)
    assert [r.dropped for r in judged[20:]] == ["blurred", "duplicate", "duplicate"]
    assert judged[21].detail == rows[3].id
    almost = bytearray.fromhex(rows[0].fingerprint)
    almost[0] ^= 3
    almost[30] ^= 1
    assert duplicates([("a", rows[0].fingerprint), ("b", almost.hex())]) == {"b": "a"}


def test_forecast_and_sizes() -> None:
    items = [Item(f"{k}.mp4", f"{k}.mp4", Recording(Rights("CC0", "written"))) for k in range(9)]
    assert [item.name for item in sampled(items)] == ["0.mp4", "4.mp4", "8.mp4"] and sampled(items[:1]) == items[:1]
    assert (parse_size("1GB"), parse_size("2.5 kb"), parse_size("300")) == (10**9, 2500, 300)
    for text in ("", "GB", "-1GB", "0", "1PB"):
        with pytest.raises(OptionError):
            parse_size(text)
    for size in (0, 500, 4096):
        with pytest.raises(OptionError):
            make_settings("face", size)


def test_the_forecast_scales_to_all_videos() -> None:
    from echomimic.train.diffusion.prepare.run import Prepared

    coming = forecast(Prepared(Path("x"), [], took=60, seconds=30, videos=3), videos=100, hours=1.0)
    assert coming is not None
    assert (coming.speed, coming.core_hours, coming.videos_per_hour) == (0.5, 2.0, 50)


@pytest.mark.slow
def test_ray_gives_the_same_rows_and_survives_dead_workers(videos: Path, prepared: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="ray is not installed")
    items = [*numbered(tmp_path / "videos", ("dies always", "dies once", "lives")), *find_videos([videos])]
    dying = prepare_videos(items[:3], tmp_path / "dying", SETTINGS, Runner(2, "local"), worker=DyingPrepare)
    assert [row.dropped for row in dying.rows] == ["crash", "no_face", "duplicate"]
    assert not list((tmp_path / "dying").rglob(".*"))
    prepare_videos(items[3:], tmp_path / "data", SETTINGS, Runner(2, "local"))
    assert read_manifest(tmp_path / "data", dropped=True) == read_manifest(prepared, dropped=True)

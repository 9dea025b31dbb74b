"""Metrics on clips with known properties: shifted sound, noise, blur, a still face, another face, a flashing wall."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from conftest import write_wav
from echomimic.apps.cli.main import run
from echomimic.data import demo_voice
from echomimic.evaluate.catalogue import make_settings
from echomimic.evaluate.frame_pass import track_face
from echomimic.evaluate.landmarks import Faces, opening
from echomimic.evaluate.manifest import ClipSource
from echomimic.evaluate.measure import measure
from echomimic.evaluate.networks import MetricNetworks
from echomimic.evaluate.quality_check import check_clip
from echomimic.media import read_picture, read_speech, read_video, sound_blocks, speech_from_samples, write_clip
from echomimic.mesh.engine import MeshEngine
from echomimic.mesh.expected_mouth import expected_mouth
from echomimic.motion.lags import scan_lags
from echomimic.options import make_options
from echomimic.types import Picture, Speech

RATE, FPS, SECONDS = 16000, 25.0, 3
Change = Callable[[int, Picture], Picture]


@pytest.fixture(scope="module")
def voice() -> Speech:
    """The first seconds of the bundled voice."""
    samples = np.concatenate(list(sound_blocks(read_speech(demo_voice()), RATE)))
    return speech_from_samples(samples[: SECONDS * RATE], RATE, "voice")


@pytest.fixture(scope="module")
def clip(head_file: Path, voice: Speech, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled head speaking, by the mesh engine."""
    path = tmp_path_factory.mktemp("evaluate") / "clip.mp4"
    options = make_options({"size": 192, "workers": 1})
    write_clip(path, MeshEngine().prepare(read_picture(head_file), voice, None, options).frames(), FPS, voice, {})
    return path


@pytest.fixture(scope="module")
def faces(clip: Path) -> Faces:
    """The clip's face."""
    found = track_face(read_video(clip))
    assert found is not None
    return found


def figures(path: Path, words: str, reference: Path | None = None) -> Any:
    """Some metrics of a file: `Measured`, whose figures may be None, which fails where they are compared."""
    return measure(ClipSource(path.name, path, reference), make_settings(words), MetricNetworks())


@pytest.fixture(scope="module")
def plain(clip: Path) -> Any:
    """The figures of the clip as it is."""
    return figures(clip, "quick,container,sync").metrics


@pytest.fixture(scope="module")
def short(clip: Path) -> Path:
    """The first frames of the clip, without its sound."""
    return cut(clip, clip.with_name("short.mp4"), 6)


@pytest.fixture(scope="module")
def half(clip: Path) -> Path:
    """The first half of the clip, without its sound."""
    return cut(clip, clip.with_name("half.mp4"), 50)


def changed(source: Path, target: Path, change: Change, speech: Speech | None = None) -> Path:
    """A copy of a video with every frame changed; only the codec changes it further."""
    frames = (change(index, frame) for index, (_, frame) in enumerate(read_video(source).frames()))
    write_clip(target, frames, FPS, speech, {})
    return target


def later(voice: Speech, frames: int) -> Speech:
    """The voice, late by this number of frames, or early if it is negative. Its length stays."""
    samples = np.asarray(voice.samples)
    count = abs(frames) * RATE // 25
    silence = np.zeros(count, np.float32)
    moved = [silence, samples[: -count or None]] if frames >= 0 else [samples[count:], silence]
    return speech_from_samples(np.concatenate(moved), RATE)


def test_a_shift_of_the_sound_is_found_exactly(faces: Faces, voice: Speech) -> None:
    seen = opening(faces)
    for late in (-15, -3, -1, 0, 1, 6, 15):
        expected = expected_mouth(later(voice, late), len(seen), FPS)
        sync = scan_lags(seen, expected.opening, FPS, 15)
        assert sync is not None
        assert sync.offset == late
        assert abs(sync.seconds * FPS - late) < 0.6


def test_a_shifted_sound_is_found_in_a_file(clip: Path, voice: Speech, tmp_path: Path) -> None:
    path = changed(clip, tmp_path / "late.mp4", lambda _, frame: frame, later(voice, 6))
    found = figures(path, "sync").metrics
    assert found["sync_offset_frames"] == 6
    assert found["sync_offset_seconds"] == pytest.approx(0.24, abs=0.02)
    assert found["sync_correlation"] > 0.7 > found["sync_correlation_as_played"]


def test_the_lag_of_pictures_that_start_late_is_found(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        streams = {stream: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                late = round(0.2 / packet.time_base)
                packet.pts, packet.dts = packet.pts + late, packet.dts + late
            packet.stream = streams[packet.stream]
            target.mux(packet)
    found = figures(path, "container,sync").metrics
    assert found["sync_offset_frames"] == -5
    assert found["sync_offset_seconds"] == pytest.approx(-0.2, abs=0.02)
    assert found["sound_start_seconds"] == pytest.approx(-0.2 - 1024 / RATE, abs=0.002), "the codec's run-in included"


def test_a_video_of_one_frame_gets_a_report(clip: Path, tmp_path: Path) -> None:
    _, frame = next(read_video(clip).frames())
    write_clip(tmp_path / "one.mp4", iter([frame]), FPS, None, {})
    assert run(["evaluate", str(tmp_path / "one.mp4"), "--output", str(tmp_path / "report")]) == 0
    assert (tmp_path / "report" / "index.html").is_file()


def test_a_clip_in_sync_closes_its_lips(plain: Any) -> None:
    assert plain["sync_offset_frames"] == 0
    assert plain["closure_count"] > 0
    assert plain["closure_hits"] >= 0.75 > plain["closure_chance"]


def test_a_video_against_itself_is_perfect(short: Path) -> None:
    found = figures(short, "reference,expression", short).metrics
    assert (found["psnr"], found["ssim"]) == (100.0, 1.0)
    assert found["ms_ssim"] in (1.0, None)
    assert (found["lmd_face"], found["lmd_mouth"], found["mesh_expression_frechet"]) == (0, 0, 0)


def test_noise_and_blur_cost_steadily_more(short: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def noisy(amount: float) -> Change:
        return lambda _, frame: np.clip(frame + random.normal(0, amount, frame.shape), 0, 255).astype(np.uint8)

    def blurred(amount: float) -> Change:
        return lambda _, frame: np.asarray(cv2.GaussianBlur(frame, (0, 0), amount), np.uint8)

    rows: dict[str, list[dict[str, float | None]]] = {"noise": [], "blur": []}
    for name, kind, amounts in (("noise", noisy, (3, 9, 27)), ("blur", blurred, (1, 2, 4))):
        for amount in amounts:
            path = changed(short, tmp_path / f"{name}{amount}.mp4", kind(amount))
            rows[name].append(figures(path, "reference,picture", short).metrics)
    for name in rows:
        for metric in ("psnr", "ssim"):
            values = [row[metric] for row in rows[name]]
            assert values == sorted(values, reverse=True)  # type: ignore[type-var]
    sharp = [row["sharpness"] for row in rows["blur"]]
    assert sharp == sorted(sharp, reverse=True)  # type: ignore[type-var]
    flicker = [row["flicker"] for row in rows["noise"]]
    assert flicker == sorted(flicker)  # type: ignore[type-var]


def cut(source: Path, target: Path, count: int) -> Path:
    """The first frames of a video."""
    frames = (frame for index, (_, frame) in enumerate(read_video(source).frames()) if index < count)
    write_clip(target, frames, FPS, None, {})
    return target


def test_a_frozen_face_moves_nothing_and_has_no_sync(clip: Path, voice: Speech, plain: Any, tmp_path: Path) -> None:
    still = next(read_video(clip).frames())[1]
    path = changed(clip, tmp_path / "frozen.mp4", lambda _, __: still, voice)
    found = figures(path, "sync,face,picture")
    assert found.metrics["sync_offset_frames"] is None
    assert any("lip sync cannot be measured" in text for text in found.notes)
    assert found.metrics["blink_rate"] == 0
    for name, most in (("motion_energy", 0.4), ("mouth_motion", 0.2)):  # key frames move the landmarks a little
        assert found.metrics[name] < most * plain[name]
    assert found.metrics["flicker"] < 0.05
    assert found.metrics["face_found"] == 1


def test_another_face_halfway_is_another_identity(half: Path, plain: Any, tmp_path: Path) -> None:
    def swapped(index: int, frame: Picture) -> Picture:
        if index < 25:
            return frame
        tall = np.asarray(cv2.resize(frame, None, fx=0.8, fy=1.0), np.uint8)
        pasted = np.zeros_like(frame)
        pasted[:, 19 : 19 + tall.shape[1]] = tall
        return np.clip(pasted.astype(float) * (0.75, 0.9, 1.0), 0, 255).astype(np.uint8)

    after = figures(changed(half, tmp_path / "swapped.mp4", swapped), "face").metrics
    for name, least in (("identity_shape", 2), ("identity_colour", 5)):
        assert after[name] > least * plain[name]


def test_a_flashing_background_is_seen_where_it_is(half: Path, plain: Any, tmp_path: Path) -> None:
    def flashing(index: int, frame: Picture) -> Picture:
        lit = frame.astype(int)
        lit[:60, :40] += 40 * (index % 2)
        lit[:60, -40:] += 40 * (index % 2)
        return np.clip(lit, 0, 255).astype(np.uint8)

    after = figures(changed(half, tmp_path / "flashing.mp4", flashing), "picture").metrics
    assert after["flicker"] > 5 * plain["flicker"]
    assert after["background_motion"] > 5 * plain["background_motion"]


def test_a_slow_change_of_colour_is_drift_and_no_flicker(half: Path, plain: Any, tmp_path: Path) -> None:
    def redder(index: int, frame: Picture) -> Picture:
        return np.clip(frame + np.array([0.5 * index, 0, 0]), 0, 255).astype(np.uint8)

    after = figures(changed(half, tmp_path / "redder.mp4", redder), "picture").metrics
    assert after["colour_drift"] > plain["colour_drift"] + 4
    assert after["flicker"] < 2 * plain["flicker"]


def test_the_container_metrics_are_right(short: Path, plain: Any) -> None:
    assert (plain["frames"], plain["frame_rate"], plain["frame_jitter_seconds"]) == (75, 25, 0)
    assert plain["picture_seconds"] == SECONDS
    assert abs(plain["length_difference_seconds"]) < 0.05
    mute = figures(short, "container,sync")
    assert mute.metrics["sound_seconds"] is None and mute.metrics["sync_offset_frames"] is None


def test_odd_videos_get_the_metrics_that_are_defined(clip: Path, tmp_path: Path) -> None:
    one = figures(cut(clip, tmp_path / "one.mp4", 1), "default").metrics
    assert one["frames"] == 1 and one["face_found"] == 1
    assert all(one[name] is None for name in ("flicker", "motion_energy", "sync_offset_frames", "colour_drift"))
    wall, dark = (np.full((96, 128, 3), grey, np.uint8) for grey in (90, 45))
    write_clip(tmp_path / "wall.gif", iter([wall, wall, dark, wall]), FPS, None, {})
    empty = figures(tmp_path / "wall.gif", "default")
    assert empty.metrics["face_found"] == 0 and empty.metrics["sharpness"] is None
    assert empty.metrics["flicker"] > 10
    assert any("shows nobody" in text for text in empty.notes)


def test_the_number_of_threads_changes_no_digit(short: Path) -> None:
    threads, usual = cv2.getNumThreads(), figures(short, "quick").metrics
    try:
        cv2.setNumThreads(1 if threads != 1 else 2)
        assert figures(short, "quick").metrics == usual
    finally:
        cv2.setNumThreads(threads)


def test_the_check_warns_in_plain_text(clip: Path, voice: Speech, tmp_path: Path) -> None:
    fine = check_clip(shutil.copy(clip, tmp_path / "fine.mp4"))
    assert fine.warnings == ()
    late = check_clip(changed(clip, tmp_path / "late.mp4", lambda _, frame: frame, later(voice, -3)))
    assert late.warnings == ("lips late by 3 frames",)
    report = json.loads((tmp_path / "late.report.json").read_text())
    assert report["clips"][0]["warnings"] == list(late.warnings)
    assert report["clips"][0]["metrics"]["sync_offset_frames"] == -3


@pytest.fixture
def three(clip: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with a manifest: two clips with a reference, and a file that is not a video."""
    cut(clip, tmp_path / "a b.mp4", 20)
    cut(clip, tmp_path / "ü.mp4", 10)
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 500)
    (tmp_path / "list.csv").write_text("path,reference\na b.mp4,ü.mp4\nbroken.mp4,\nü.mp4,ü.mp4\n", encoding="utf-8")
    return iter([tmp_path])


def test_shards_give_the_report_of_one_run(three: Iterator[Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = next(three)
    words = ["evaluate", str(folder / "list.csv"), "--metrics", "container,picture,expression"]
    assert run([*words, "-o", str(folder / "one")]) == 0
    for shard in ("2/3", "3/3"):
        assert run([*words, "-o", str(folder / "many"), "--shard", shard]) == 0
        assert not (folder / "many" / "report.json").exists()
    parts = folder / "many" / "parts"
    (parts / "1-of-3.jsonl").write_text('{"key": "cut of', encoding="utf-8")
    assert run([*words, "-o", str(folder / "many"), "--shard", "1/3"]) == 0
    for name in ("report.json", "table.csv", "index.html"):
        assert (folder / "one" / name).read_bytes() == (folder / "many" / name).read_bytes()
    report = json.loads((folder / "one" / "report.json").read_text(encoding="utf-8"))
    assert [clip["path"] for clip in report["clips"]] == ["a b.mp4", "broken.mp4", "ü.mp4"]
    assert "error" in report["clips"][1]
    assert report["clips"][2]["metrics"]["mesh_expression_frechet"] == 0
    assert report["sets"]["mesh_expression_frechet"] > 0
    before = (folder / "one" / "parts" / "1-of-1.jsonl").read_bytes()
    assert run([*words, "-o", str(folder / "one")]) == 0
    assert (folder / "one" / "parts" / "1-of-1.jsonl").read_bytes() == before
    capsys.readouterr()


def test_the_command_line_measures_one_clip(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "report"
    assert run(["evaluate", str(clip), "--metrics", "sync,picture", "-o", str(folder)]) == 0
    assert "sync_offset_frames" in capsys.readouterr().out
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "http" not in page and "<script" not in page
    for picture in (*(folder / "clips").glob("*.svg"), *(folder / "clips").glob("*.jpg")):
        assert f"clips/{picture.name}" in page
    assert len(list((folder / "clips").iterdir())) == 2
    card = json.loads((folder / "report.json").read_text())["card"]
    assert card["metrics"]["flicker"] == 1 and len(card["clips"][0]["sha256"]["path"]) == 64
    assert run(["evaluate", "--compare", str(folder), str(folder), "-o", str(tmp_path / "both")]) == 0
    assert (tmp_path / "both" / "compare.html").exists()


def test_a_lone_clip_that_cannot_be_measured_is_an_error(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["none.mp4"], [str(clip), "--reference", "none.mp4"], [str(clip), "--shard", "3/2"], []):
        assert run(["evaluate", *words, "-o", str(tmp_path / "report")]) == 2
        assert not (tmp_path / "report" / "report.json").exists()
    assert capsys.readouterr().err.count("error:") == 4


def test_animate_checks_what_it_made(
    head_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tone = np.sin(np.arange(8000) / 16000 * 880) * 0.2
    write_wav(tmp_path / "voice.wav", tone)
    words = ["animate", str(head_file), "voice.wav", "-o", "out.mp4", "--size", "128", "--check"]
    assert run(words) == 0
    assert (tmp_path / "out.report.json").exists()
    assert "check:" in capsys.readouterr().err


@pytest.mark.shared
def test_other_people_are_told_apart(shared: Path, tmp_path: Path) -> None:
    people = [read_picture(shared / "data" / "portraits" / name).pixels for name in ("woman_0033.png", "man_0025.png")]
    small = [np.asarray(cv2.resize(person, (320, 320), interpolation=cv2.INTER_AREA), np.uint8) for person in people]
    found = []
    for name, second in (("same", 0), ("swapped", 1)):
        path = tmp_path / f"{name}.mp4"
        write_clip(path, (small[second if index >= 25 else 0] for index in range(50)), FPS, None, {})
        found.append(figures(path, "face").metrics)
    assert found[1]["identity_shape"] > 5 * found[0]["identity_shape"]
    assert found[1]["identity_colour"] > found[0]["identity_colour"] + 2


@pytest.mark.shared
def test_hands_that_disappear_count_as_lost(shared: Path, tmp_path: Path) -> None:
    pixels = read_picture(shared / "data" / "half_body" / "0077.png").pixels
    small = np.asarray(cv2.resize(pixels, (384, 384), interpolation=cv2.INTER_AREA), np.uint8)
    head = small.copy()
    head[190:] = 128
    found = []
    for name, gone in (("there", 0), ("gone", 4)):
        path = tmp_path / f"{name}.mp4"
        write_clip(path, (head if index >= 10 - gone else small for index in range(10)), FPS, None, {})
        found.append(figures(path, "hands").metrics)
    assert found[0]["hands_found"] == 1 and found[0]["hands_lost"] == 0
    assert found[1]["hands_found"] == pytest.approx(0.6) and found[1]["hands_lost"] == pytest.approx(0.4)
    assert found[0]["hkc"] == found[0]["hkc_missing_as_zero"] > 0.5
    assert found[1]["hkc_missing_as_zero"] < 0.65 < found[1]["hkc"]

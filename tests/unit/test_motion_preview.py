"""Previews of motions, and warnings before rendering."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echomimic.errors import OutputError
from echomimic.landmarks.body import Body
from echomimic.media import read_video
from echomimic.motion import align_pose, measure_motion, preflight, preview_frames, preview_sheet, write_preview
from echomimic.types import LandmarkTrack, Portrait, PoseTrack
from helpers.motion_samples import driver, face_track, portrait_body, portrait_face


def test_lines_of_a_face_and_of_a_body() -> None:
    lines = measure_motion(face_track(40))
    assert set(lines) == {"mouth", "eyes", "yaw"} and all(line.shape == (40,) for line in lines.values())
    assert np.ptp(lines["yaw"]) > 10
    body = measure_motion(driver(30))
    assert set(body) == {"left reach", "right reach", "out"}
    assert body["left reach"].max() < 2 and body["out"].max() == 0


def test_frames_show_the_motion_and_a_mark_that_moves() -> None:
    portrait = Portrait(np.full((400, 300, 3), 200, np.uint8))
    frames = list(preview_frames(driver(5), portrait))
    assert len(frames) == 5 and frames[0].shape == frames[4].shape and frames[0].dtype == np.uint8
    assert frames[0].shape[0] == 480
    assert not np.array_equal(frames[0][:, -360:], frames[4][:, -360:])


@pytest.mark.parametrize("track", [face_track(10), driver(10), face_track(1), driver(1)])
def test_a_sheet_of_any_track(track: LandmarkTrack | PoseTrack, tmp_path: Path) -> None:
    words = ("hands jump by up to 9 % of the picture between frames " * 6,)
    sheet = preview_sheet(track, warnings=words)
    plain = preview_sheet(track)
    assert sheet.dtype == np.uint8 and sheet.shape[0] > plain.shape[0] > 960
    path = write_preview(tmp_path / "sheet.png", track, warnings=words)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), sheet)


def test_a_preview_as_video(tmp_path: Path) -> None:
    video = read_video(write_preview(tmp_path / "p.mp4", face_track(6)))
    assert video.count == 6 and video.height == 480
    with pytest.raises(OutputError):
        write_preview(tmp_path / "p.txt", face_track(2))
    with pytest.raises(OutputError):
        write_preview(tmp_path / "nowhere" / "p.png", face_track(2))


def test_a_good_motion_gives_no_warnings() -> None:
    assert preflight(face_track(50), 2.0, (512, 512)) == ()
    assert preflight(driver(30, 0.02), 1.0, (768, 768)) == ()


def said(*lines: str) -> str:
    return "\n".join(lines)


def test_short_and_misshapen_motions_are_named() -> None:
    words = said(*preflight(face_track(50), 10.0, (1024, 512)))
    assert "lasts 2.0 s and the voice 10.0 s" in words and "would be distorted" in words


def test_faults_of_a_face_are_named() -> None:
    track = face_track(50)
    small = replace(track, points=(track.points - 256) * 0.2 + 256)
    assert "too small" in said(*preflight(small))
    away = replace(track, points=track.points + np.array((240, 0, 0), np.float32))
    assert "leaves the image" in said(*preflight(away))
    assert "interpolated" in said(*preflight(replace(track, valid=np.arange(50) > 10)))
    turned = replace(track, points=track.points @ np.array([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]], np.float32))
    assert "turned by more than 30" in said(*preflight(turned))
    assert "poorly aligned" in said(*preflight(track, size=(1024, 1024), landmarks=portrait_face() * 0.5))


def test_faults_of_hands_are_named() -> None:
    out = driver(30)
    hands = out.hands.copy()
    hands[..., 0] += 0.3
    assert "outside the picture" in said(*preflight(replace(out, hands=hands)))
    gone = out.hands.copy()
    gone[10:20, 1] = 0
    assert "right hand is missing in 33%" in said(*preflight(replace(out, hands=gone)))
    assert "jump by up to" in said(*preflight(driver(30, 1.0)))
    body = portrait_body()
    moved = Body(body.body + np.array((0.2, 0, 0), np.float32), body.hands, body.face)
    assert "poorly aligned" in said(*preflight(driver(), body=moved))
    assert "poorly aligned" not in said(*preflight(align_pose(driver(), body, (800, 1000)), body=body))

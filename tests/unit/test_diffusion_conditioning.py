"""Conditions of the network: masks, drawn tracks, sizes, and pasting back into the whole picture."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from echomimic.data import demo_portrait
from echomimic.diffusion.condition_encoder import ConditionFeatures
from echomimic.diffusion.conditioning import (
    DrivingFrames,
    fit_motion,
    motion_mask,
    prepare_reference,
    still_track,
)
from echomimic.errors import MotionError
from echomimic.landmarks.crop import PasteBack
from echomimic.media import read_picture
from echomimic.motion.time_edits import clip_length, fit_to_clip
from echomimic.notes import collect_notes
from echomimic.options import make_options
from echomimic.presets import find_preset
from echomimic.types import LandmarkTrack, Portrait, PoseTrack, Speech

TINY = find_preset("tiny")
FACE = (150.0, 120.0, 220.0, 260.0)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return read_picture(demo_portrait())


def landmark_track(frames: int) -> LandmarkTrack:
    points = np.random.default_rng(0).uniform(10, 90, (frames, 478, 3)).astype(np.float32)
    return LandmarkTrack(points, (100, 100), 25.0, np.ones(frames, bool))


def pose_track(frames: int) -> PoseTrack:
    hands = np.random.default_rng(0).uniform(0.2, 0.8, (frames, 2, 21, 3)).astype(np.float32)
    return PoseTrack(np.zeros((frames, 18, 3), np.float32), hands, np.zeros((frames, 68, 3), np.float32), 24.0)


@pytest.mark.parametrize(("name", "track"), [("v1-landmarks", landmark_track(4)), ("v2", pose_track(4))])
def test_tracks_are_drawn_as_windows_ask(portrait, name, track) -> None:
    preset = find_preset(name)
    options = make_options({"size": 128, "face_box": FACE}, preset.defaults)
    frame = prepare_reference(portrait, options, preset)
    driving = DrivingFrames(preset, frame, fit_to_clip(track, 9, options), options)
    pictures = driving.pictures([0, 8])
    assert not driving.still
    assert pictures.shape == (2, frame.size[1], frame.size[0], 3)
    assert pictures.any(axis=(1, 2, 3)).all()


def test_a_mask_takes_the_room_in_which_a_track_moves(portrait) -> None:
    options = make_options({"size": 128, "face_box": FACE}, find_preset("v1").defaults)
    preset = find_preset("v1")
    frame = prepare_reference(portrait, options, preset)
    own = DrivingFrames(preset, frame, None, options).pictures([0])[0, :, :, 0]
    face = np.full((4, 478, 3), 50, np.float32)
    face[:, :, 0] += np.arange(4)[:, None] * 16
    face[:, 0, 1], face[:, 1, 1] = 2, 98
    track = LandmarkTrack(face, (100, 100), 25.0, np.ones(4, bool))
    with collect_notes() as notes:
        given = fit_motion(track, frame, replace(options, exact=True), preset, align=False)
        driving = DrivingFrames(preset, frame, given, options)
        room = driving.pictures([0, 5])[0, :, :, 0]
        exactly = DrivingFrames(preset, frame, given, replace(options, exact=True)).pictures([0])[0, :, :, 0]
    assert driving.still
    assert (room >= own).all()
    assert room[64, 66:120].all()
    assert room[4, 66:120].all()
    assert np.array_equal(exactly, own)
    assert not notes
    with collect_notes() as notes:
        fit_motion(track, frame, options, preset, align=False)
    assert "motion_used_as_mask" in {note.code for note in notes}
    with pytest.raises(MotionError, match="preset v1 got a PoseTrack; expected a track of face landmarks"):
        fit_motion(pose_track(4), frame, options, preset, align=False)


def test_the_mask_of_a_still_track_is_the_mask_of_the_portrait(portrait) -> None:
    options = make_options({"size": 128, "face_box": FACE}, find_preset("v1").defaults)
    frame = prepare_reference(portrait, options, find_preset("v1"))
    track = still_track(frame, 5, options.fps)
    assert len(track) == 5
    assert frame.mask is not None
    assert np.array_equal(motion_mask(track, frame.size, options.mask_margin), frame.mask)


def test_half_bodies_keep_the_shape_of_their_picture() -> None:
    preset = find_preset("v2")
    tall = Portrait(np.zeros((400, 300, 3), np.uint8))
    with collect_notes():
        assert prepare_reference(tall, make_options({"size": 128}, preset.defaults), preset).size == (96, 128)


@pytest.mark.parametrize(("end", "frames"), [("loop", 10), ("hold", 10), ("stop", 4)])
def test_short_motions_end_as_asked(end, frames) -> None:
    track, options = landmark_track(4), make_options({"motion_end": end, "frames": 10, "fps": 25})
    with collect_notes() as notes:
        count = clip_length(Speech(1.0, 16_000), track, options)
    assert count == frames
    assert len(notes) == 1
    last = {"loop": 3, "hold": 3, "stop": 3}[end]
    played = fit_to_clip(track, count, options)
    assert np.allclose(played.points[-1], track.points[3 if end != "loop" else abs((9 + last) % 6 - last)])


def test_a_face_is_put_back_where_it_came_from(portrait) -> None:
    options = make_options({"size": 128, "framing": "full", "face_box": FACE}, TINY.defaults)
    frame = prepare_reference(portrait, options, TINY)
    assert frame.whole is not None
    back = PasteBack(frame.whole, frame.crop, (portrait.width, portrait.height))(frame.picture)
    assert abs(back.astype(int) - portrait.pixels.astype(int)).mean() < 4


def test_condition_pictures_are_encoded_once_in_the_same_blocks_whatever_is_asked_for() -> None:
    calls: list[list[int]] = []

    def encode(frames: Sequence[int]) -> torch.Tensor:
        calls.append(list(frames))
        return torch.tensor(frames)[:, None, None, None].float()

    features = ConditionFeatures(encode, 30, most=3)
    for window in (range(8, 20), range(17, 29), range(18, 30), range(12), range(8, 20)):
        assert features(window).flatten().tolist() == list(window)
    assert calls == [[*range(12)], [*range(12, 24)], [*range(24, 30)]]

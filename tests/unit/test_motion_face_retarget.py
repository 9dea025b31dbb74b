"""Aligning a driver to a portrait: its movements on the portrait's own face."""

from dataclasses import replace

import numpy as np
import pytest

from echomimic.errors import MotionError
from echomimic.landmarks.head_pose import align, angles, face_template
from echomimic.landmarks.topology import LIPS
from echomimic.motion import align_motion
from echomimic.types import Floats, LandmarkTrack
from helpers.motion_samples import face_track, portrait_face


def test_a_driver_at_rest_gives_the_portrait_itself() -> None:
    track = face_track(10)
    still = replace(track, points=np.tile(track.points[:1], (10, 1, 1)))
    aligned = align_motion(still, portrait_face(), (1024, 768))
    assert aligned.image_size == (1024, 768) and aligned.fps == 25
    others = np.setdiff1d(np.arange(478), LIPS)
    np.testing.assert_allclose(aligned.points[:, others], np.tile(portrait_face()[others], (10, 1, 1)), atol=0.05)
    gaps = aligned.points[:, 14] - aligned.points[:, 13]
    assert np.abs(gaps[:, 1]).max() < 0.5  # the portrait's lips are apart a little; the driver's at rest are not


def _turns(track: LandmarkTrack) -> Floats:
    return np.array([angles(align(face_template(), points).rotation) for points in track.points], np.float32)


def test_the_portrait_turns_and_speaks_as_the_driver_does() -> None:
    track = face_track(75)
    before = track.points.copy()
    aligned = align_motion(track, portrait_face(), (1024, 1024))
    np.testing.assert_array_equal(track.points, before)
    driver, ours = _turns(track), _turns(aligned)
    assert np.corrcoef(driver[:, 0], ours[:, 0])[0, 1] > 0.99
    assert np.ptp(ours[:, 0]) == pytest.approx(np.ptp(driver[:, 0]), rel=0.15)
    face = np.stack([align(points, face_template()).apply(points) for points in aligned.points])
    spoken = np.stack([align(points, face_template()).apply(points) for points in track.points])
    assert np.corrcoef(face[:, 0, 1], spoken[:, 0, 1])[0, 1] > 0.95


def test_lips_and_lids_do_not_cross() -> None:
    track = face_track(40)
    points = track.points.copy()
    for up, low in ((13, 14), (159, 145), (386, 374)):
        points[20:, [up, low]] = points[20:, [low, up]]
    aligned = align_motion(replace(track, points=points), portrait_face(), (1024, 1024))
    face = np.stack([align(p, face_template()).apply(p) for p in aligned.points])
    for up, low in ((13, 14), (159, 145), (386, 374)):
        assert (face[:, low, 1] - face[:, up, 1]).min() > -0.01


def test_landmarks_that_cannot_be_used() -> None:
    with pytest.raises(MotionError, match="shape"):
        align_motion(face_track(3), np.zeros((468, 3), np.float32), (10, 10))
    with pytest.raises(MotionError, match="canvas"):
        align_motion(face_track(3), portrait_face(), (0, 10))

"""Angles, rotations and alignment of heads."""

import numpy as np
import pytest

from echomimic.landmarks.head_pose import align, angles, face_template, rotation_matrix
from echomimic.landmarks.topology import OUTER_EYES


@pytest.mark.parametrize("turn", [(0, 0, 0), (12, -7, 5), (-30, 20, -15), (3, 24, 9)])
def test_angles_undo_rotation_matrix(turn):
    assert angles(rotation_matrix(*turn)) == pytest.approx(turn, abs=1e-6)


def test_the_nose_goes_right_with_yaw_and_down_with_pitch_and_roll_is_clockwise():
    nose, right = np.array([0, 0, -1.0]), np.array([1.0, 0, 0])
    assert (rotation_matrix(10, 0, 0) @ nose)[0] > 0.1
    assert (rotation_matrix(0, 10, 0) @ nose)[1] > 0.1
    assert (rotation_matrix(0, 0, 10) @ right)[1] > 0.1


def test_align_recovers_a_known_similarity_and_undo_reverses_it():
    face = face_template()
    moved = (3.5 * face @ rotation_matrix(14, -6, 3).T + np.array([100, 50, 7])).astype(np.float32)
    fit = align(face, moved)
    assert fit.scale == pytest.approx(3.5, rel=1e-4)
    assert angles(fit.rotation) == pytest.approx((14, -6, 3), abs=1e-2)
    assert fit.apply(face) == pytest.approx(moved, abs=1e-3)
    assert fit.undo(moved) == pytest.approx(face, abs=1e-4)


def test_the_template_is_symmetric_and_in_its_unit():
    face = face_template()
    mirrored = face * np.array([-1, 1, 1], np.float32)
    nearest = np.linalg.norm(face[:, None] - mirrored[None], axis=2).min(1)
    assert face.shape == (478, 3)
    assert nearest.max() < 1e-6
    assert np.linalg.norm(face[OUTER_EYES[0]] - face[OUTER_EYES[1]]) == pytest.approx(1, abs=1e-5)


def test_the_mean_of_turned_faces_is_the_template():
    pytest.importorskip("scipy", reason="the extra 'train' is not installed")
    from echomimic.train.template import build_template

    face, draw = face_template(), np.random.default_rng(0)
    turns = [(0, 0, 0), (12, -7, 5), (-12, 7, -5)]
    seen = [90 * (face + draw.normal(0, 0.002, face.shape)) @ rotation_matrix(*turn).T + 200 for turn in turns]
    np.testing.assert_allclose(build_template([each.astype(np.float32) for each in seen]), face, atol=0.01)

"""Eyes: an iris found and completed behind its lids, lids that follow it and cover the right part."""

import cv2
import numpy as np
import pytest

from echomimic.landmarks import topology as mesh
from echomimic.mesh.eyes import build_eyeball
from echomimic.mesh.openings import FINER
from echomimic.mesh.renderer import Renderer
from echomimic.mesh.rig import Rig
from echomimic.types import Picture
from helpers.mesh_faces import portrait, row

SKIN, WHITE, DARK = (200, 150, 130), (235, 235, 240), (50, 40, 30)
EYE = mesh.EYES[0]


def drawn_eye(scale: float = 3.0, wide: float = 1.15) -> tuple[Picture, np.ndarray, np.ndarray, float]:
    """A face of one colour whose left eye is a white almond with a dark iris, larger than its landmarks say and not
    quite where they say; with the landmarks, and the iris' true middle and radius."""
    landmarks = portrait()[1].astype(np.float64) * scale
    size = round(512 * scale)
    rim = landmarks[[*EYE.upper_curve, *EYE.lower[::-1]], :2]
    middle = landmarks[EYE.iris[0], :2] + (1.0, 0.0)
    radius = wide * float(np.linalg.norm(landmarks[list(EYE.iris[1:]), :2] - landmarks[EYE.iris[0], :2], axis=1).mean())
    eye = np.full((size, size, 3), WHITE, np.uint8)
    cv2.circle(eye, np.round(middle).astype(int).tolist(), round(radius), DARK, -1)
    opening = np.zeros((size, size), np.uint8)
    cv2.fillPoly(opening, [np.round(rim).astype(np.int32)], (255,))
    picture = np.full((size, size, 3), SKIN, np.uint8)
    picture[opening > 0] = eye[opening > 0]
    return picture, landmarks, middle, radius


def test_an_iris_is_found_where_it_ends_in_white() -> None:
    picture, landmarks, middle, radius = drawn_eye()
    ball = build_eyeball(picture, landmarks, EYE)
    assert ball.radius == pytest.approx(radius, rel=0.06)
    assert abs(ball.iris[0] - middle[0]) < 1.5


@pytest.mark.parametrize("way", [1, -1])
def test_behind_the_lids_the_iris_is_round_and_the_rest_white(way: int) -> None:
    picture, landmarks, middle, radius = drawn_eye()
    ball = build_eyeball(picture, landmarks, EYE)
    rim = EYE.lower if way > 0 else EYE.upper
    edge = way * float((landmarks[list(rim), 1] * way).max())
    x, far = middle[0], middle[1] + way * radius
    assert far * way > edge * way, "the lid should hide a part of this iris"
    for y, light in ((far - way * 0.15 * radius, 60), (far + way * 0.3 * radius, 220)):
        at = np.round((np.array([x, y]) - ball.corner) * FINER).astype(int)
        assert abs(float(ball.turning[at[1], at[0]].mean()) - light) < 25


def test_an_eye_without_an_iris_to_be_seen_keeps_what_the_landmarks_say() -> None:
    landmarks = portrait()[1].astype(np.float64)
    ball = build_eyeball(np.full((512, 512, 3), 90, np.uint8), landmarks, EYE)
    assert np.array_equal(ball.iris, landmarks[EYE.iris[0], :2])


@pytest.mark.parametrize(("angle", "least", "most"), [(15.0, 0.8, 1.3), (-15.0, 0.4, 0.9)])
def test_the_upper_lid_goes_along_with_the_eye(angle: float, least: float, most: float) -> None:
    rig = Rig(portrait()[1])
    moved = rig.points(row(gaze_y=angle)) - rig.points(row())
    lid, iris = moved[EYE.upper[3], 1], moved[EYE.iris[0], 1]
    assert least < lid / iris < most


def test_an_eye_that_looks_up_shows_white_below_its_iris() -> None:
    picture, landmarks, middle, _ = drawn_eye(2.0, 0.9)
    renderer = Renderer(picture, landmarks)
    low = renderer.rig.points(row(gaze_y=-20))[EYE.lower[3]]
    under = renderer.frame(row(gaze_y=-20))[int(low[1]) - 2, round(middle[0])]
    assert under.mean() > 190


def test_a_shut_eye_shows_nothing_of_the_eye_even_above_a_rim_that_was_found_too_low() -> None:
    picture, landmarks, middle, _ = drawn_eye(5.0, 0.9)
    picture[(picture == WHITE).all(2)] = DARK
    height = float((landmarks[list(EYE.lower), 1] - landmarks[list(EYE.upper), 1]).max())
    landmarks[list(EYE.upper), 1] += 0.2 * height
    renderer = Renderer(picture, landmarks)
    column = renderer.frame(row(blink=1))[:, round(middle[0])].astype(int)
    other = np.abs(column - SKIN).max(1) > 30
    assert 0 < other.sum() < 0.3 * height, "a line of lashes, no more"

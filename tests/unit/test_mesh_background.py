"""The inpainted background: even walls stay even, earrings move with the person, objects in the background stay."""

import cv2
import numpy as np

from echomimic.mesh.background import inpaint_background
from echomimic.mesh.renderer import Renderer
from echomimic.types import Floats, Picture
from helpers.mesh_faces import portrait

WALL, PERSON = (90, 120, 150), (210, 160, 140)


def scene(noise: float = 0.0) -> tuple[Picture, Floats]:
    """A round person in front of a wall with grain, and the matte of the person."""
    wall = np.random.default_rng(0).normal(WALL, noise, (300, 300, 3))
    picture = np.clip(wall, 0, 255).astype(np.uint8)
    matte = np.zeros((300, 300), np.float32)
    cv2.circle(picture, (150, 190), 80, PERSON, -1)
    cv2.circle(matte, (150, 190), 80, (1.0,), -1)
    return picture, matte


def test_an_even_wall_goes_on_behind_the_person() -> None:
    picture, matte = scene()
    assert np.abs(inpaint_background(picture, matte).astype(int) - WALL).max() <= 2


def test_an_earring_that_the_matte_misses_is_not_left_on_the_wall() -> None:
    picture, matte = scene()
    cv2.ellipse(picture, (240, 190), (14, 22), 0, 0, 360, (20, 20, 20), 2)
    assert np.abs(inpaint_background(picture, matte).astype(int) - WALL).max() <= 6


def test_an_edge_that_runs_through_the_background_stays() -> None:
    picture, matte = scene()
    cv2.line(picture, (0, 150), (299, 150), (20, 20, 20), 2)
    plate = inpaint_background(picture, matte)
    assert np.array_equal(plate[:, :40], picture[:, :40]) and np.array_equal(plate[:, 262:], picture[:, 262:])
    assert plate[150, 60].mean() < 60


def test_the_grain_of_the_wall_goes_on_without_streaks() -> None:
    picture, matte = scene(noise=10.0)
    plate = inpaint_background(picture, matte).astype(float)
    inside = plate[150:230, 66:74].mean(2)
    outside = picture[20:80, 20:80].astype(float).mean(2)
    assert 0.3 < inside.std() / outside.std() < 1.3
    along = inside - inside.mean(0)
    across = inside - inside.mean(1, keepdims=True)
    assert 0.6 < along.std() / across.std() < 1.7


def test_no_outline_of_a_person_is_left_on_a_wall_of_one_colour() -> None:
    landmarks = portrait()[1]
    matte = np.zeros((512, 512), np.float32)
    cv2.fillConvexPoly(matte, cv2.convexHull(np.round(landmarks[:, :2]).astype(np.int32)), (1.0,))
    picture = np.where(matte[..., None] > 0, np.uint8(40), np.uint8(255)).repeat(3, 2)
    background = Renderer(picture, landmarks, matte, inpaint_background(picture, matte)).background
    assert background is not None and background.min() > 240


def test_a_pattern_stays_whole_up_to_the_person() -> None:
    rows, columns = np.indices((600, 600)) // 20
    picture = np.where(((rows + columns) % 2)[..., None] > 0, np.uint8(230), np.uint8(30)).repeat(3, 2)
    matte = np.zeros((600, 600), np.float32)
    cv2.circle(matte, (300, 340), 150, (1.0,), -1)
    picture[matte > 0] = PERSON
    away = cv2.distanceTransform((matte == 0).astype(np.uint8), cv2.DIST_L2, 5)
    near = (away > 5) & (away < 8)
    kept = (inpaint_background(picture, matte) == picture).all(2)[near].mean()
    assert kept > 0.7

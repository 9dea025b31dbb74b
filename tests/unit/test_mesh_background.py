"""The inpainted background: even walls stay even, earrings move with the person, objects in the background stay."""

import cv2
import numpy as np

from echomimic.mesh.background import inpaint_background
from echomimic.types import Floats, Picture

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

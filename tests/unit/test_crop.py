"""Cutting a picture to the size of the video."""

import numpy as np
import pytest

from echomimic.landmarks.crop import CROP, LONGEST, Crop, frame_crop, frame_full
from echomimic.landmarks.face import Face


def face_at(x: float, y: float, w: float, h: float) -> Face:
    corners = np.array([[x, y, 0], [x + w, y + h, 0]], np.float32)
    return Face(np.concatenate([corners, np.tile(corners.mean(0), (476, 1))]).astype(np.float32))


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (640, 480, None, (640, 480)),
        (641, 481, None, (640, 480)),
        (4000, 3000, None, (LONGEST, 768)),
        (300, 900, None, (300, 900)),
        (300, 900, 512, (170, 512)),
        (100, 100, 512, (512, 512)),
        (4000, 70, 512, (512, 16)),
    ],
)
def test_full_framing_keeps_the_shape_and_is_even(width, height, size, expected):
    framing = frame_full(width, height, size)
    assert (framing.width, framing.height) == expected
    assert framing.cut(np.zeros((height, width, 3), np.uint8)).shape == (*expected[::-1], 3)


def test_an_odd_picture_is_not_resampled():
    picture = np.random.default_rng(0).integers(0, 255, (99, 81, 3), np.uint8)
    cut = frame_full(81, 99, None).cut(picture)
    assert np.array_equal(cut[: min(99, len(cut)), : min(81, cut.shape[1])], picture[: len(cut), : cut.shape[1]])


def test_a_crop_is_a_square_inside_the_picture_round_the_face():
    face = face_at(400, 100, 160, 200)
    framing = frame_crop(1000, 800, face, 0.5, None)
    assert (framing.width, framing.height) == (CROP, CROP)
    assert framing.source_width == framing.source_height == 400
    assert framing.left >= 0 and framing.top >= 0 and framing.left + framing.source_width <= 1000
    assert framing.left < 400 and framing.left + framing.source_width > 560
    assert framing.top < 100 and framing.top + framing.source_height > 300


def test_a_crop_larger_than_the_picture_repeats_its_edge():
    face = face_at(5, 5, 90, 90)
    framing = frame_crop(100, 100, face, 1.0, 200)
    picture = np.full((100, 100, 3), 7, np.uint8)
    cut = framing.cut(picture)
    assert framing.source_width > 100
    assert cut.shape == (200, 200, 3)
    assert (cut == 7).all()


def test_points_follow_the_pixels():
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[120:124, 80:84] = 255
    framing = Crop(50, 100, 100, 100, 400, 400)
    y, x = np.argwhere(framing.cut(picture)[..., 0] > 127).mean(0)
    point = framing.points(np.array([[82, 122, 10]], np.float32))[0]
    assert point[:2] == pytest.approx([x + 0.5, y + 0.5], abs=1)
    assert point[2] == pytest.approx(40)

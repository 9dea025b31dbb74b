"""Lids: a shut eye is painted over the open one, and opens again to the photo."""

import cv2
import numpy as np
import pytest

from echomimic.landmarks import topology as mesh
from echomimic.mesh.eyelids import open_eyes, paint_lid
from echomimic.mesh.openings import FINER
from echomimic.mesh.renderer import Renderer
from echomimic.types import Picture
from helpers.mesh_faces import portrait, row

SKIN, WHITE, DARK, LASH = (200, 150, 130), (235, 235, 240), (50, 40, 30), (30, 20, 20)
EYE = mesh.EYES[0]


def face(lashes: bool = False) -> tuple[Picture, np.ndarray]:
    """Skin of one colour with a white eye, a dark iris and, if asked, lashes a quarter as long as the eye is wide."""
    landmarks = portrait()[1].astype(np.float64) * 2
    picture = np.full((1024, 1024, 3), SKIN, np.uint8)
    cv2.fillPoly(picture, [np.round(landmarks[list(EYE.contour), :2]).astype(np.int32)], WHITE)
    radius = float(np.linalg.norm(landmarks[EYE.iris[1], :2] - landmarks[EYE.iris[0], :2]))
    cv2.circle(picture, np.round(landmarks[EYE.iris[0], :2]).astype(int).tolist(), round(0.8 * radius), DARK, -1)
    width = float(np.linalg.norm(landmarks[EYE.right, :2] - landmarks[EYE.left, :2]))
    for root in landmarks[list(EYE.upper[1:-1]), :2] if lashes else ():
        tip = root - (0, 0.25 * width)
        cv2.line(picture, np.round(root).astype(int).tolist(), np.round(tip).astype(int).tolist(), LASH, 2)
    return picture, landmarks


def eye_box(landmarks: np.ndarray) -> tuple[slice, slice]:
    points = landmarks[[*EYE.crease, *EYE.cheek_side, *EYE.contour], :2]
    low, high = points.min(0).astype(int), points.max(0).astype(int)
    return slice(low[1] - 20, high[1] + 20), slice(low[0] - 20, high[0] + 20)


@pytest.mark.parametrize("lashes", [False, True])
def test_a_painted_lid_is_skin(lashes: bool) -> None:
    picture, landmarks = face(lashes)
    shut, lid = paint_lid(picture, landmarks, EYE)
    off = np.abs(shut[eye_box(landmarks)].astype(int) - SKIN).max(2)
    assert lid is not None
    assert np.percentile(off, 99.5) < 25, "skin with little shading, no eye and no lashes"


@pytest.mark.parametrize(("strength", "shown"), [(6, False), (40, True)])
def test_a_lid_has_the_coarse_texture_of_a_painting_and_not_that_of_skin(strength: int, shown: bool) -> None:
    picture, landmarks = face()
    noise = np.random.default_rng(0).standard_normal(picture.shape[:2]).astype(np.float32)
    strokes = cv2.GaussianBlur(noise, (0, 0), 3)
    textured = np.clip(picture + strength * (strokes / strokes.std())[..., None], 0, 255).astype(np.uint8)
    (shut, _), (plain, _) = (paint_lid(p, landmarks, EYE) for p in (textured, picture))
    inside = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(landmarks[list(EYE.contour), :2]).astype(np.int32)], (1,))
    added = (shut.astype(np.float32) - plain).mean(2)
    coarse = (added - cv2.GaussianBlur(added, (0, 0), 12))[inside > 0].std()
    assert (coarse > 0.35 * strength) == shown


@pytest.mark.parametrize("lashes", [False, True])
def test_at_rest_the_layers_give_the_eye_back(lashes: bool) -> None:
    picture, landmarks = face(lashes)
    there = eye_box(landmarks)
    off = np.abs(Renderer(picture, landmarks).frame(row())[there].astype(int) - picture[there]).max(2)
    assert off.mean() < 1.5 and (off > 40).mean() < 0.01


def test_lashes_move_down_with_the_lid() -> None:
    picture, landmarks = face(lashes=True)
    renderer = Renderer(picture, landmarks)
    there = eye_box(landmarks)
    before, after = (np.argwhere((renderer.frame(row(blink=b))[there] < 60).all(2))[:, 0] for b in (0.0, 1.0))
    assert np.percentile(after, 5) > np.percentile(before, 50)


def test_the_layer_of_lashes_holds_only_what_is_darker_than_skin() -> None:
    picture, landmarks = face(lashes=True)
    lid = paint_lid(picture, landmarks, EYE)[1]
    assert lid is not None and lid.lashes.shape == lid.rest.shape
    opaque = lid.lashes[lid.lashes[..., 3] > 200][:, :3]
    assert len(opaque) > 50 * FINER and opaque.mean() < 90


def test_a_half_shut_eye_beside_a_shut_one_does_not_wink() -> None:
    landmarks = portrait()[1].astype(np.float64)
    for eye, left in zip(mesh.EYES, (0.2, 0.5), strict=True):
        upper, lower = list(eye.upper), list(eye.lower)
        landmarks[lower] = landmarks[upper] + left * (landmarks[lower] - landmarks[upper])
    assert open_eyes(landmarks) == []


def test_an_eye_that_is_shut_in_the_portrait_stays_as_it_is() -> None:
    picture, landmarks = face()
    landmarks[list(EYE.upper), :2] = landmarks[list(EYE.lower), :2]
    assert open_eyes(landmarks) == [mesh.EYES[1]]
    renderer = Renderer(picture, landmarks)
    assert len(renderer.eyes) == 1
    there = eye_box(landmarks)
    assert np.abs(renderer.frame(row(blink=1))[there].astype(int) - picture[there]).max() < 3


def test_hair_over_the_lid_stays_where_it_is() -> None:
    picture, landmarks = face()
    column, rim = landmarks[EYE.upper[2], :2]
    foot = np.array([column, rim - 0.16 * np.ptp(landmarks[[EYE.left, EYE.right], 0])])
    top = (round(column), round(foot[1] - 2 * np.ptp(landmarks[[EYE.left, EYE.right], 0])))
    cv2.line(picture, top, np.round(foot).astype(int).tolist(), LASH, 5)
    frame = Renderer(picture, landmarks).frame(row(blink=1))
    strand = frame[top[1] + 10 : int(foot[1]) - 4, round(column)]
    assert strand.mean(1).max() < 90


def test_a_crease_that_merges_with_hair_beside_the_eye_does_not_stay_above_the_shut_lid() -> None:
    picture, landmarks = face()
    width = float(np.ptp(landmarks[[EYE.left, EYE.right], 0]))
    line = landmarks[list(EYE.upper_curve[:6]), :2] - (0, 0.1 * width)
    hair = line[0] - (0.6 * width, 0)
    cv2.polylines(picture, [np.round([hair, *line]).astype(np.int32)], False, LASH, 7)
    cv2.rectangle(picture, (0, 0), (round(hair[0]), 1023), LASH, -1)
    shut = paint_lid(picture, landmarks, EYE)[0]
    x, y = np.round(line[3]).astype(int)
    assert picture[y, x].max() < 40 and np.abs(shut[y, x].astype(int) - SKIN).max() < 25
    assert (shut[:, : round(hair[0] - 0.1 * width)] == picture[:, : round(hair[0] - 0.1 * width)]).all()


def test_a_rim_of_glasses_that_lashes_touch_below_the_brow_stays() -> None:
    picture, landmarks = face(lashes=True)
    y = round(float(landmarks[list(mesh.BROWS[0]), 1].max())) + 1
    cv2.line(picture, (0, y), (1023, y), LASH, 3)
    shut, bare = (paint_lid(picture, landmarks, EYE, glasses=glasses)[0] for glasses in (True, False))
    assert shut[y].max() < 60 < bare[y].max()


def test_no_pale_line_appears_between_a_blurred_eye_and_its_moving_lids() -> None:
    picture, landmarks = face()
    cv2.fillPoly(picture, [np.round(landmarks[list(EYE.contour), :2]).astype(np.int32)], DARK)
    renderer = Renderer(np.asarray(cv2.GaussianBlur(picture, (0, 0), 5), np.uint8), landmarks)
    x, middle = np.round(landmarks[EYE.iris[0], :2]).astype(int)
    for gaze in (-8.0, 8.0):
        light = renderer.frame(row(gaze_y=gaze))[:, x].mean(1)
        reach = round(0.4 * float(np.ptp(landmarks[[EYE.left, EYE.right], 0])))
        for way in (light[middle : middle + reach], light[middle : middle - reach : -1]):
            assert (np.maximum.accumulate(way) - way).max() < 12, "light grows from the dark eye to the skin"

"""Teeth, the colours of a mouth, and lips that are cleaned of teeth."""

import cv2
import numpy as np
import pytest

from echomimic.landmarks import topology as mesh
from echomimic.mesh.lip_cleaning import clean_lips
from echomimic.mesh.mouth_colours import (
    OWN_SHADE,
    FaceLight,
    edge_softness,
    fit_light,
    mouth_colours,
    own_tooth_colour,
    saturation,
)
from echomimic.mesh.renderer import Renderer
from echomimic.mesh.rig import Rig
from echomimic.mesh.teeth import UPPER_LENGTHS, ToothRow, tooth_row
from echomimic.types import Floats, Picture
from helpers.mesh_faces import portrait, row

IVORY, PINK = np.array([230, 225, 210], np.float32), np.array([150, 70, 80], np.float32)
EVEN = FaceLight(100.0, np.zeros(3))


def toned(pixels: Picture, tint: tuple[float, float, float]) -> Picture:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.clip(grey[..., None] * np.array(tint), 0, 255).astype(np.uint8)


def chroma(pixels: Picture | Floats) -> Floats:
    lab = cv2.cvtColor(np.ascontiguousarray(pixels, np.uint8), cv2.COLOR_RGB2LAB).astype(np.float32)
    return np.hypot(lab[..., 1] - 128, lab[..., 2] - 128)


def drawn(teeth: ToothRow, renderer: Renderer, yaw: float) -> Floats:
    """The upper row alone, drawn over black with the head turned."""
    pose = renderer._pose(row(yaw=yaw))
    rig, size = renderer.rig, 200
    middle = renderer.mouth.middle
    canvas = np.zeros((size, size, 3), np.float32)
    corner = pose.carry(middle) - size / 4
    teeth.project(pose, rig.frame.axes, middle, 1.0, rig.frame.mouth_width, EVEN).draw(canvas, corner, 2)
    return canvas


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(*portrait())


@pytest.fixture(scope="module")
def teeth() -> ToothRow:
    return tooth_row(True, 80.0, IVORY, PINK, np.random.default_rng(1))


def test_a_row_has_teeth_and_gums_and_every_seed_its_own(teeth: ToothRow) -> None:
    again, other = (tooth_row(True, 80.0, IVORY, PINK, np.random.default_rng(seed)) for seed in (1, 2))
    assert np.array_equal(teeth.texture, again.texture)
    assert not np.array_equal(teeth.texture, other.texture)
    solid = teeth.texture[..., 3] > 0.99
    colours = teeth.texture[..., :3][solid]
    assert (colours[:, 2] > 0.7 * colours[:, 0]).mean() > 0.4, "white ones"
    assert (colours[:, 2] < 0.7 * colours[:, 0]).mean() > 0.2, "gums"
    assert teeth.ahead == UPPER_LENGTHS[0]


def test_a_turned_row_shows_its_near_side(teeth: ToothRow, renderer: Renderer) -> None:
    ahead, turned = drawn(teeth, renderer, 0.0), drawn(teeth, renderer, 25.0)
    halves = [canvas.sum(2)[:, :100].sum() / canvas.sum() for canvas in (ahead, turned)]
    assert halves[0] == pytest.approx(0.5, abs=0.08)
    assert abs(halves[1] - halves[0]) > 0.03
    assert np.isfinite(turned).all() and turned.max() <= 256


def test_light_from_one_side_lights_that_side(teeth: ToothRow) -> None:
    side = FaceLight(100.0, np.array([40.0, 0.0, 0.0])).on(teeth.facing)
    assert np.all(np.diff(side) >= -1e-9) or np.all(np.diff(side) <= 1e-9)
    assert side.max() - side.min() > 0.3


def test_a_face_lit_from_the_right_is_measured_so() -> None:
    pixels, landmarks = portrait()
    ramp = np.linspace(0.4, 1.2, pixels.shape[1])[None, :, None] ** 2
    lit = fit_light(np.clip(pixels * ramp, 0, 255).astype(np.uint8), landmarks.astype(np.float64))
    assert lit.slope[0] > fit_light(pixels, landmarks.astype(np.float64)).slope[0]
    assert lit.on(np.array([0.0, 0.0, -1.0])) == pytest.approx(1.0)


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (1.1, 0.95, 0.75)])
def test_grey_and_sepia_pictures_have_no_colour(tint: tuple[float, float, float]) -> None:
    pixels, landmarks = portrait()
    points = landmarks.astype(np.float64)
    assert saturation(pixels, points) == 1
    assert saturation(toned(pixels, tint), points) < 0.1


def test_the_mouth_of_a_grey_portrait_is_grey() -> None:
    pixels, landmarks = portrait()
    grey = Renderer(toned(pixels, (1.0, 1.0, 1.0)), landmarks)
    frame = grey.frame(row(jaw=0.8, tongue=0.6))
    x, y = grey.landmarks(row(jaw=0.8))[[13, 14], :2].mean(0).astype(int)
    assert chroma(frame[y - 20 : y + 20, x - 25 : x + 25]).max() < 3


def test_teeth_have_the_colour_of_the_portraits_own() -> None:
    pixels, landmarks = portrait()
    points = landmarks.astype(np.float64)
    own = own_tooth_colour(pixels, points, mouth_colours(pixels, points, False).skin)
    assert own is not None
    kept = mouth_colours(pixels, points, True).teeth
    np.testing.assert_allclose(kept / kept.max(), own / own.max(), rtol=1e-5)
    assert 0.95 * own.max() <= kept.max() <= OWN_SHADE * own.max()
    assert own_tooth_colour(toned(pixels, (0.2, 0.2, 0.2)), points, own) is None


def test_own_teeth_do_not_get_the_red_of_the_lips() -> None:
    pixels, landmarks = portrait()
    inside = np.round(landmarks[list(mesh.INNER_LIPS), :2]).astype(np.int32)
    pink = cv2.fillPoly(pixels.copy(), [inside], (205, 184, 187)).astype(np.uint8)
    colours = mouth_colours(pink, landmarks.astype(np.float64), is_open=True)
    assert colours.teeth[1] >= colours.teeth[2]
    vivid = [np.ptp(colour) / colour.mean() for colour in (colours.teeth, colours.skin)]
    assert vivid[0] <= 0.41 * vivid[1]


def test_teeth_are_paler_than_skin_even_if_the_eyes_are_not() -> None:
    pixels, landmarks = portrait()
    for eye in mesh.EYES:
        rim = np.round(landmarks[list(eye.contour), :2]).astype(np.int32)
        pixels = np.asarray(cv2.fillPoly(pixels.copy(), [rim], (235, 212, 196)), np.uint8)
    colours = mouth_colours(pixels, landmarks.astype(np.float64), is_open=False)
    vivid = [np.ptp(colour) / colour.mean() for colour in (colours.teeth, colours.skin)]
    assert vivid[0] <= 0.56 * vivid[1]


def test_green_eyes_do_not_make_green_teeth() -> None:
    pixels, landmarks = portrait()
    shares = []
    for white in ((214, 214, 212), (214, 230, 212)):
        for eye in mesh.EYES:
            rim = np.round(landmarks[list(eye.contour), :2]).astype(np.int32)
            pixels = np.asarray(cv2.fillPoly(pixels.copy(), [rim], white), np.uint8)
        teeth = mouth_colours(pixels, landmarks.astype(np.float64), is_open=False).teeth
        shares.append(teeth[1] / teeth.sum())
    assert shares[1] < shares[0] + 0.002


def test_a_blurred_portrait_has_soft_edges() -> None:
    pixels, landmarks = portrait()
    points = landmarks.astype(np.float64)
    width = Rig(landmarks).frame.mouth_width
    sharp, soft = (
        edge_softness(p, points, width) for p in (pixels, cv2.GaussianBlur(pixels, (0, 0), 2.0).astype(np.uint8))
    )
    assert 0.4 < sharp < soft < 3.1


def test_open_lips_are_cleaned_of_teeth() -> None:
    pixels, landmarks = portrait()
    points = landmarks.astype(np.float64)
    cleaned = clean_lips(pixels, points, Rig(landmarks).frame.mouth_width, True)
    mouth = np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillPoly(mouth, [np.round(points[list(mesh.INNER_LIPS), :2]).astype(np.int32)], (1,))
    pale = [((p.mean(2) > 170) & (chroma(p) < 18))[mouth > 0].mean() for p in (pixels, cleaned)]
    assert pale[0] > 0.3 and pale[1] < 0.05
    assert np.array_equal(cleaned[:60], pixels[:60])


def test_teeth_beyond_the_rim_of_the_lower_lip_are_removed() -> None:
    pixels, landmarks = portrait()
    points = landmarks.astype(np.float64)
    width = Rig(landmarks).frame.mouth_width
    rim = points[list(mesh.LOWER_CURVE[2:-2]), :2]
    band = np.round(np.concatenate([rim, rim[::-1] + np.array([0, 0.04 * width])])).astype(np.int32)
    with_teeth = cv2.fillPoly(pixels.copy(), [band], (226, 222, 214)).astype(np.uint8)
    there = cv2.fillPoly(np.zeros(pixels.shape[:2], np.uint8), [band], (1,)) > 0
    pale = [
        ((p.mean(2) > 170) & (chroma(p) < 18))[there].mean()
        for p in (with_teeth, clean_lips(with_teeth, points, width, True))
    ]
    assert pale[0] > 0.9 and pale[1] < 0.05


def test_the_line_of_shut_lips_is_as_blurred_as_the_portrait() -> None:
    pixels, landmarks = portrait()
    points = landmarks.astype(np.float64)
    width = Rig(landmarks).frame.mouth_width
    x, y = np.round(points[mesh.LOWER_LIP[4], :2]).astype(int)
    sharp, soft = (clean_lips(pixels, points, width, True, blur)[y - 2 : y + 3, x].mean(1) for blur in (0.5, 3.0))
    assert sharp.min() < soft.min() - 10 and np.ptp(soft) < 0.6 * np.ptp(sharp)


def test_closed_lips_stay_but_for_teeth_between_dark_lines(renderer: Renderer) -> None:
    shut = cv2.resize(renderer.frame(row()), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    points = 4 * renderer.landmarks(row()).astype(np.float64)
    width = 4 * renderer.rig.frame.mouth_width
    assert clean_lips(shut, points, width, False) is shut
    line = np.round(points[list(mesh.UPPER_CURVE[2:-2]), :2]).astype(np.int32)
    with_teeth = shut.copy()
    cv2.polylines(with_teeth, [line], False, (40, 20, 20), 12, cv2.LINE_AA)
    cv2.polylines(with_teeth, [line], False, (225, 222, 215), 4, cv2.LINE_AA)
    cleaned = clean_lips(with_teeth, points, width, False)
    x, y = points[13, :2].astype(int)
    spots = [p[y - 3 : y + 4, x - 20 : x + 20].mean(2).max() for p in (with_teeth, cleaned)]
    assert spots[1] < spots[0] - 30

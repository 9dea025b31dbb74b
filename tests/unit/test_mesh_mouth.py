import numpy as np
import pytest

from echomimic.landmarks import topology as mesh
from echomimic.mesh.openings import below, blend, cover, fill_opening, smooth_curve
from echomimic.mesh.renderer import Renderer
from echomimic.types import Floats, Picture
from helpers.mesh_faces import portrait, row


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(*portrait())


def mouth(renderer: Renderer, curves: Floats, frame: Picture | None = None) -> Floats:
    """The pixels between the lips."""
    points = renderer.landmarks(curves)
    rim = points[[*mesh.UPPER_CURVE, *mesh.LOWER_CURVE[::-1]], :2].astype(np.float64)
    inside = cover(rim, (0, 0, *renderer.size)) > 0.99
    frame = renderer.frame(curves) if frame is None else frame
    return frame[inside].astype(np.float32)


def test_a_picture_that_ends_above_the_mouth_is_rendered() -> None:
    pixels, landmarks = portrait()
    lips = landmarks[list(mesh.LIPS), 1]
    for end in (lips.mean(), lips.min() - 2, landmarks[mesh.NOSE_TIP, 1]):
        cut = np.ascontiguousarray(pixels[: int(end)])
        frame = Renderer(cut, landmarks).frame(row(jaw=0.6))
        assert frame.shape == cut.shape and (frame[:10] == cut[:10]).mean() > 0.9


def test_the_cover_of_a_polygon_is_its_area() -> None:
    square = np.array([[2.25, 3.5], [7.75, 3.5], [7.75, 6.0], [2.25, 6.0]])
    share = cover(square, (0, 0, 12, 10))
    assert share.sum() == pytest.approx(5.5 * 2.5, abs=(5.5 + 2.5) * 2 / 7)  # rims may be an eighth of a pixel wide
    assert share[4, 4] == 1 and share[1, 4] == 0 and 0 < share[4, 2] < 1


def test_the_area_below_a_curve_is_found() -> None:
    share = below(np.array([[2.0, 5.0], [6.0, 5.0]]), (0, 0, 9, 10))
    assert share[:4].max() == 0 and share[7:].min() == 1


def test_a_smooth_curve_goes_through_its_points() -> None:
    curve = smooth_curve(5, 4)
    assert np.allclose(curve[::4], np.eye(5), atol=1e-9)
    assert np.allclose(curve.sum(1), 1)


def test_blend_mixes_by_its_fraction() -> None:
    dark, light = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 200, np.uint8)
    assert blend(dark, light, np.full((2, 2), 0.5, np.float32))[0, 0, 0] in (99, 100)


def test_a_painted_over_mouth_shows_no_teeth() -> None:
    pixels, landmarks = portrait()
    rims = (mesh.UPPER_CURVE, mesh.LOWER_CURVE)
    filled = fill_opening(pixels, landmarks.astype(np.float64), rims)
    middle = np.round(landmarks[[13, 14], :2].mean(0)).astype(int)
    assert filled[middle[1], middle[0]].mean() < pixels[middle[1], middle[0]].mean() - 15
    assert np.array_equal(filled[:50], pixels[:50])


def test_a_wide_open_mouth_is_dark_inside_and_has_teeth(renderer: Renderer) -> None:
    inside = mouth(renderer, row(jaw=0.9)).mean(1)
    skin = renderer.mouth.colours.skin.mean()
    assert np.percentile(inside, 15) < 0.4 * skin
    assert np.percentile(inside, 98) > 0.6 * skin


def test_the_tongue_rises(renderer: Renderer) -> None:
    down, up = mouth(renderer, row(jaw=0.6)), mouth(renderer, row(jaw=0.6, tongue=1))
    assert (up[:, 0] - up[:, 2]).mean() > (down[:, 0] - down[:, 2]).mean()


def test_closed_lips_show_nothing_of_the_mouth(renderer: Renderer) -> None:
    closed = renderer.frame(row(closure=1, jaw=0.5)).astype(int)
    x, y = np.round(renderer.landmarks(row(closure=1, jaw=0.5))[13, :2]).astype(int)
    lips = closed[y - 2 : y + 3, x - 3 : x + 4].reshape(-1, 3)
    assert (lips[:, 0] > lips[:, 2]).all(), "lips, not teeth and not a dark hole"

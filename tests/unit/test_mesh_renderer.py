from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from echomimic.landmarks import topology as mesh
from echomimic.landmarks.face import find_faces
from echomimic.mesh.enlargement import enlarged, sharpening_amount
from echomimic.mesh.renderer import Renderer, composite
from echomimic.mesh.rig import Rig
from echomimic.mesh.warp import sample
from echomimic.types import CURVES, Floats, Picture
from helpers.mesh_faces import portrait, row


@pytest.fixture(scope="module")
def layered() -> Renderer:
    pixels, landmarks = portrait()
    return Renderer(pixels, landmarks, *layers(pixels, landmarks))


def layers(pixels: Picture, landmarks: Floats) -> tuple[Floats, Picture]:
    """A matte that is an ellipse round head and shoulders, and a plate blurred from the picture."""
    height, width = pixels.shape[:2]
    matte: Floats = np.zeros((height, width), np.float32)
    middle = landmarks[:468, :2].mean(0)
    reach = np.ptp(landmarks[:468, 1])
    axes = (int(0.9 * reach), int(1.1 * reach))
    cv2.ellipse(matte, (int(middle[0]), int(middle[1])), axes, 0, 0, 360, (1.0,), -1)
    cv2.rectangle(matte, (0, int(middle[1] + 0.9 * reach)), (width, height), (1.0,), -1)
    matte = cv2.GaussianBlur(matte, (0, 0), 3).astype(np.float32)
    plate = np.where(matte[..., None] > 0.01, cv2.GaussianBlur(pixels, (0, 0), 25), pixels).astype(np.uint8)
    return matte, plate


def everything(seed: int) -> Floats:
    draw = np.random.default_rng(seed).random(len(CURVES), np.float32)
    return np.array([c.low + (c.high - c.low) * d for c, d in zip(CURVES, draw, strict=True)], np.float32)


def test_a_frame_has_the_pictures_shape_and_kind(layered: Renderer) -> None:
    frame = layered.frame(row(jaw=0.4, yaw=5))
    assert frame.shape == layered.pixels.shape and frame.dtype == np.uint8 and frame.flags.c_contiguous


def test_at_rest_the_layers_give_the_picture_back(layered: Renderer) -> None:
    frame, picture = layered.frame(row()).astype(int), layered.pixels.astype(int)
    off = np.abs(frame - picture).max(2)
    points = layered.rig.landmarks
    for part in (mesh.EYES[0].crease, mesh.EYES[1].crease, mesh.EYES[0].cheek_side, mesh.EYES[1].cheek_side):
        x, y = points[list(part), :2].mean(0).astype(int)
        off[y - 20 : y + 20, x - 25 : x + 25] = 0
    top, bottom = int(points[mesh.NOSE_TIP, 1]), int(points[mesh.CHIN, 1] + 60)
    off[top:bottom] = 0  # the smile closes
    assert off.max() <= 2


def test_the_background_stands_still(layered: Renderer) -> None:
    frame = layered.frame(row(yaw=10, roll=6, shift_x=0.1))
    assert np.array_equal(frame[:120, :60], layered.pixels[:120, :60])


def test_a_frame_is_a_function_of_its_row(layered: Renderer) -> None:
    rows = [everything(seed) for seed in range(8)]
    alone = [layered.frame(r) for r in rows]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(layered.frame, rows))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("scale", [0.25, 0.6, 2.5])
def test_faces_of_any_size_and_every_extreme(scale: float) -> None:
    pixels, landmarks = portrait()
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale * 0.9))
    picture = cv2.resize(pixels, size)
    points = landmarks * np.array([scale, scale * 0.9, scale], np.float32)
    renderer = Renderer(np.asarray(picture, np.uint8), points)
    for seed in range(3):
        assert renderer.frame(everything(seed)).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("corner", [(0, 0), (60, 0), (0, 40)])
def test_a_face_at_the_pictures_edge_is_no_fault(corner: tuple[int, int]) -> None:
    pixels, landmarks = portrait()
    low = np.floor(landmarks[:468, :2].min(0)).astype(int) + corner
    picture = np.ascontiguousarray(pixels[low[1] : low[1] + 110, low[0] : low[0] + 110])
    points = landmarks - np.array([low[0], low[1], 0], np.float32)
    renderer = Renderer(picture, points)
    for seed in range(3):
        assert renderer.frame(everything(seed)).shape == picture.shape


def test_without_a_matte_motion_ends_inside_the_picture() -> None:
    pixels, landmarks = portrait()
    frame = Renderer(pixels, landmarks).frame(row(yaw=10, shift_x=0.2, sway=1, breath=1))
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        assert np.abs(frame[edge].astype(int) - pixels[edge].astype(int)).mean() < 1


@pytest.mark.parametrize("frequency", [0.05, 0.2, 0.35])
def test_over_all_positions_sampling_keeps_the_energy_of_detail(frequency: float) -> None:
    x = np.arange(400)
    stripes = np.tile(128 + 60 * np.cos(2 * np.pi * frequency * x), (8, 1)).astype(np.uint8)[..., None].repeat(3, 2)
    finer = enlarged(stripes)
    assert np.array_equal(finer[::2, ::2], stripes)
    shifts = np.linspace(0, 1, 21)[:-1]
    grids = [np.dstack(np.meshgrid((x[20:-20] + s) * 2, np.full(1, 6.0))).astype(np.float32) for s in shifts]
    energy = np.mean([(sample(finer, grid).astype(float) - 128).var() for grid in grids])
    assert energy / (stripes.astype(float) - 128).var() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("texture", ["fine", "coarse"])
def test_a_shifted_face_keeps_the_energy_of_its_own_texture(texture: str) -> None:
    pixels, landmarks = portrait()
    grain = np.random.default_rng(0).normal(0, 12, pixels.shape[:2])
    if texture == "coarse":
        grain = 4 * np.asarray(cv2.GaussianBlur(grain, (0, 0), 1.2), np.float64)
    pixels = np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8)
    face = np.s_[200:320, 180:330]

    def energy(amount: float) -> float:
        finer, shifts = enlarged(pixels, amount), [(right, down) for right in (0.2, 0.6) for down in (0.4, 0.8)]
        grids = [np.dstack(np.mgrid[200:320, 180:330][::-1] + np.array(s)[:, None, None]) * 2 for s in shifts]
        return float(np.mean([detail(sample(finer, grid.astype(np.float32))) for grid in grids]))

    def detail(part: Picture) -> float:
        return float(np.square(cv2.Laplacian(part[..., 1].astype(np.float32), cv2.CV_32F)).mean())

    matched = energy(sharpening_amount(pixels, landmarks)) / detail(pixels[face])
    assert abs(matched - 1) < 0.15
    assert abs(matched - 1) < abs(energy(0.0) / detail(pixels[face]) - 1)


@pytest.mark.parametrize("place", ["outside", "tiny"])
def test_a_face_that_cannot_be_measured_is_not_sharpened(place: str) -> None:
    pixels, landmarks = portrait()
    moved = landmarks + np.array([2000, 0, 0]) if place == "outside" else landmarks * 0.05
    assert sharpening_amount(pixels, moved.astype(np.float32)) == 0


def test_composite_keeps_what_it_covers() -> None:
    person = np.dstack([np.full((4, 4, 3), 90, np.uint8), np.full((4, 4), 255, np.uint8)])
    plate = np.full((4, 4, 3), 200, np.uint8)
    assert (composite(person, plate) == 90).all()
    assert (composite(np.zeros((4, 4, 4), np.uint8), plate) == 200).all()


def test_a_face_detector_measures_the_rendered_curves() -> None:
    pixels, landmarks = portrait()
    renderer = Renderer(pixels, landmarks)
    asked, seen = [], []
    for k, jaw in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        curves = row(jaw=jaw, yaw=4 * (k - 2), blink=(0, 1, 0, 1, 0)[k])
        asked.append(_measures(renderer.landmarks(curves)))
        seen.append(_measures(find_faces(renderer.frame(curves))[0].landmarks))
    for a, b in zip(np.transpose(asked), np.transpose(seen), strict=True):
        assert np.corrcoef(a, b)[0, 1] > 0.9


def _measures(points: Floats) -> tuple[float, float, float]:
    """Opening, yaw and how open the eyes are."""
    eyes = points[263] - points[33]
    apart = float(np.linalg.norm(eyes))
    lids = np.linalg.norm(points[159] - points[145]) + np.linalg.norm(points[386] - points[374])
    return (
        float(np.linalg.norm(points[13] - points[14])) / apart,
        float(np.arctan2(eyes[2], eyes[0])),
        float(lids) / apart,
    )


def test_the_points_of_a_frame_are_those_of_the_rig() -> None:
    pixels, landmarks = portrait()
    curves = everything(4)
    assert np.array_equal(Renderer(pixels, landmarks).landmarks(curves), Rig(landmarks).points(curves))


def test_folds_and_turns_change_the_light_and_rest_does_not() -> None:
    pixels, landmarks = portrait()
    renderer = Renderer(pixels, landmarks)
    shading = renderer._shading
    assert shading._factors(renderer._pose(row())) is None
    smile = shading._factors(renderer._pose(row(smile=1.0)))
    assert smile is not None and 0.86 < smile.min() < 0.97 and smile.max() < 1.02
    ramp = np.linspace(0.4, 1.2, pixels.shape[1])[None, :, None]
    lit = Renderer(np.clip(pixels * ramp, 0, 255).astype(np.uint8), landmarks)
    turned = [lit._shading._factors(lit._pose(row(yaw=yaw))) for yaw in (-12.0, 12.0)]
    assert turned[0] is not None and turned[1] is not None
    assert turned[1].mean() > 1 > turned[0].mean() or turned[0].mean() > 1 > turned[1].mean()

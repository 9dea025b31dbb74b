import numpy as np
import pytest

from echomimic.landmarks import topology as mesh
from echomimic.mesh.rig import Rig
from echomimic.mesh.upper_body import Surroundings
from echomimic.mesh.warp import Grid, Rim, backward, build_field, enlarge, sample
from helpers.mesh_faces import portrait, row


def test_an_enlarged_grid_lands_on_the_pixels_of_its_box() -> None:
    box = (7, 11, 60, 43)
    for cell in (1, 2, 5, 8):
        grid = Grid.over(box, cell)
        places = enlarge(grid.points(), grid, box)
        assert places.shape == (32, 53, 2)
        assert np.allclose(places[0, 0], (7, 11), atol=1e-3) and np.allclose(places[-1, -1], (59, 42), atol=1e-3)


@pytest.mark.parametrize("stretch", [-0.6, -0.3, 0.4, 1.5])
def test_backward_undoes_a_motion_that_stretches_or_squeezes(stretch: float) -> None:
    grid = Grid(0, 0, 2, 60, 60)
    points = grid.points()
    motion = np.zeros_like(points)
    motion[..., 1] = stretch * np.clip(points[..., 1] - 40, 0, 30)
    found = backward(motion, grid, Grid(20, 20, 3, 15, 15), 6)
    goal = Grid(20, 20, 3, 15, 15).points()
    moved = found + sample(motion, found / 2)
    assert np.abs(moved - goal).max() < 0.1


def test_backward_settles_where_a_corner_of_the_mouth_is_torn_down() -> None:
    grid, goal = Grid(0, 0, 3, 40, 40), Grid(15, 15, 3, 30, 30)
    points = grid.points()
    motion = np.zeros_like(points)
    motion[..., 1] = 30 * np.clip((points[..., 0] - 50) / 9, 0, 1) * np.clip((110 - points[..., 1]) / 60, 0, 1)
    found = backward(motion, grid, goal, 2, steep=True)
    assert np.abs(found + sample(motion, found / 3) - goal.points()).max() < 0.1


def test_a_field_follows_the_mesh_inside_and_the_head_outside() -> None:
    pixels, landmarks = portrait()
    rig = Rig(landmarks)
    around = Surroundings(
        rig.solid, rig.frame, (pixels.shape[1], pixels.shape[0]), np.ones(pixels.shape[:2], np.float32)
    )
    field = build_field(Grid(0, 0, 8, 64, 64), rig.landmarks, around)
    drives = np.zeros((7, 2), np.float32)
    drives[3] = (5, -3)
    motion = field.motion(np.full((mesh.POINTS, 2), (5, -3), np.float32), drives)
    x, y = (rig.landmarks[mesh.NOSE_TIP, :2] / 8).astype(int)
    assert np.allclose(motion[y, x], (5, -3), atol=1e-3)
    hair = (rig.landmarks[mesh.FOREHEAD, :2] / 8 - (0, 2)).astype(int)
    assert np.allclose(motion[hair[1], hair[0]], (5, -3), atol=0.05)
    assert np.allclose(motion[-1], 0, atol=0.05), "the lower border does not move"


def test_the_rim_of_a_field_separates_above_from_below() -> None:
    rim = Rim.of(mesh.UPPER_CURVE, portrait()[1].astype(np.float64))
    middle = portrait()[1][mesh.UPPER_LIP[4], :2].astype(np.float64)
    down = np.array([0.0, 4.0])
    _, below = rim.project(np.stack([middle + down, middle - down]))
    assert below[0] > 2 and below[1] < -2


def test_points_move_with_the_pixels_under_them() -> None:
    from echomimic.mesh.renderer import Renderer

    pixels, landmarks = portrait()
    marked = pixels.copy()
    x, y = np.round(landmarks[mesh.CHEEKS[1], :2]).astype(int)
    marked[y - 1 : y + 2, x - 1 : x + 2] = (0, 255, 0)
    renderer = Renderer(marked, landmarks)
    curves = row(yaw=8, jaw=0.4, roll=4)
    frame = renderer.frame(curves).astype(int)
    green = frame[..., 1] - np.maximum(frame[..., 0], frame[..., 2])
    found = np.array(np.unravel_index(int(green.argmax()), green.shape))[::-1]
    start = (x, y) - landmarks[mesh.CHEEKS[1], :2]
    assert np.linalg.norm(found - start - renderer.landmarks(curves)[mesh.CHEEKS[1], :2]) < 2

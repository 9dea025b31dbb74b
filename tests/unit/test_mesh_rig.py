import cv2
import numpy as np
import pytest

from echomimic.editing.handles import find_handles
from echomimic.landmarks import topology as mesh
from echomimic.mesh.glasses import covers_bridge
from echomimic.mesh.rig import OPEN, Rig, harmonic
from helpers.mesh_faces import portrait, row

UPPER, LOWER = mesh.UPPER_LIP[4], mesh.LOWER_LIP[4]


@pytest.fixture(scope="module")
def smiling() -> Rig:
    return Rig(portrait()[1])


@pytest.fixture(scope="module")
def closed(smiling: Rig) -> Rig:
    return Rig((smiling.landmarks + smiling.rest - smiling.solid).astype(np.float32))


def gap(rig: Rig, **curves: float) -> float:
    points = rig.points(row(**curves))
    return float(np.linalg.norm(points[LOWER] - points[UPPER])) / rig.frame.mouth_width


def width(rig: Rig, **curves: float) -> float:
    points = rig.points(row(**curves))
    return float(np.linalg.norm(points[mesh.MOUTH_RIGHT] - points[mesh.MOUTH_LEFT])) / rig.frame.mouth_width


def test_the_mesh_is_whole_and_the_openings_are_torn() -> None:
    assert set(mesh.triangles().ravel().tolist()) == set(range(mesh.SKIN))
    joined = {tuple(e) for e in mesh.edges().tolist()}
    assert not {(min(a, b), max(a, b)) for a, b in zip(mesh.UPPER_LIP, mesh.LOWER_LIP, strict=True)} & joined


def test_a_harmonic_field_keeps_what_is_known_and_stays_between(smiling: Rig) -> None:
    known = np.array([mesh.CHIN, mesh.FOREHEAD])
    field = harmonic(smiling.rest, known, np.array([[1.0], [0.0]]))
    assert field[mesh.CHIN, 0] == 1 and field[mesh.FOREHEAD, 0] == 0
    assert field.min() >= -1e-9 and field.max() <= 1 + 1e-9


def test_a_smile_that_shows_teeth_rests_closed(smiling: Rig) -> None:
    assert smiling.opening > OPEN
    assert gap(smiling) == pytest.approx(0, abs=1e-4)


def test_round_lips_shut_to_a_line_that_is_hardly_arched(smiling: Rig) -> None:
    landmarks = smiling.landmarks.copy()
    rise = 0.3 * smiling.frame.mouth_width * (1 - np.linspace(-0.8, 0.8, 9) ** 2)
    for ring in (*mesh.UPPER_RINGS, *mesh.LOWER_RINGS):
        landmarks[list(ring), 1] -= rise
    rest = Rig(landmarks.astype(np.float32)).rest
    corners = 0.5 * (rest[mesh.MOUTH_LEFT] + rest[mesh.MOUTH_RIGHT])
    arch = (corners - rest[UPPER])[1] / smiling.frame.mouth_width
    assert 0.05 < arch < 0.1


def test_a_closed_portrait_rests_as_it_is(closed: Rig) -> None:
    assert np.allclose(closed.points(row())[:, :2], closed.landmarks[:, :2], atol=1e-3)
    assert np.allclose(closed.points(row()), closed.solid, atol=1e-3)


def test_the_jaw_opens_steadily_to_half_a_mouth_width(closed: Rig) -> None:
    gaps = [gap(closed, jaw=jaw) for jaw in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    assert np.all(np.diff(gaps) > 0.05)
    points = closed.points(row(jaw=1))
    drop = (points[LOWER] - points[UPPER]) @ closed.frame.axes[1]
    assert 0.43 < drop / closed.frame.mouth_width < 0.55


@pytest.mark.parametrize(
    "other", [{}, {"spread": -1.0}, {"smile": 1.0}, {"upper_lip": 1.0}, {"yaw": 20.0, "roll": 9.0}]
)
def test_closure_shuts_the_lips_whatever_else_they_do(closed: Rig, other: dict[str, float]) -> None:
    assert gap(closed, jaw=0.7, closure=1.0, **other) == pytest.approx(0, abs=1e-4)


def test_a_nearly_closed_mouth_closes_fully(closed: Rig) -> None:
    assert gap(closed, jaw=0.01) == pytest.approx(gap(closed), abs=1e-4)


def test_a_tuck_lifts_the_lower_lip_to_the_teeth(closed: Rig) -> None:
    assert gap(closed, jaw=0.4, tuck=1.0) < 0.5 * gap(closed, jaw=0.4)


def test_a_raised_upper_lip_does_not_move_a_tucked_lower_lip(closed: Rig) -> None:
    plain, raised = (closed.points(row(jaw=0.4, tuck=1.0, upper_lip=lip)) for lip in (0, 1))
    assert np.linalg.norm((plain - raised)[LOWER, :2]) < 0.01 * closed.frame.mouth_width
    assert np.linalg.norm((plain - raised)[UPPER, :2]) > 0.1 * closed.frame.mouth_width


def test_the_limit_of_slopes_keeps_the_depth_of_the_head(closed: Rig) -> None:
    def depth(points: np.ndarray) -> float:
        return float(points[[mesh.EAR_LEFT, mesh.EAR_RIGHT], 2].mean() - points[mesh.NOSE_TIP, 2])

    assert 0.85 < depth(closed.solid) / depth(closed.landmarks) < 1.05


def test_corners_go_out_and_in(closed: Rig) -> None:
    widths = [width(closed, spread=spread) for spread in (-1, -0.5, 0, 0.5, 1)]
    assert np.all(np.diff(widths) > 0.05)
    corner = closed.points(row(smile=1))[mesh.MOUTH_RIGHT] - closed.points(row())[mesh.MOUTH_RIGHT]
    assert corner[0] > 0 > corner[1]


def test_a_blink_shuts_both_lids_on_each_other(closed: Rig) -> None:
    points = closed.points(row(blink=1))
    for eye in mesh.EYES:
        assert np.allclose(points[list(eye.upper)], points[list(eye.lower)], atol=1e-3)


def test_signs_are_those_of_the_table_of_curves(closed: Rig) -> None:
    still = closed.points(row())
    nose = mesh.NOSE_TIP
    assert closed.points(row(yaw=10))[nose, 0] > still[nose, 0]
    assert closed.points(row(pitch=10))[nose, 1] > still[nose, 1]
    assert closed.points(row(roll=10))[mesh.FOREHEAD, 0] > still[mesh.FOREHEAD, 0]
    assert closed.points(row(shift_y=0.1))[nose, 1] > still[nose, 1]
    assert closed.points(row(gaze_x=10))[468, 0] > still[468, 0]
    assert closed.points(row(gaze_y=10))[473, 1] > still[473, 1]
    assert closed.points(row(brow=1))[105, 1] < still[105, 1]
    assert closed.points(row(sway=1))[nose, 0] > still[nose, 0]


def test_a_larger_face_moves_as_the_small_one_does(closed: Rig) -> None:
    curves = row(jaw=0.6, spread=-0.4, blink=0.5, yaw=7, pitch=-4, tuck=0.3)
    larger = Rig((3 * closed.landmarks).astype(np.float32))
    assert np.allclose(larger.points(curves), 3 * closed.points(curves), atol=0.05)


def test_handles_lie_on_the_face_and_a_curve_moves_each_as_far_as_it_says(smiling: Rig) -> None:
    here = row(jaw=0.3)
    found = {each.name: each for each in find_handles(smiling.points, here, (0, 0, 1000, 1000))}
    right, left, nose = found["right_corner"], found["left_corner"], found["nose"]
    for name in ("upper_lip", "lower_lip", "chin", "nose"):
        assert abs(found[name].x - (right.x + left.x) / 2) < 0.1 * abs(left.x - right.x), name
    order = [nose.y, found["upper_lip"].y, found["lower_lip"].y, found["chin"].y]
    assert order == sorted(order)
    assert nose.across is not None
    curve, step = nose.across
    turned = smiling.points(here + row(**{curve: 0.01 * step}))[4] - smiling.points(here)[4]
    assert turned[0] / 1000 == pytest.approx(0.01, rel=0.2)


def test_glasses_turn_as_a_plane_and_do_not_follow_brows_and_lids() -> None:
    pixels, landmarks = portrait()
    assert not covers_bridge(pixels, landmarks)
    start, end = (landmarks[p, :2] for p in (mesh.EYES[0].right, mesh.EYES[1].left))
    worn = pixels.copy()
    ends = [np.round(p).astype(int).tolist() for p in (start, end)]
    cv2.line(worn, ends[0], ends[1], (20, 20, 20), max(2, round(0.1 * float(np.linalg.norm(end - start)))))
    assert covers_bridge(worn, landmarks)
    stiff, free = Rig(landmarks, stiff_eyes=True), Rig(landmarks)
    front = [p for eye in mesh.EYES for p in (eye.left, eye.right)] + [168, 6]
    bent = [np.ptp(rig.points(row(pitch=8))[front, 1] - rig.rest[front, 1]) for rig in (stiff, free)]
    assert bent[0] < 0.35 * bent[1]
    brow = mesh.BROWS[0][0]
    raised = [abs(rig.points(row(brow=1))[brow, 1] - rig.rest[brow, 1]) for rig in (stiff, free)]
    assert raised[0] < 0.3 * raised[1]
    pulled = [np.abs(rig.shape_and_skin(row(blink=1))[1] - rig.rest)[: mesh.SKIN].max() for rig in (stiff, free)]
    assert pulled[0] == 0 < pulled[1]

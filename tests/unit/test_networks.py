"""The landmark networks: anchors, suppression, regions, custom operators, filters and files, with numbers by hand."""

import importlib.util
import math
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from echomimic.errors import SetupError
from echomimic.landmarks import detectors
from echomimic.landmarks.networks import body, files
from echomimic.landmarks.networks.body import LowPass, OneEuro, refine
from echomimic.landmarks.networks.detection import FACE_FULL_RANGE, anchors, decode, suppress_duplicates
from echomimic.landmarks.networks.face_mesh import FaceMesh, Part, read_bilinear, region_of_landmarks, transform_points
from echomimic.landmarks.networks.hands import region_of_hand
from echomimic.landmarks.networks.regions import (
    Following,
    Region,
    angle_of,
    from_alignment,
    from_box,
    from_points,
    merged,
    whole,
)
from echomimic.landmarks.networks.runtime import Network, custom_operators, network, network_outputs
from echomimic.types import Floats, Picture

ASTRONAUT = np.asarray(data.astronaut())
needs_files = pytest.mark.skipif(bool(files.missing_files()), reason="no network files: see ECHOMIMIC_MODELS")
needs_mediapipe = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None or bool(files.missing_files()), reason="mediapipe is not installed"
)


def points(*pairs: tuple[float, float]) -> Floats:
    return np.array(pairs, np.float32)


# detection


@pytest.mark.parametrize(
    ("size", "layers", "count"),
    [(128, ((8, 2), (16, 6)), 896), (192, ((4, 1),), 2304), (192, ((8, 2), (16, 6)), 2016)],
)
def test_every_cell_has_its_anchors(size: int, layers: tuple[tuple[int, int], ...], count: int) -> None:
    centres = anchors(size, layers)
    assert centres.shape == (count, 2)
    stride, each = layers[0]
    assert centres[0] == pytest.approx((stride / 2 / size, stride / 2 / size))
    assert centres[each] == pytest.approx((1.5 * stride / size, stride / 2 / size))


def test_boxes_and_points_are_decoded_from_their_anchor() -> None:
    boxes, found = decode(np.array([[10, -20, 40, 80, 5, 0, 0, 5]], np.float32), points((0.5, 0.5)), 100)
    assert boxes[0] == pytest.approx((0.4, -0.1, 0.8, 0.7))
    assert found[0] == pytest.approx(points((0.55, 0.5), (0.5, 0.55)))


def test_low_scores_decode_to_no_detection() -> None:
    boxes, found = decode(np.zeros((0, 16), np.float32), np.zeros((0, 2), np.float32), 128)
    assert suppress_duplicates(boxes, np.zeros(0, np.float32), found) == []


def test_overlapping_boxes_are_averaged_by_score_and_others_kept() -> None:
    boxes = np.array([[0, 0, 1, 1], [5, 5, 6, 6], [0.2, 0, 1.2, 1]], np.float32)
    found = suppress_duplicates(
        boxes, np.array([0.9, 0.5, 0.3], np.float32), np.arange(6, dtype=np.float32).reshape(3, 1, 2)
    )
    assert [score for _, score, _ in found] == pytest.approx([0.9, 0.5])
    assert found[0][0] == pytest.approx([0.05, 0, 1.05, 1])  # (0.9 * 0 + 0.3 * 0.2) / 1.2
    assert found[0][2] == pytest.approx(points((1, 2)))
    assert found[1][0] == pytest.approx([5, 5, 6, 6])


def test_a_box_turned_inside_out_is_dropped() -> None:
    assert suppress_duplicates(points((1, 1)).repeat(2, 1), np.ones(1, np.float32), np.zeros((1, 1, 2), np.float32))
    inverted = np.array([[1, 1, 0, 0]], np.float32)
    assert suppress_duplicates(inverted, np.ones(1, np.float32), np.zeros((1, 1, 2), np.float32)) == []


# regions


@pytest.mark.parametrize(
    ("end", "degrees", "angle"),
    [((1, 0), 0, 0), ((0, 1), 0, 90), ((0, -1), 90, 0), ((1, 0), 90, 90), ((0, 1), -90, 0), ((-1, -0.0), 90, -90)],
)
def test_the_angle_puts_the_line_where_it_should_lie(end: tuple[float, float], degrees: float, angle: float) -> None:
    assert math.degrees(angle_of(points((0, 0))[0], points(end)[0], degrees)) == pytest.approx(angle)


def test_a_region_is_moved_along_its_own_axes_and_made_square() -> None:
    region = Region(100, 100, 40, 20, math.pi / 2).squared(2.0, -0.5)
    assert (region.x, region.y) == pytest.approx((110, 100))
    assert (region.width, region.height) == (80, 80)


def test_fractions_of_a_region_become_pixels() -> None:
    region = Region(100, 50, 40, 20, math.pi / 2)
    mapped = region.to_picture(np.array([[0.5, 0.5, 1], [1, 0.5, 0], [0.5, 0, 0]], np.float32))
    assert mapped == pytest.approx(np.array([[100, 50, 40], [100, 70, 0], [110, 50, 0]]), abs=1e-4)


def test_the_crop_of_the_whole_picture_is_the_picture() -> None:
    pixels = ASTRONAUT[:64, :64]
    assert whole(pixels).crop(pixels, 64)[0] == pytest.approx(pixels / 255, abs=1e-6)
    assert whole(pixels).crop(pixels, 64, -1.0)[0] == pytest.approx(pixels / 127.5 - 1, abs=1e-6)


def test_a_crop_is_turned_with_its_region() -> None:
    pixels = ASTRONAUT[:64, :64]
    turned = Region(32, 32, 64, 64, math.pi / 2).crop(pixels, 64)[0]
    assert turned[1:] == pytest.approx(np.rot90(pixels)[:-1] / 255, abs=1e-6)


def test_outside_the_picture_a_crop_repeats_the_edge_or_is_black() -> None:
    pixels = np.full((10, 20, 3), 255, np.uint8)
    assert whole(pixels).crop(pixels, 20).min() == 1
    bars = whole(pixels).crop(pixels, 20, zeros=True)[0, :, :, 0]
    assert bars[:4].max() == 0 and bars[-4:].max() == 0 and bars[6:14].min() == 1


def test_regions_of_detections_and_landmarks() -> None:
    eyes = points((40, 50), (60, 50))
    assert from_box((10, 20, 30, 40), eyes, 0, 1) == Region(25, 40, 30, 40, 0)
    assert from_points(points((0, 10), (20, 10), (5, 50)), 0, 1) == Region(10, 30, 20, 40, 0)
    assert from_alignment(points((50, 80), (50, 50)), 90) == Region(50, 80, 60, 60, 0)


def test_the_region_of_a_face_is_half_again_its_box() -> None:
    face = np.zeros((478, 3), np.float32)
    face[33, :2], face[263, :2], face[0, :2] = (10, 20), (90, 20), (50, 100)
    assert region_of_landmarks(face) == Region(45, 50, 150, 150, 0)


def test_the_region_of_a_hand_is_that_of_its_palm() -> None:
    hand = np.tile(points((50, 50)), (21, 1))
    hand[0], hand[5], hand[9], hand[13] = (50, 100), (40, 60), (50, 60), (60, 60)
    region = region_of_hand(np.c_[hand, np.zeros(21)].astype(np.float32))
    assert (region.x, region.y, region.width, region.angle) == pytest.approx((50, 70, 100, 0))  # 75 - 0.1 * 50


def test_a_followed_object_replaces_its_detection() -> None:
    followed, other = Region(10, 10, 10, 10), Region(100, 10, 10, 10)
    assert merged([Region(11, 10, 10, 10), other], [followed]) == [other, followed]


def test_the_region_before_is_used_while_it_fits() -> None:
    following = Following(degrees=15, shift=0.1, scale=0.3, margin=-0.2)
    proposed, middle = Region(50, 50, 100, 100), points((50, 50))
    near = Region(55, 50, 110, 110, 0.1)
    assert following.choose(proposed, middle, near) is near
    assert following.choose(proposed, None, near) is proposed
    assert following.choose(proposed, points((95, 50)), near) is proposed
    for far in (Region(61, 50, 100, 100), Region(50, 50, 131, 131), Region(50, 50, 100, 100, 0.3)):
        assert following.choose(proposed, middle, far) is proposed


# custom operators


def test_the_matrix_maps_the_crop_onto_the_part() -> None:
    part = Part([0, 1, 2, 3], 0, 1, (1.5, 1.5), (16, 16), 0.0)
    face = np.array([[10, 20, 0], [18, 20, 0], [14, 16, 0], [14, 24, 0]], np.float32)
    matrix = part.matrix(face)
    assert matrix == pytest.approx(np.array([[0.75, 0, 0, 8], [0, 0.75, 0, 14], [0, 0, 1, 0], [0, 0, 0, 1]]))
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turned = part.matrix((face @ quarter.T).astype(np.float32))
    assert transform_points(points((0, 0), (8, 8)), turned) == pytest.approx(points((-14, 8), (-20, 14)), abs=1e-5)


def test_features_are_read_at_pixel_centres_and_are_zero_outside() -> None:
    features = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    matrix = np.eye(4, dtype=np.float32)
    assert read_bilinear(features, matrix, (4, 4)) == pytest.approx(features)
    matrix[0, 3] = 0.5
    found = read_bilinear(features, matrix, (4, 2))[..., 0]
    assert found == pytest.approx(np.array([[0.5, 1.5, 2.5, 0], [4.5, 5.5, 6.5, 0]]))


def test_points_go_through_a_matrix() -> None:
    matrix = np.array([[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
    assert transform_points(points((1, 2)), matrix) == pytest.approx(points((8, 21)))


# smoothing


def test_the_one_euro_filter_follows_fast_points_and_holds_slow_ones() -> None:
    smooth = OneEuro(0.05, 80.0)
    assert smooth(points((0, 0)), 100.0) == pytest.approx(0)
    moved = points((1, 100))
    share = 1 / (1 + 1 / (2 * np.pi * 0.033333))
    speed = share * moved / (100 * 0.033333)
    weight = 1 / (1 + 1 / (2 * np.pi * (0.05 + 80 * speed) * 0.033333))
    assert smooth(moved, 100.0) == pytest.approx(weight * moved)
    assert weight[0, 0] < 0.5 < weight[0, 1]


def test_the_low_pass_starts_with_the_first_value() -> None:
    smooth = LowPass(0.1)
    assert [float(smooth(np.array([value], np.float32))[0]) for value in (1, 0, 0)] == pytest.approx([1, 0.9, 0.81])


def test_a_point_moves_to_the_centre_of_its_heat_map() -> None:
    heat = np.full((64, 64, 3), -50, np.float32)
    heat[20, 30, 0] = heat[20, 31, 0] = 50
    heat[:, :, 1] = -1
    start = points((29.2 / 64, 18.7 / 64), (0.5, 0.5), (1.5, 0.5))
    moved = refine(start, heat)
    assert moved[0] == pytest.approx((30.5 / 64, 20 / 64))
    assert moved[1:] == pytest.approx(start[1:])


# files


def test_a_named_folder_comes_first_and_a_damaged_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = files.NetworkFile("mediapipe/modules/a/b.tflite", 3, "no")
    monkeypatch.setitem(files.FILES, "test", wanted)
    monkeypatch.setenv(files.VARIABLE, str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.find_file("test") is None
    for folder in (files.cache_folder(), tmp_path / "named" / "mediapipe/modules/a"):
        folder.mkdir(parents=True)
        (folder / "b.tflite").write_bytes(b"123")
    assert files.find_file("test") == tmp_path / "named" / wanted.path
    with pytest.raises(SetupError, match="damaged"):
        files.read_file("test")
    (tmp_path / "named" / wanted.path).write_bytes(b"12")
    assert files.find_file("test") == files.cache_folder() / "b.tflite"


def test_importing_the_detectors_loads_no_library() -> None:
    script = (
        "import sys, echomimic.landmarks.detectors as d; "
        "sys.exit(any(name in sys.modules for name in ('ai_edge_litert', 'mediapipe', 'flatbuffers', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# networks


@needs_files
def test_a_cut_network_gives_what_the_whole_one_gives() -> None:
    outputs = network_outputs(files.read_file("pose_landmarks"))
    tensor = Region(220, 200, 400, 400).crop(ASTRONAUT, 256)
    full = network("pose_landmarks")(tensor)
    kept = Network("pose_landmarks", outputs=[outputs[3], outputs[0]])(tensor)
    assert np.array_equal(kept[0], full[3]) and np.array_equal(kept[1], full[0])


@needs_files
def test_the_custom_operators_of_the_face_network() -> None:
    names = [operator.name for operator in custom_operators(files.read_file("face_landmarks"))]
    assert names == 3 * ["Landmarks2TransformMatrix"] + 3 * ["TransformTensorBilinear"] + 5 * ["TransformLandmarks"]


@needs_files
def test_networks_may_be_called_from_several_threads_and_released() -> None:
    (alone,) = FaceMesh(confidence=0.4)(ASTRONAUT)
    found: list[list[Floats]] = []
    threads = [threading.Thread(target=lambda: found.append(FaceMesh(confidence=0.4)(ASTRONAUT))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert detectors.release_networks(unused=600) == 0
    assert detectors.release_networks() >= 2
    assert detectors.release_networks() == 0
    found.append(FaceMesh(confidence=0.4)(ASTRONAUT))
    assert len(found) == 5
    assert all(np.array_equal(faces[0], alone) for faces in found)


@needs_files
def test_a_face_is_followed_without_detection(monkeypatch: pytest.MonkeyPatch) -> None:
    find = FaceMesh(video=True)
    (first,) = find(ASTRONAUT)
    monkeypatch.setattr("echomimic.landmarks.networks.face_mesh.FACE_SHORT_RANGE", None)
    (second,) = find(np.roll(ASTRONAUT, 4, axis=1))
    assert np.median(second - first, axis=0) == pytest.approx((4, 0, 0), abs=1)


@needs_files
def test_a_picture_without_anybody_has_no_landmarks() -> None:
    grey = np.full((120, 200, 3), 127, np.uint8)
    assert FaceMesh(video=True)(grey) == [] and body.Holistic()(grey) is None and FACE_FULL_RANGE(grey, 0.5) == []


# parity


def pan(frames: int) -> list[Picture]:
    return [np.ascontiguousarray(np.roll(ASTRONAUT, 3 * i, axis=1)) for i in range(frames)]


@needs_mediapipe
def test_faces_agree_with_mediapipe() -> None:
    from helpers import mediapipe_reference as reference

    theirs, ours = (side.face_landmarker(video=True) for side in (reference, detectors))
    for pixels in pan(4):
        (one,), (other,) = theirs(pixels), ours(pixels)
        assert np.abs(one - other).max() < 0.1
    for full_range, confidence in ((False, 0.5), (True, 0.6)):
        (box,), (same,) = (
            side.detect_faces(ASTRONAUT, full_range=full_range, confidence=confidence)
            for side in (reference, detectors)
        )
        assert same.box == pytest.approx(box.box, abs=0.1)
        assert same.score == pytest.approx(box.score, abs=1e-3)


@needs_mediapipe
def test_bodies_and_masks_agree_with_mediapipe() -> None:
    from helpers import mediapipe_reference as reference

    size = np.array([512, 512, 1])
    theirs, ours = (side.body_landmarker(video=True) for side in (reference, detectors))
    for pixels in pan(4):
        one, other = theirs(pixels), ours(pixels)
        assert one is not None and other is not None
        seen = one.pose[:, 3] > 0.5
        assert (np.abs(one.pose - other.pose)[seen][:, [0, 1, 3]] * size).max() < 1.5
        assert [hand is None for hand in one.hands] == [hand is None for hand in other.hands]
        assert one.face is not None and other.face is not None
        assert np.abs(one.face - other.face)[:, :2].max() * 512 < 1
    assert np.abs(reference.selfie_mask(ASTRONAUT) - detectors.selfie_mask(ASTRONAUT)).mean() < 1e-3

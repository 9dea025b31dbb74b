"""Our drawings against the original's: every pixel the same."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from echomimic.diffusion.condition_images import PARTS, SELECTED, draw_hands, draw_landmarks, draw_motion, face_mask
from echomimic.errors import MotionError
from echomimic.types import LandmarkTrack, PoseTrack

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
PICTURES = sorted((GOLDEN / "draw").glob("*.png"))
MASKS = {  # name: (height, width) of the picture, its box, the square that was cut out
    "center": ((300, 260), (80.4, 90.6, 170.2, 200.9), (35, 56, 215, 236)),
    "bottom": ((256, 256), (90, 150, 180, 250), (57, 100, 213, 256)),
    "tall": ((420, 180), (40.5, 99.5, 130.5, 250.5), (0, 88, 175, 263)),
}
EDGE_FACE = ((240, 320), (5.2, 60.1, 100.7, 170.3))


@pytest.fixture(scope="module")
def inputs() -> dict[str, npt.NDArray[np.float64]]:
    with np.load(GOLDEN / "draw.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_all_pictures_are_here() -> None:
    assert len(PICTURES) == 57


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_equals_the_original(path: Path, inputs: dict[str, npt.NDArray[np.float64]]) -> None:
    golden = np.asarray(Image.open(path))
    size = (golden.shape[1], golden.shape[0])
    version, kind, *rest = path.stem.split("_")
    if version == "v2":
        key = "v2.01.0" if kind == "size" else ".".join(["v2", kind, *rest])
        ours = draw_hands(inputs[key], size=size)
    elif kind == "edge":
        name = "_".join(rest)
        ours = draw_landmarks(inputs[f"v1.edge.{name}"], size if name == "unscaled256" else (512, 512), size)
    else:
        ours = draw_landmarks(inputs[f"v1.{rest[0]}"], (512, 512), size, PARTS if kind == "demo" else SELECTED)
    np.testing.assert_array_equal(ours, golden)


@pytest.mark.parametrize("name", MASKS)
def test_mask_equals_the_original(name: str, inputs: dict[str, npt.NDArray[np.float64]]) -> None:
    (height, width), box, (x0, y0, x1, y1) = MASKS[name]
    mask = face_mask((width, height), box)
    np.testing.assert_array_equal(cv2.resize(mask[y0:y1, x0:x1], (128, 128)), inputs[f"crop.{name}.mask128"])


def test_mask_of_a_face_at_the_border_is_not_lost() -> None:
    (height, width), box = EDGE_FACE
    mask = face_mask((width, height), box)
    assert mask[49:181, 0:110].all() and mask.sum() == 255 * (181 - 49) * 110


def test_hands_in_a_place_of_their_own(inputs: dict[str, npt.NDArray[np.float64]]) -> None:
    hands = inputs["v2.01.0"]
    picture = draw_hands(hands, size=(768, 768), place=(128, 640, 200, 712))
    np.testing.assert_array_equal(picture[128:640, 200:712], draw_hands(hands, size=(512, 512)))
    assert not picture[:128].any() and not picture[:, :200].any()


def test_scores_beside_or_within_give_the_same(inputs: dict[str, npt.NDArray[np.float64]]) -> None:
    hands = inputs["v2.good.0"]
    np.testing.assert_array_equal(draw_hands(hands), draw_hands(hands[..., :2], hands[..., 2]))


def test_any_canvas_and_parts(inputs: dict[str, npt.NDArray[np.float64]]) -> None:
    points = inputs["v1.0"]
    wide = points * (2, 1)
    np.testing.assert_array_equal(draw_landmarks(wide, (1024, 512), (512, 512)), draw_landmarks(points, (512, 512)))
    assert draw_landmarks(points, (512, 512), (640, 360)).shape == (360, 640, 3)
    assert not draw_landmarks(points, (512, 512), parts=()).any()
    with pytest.raises(MotionError, match="ears"):
        draw_landmarks(points, (512, 512), parts=("ears",))


def test_a_frame_of_a_track(inputs: dict[str, npt.NDArray[np.float64]]) -> None:
    points = np.zeros((1, 478, 3), np.float32)
    points[0, :, :2] = inputs["v1.0"]
    track = LandmarkTrack(points, (512, 512), 24, np.ones(1, bool))
    np.testing.assert_array_equal(draw_motion(track, 0, (256, 256)), draw_landmarks(points[0], (512, 512), (256, 256)))
    hands = inputs["v2.01.0"][None].astype(np.float32)
    pose = PoseTrack(np.zeros((1, 18, 3), np.float32), hands, np.zeros((1, 68, 3), np.float32), 24)
    np.testing.assert_array_equal(draw_motion(pose, 0, (512, 512)), draw_hands(hands[0], size=(512, 512)))


def test_hands_out_of_the_picture_draw_nothing() -> None:
    assert not draw_hands(np.full((2, 21, 3), -0.5)).any()
    assert not draw_hands(np.zeros((2, 21, 3))).any()

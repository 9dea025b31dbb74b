"""Finding and choosing a face."""

import cv2
import numpy as np
import pytest
from skimage import data

from echomimic.errors import FaceError
from echomimic.landmarks.detectors import selfie_mask
from echomimic.landmarks.face import find_faces, locate_face, pick_face, upright_portrait
from echomimic.media import read_picture
from echomimic.mesh.background import inpaint_background, person_matte
from echomimic.notes import collect_notes
from echomimic.options import make_options
from echomimic.types import Portrait

ASTRONAUT = np.asarray(data.astronaut())
TWO = np.hstack([ASTRONAUT, ASTRONAUT[:, 40:]])


def test_the_astronaut_has_one_face_where_it_is():
    (face,) = find_faces(ASTRONAUT)
    x, y, w, h = face.box
    assert (x, y) == pytest.approx((178, 71), abs=12)
    assert (w, h) == pytest.approx((91, 106), abs=16)
    assert abs(face.yaw) < 10
    assert face.landmarks.shape == (478, 3) and face.landmarks.dtype == np.float32


def test_a_small_face_in_a_large_picture_is_found():
    large = np.pad(ASTRONAUT, ((700, 100), (900, 300), (0, 0)), mode="edge")
    (face,) = find_faces(large)
    assert face.box[0] == pytest.approx(900 + 178, abs=15)


def test_a_face_that_fills_the_picture_is_found():
    assert len(find_faces(np.ascontiguousarray(ASTRONAUT[60:210, 150:290]))) == 1


def test_of_several_faces_the_largest_is_used_with_a_note_or_the_requested_one():
    portrait = Portrait(TWO, name="two.png")
    assert len(find_faces(TWO)) == 2
    with collect_notes() as notes:
        pick_face(portrait, make_options({}))
    assert "2 faces in two.png" in notes[0] and "`face`" in notes[0]
    assert pick_face(portrait, make_options({"face": 1})).box[0] < 400
    assert pick_face(portrait, make_options({"face": 2})).box[0] > 400


@pytest.mark.parametrize(
    ("pixels", "options", "words"),
    [
        (np.asarray(data.coffee()), {}, ("no face found in p.png (600x400)", "`face_box` x,y,w,h")),
        (ASTRONAUT[::2, ::2], {}, ("px; expected at least 64", "larger picture")),
        (TWO, {"face": 3}, ("`face` is 3", "expected 1 to 2")),
        (ASTRONAUT, {"face_box": (600, 10, 50, 50)}, ("not inside p.png (512x512)",)),
        (np.full((300, 300, 3), 90, np.uint8), {"face_box": (50, 50, 99, 99)}, ("no face found in the box", "ear to")),
    ],
)
def test_unusable_pictures_are_refused_in_one_line(pixels, options, words):
    with pytest.raises(FaceError) as caught:
        pick_face(Portrait(np.ascontiguousarray(pixels), name="p.png"), make_options(options))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_box_finds_the_face_inside_it():
    face = pick_face(Portrait(TWO), make_options({"face_box": "650,60,110,130"}))
    assert face.box[0] > 500


def test_the_matte_holds_the_face_and_the_plate_paints_the_person_over():
    (face,) = find_faces(ASTRONAUT)
    matte = person_matte(ASTRONAUT, face.landmarks)
    assert matte is not None and matte.shape == (512, 512)
    assert matte[120, 225] > 0.95 and matte[30, 480] < 0.05
    plate = inpaint_background(ASTRONAUT, matte)
    far = matte < 0.001
    assert np.abs(plate[far].astype(int) - ASTRONAUT[far]).mean() < 2
    assert np.abs(plate[120, 225].astype(int) - ASTRONAUT[120, 225]).sum() > 30


def test_a_picture_without_a_person_has_no_matte():
    coffee = np.asarray(data.coffee())
    assert selfie_mask(coffee).shape == coffee.shape[:2]
    assert person_matte(coffee, np.full((478, 3), 100, np.float32)) is None


@pytest.mark.parametrize(("turn", "mirrored"), [(1, False), (2, True), (3, False)])
def test_a_picture_that_is_not_upright_is_turned_with_a_note(turn, mirrored):
    upright = np.ascontiguousarray(ASTRONAUT[:, ::-1] if mirrored else ASTRONAUT)
    alpha = np.arange(512 * 512, dtype=np.uint32).reshape(512, 512).astype(np.uint8)
    given = Portrait(np.ascontiguousarray(np.rot90(upright, -turn)), np.rot90(alpha, -turn), name="p.png")
    with collect_notes() as notes:
        found = locate_face(given, make_options({}))
    assert [note.code for note in notes] == ["picture_turned"]
    np.testing.assert_array_equal(found.portrait.pixels, upright)
    assert found.portrait.alpha is not None
    np.testing.assert_array_equal(found.portrait.alpha, alpha)
    (face,) = find_faces(upright)
    np.testing.assert_allclose(found.face.landmarks, face.landmarks, atol=0.5)
    with pytest.raises(FaceError, match="turn it") as caught:
        pick_face(given, make_options({}))
    assert caught.value.code == "face_not_upright"
    assert upright_portrait(given).pixels.shape == upright.shape


def test_a_face_box_is_turned_with_its_picture():
    given = Portrait(np.ascontiguousarray(np.rot90(TWO, 2)), name="p.png")
    height, width = TWO.shape[:2]
    x, y, w, h = 650, 60, 110, 130
    found = locate_face(given, make_options({"face_box": (width - x - w, height - y - h, w, h)}))
    assert found.face.box[0] == pytest.approx(651, abs=15)


@pytest.mark.parametrize("degrees", [40, -40])
def test_a_tilted_head_is_left_as_it_is(degrees):
    place = cv2.getRotationMatrix2D((225, 130), degrees, 1)
    tilted = cv2.warpAffine(ASTRONAUT, place, (512, 512), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
    with collect_notes() as notes:
        found = locate_face(Portrait(tilted), make_options({}))
    assert found.portrait.pixels is tilted and notes == []


def test_a_face_of_85_pixels_in_4000_is_found():
    pixels = np.full((3000, 4000, 3), (120, 130, 140), np.uint8)
    small = cv2.resize(ASTRONAUT, (410, 410), interpolation=cv2.INTER_AREA)
    pixels[1000:1410, 2400:2810] = small
    (face,) = find_faces(pixels)
    assert face.box[0] == pytest.approx(2400 + 178 * 0.8, abs=12) and face.size == pytest.approx(85, abs=8)


@pytest.mark.parametrize("seed", [0, 4])
def test_patterns_of_a_large_picture_do_not_hide_a_small_face(seed):
    blobs = np.random.default_rng(seed).integers(60, 190, (24, 32, 3), np.uint8)
    pixels = cv2.resize(blobs, (4000, 3000), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    pixels[1000:1410, 2400:2810] = cv2.resize(ASTRONAUT, (410, 410), interpolation=cv2.INTER_AREA)
    (face,) = find_faces(pixels)
    assert face.box[0] == pytest.approx(2400 + 178 * 0.8, abs=12) and face.size == pytest.approx(85, abs=10)


def test_all_small_faces_of_a_large_group_are_found_from_left_to_right():
    pixels = np.full((1500, 3000, 3), (90, 120, 100), np.uint8)
    sizes = (380, 520, 400, 460, 380, 440)
    for index, side in enumerate(sizes):
        left, top = 30 + 490 * index, 80 + 150 * (index % 3)
        pixels[top : top + side, left : left + side] = cv2.resize(ASTRONAUT, (side, side), interpolation=cv2.INTER_AREA)
    faces = find_faces(pixels)
    expected = [30 + 490 * index + 178 / 512 * side for index, side in enumerate(sizes)]
    assert [face.box[0] for face in faces] == pytest.approx(expected, abs=15)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((300, 300, 3), np.uint8), "it is black"),
        (np.full((300, 300, 3), 90, np.uint8), "it is one colour"),
        (
            np.vstack([data.coffee()[:150], np.full((250, 600, 3), 128, np.uint8)]),
            "is one colour, as in a truncated file",
        ),
        (np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8), "it is noise"),
    ],
)
def test_a_picture_that_shows_nothing_is_told_from_one_without_a_face(pixels, words):
    with pytest.raises(FaceError, match=words) as caught:
        locate_face(Portrait(pixels, name="p.png"), make_options({}))
    assert caught.value.code == "picture_empty"


def test_a_picture_of_something_else_shows_no_face():
    with pytest.raises(FaceError) as caught:
        locate_face(Portrait(np.asarray(data.coffee()), name="p.png"), make_options({}))
    assert caught.value.code == "face_not_found"


def masked(colour):
    """The astronaut with a cloth of that colour from the nose to the chin."""
    pixels = ASTRONAUT.copy()
    cv2.ellipse(pixels, (226, 158), (42, 34), 0, 0, 360, colour, -1)
    return pixels


def drawn_animal():
    pixels = np.full((512, 512, 3), (235, 190, 205), np.uint8)
    cv2.ellipse(pixels, (256, 270), (155, 180), 0, 0, 360, (240, 236, 224), -1)
    for side in (-1, 1):
        cv2.ellipse(pixels, (256 + 65 * side, 240), (24, 32), 0, 0, 360, (20, 20, 20), -1)
        cv2.ellipse(pixels, (256 + 20 * side, 340), (20, 18), 0, 0, 180, (30, 30, 30), 4)
    cv2.ellipse(pixels, (256, 315), (20, 16), 0, 0, 360, (225, 110, 125), -1)
    return pixels


@pytest.mark.parametrize(
    ("pixels", "codes"),
    [
        (ASTRONAUT, []),
        (masked((120, 180, 220)), ["mouth_hidden"]),
        (masked((25, 25, 28)), ["mouth_hidden"]),
        (masked((240, 240, 240)), ["mouth_hidden"]),
        (drawn_animal(), ["face_doubtful"]),
        (np.ascontiguousarray(ASTRONAUT[:152]), ["mouth_cut_off"]),
        (np.ascontiguousarray(ASTRONAUT[:164]), ["mouth_cut_off"]),
    ],
    ids=["whole", "blue mask", "black mask", "white mask", "drawn animal", "cut at the lips", "cut below the lips"],
)
def test_a_face_that_cannot_be_trusted_is_doubted(pixels, codes):
    with collect_notes() as notes:
        locate_face(Portrait(pixels, name="p.png"), make_options({}))
    assert [note.code for note in notes] == codes


@pytest.mark.parametrize("folder", ["portraits", "portraits_2", "half_body"])
def test_no_real_portrait_is_doubted(shared, folder):
    for path in sorted((shared / "data" / folder).iterdir()):
        with collect_notes() as notes:
            found = locate_face(read_picture(path), make_options({}))
        assert {note.code for note in notes} <= {"head_turned"}, path.name
        assert found.face.size > 180

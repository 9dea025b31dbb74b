"""Finding and choosing a face."""

import numpy as np
import pytest
from skimage import data

from echomimic.errors import FaceError
from echomimic.landmarks.detectors import selfie_mask
from echomimic.landmarks.face import find_faces, pick_face
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


def test_of_several_faces_the_largest_is_taken_and_said_so_or_the_one_asked_for():
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
        (np.full((200, 300, 3), 90, np.uint8), {}, ("no face found in p.png (300x200)", "`face_box` x,y,w,h")),
        (ASTRONAUT[::2, ::2], {}, ("px; expected at least 64", "larger picture")),
        (TWO, {"face": 3}, ("face 3 of p.png", "expected 1 to 2")),
        (ASTRONAUT, {"face_box": (600, 10, 50, 50)}, ("not inside p.png (512x512)",)),
        (np.full((300, 300, 3), 90, np.uint8), {"face_box": (50, 50, 99, 99)}, ("no face found in the box", "ear to")),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(pixels, options, words):
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

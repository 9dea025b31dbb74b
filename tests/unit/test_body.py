"""Bodies in pictures: the right points in the right order."""

from pathlib import Path

import numpy as np
import pytest

from echomimic.errors import FaceError
from echomimic.landmarks.body import find_body
from echomimic.landmarks.topology import BODY_NOSE, ELBOWS, NECK, SHOULDERS, WRISTS
from echomimic.media import read_picture
from echomimic.types import Portrait


@pytest.mark.shared
@pytest.mark.parametrize("name", ["0035", "0077", "0222"])
def test_a_half_body_portrait(shared: Path, name: str) -> None:
    body = find_body(read_picture(shared / "data" / "half_body" / f"{name}.png"))
    for left, right in (SHOULDERS, ELBOWS, WRISTS):
        assert body.body[left, 0] > 0.5 > body.body[right, 0]  # the person's own left is on the picture's right
    assert body.body[BODY_NOSE, 1] < body.body[NECK, 1] < body.body[ELBOWS[0], 1]
    assert body.has_hand(0) and body.has_hand(1)
    for side, wrist in enumerate(WRISTS):
        assert np.linalg.norm(body.hands[side, 0, :2] - body.body[wrist, :2]) < 0.1
    assert (body.face[:, 2] > 0).all()
    assert body.face[8, 1] > body.face[30, 1] > body.face[27, 1]  # chin below nose tip below nose root
    assert body.face[0, 0] < body.face[16, 0] and body.face[36, 0] < body.face[45, 0]
    assert 0.3 < body.shoulder_width < 0.45


def test_nobody_is_an_error_in_one_line() -> None:
    with pytest.raises(FaceError, match="no body found in wall"):
        find_body(Portrait(np.full((128, 128, 3), 90, np.uint8), name="wall"))

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from echomimic.errors import MotionError
from echomimic.motion import arkit_weights, export_blendshapes, vrm_weights
from echomimic.motion.blendshapes import ARKIT, HEAD, WITHOUT_MEANING
from echomimic.types import CURVES, Curves


def random_curves(frames: int = 30) -> Curves:
    draw = np.random.default_rng(0)
    values = np.stack([draw.uniform(c.low, c.high, frames) for c in CURVES], axis=1).astype(np.float32)
    return Curves(values, 25.0)


def test_weights_are_fractions_and_every_curve_has_an_effect_or_is_named_as_having_none() -> None:
    curves = random_curves()
    for weights in (arkit_weights(curves), vrm_weights(curves)):
        assert all(((values >= 0) & (values <= 1)).all() for values in weights.values())
    head = ("yaw", "pitch", "roll")
    for curve in CURVES:
        moved = curves.replace(**{curve.name: curve.rest})
        same = all(np.array_equal(a, arkit_weights(moved)[name]) for name, a in arkit_weights(curves).items())
        assert same == (curve.name in (*WITHOUT_MEANING, *head)), curve.name


def test_a_shut_mouth_over_an_open_jaw_is_shut_in_both() -> None:
    shut = Curves.rest(1, 25.0).replace(jaw=0.7, closure=1.0)
    arkit = arkit_weights(shut)
    assert arkit["mouthClose"][0] == arkit["jawOpen"][0] == pytest.approx(0.7)
    assert sum(vrm_weights(shut)[name][0] for name in ("aa", "ih", "ou", "ee", "oh")) == 0
    left = arkit_weights(Curves.rest(1, 25.0).replace(gaze_x=12.5))
    assert left["eyeLookOutLeft"][0] == left["eyeLookInRight"][0] == pytest.approx(0.5), "the person's left"


def test_files_have_a_row_or_an_entry_per_frame(tmp_path: Path) -> None:
    curves = random_curves()
    with export_blendshapes(tmp_path / "arkit.csv", curves).open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["Timecode", "BlendShapeCount", *(n[0].upper() + n[1:] for n in ARKIT), *HEAD]
    assert len(rows) == 31 and {len(row) for row in rows} == {2 + len(ARKIT) + 3}
    assert rows[1][0] == "00:00:00:00.000" and rows[27][0] == "00:00:01:01.000"
    made = json.loads(export_blendshapes(tmp_path / "vrm.json", curves).read_text())
    assert made["fps"] == 25 and {len(v) for v in made["expressions"].values()} == {30}
    with pytest.raises(MotionError, match=r"\.csv \(ARKit\) or \.json \(VRM\)"):
        export_blendshapes(tmp_path / "x.bvh", curves)

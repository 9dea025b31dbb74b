"""Which preset `auto` chooses."""

from pathlib import Path

import numpy as np
import pytest

from echomimic import presets
from echomimic.errors import OptionError, WeightsError
from echomimic.presets import find_preset, resolve_preset
from echomimic.types import LandmarkTrack, Motion, PoseTrack

FACE = LandmarkTrack(np.zeros((2, 478, 3), np.float32), (512, 512), 25.0, np.ones(2, bool))
HANDS = PoseTrack(np.zeros((2, 18, 3)), np.zeros((2, 2, 21, 3)), np.zeros((2, 68, 3)), 25.0)


def test_without_weights_auto_is_mesh_and_says_why(tmp_path: Path) -> None:
    preset, why = resolve_preset("auto", weights=tmp_path)
    assert preset.name == "mesh"
    assert "no checkpoints" in why


def test_the_requested_preset_is_used(tmp_path: Path) -> None:
    assert resolve_preset("v2", weights=tmp_path) == (find_preset("v2"), "asked for")
    with pytest.raises(OptionError, match="unknown preset 'v3'; expected"):
        resolve_preset("v3")


def test_a_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not a folder"):
        resolve_preset("auto", weights=tmp_path / "none")


@pytest.mark.parametrize(
    ("motion", "here", "expected"),
    [(None, "v1-acc", "v1-acc"), (FACE, "v1-landmarks", "v1-landmarks"), (HANDS, "v2", "v2")],
)
def test_auto_chooses_a_preset_that_the_motion_can_drive_on_a_gpu(
    motion: Motion | None, here: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set(find_preset(here).files.values())
    monkeypatch.setattr(presets, "locate", lambda file, places: Path(file.path) if file.name in names else None)
    monkeypatch.setattr(presets, "accelerators", lambda: ["cuda:0"])
    assert resolve_preset("auto", motion)[0].name == expected
    monkeypatch.setattr(presets, "accelerators", list)
    preset, why = resolve_preset("auto", motion)
    assert preset.name == "mesh"
    assert f"`preset` {expected}" in why

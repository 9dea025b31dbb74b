"""Workflows of later layouts of the original pack: accepted ones, refused ones with a message, and replacements."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from echomimic.apps.comfy import legacy_schema
from echomimic.errors import WeightsError
from echomimic.media import read_picture
from echomimic.presets import PRESETS
from helpers import comfy_standin
from helpers.comfy_standin import Host, load_nodes

_REST = (25, 16000, 0.1, 0.8, 12, 3, 120, 512, 512, False)
SAMPLERS: dict[str, tuple[object, ...]] = {
    "July 2024": (0, 2.5, 30, *_REST),
    "August 2024": ("none", "none", 0, 2.5, 30, *_REST[:-1], False, False),
    "November 2024, before the page": ("none", 0, 2.5, 30, *_REST),
    "with 6 steps": ("none", 0, 1.0, 6, *_REST),
    "since August 2025": (7, "randomize", 3.5, 25, 16000, 12, 3, False),
}
"""Widget values of Echo_Sampler as its other layouts saved them: ComfyUI reads them in our order."""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_networks: None) -> Iterator[Host]:
    yield from comfy_standin.installed(tmp_path, monkeypatch)


@pytest.mark.parametrize("mode", ["audio_drived", "pose_acc", "pose_normal_dwpose", "pose_normal_sapiens"])
def test_modes_up_to_august_2025_are_taken(host: Host, mode: str) -> None:
    assert load_nodes()["Echo_LoadModel"].validate_inputs(mode) is True


@pytest.mark.parametrize("pose", ["none", "mine", *legacy_schema.BUILT_IN_POSES])
def test_poses_up_to_august_2025_are_taken(host: Host, pose: str) -> None:
    (host.root / "input" / "tensorrt_lite" / "mine").mkdir(parents=True)
    assert load_nodes()["Echo_Sampler"].validate_inputs(pose) is True


def test_a_loader_of_2026_is_refused_with_a_message(host: Host) -> None:
    said = load_nodes()["Echo_LoadModel"].validate_inputs(True)  # its `denoising` stands where the mode did
    assert said.startswith("infer_mode is True; expected one of audio_drived, ") and "comfy migrate" in said


def test_a_sampler_of_three_nodes_is_refused_with_a_message(host: Host) -> None:
    said = load_nodes()["Echo_Sampler"].validate_inputs(1399963950)  # its seed stands where the pose did
    assert said.startswith("pose_dir is 1399963950; expected none") and "comfy migrate" in said


def misfits(values: tuple[object, ...]) -> list[str]:
    """Widgets of our Echo_Sampler that cannot hold what a workflow stored in their place."""
    sampler = load_nodes()["Echo_Sampler"]
    slots = [slot for slot in sampler.define_schema().inputs if "default" in slot.more]
    names = [slot.id for slot in slots]
    names.insert(names.index("seed") + 1, "control_after_generate")
    stored = dict(zip(names, values, strict=False))
    wrong = [slot.id for slot in slots[1:] if slot.id in stored and not comfy_standin.fits(slot, stored[slot.id])]
    return wrong if sampler.validate_inputs(stored["pose_dir"]) is True else ["pose_dir", *wrong]


@pytest.mark.parametrize("saved", SAMPLERS)
def test_a_sampler_of_another_layout_never_runs_with_wrong_values(host: Host, saved: str) -> None:
    assert misfits(SAMPLERS[saved]) != []


def test_a_sampler_of_december_2024_runs_as_it_is(host: Host) -> None:
    assert misfits(("pose_01", 0, "fixed", 2.5, 30, *_REST)) == []


def test_one_value_a_check_or_the_host_says_it_twice(host: Host) -> None:
    nodes = load_nodes()
    for name, argument in (("Echo_LoadModel", "infer_mode"), ("Echo_Sampler", "pose_dir")):
        checked = set(nodes[name].validate_inputs.__annotations__) - {"return"}
        assert checked == {argument}


@pytest.mark.parametrize("mode", sorted(legacy_schema.LATER_MODES))
def test_both_ways_to_find_a_pose_are_supported(host: Host, mode: str) -> None:
    loader = load_nodes()["Echo_LoadModel"]
    with pytest.raises(WeightsError, match="preset v1-landmarks lacks"):
        loader.execute("vae-ft-mse-840000-ema-pruned.safetensors", True, mode, False, False, False, "V1")


def test_a_pose_of_the_original_pack_is_made_of_the_voice(
    host: Host, head_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "v2-acc", replace(PRESETS["v2-acc"], files={}))
    nodes = load_nodes()
    model, face, _ = nodes["Echo_LoadModel"].execute("", True, "pose_acc", False, False, False, "V2").result
    sampler = nodes["Echo_Sampler"]
    values = {each.id: each.more["default"] for each in sampler.define_schema().inputs if "default" in each.more}
    image = torch.from_numpy(read_picture(head_file).pixels.astype(np.float32) / 255)[None]
    audio = {"waveform": 0.2 * torch.sin(torch.arange(8000) / 9)[None, None], "sample_rate": 16_000}
    small = {"pose_dir": "pose_01", "length": 2, "width": 64, "height": 64, "steps": 1}
    out = sampler.execute(image=image, audio=audio, model=model, face_detector=face, **{**values, **small})
    assert "pose_01 came with the original pack and is not here" in out.ui["text"][0]

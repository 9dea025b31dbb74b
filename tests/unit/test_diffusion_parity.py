"""Ours vs theirs: recorded runs with stored weights, where the recordings are at hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from echomimic.diffusion.autoencoder import Autoencoder
from echomimic.diffusion.networks import on_meta
from echomimic.diffusion.vae import modern_names
from helpers import parity

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def golden(shared: Path) -> Path:
    return shared / "golden"


@pytest.mark.slow
def test_every_recorded_case_passes(golden, capsys) -> None:
    assert parity.main([str(golden), "--weights", str(golden / "v1_weights.safetensors")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(line.endswith("pass") for line in lines)


def test_a_case_that_differs_fails(golden, tmp_path, capsys) -> None:
    facts = json.loads((golden / "v1_pose_acc_cfg1.0.json").read_text())
    (tmp_path / "case.json").write_text(json.dumps({**facts, "num_inference_steps": 2}))
    (tmp_path / "case.safetensors").symlink_to(golden / "v1_pose_acc_cfg1.0.safetensors")
    assert parity.main([str(tmp_path), "--weights", str(golden / "v1_weights.safetensors")]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_autoencoder_and_condition_encoders_ours_vs_theirs(golden) -> None:
    weights, case = parity.Weights(golden / "v1_weights.safetensors"), load_file(golden / "v1_vae_locators.safetensors")
    vae: Any = weights.vae
    with torch.inference_mode():
        assert (vae.encode(case["vae.image"]) - case["vae.mean"]).abs().max() < 1e-4
        for number in ("", "2"):
            decoded = vae.decode(case[f"vae.z{number}_unscaled"])
            assert (decoded - case[f"vae.decoded{number}"]).abs().max() < 1e-4
        for name in [name for name in case if name.startswith("locator") and name.endswith(".in")]:
            encoder = weights.encoder("face_" + name.split(".")[0])
            theirs = case[name.removesuffix("in") + "out"][0].transpose(0, 1)
            assert (encoder(case[name][0].transpose(0, 1)) - theirs).abs().max() < 1e-4


def test_old_names_of_the_autoencoder_are_understood() -> None:
    old = (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn"))
    for name in on_meta(Autoencoder).state_dict():
        legacy = name
        for new, before in old:
            legacy = legacy.replace(new, before)
        assert modern_names(legacy) == name

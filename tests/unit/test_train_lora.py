"""Low-rank adaptation: training only its factors, merging, files, and their use by the engine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from echomimic import api
from echomimic.checkpoints import Lora, LoraFile, LoraMetadata, read_lora, write_lora
from echomimic.diffusion.engine import DiffusionEngine
from echomimic.diffusion.lora import merge_lora, merge_lora_file
from echomimic.errors import EchoMimicError, OptionError, WeightsError
from echomimic.presets import find_preset
from echomimic.train.diffusion.checkpoints import list_checkpoints
from echomimic.train.diffusion.loop import train
from echomimic.train.diffusion.lora import LoraLinear, adapted_layers, add_lora, lora_of, merge_layers
from echomimic.train.diffusion.run_folder import without_places
from echomimic.train.diffusion.settings import TrainSettings, format_settings, make_settings
from echomimic.train.diffusion.trainee import Trainee
from helpers.training_samples import ONE_LEVEL, SmallSamples, make_trainee, small_batch, small_settings


def lora_settings(trained: str = "all", rank: int = 4, steps: int = 2) -> TrainSettings:
    return small_settings(
        model={"trained": trained, "lora_rank": rank, "lora_alpha": 8.0, "subject": "anna"},
        run={"steps": steps, "checkpoint_every": 1},
    )


def predict(trainee: Trainee) -> Tensor:
    with torch.no_grad():
        batch = replace(small_batch(2), keep=torch.ones(2, 3))
        return trainee(batch)[1]


def trained_trainee(folder: Path) -> tuple[Trainee, dict[str, Tensor]]:
    settings, trainee = lora_settings(), make_trainee()
    folder.mkdir()
    return trainee, train(trainee, SmallSamples(settings), settings, folder)


def test_a_new_lora_changes_nothing() -> None:
    trainee = make_trainee()
    before = predict(trainee)
    assert len(add_lora(trainee, lora_settings().model)) > 0
    assert torch.equal(predict(trainee), before)


def test_only_the_factors_move_and_merging_keeps_the_output(tmp_path: Path) -> None:
    start = dict(make_trainee().state_dict())
    trainee, _ = trained_trainee(tmp_path / "run")
    after = trainee.state_dict()
    moved = {name for name in start if not torch.equal(start[name], after[name])}
    factors = {name for name in after if name not in start}
    assert not moved and factors and all(bool((after[name] != 0).any()) for name in factors)
    before = predict(trainee)
    merge_layers(trainee)
    assert not any(isinstance(layer, LoraLinear) for layer in trainee.modules())
    assert trainee.state_dict().keys() == start.keys()
    assert torch.allclose(predict(trainee), before, atol=1e-5)
    assert not torch.allclose(predict(trainee), predict(make_trainee()), atol=1e-3)


@pytest.mark.parametrize(
    ("trained", "present", "absent"),
    [
        ("picture", {"denoising.attn1", "denoising.attn2", "denoising.ff", "reference.attn1"}, {"motion"}),
        ("motion", {"motion"}, {"attn1", "attn2", "reference"}),
        ("motion+audio", {"motion", "denoising.attn2"}, {"attn1", "reference"}),
        ("denoising", {"motion", "denoising.attn1"}, {"reference"}),
    ],
)
def test_the_stage_chooses_the_layers(trained: str, present: set[str], absent: set[str]) -> None:
    names = adapted_layers(make_trainee(), lora_settings(trained).model)
    for words in present:
        assert any(all(word in name for word in words.split(".")) for name in names), words
    for word in absent:
        assert not any(word in name for name in names), word
    assert not any("condition" in name or "time_emb" in name for name in names)


def test_every_factor_gets_a_gradient() -> None:
    trainee = make_trainee()
    factors = add_lora(trainee, lora_settings().model)
    for value in factors.values():
        torch.nn.init.normal_(value, std=0.1)
    trainee(replace(small_batch(2), keep=torch.ones(2, 3)))[1].square().sum().backward()
    assert all(value.grad is not None and bool(value.grad.abs().sum() > 0) for value in factors.values())


def test_a_resumed_lora_has_the_same_bits(tmp_path: Path) -> None:
    settings = lora_settings(steps=2)
    for name, stop in (("whole", 0), ("cut", 2)):
        (tmp_path / name).mkdir()
        if stop:
            with pytest.raises(KeyboardInterrupt):
                train(
                    make_trainee(config=ONE_LEVEL),
                    SmallSamples(settings),
                    settings,
                    tmp_path / name,
                    report=_stop_at(stop),
                )
        train(make_trainee(config=ONE_LEVEL), SmallSamples(settings), settings, tmp_path / name, resume=True)
    whole, cut_path = (list_checkpoints(tmp_path / name)[-1] for name in ("whole", "cut"))
    for name in ("model", "ema", "optimizer"):
        ours, theirs = (load_file(path / f"{name}.safetensors") for path in (whole, cut_path))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours), name


def _stop_at(step: int) -> Callable[[dict[str, Any]], None]:
    def report(record: dict[str, Any]) -> None:
        if record["step"] == step:
            raise KeyboardInterrupt

    return report


def test_a_file_merges_into_loaded_networks_as_the_live_layers(tmp_path: Path) -> None:
    trainee, average = trained_trainee(tmp_path / "run")
    path = tmp_path / "anna.safetensors"
    write_lora(path, lora_of(average, "v1", lora_settings().model, "anna", "written"))
    lora = read_lora(path)
    assert lora.metadata == LoraMetadata("v1", 4, 8.0, "anna", "written")
    with torch.no_grad():
        for name, value in trainee.named_parameters():
            if name in average:
                value.copy_(average[name])
    other = make_trainee()
    merge_lora_file(other.networks(), LoraFile(path), "v1")
    assert torch.allclose(predict(other), predict(trainee), atol=1e-5)
    unchanged = make_trainee()
    merge_lora_file(unchanged.networks(), LoraFile(path, 0.0), "v1")
    assert torch.equal(predict(unchanged), predict(make_trainee()))


def test_a_lora_without_written_consent_is_refused() -> None:
    with pytest.raises(OptionError, match=r"needs written consent, and anna.*rights\.toml"):
        lora_of({}, "v1", lora_settings().model, "anna", "none-stated")


def make_lora(preset: str = "v1", layer: str = "", shape: tuple[int, int] = (32, 32), rank: int = 2) -> Lora:
    layer = layer or "denoising.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    factors = {layer: (torch.ones(rank, shape[1]), torch.ones(shape[0], rank))}
    return Lora(LoraMetadata(preset, rank, 2.0, "anna", "written"), factors)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (make_lora("v2"), "was trained for preset v2 and the preset is v1"),
        (make_lora(layer="denoising.down_blocks.9.to_q"), "changes denoising.down_blocks.9.to_q, which is not a layer"),
        (make_lora(layer="vae.conv_in"), "which is not a layer"),
        (make_lora(layer="denoising.conv_in"), "which is not a layer"),
        (make_lora(shape=(320, 320)), r"shape \[320, 320\] instead of \[32, 32\]"),
    ],
)
def test_a_lora_of_other_networks_is_one_line_and_changes_nothing(tmp_path: Path, lora: Lora, message: str) -> None:
    write_lora(tmp_path / "x.safetensors", lora)
    trainee = make_trainee()
    with pytest.raises(WeightsError, match=message) as caught:
        merge_lora_file(trainee.networks(), LoraFile(tmp_path / "x.safetensors"), "v1")
    assert "\n" not in str(caught.value)
    assert torch.equal(predict(trainee), predict(make_trainee()))


def test_one_wrong_layer_leaves_all_others_alone() -> None:
    trainee, lora = make_trainee(), make_lora()
    factors = {**lora.factors, **make_lora(layer="denoising.nowhere").factors}
    with pytest.raises(WeightsError):
        merge_lora(trainee.networks(), Lora(lora.metadata, factors), 1.0, "x")
    assert torch.equal(predict(trainee), predict(make_trainee()))


def _write_text(path: Path) -> None:
    path.write_text("hello, world, this is not a tensor")


def _write_other(path: Path) -> None:
    save_file({"weight": torch.zeros(2, 2)}, path)


def _write_nan(path: Path) -> None:
    lora = make_lora()
    name, (a, b) = next(iter(lora.factors.items()))
    write_lora(path, Lora(lora.metadata, {name: (a * float("nan"), b)}))


def _write_half(path: Path) -> None:
    write_lora(path, make_lora())
    tensors = load_file(path)
    tensors.pop(next(name for name in tensors if name.endswith(".B")))
    save_file(tensors, path, metadata={"preset": "v1", "rank": "2", "alpha": "2", "subject": "", "consent": "written"})


def _write_truncated(path: Path) -> None:
    write_lora(path, make_lora())
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.touch(), "is empty"),
        (_write_text, "not a safetensors file"),
        (_write_truncated, "not a safetensors file"),
        (_write_other, "does not state its preset"),
        (_write_nan, "not finite"),
        (_write_half, "are not those of rank 2"),
    ],
)
def test_files_that_are_no_lora_are_one_line(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "x.safetensors"
    write(path)
    with pytest.raises(WeightsError, match=message) as caught:
        read_lora(path)
    assert "\n" not in str(caught.value) and "expected a LoRA file" in str(caught.value)


def test_the_strength_has_a_range() -> None:
    with pytest.raises(EchoMimicError, match="expected a number from 0 to 2"):
        LoraFile(Path("x"), 3.0)


def test_auto_with_a_lora_means_its_preset_and_another_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "anna.safetensors"
    write_lora(path, make_lora("v1-landmarks"))
    with pytest.raises(WeightsError, match="preset v1-landmarks needs it"):
        api.load("auto", weights=tmp_path, lora=path)
    for preset in ("v2", "mesh"):
        with pytest.raises(WeightsError, match=f"trained for preset v1-landmarks and the preset is {preset}"):
            api.load(preset, weights=tmp_path, lora=path)


def test_an_engine_takes_no_further_lora(tmp_path: Path) -> None:
    path = tmp_path / "anna.safetensors"
    write_lora(path, make_lora("tiny"))
    with pytest.raises(OptionError, match=r"load\('tiny', lora="):
        api.plan("me.png", "voice.wav", engine=api.load("tiny"), lora=path)


def test_the_engine_loads_networks_with_the_lora(tmp_path: Path, kept_networks: None) -> None:
    path = tmp_path / "anna.safetensors"
    layer = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    write_lora(path, make_lora("tiny", f"denoising.{layer}"))
    device = torch.device("cpu")
    plain = DiffusionEngine(find_preset("tiny")).networks(device, torch.float32)
    for strength in (0.0, 1.0):
        adapted = DiffusionEngine(find_preset("tiny"), lora=LoraFile(path, strength)).networks(device, torch.float32)
        before, after = (networks.denoising.get_parameter(f"{layer}.weight") for networks in (plain, adapted))
        assert torch.allclose(after - before, torch.full((32, 32), 2.0 * strength), atol=1e-5)


def test_published_settings_name_no_folder() -> None:
    paths = dict.fromkeys(("path", "headshots"), "/home/me/place")
    model = dict.fromkeys(("start", "stable_diffusion", "motion_module"), "/home/me/place")
    settings = make_settings({"data": paths, "model": model, "phase_loss": {"reader": "/home/me/place"}})
    text = format_settings(without_places(settings))
    assert "/home" not in text and text.count('"place"') == 6

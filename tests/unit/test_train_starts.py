"""Start values of training, settings that come with the package, the log, validation and the probe of schedules."""

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import save_file

from echomimic.diffusion.networks import MismatchError, shapes_of
from echomimic.diffusion.unet import UNet
from echomimic.errors import OptionError, SetupError, WeightsError
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.probe import probe_lines, probe_schedule
from echomimic.train.diffusion.run_folder import check_trackers, cut_log, read_log, write_log
from echomimic.train.diffusion.settings import (
    TrainSettings,
    differences,
    format_settings,
    make_settings,
    preset_names,
    read_settings,
)
from echomimic.train.diffusion.starts import fill, load_stable_diffusion, load_start
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import Trainee, zero_branches
from echomimic.train.diffusion.validate import audio_gain, averaged, timestep_losses
from helpers.training_data import GEOMETRY, make_start
from helpers.training_samples import CONFIG, FRAMES, SmallSamples, make_trainee, small_batch, small_settings

AUDIO = ("attn2.to_k", "attn2.to_v", "attn2.to_out")


def write_stable_diffusion(folder: Path) -> dict[str, torch.Tensor]:
    """A UNet of diffusers with the geometry of the small networks, as Stable Diffusion is published."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=CONFIG.channels,
        layers_per_block=CONFIG.layers,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=768,
        attention_head_dim=CONFIG.heads,
        norm_num_groups=CONFIG.groups,
    )
    torch.manual_seed(0)
    tensors = {name: torch.randn_like(tensor) for name, tensor in cast(torch.nn.Module, unet).state_dict().items()}
    (folder / "unet").mkdir(parents=True)
    save_file(tensors, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return tensors


def test_stable_diffusion_fills_both_networks_but_the_audio_attention(tmp_path: Path) -> None:
    theirs, trainee = write_stable_diffusion(tmp_path), make_trainee()
    before = {name: value.clone() for name, value in trainee.denoising.state_dict().items()}
    load_stable_diffusion(trainee, tmp_path)
    for name, value in trainee.denoising.state_dict().items():
        is_new = "motion_modules" in name or any(part in name for part in AUDIO)
        assert torch.equal(value, before[name] if is_new else theirs[name]), name
    reference = trainee.reference.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in reference.items())
    assert not any("attn2" in name or "conv_out" in name for name in reference)


def test_stable_diffusion_that_is_missing_or_another_network_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no Stable Diffusion"):
        load_stable_diffusion(make_trainee(), tmp_path)
    tensors = write_stable_diffusion(tmp_path)
    del tensors["conv_in.weight"]
    save_file(tensors, tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(MismatchError, match=r"1 missing \(conv_in.weight\)"):
        load_stable_diffusion(make_trainee(), tmp_path)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_start(tmp_path_factory.mktemp("start"))


def settings_with(start: Path, **model: object) -> TrainSettings:
    return make_settings({"model": {"start": str(start), **model}})


def test_an_export_is_a_start_and_single_pictures_need_no_motion(start: Path) -> None:
    whole = load_start(settings_with(start, trained="all"))
    picture = load_start(settings_with(start, trained="picture"))
    assert whole.geometry == GEOMETRY and len(whole.origin) == 6
    names = set(shapes_of(picture.trainee.denoising.state_dict()))
    assert names == {name for name in whole.trainee.denoising.state_dict() if "motion_modules" not in name}
    assert torch.equal(picture.trainee.denoising.conv_in.weight, whole.trainee.denoising.conv_in.weight)


def test_landmarks_start_from_the_mask_with_a_new_encoder(start: Path) -> None:
    begun = load_start(settings_with(start, variant="landmarks", start_preset="v1", trained="picture"))
    assert begun.trainee.condition.channels == 3
    assert float(begun.trainee.condition.conv_out.weight.abs().sum()) == 0
    assert "condition encoder: new" in begun.origin
    with pytest.raises(WeightsError, match="v1/denoising_unet_pose is not in"):
        load_start(settings_with(start, variant="landmarks"))


def test_motion_modules_come_from_animatediff_or_are_new(start: Path, tmp_path: Path) -> None:
    source = load_start(settings_with(start, trained="all")).trainee.denoising.state_dict()
    torch.manual_seed(0)
    theirs = {f"module.{name}": torch.randn_like(t) for name, t in source.items() if "motion_modules" in name}
    torch.save({"state_dict": {**theirs, "module.conv_in.weight": torch.zeros(1)}}, tmp_path / "mm.ckpt")
    (tmp_path / "mm.ckpt").rename(tmp_path / "mm.pth")
    begun = load_start(settings_with(start, motion_module=str(tmp_path / "mm.pth"), trained="motion"))
    for name, tensor in begun.trainee.denoising.state_dict().items():
        assert torch.equal(tensor, theirs.get(f"module.{name}", source[name]))
    new = load_start(settings_with(start, motion_module="new", trained="motion")).trainee.denoising
    ends = [tensor for name, tensor in new.state_dict().items() if "temporal_transformer.proj_out" in name]
    assert ends and all(float(tensor.abs().sum()) == 0 for tensor in ends)


def test_starts_that_are_missing_are_one_line(start: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"needs start values; expected model.start"):
        load_start(TrainSettings())
    with pytest.raises(WeightsError, match="is not a folder"):
        load_start(settings_with(tmp_path / "none"))
    without = tmp_path / "without"
    (without / "v1").mkdir(parents=True)
    for path in (start / "v1").iterdir():
        if "motion" not in path.name:
            (without / "v1" / path.name).symlink_to(path)
    with pytest.raises(WeightsError, match=r"no motion modules; expected model.motion_module"):
        load_start(settings_with(without))
    with pytest.raises(MismatchError, match="1 unexpected"):
        fill(torch.nn.Linear(2, 2), {"weight": torch.zeros(2, 2), "bias": torch.zeros(2), "x": torch.zeros(1)}, "f")


def test_settings_of_the_package_are_read_and_written_again(tmp_path: Path) -> None:
    assert {"v1-stage1", "v1-stage2", "v1-landmarks-stage1", "v1-finetune"} <= set(preset_names())
    for name in preset_names():
        settings = read_settings(Path(name))
        (tmp_path / "all.toml").write_text(format_settings(settings))
        assert read_settings(tmp_path / "all.toml") == settings and settings != TrainSettings()
    (tmp_path / "mine.toml").write_text('extends = "v1-stage2"\n[run]\nsteps = 7\n')
    mine = read_settings(tmp_path / "mine.toml", ["loss.mouth=4"])
    changed = differences(mine, read_settings(Path("v1-stage2")))
    assert changed == ["loss.mouth: 3.0, now 4.0", "run.steps: 30000, now 7"]
    (tmp_path / "wrong.toml").write_text('extends = "v9"\n')
    with pytest.raises(OptionError, match="extends 'v9'; expected one of"):
        read_settings(tmp_path / "wrong.toml")
    with pytest.raises(OptionError, match=r"v1-stage9 cannot be read.*v1-stage1"):
        read_settings(Path("v1-stage9"))


def test_settings_without_effect_do_not_change_the_digest() -> None:
    base = TrainSettings()
    for override in ("run.workers=0", "data.path=x", "run.validation_clips=1", "data.cached_speech=true"):
        assert make_settings({}, [override]).digest() == base.digest()
    for override in ("run.steps=5", "audio.noise=0.1", "loss.perceptual=none", "model.start=x"):
        assert make_settings({}, [override]).digest() != base.digest()


def test_the_log_is_json_without_nan_and_is_cut_for_a_resumed_run(tmp_path: Path) -> None:
    for step in range(1, 6):
        write_log(tmp_path, {"step": step, "loss": float("nan") if step == 2 else 0.5})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    assert [record["step"] for record in read_log(tmp_path)] == [1, 2, 3, 4, 5]
    cut_log(tmp_path, 3)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3] and records[1]["loss"] is None


def test_a_tracker_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echomimic.train.diffusion.run_folder.find_spec", lambda name: None)
    check_trackers(())
    with pytest.raises(SetupError, match="pip install wandb"):
        check_trackers(("wandb",))


def test_averaged_weights_are_used_temporarily_and_the_trained_ones_restored() -> None:
    trainee = make_trainee()
    before = {name: value.clone() for name, value in trainee.state_dict().items()}
    average = {"denoising.conv_in.weight": torch.zeros_like(trainee.denoising.conv_in.weight)}
    with averaged(trainee, average):
        assert float(trainee.denoising.conv_in.weight.abs().sum()) == 0
    assert all(torch.equal(value, before[name]) for name, value in trainee.state_dict().items())


class _Codec(torch.nn.Linear):
    """Stands in for an autoencoder; the small samples are latents already."""


def test_losses_by_noise_level_are_the_same_each_time() -> None:
    trainee, samples = make_trainee(), SmallSamples(small_settings())
    with torch.no_grad():
        one, other = (timestep_losses(trainee, _Codec(1, 1), samples.sample, 12) for _ in range(2))
    assert one == other and len(one) == 9 and {"val_loss", "val_t0062", "val_t0937"} <= set(one)


def test_the_audio_gain_is_zero_for_networks_that_ignore_the_voice_and_positive_for_others() -> None:
    samples = [replace(SmallSamples(small_settings()).sample(n), origin=torch.tensor([n % 3, 0])) for n in range(9)]
    deaf = make_trainee()
    zero_branches(deaf)
    with torch.no_grad():
        assert audio_gain(deaf, _Codec(1, 1), samples) == 0
        assert audio_gain(_Hearing(samples), _Codec(1, 1), samples) > 0.5  # type: ignore[arg-type]


class _Hearing(torch.nn.Module):
    """Predicts exactly what belongs to a voice that it has heard before."""

    def __init__(self, samples) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.weight, self.schedule, self._samples = torch.nn.Parameter(torch.zeros(1)), make_trainee().schedule, samples

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        known = next(s for s in self._samples if torch.equal(s.audio, batch.audio[0]))
        velocity = self.schedule.velocity(known.latents[None], batch.noise, batch.timestep)
        return batch.latents, velocity


class _Labelled(torch.nn.Module):
    """Predicts the velocity of black latents exactly, if it is told the timestep of its own schedule."""

    def __init__(self, betas: str) -> None:
        super().__init__()
        self.weight, self.known = torch.nn.Parameter(torch.zeros(1)), NoiseSchedule.of_betas(betas)

    def forward(self, batch: Batch, noisy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        alpha, sigma = self.known.at(batch.timestep, noisy)
        return noisy, alpha / sigma * noisy


@pytest.mark.parametrize("betas", ["linear", "scaled_linear"])
def test_the_probe_finds_the_schedule_of_training(betas: str) -> None:
    sample = SmallSamples(small_settings()).sample(0)
    black = replace(sample, latents=torch.zeros_like(sample.latents))
    found = probe_schedule(_Labelled(betas), _Codec(1, 1), [black])  # type: ignore[arg-type]
    assert found.verdict == betas and found.windows == 1
    summary = {**vars(found), "levels": [*found.levels]}
    assert probe_lines(summary | {"verdict": found.verdict})[-1].endswith(betas)


def test_a_batch_without_any_reference_still_has_gradients_for_the_reference_network() -> None:
    trainee = make_trainee()
    batch = replace(small_batch(1), keep=torch.tensor([[1.0, 1.0, 0.0]]))
    trainee(batch)[1].sum().backward()
    gradients = [parameter.grad for parameter in trainee.reference.parameters()]
    assert all(gradient is not None and float(gradient.abs().sum()) == 0 for gradient in gradients)
    assert isinstance(trainee, Trainee) and isinstance(trainee.reference, UNet) and FRAMES == 3

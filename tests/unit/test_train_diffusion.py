"""Training of V1 and V2: targets, randomness, the null branch, gradients, resuming, several processes."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from echomimic.diffusion.condition_images import PARTS, SELECTED
from echomimic.errors import DeviceError, OptionError, OutputError
from echomimic.train.diffusion.checkpoints import list_checkpoints
from echomimic.train.diffusion.loop import learning_rate, make_optimizer, sample_numbers, train
from echomimic.train.diffusion.losses import latent_loss, mouth_weights
from echomimic.train.diffusion.randomness import (
    clip_of_sample,
    drops_of_sample,
    regions_of_sample,
    timestep_of_sample,
    window_of_sample,
)
from echomimic.train.diffusion.run_folder import read_log
from echomimic.train.diffusion.settings import (
    DropSettings,
    LandmarkSettings,
    LossSettings,
    TrainSettings,
    make_settings,
    read_settings,
)
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import (
    Trainee,
    checkpoint_layers,
    select_parameters,
    unused_reference_names,
    zero_branches,
)
from helpers.training_samples import FRAMES, ONE_LEVEL, SIDE, SmallSamples, make_trainee, small_batch, small_settings

SCHEDULE = NoiseSchedule.of_inference()


def test_targets_are_those_of_diffusers() -> None:
    from diffusers.schedulers import DDIMScheduler

    from echomimic.diffusion.schedule import TRAINED

    theirs: Any = DDIMScheduler(**TRAINED, clip_sample=False)
    t = torch.arange(1000)
    clean, noise = torch.randn(2, 1000, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    noisy = SCHEDULE.add_noise(clean, noise, t)
    assert torch.allclose(noisy, theirs.add_noise(clean, noise, t), atol=1e-5)
    velocity = SCHEDULE.velocity(clean, noise, t)
    assert torch.allclose(velocity, theirs.get_velocity(clean, noise, t), atol=1e-5)
    assert torch.allclose(SCHEDULE.clean(noisy, velocity, t), clean, atol=1e-4)
    assert torch.allclose(SCHEDULE.noise(noisy, velocity, t), noise, atol=1e-4)
    assert torch.isfinite(velocity[999]).all() and float(SCHEDULE.alpha[999]) < 1e-3


def test_loss_weights_follow_min_snr_with_a_floor() -> None:
    t = torch.tensor([100, 300, 500, 700, 900, 999])
    plain = SCHEDULE.weight(t, LossSettings(floor=0.0))
    assert plain.numpy() == pytest.approx([0.69, 0.45, 0.142, 0.024, 0.001, 0.0], abs=6e-3)
    assert float(SCHEDULE.weight(t, LossSettings())[-1]) == pytest.approx(0.05)
    assert torch.equal(SCHEDULE.weight(t, LossSettings(weighting="v")), torch.ones(6))


def test_mouth_weights_have_mean_one() -> None:
    weights = mouth_weights((1, 2, 3, 4), (8, 6), 3.0)
    assert float(weights.mean()) == pytest.approx(1)
    assert float(weights[0, 3, 2] / weights[0, 0, 0]) == pytest.approx(3)


def _predict(trainee: Trainee, keep: tuple[int, int, int]) -> Tensor:
    batch = replace(small_batch(1), keep=torch.tensor([keep], dtype=torch.float32))
    with torch.no_grad():
        return trainee(batch)[1][0]


def _direct(trainee: Trainee, audio: bool, condition: bool, portrait: bool) -> Tensor:
    """The same sample through the denoising network itself, with None for what is dropped."""
    batch = small_batch(1)
    noisy = trainee.schedule.add_noise(batch.latents, batch.noise, batch.timestep)[0]
    with torch.no_grad():
        features = trainee.condition(batch.condition[0])
        keys = trainee.denoising.project(trainee.reference.features(batch.reference))
        return trainee.denoising(
            noisy,
            batch.timestep.repeat(FRAMES),
            audio=batch.audio[0] if audio else None,
            condition=features if condition else None,
            portrait=keys if portrait else None,
        )


@pytest.mark.parametrize("keep", [(1, 1, 1), (0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_dropouts_are_the_null_branch_of_inference(keep: tuple[int, int, int]) -> None:
    trainee = make_trainee()
    ours, theirs = _predict(trainee, keep), _direct(trainee, *(bool(k) for k in keep))
    assert torch.allclose(ours, theirs, atol=2e-6), float((ours - theirs).abs().max())


def test_several_portraits_at_once_equal_one_by_one() -> None:
    trainee, batch = make_trainee(), small_batch(3)
    batch = replace(batch, keep=torch.ones(3, 3))
    with torch.no_grad():
        together = trainee(batch)[1]
        for i in range(3):
            single = type(batch)(**{name: value[i : i + 1] for name, value in vars(batch).items() if value is not None})
            assert torch.allclose(trainee(single)[1][0], together[i], atol=1e-5)


def test_dropout_frequencies() -> None:
    settings, count = DropSettings(all=0.05, audio=0.1, reference=0.04, condition=0.06), 20_000
    drops = [drops_of_sample(3, n, settings) for n in range(count)]
    joint = sum(d.audio and d.reference and d.condition for d in drops)
    alone = Counter(
        name
        for d in drops
        for name in ("audio", "reference", "condition")
        if getattr(d, name) and not (d.audio and d.reference and d.condition)
    )
    for share, seen in ((0.05, joint), (0.1, alone["audio"]), (0.04, alone["reference"]), (0.06, alone["condition"])):
        assert abs(seen - share * count) < 4 * np.sqrt(share * (1 - share) * count)


def test_region_frequencies() -> None:
    settings, count = LandmarkSettings(), 20_000
    seen = Counter(regions_of_sample(1, n, settings) for n in range(count))
    rest = 1 - settings.none - settings.all - settings.selected
    pattern = rest * settings.each ** len(PARTS)
    wanted = {
        (): settings.none + pattern,
        tuple(PARTS): settings.all + pattern,
        SELECTED: settings.selected + pattern,
        ("mouth",): pattern,
    }
    for regions, share in wanted.items():
        assert abs(seen[regions] - share * count) < 4 * np.sqrt(share * (1 - share) * count), regions
    assert len(seen) == 2 ** len(PARTS)


def test_timesteps_are_stratified_and_cover_both_ends() -> None:
    batch = 8
    for step in range(20):
        drawn = sorted(timestep_of_sample(0, step * batch + place, batch) for place in range(batch))
        assert [t * batch // 1000 for t in drawn] == list(range(batch))
    all_drawn = {timestep_of_sample(0, n, batch) for n in range(16_000)}
    assert min(all_drawn) == 0 and max(all_drawn) == 999


def test_every_clip_once_in_an_epoch_and_in_another_order_in_the_next() -> None:
    first, second = ([clip_of_sample(0, 10 * epoch + n, 10) for n in range(10)] for epoch in range(2))
    assert sorted(first) == sorted(second) == list(range(10)) and first != second


def test_the_reference_is_away_from_the_window() -> None:
    for n in range(200):
        first, reference = window_of_sample(0, n, 60, 12, 12)
        assert 0 <= first <= 48 and 0 <= reference < 60
        assert reference <= first - 12 or reference >= first + 11 + 12
        first, reference = window_of_sample(0, n, 14, 12, 12)
        assert reference in (0, 13)


@pytest.mark.parametrize(
    "trained", ["picture", "motion", "motion+audio", "denoising", "all", "pose-picture", "pose-video", "attention"]
)
def test_exactly_the_declared_parameters_get_gradients_and_change(trained: str) -> None:
    trainee = make_trainee()
    chosen = select_parameters(trainee, trained)  # type: ignore[arg-type]
    before = {name: value.detach().clone() for name, value in trainee.named_parameters()}
    optimizer = torch.optim.SGD(chosen.values(), 0.1)
    batch = replace(small_batch(2), keep=torch.ones(2, 3))
    latent_loss(SCHEDULE, batch, trainee(batch)[1], LossSettings()).backward()
    with_gradient = {n for n, p in trainee.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}
    optimizer.step()
    changed = {name for name, value in trainee.named_parameters() if not torch.equal(value, before[name])}
    assert with_gradient == set(chosen) == changed
    if trained == "all":
        rest = {name for name in before if name not in chosen}
        assert rest == {f"reference.{name}" for name in unused_reference_names(trainee.reference)} and len(rest) == 13


def test_checkpointed_layers_give_the_same_gradients() -> None:
    gradients: list[Tensor | None] = []
    for checkpointed in (False, True):
        trainee = make_trainee()
        if checkpointed:
            checkpoint_layers(trainee.denoising)
        batch = small_batch(2)
        latent_loss(SCHEDULE, batch, trainee(batch)[1], LossSettings()).backward()
        gradients.append(trainee.denoising.conv_in.weight.grad)
    assert gradients[0] is not None and gradients[1] is not None
    assert torch.allclose(gradients[0], gradients[1], atol=1e-7)


@pytest.mark.parametrize("gradients", [True, False])
def test_bfloat16_on_a_cpu_is_close_to_float32(gradients: bool) -> None:
    trainee, batch = make_trainee(), small_batch(2)
    batch = replace(batch, audio_mask=torch.ones(2, FRAMES, 1, SIDE, SIDE))
    with torch.set_grad_enabled(gradients):
        exact = trainee(batch)[1].detach()
        with torch.autocast("cpu", torch.bfloat16):
            rough = trainee(batch)[1].detach()
    assert float((rough - exact).abs().max()) < 0.1 * float(exact.abs().max())


def test_zero_branches_ignore_voice_and_condition_at_first() -> None:
    trainee = make_trainee()
    zero_branches(trainee)
    assert torch.equal(_predict(trainee, (1, 1, 1)), _predict(trainee, (0, 0, 1)))


def test_the_samples_of_a_step_do_not_depend_on_processes_or_accumulation() -> None:
    for accumulate, processes in ((1, 1), (2, 1), (1, 4), (2, 2)):
        settings = small_settings(optimizer={"batch": 8, "accumulate": accumulate})
        numbers = [
            n
            for process in range(processes)
            for part in range(accumulate)
            for n in sample_numbers(5, part, settings, process, processes)
        ]
        assert sorted(numbers) == list(range(40, 48))


def test_two_micro_batches_equal_one_batch(tmp_path: Path) -> None:
    weights = []
    for accumulate in (1, 2):
        settings = small_settings(optimizer={"accumulate": accumulate, "batch": 4}, run={"steps": 2})
        average = train(make_trainee(config=ONE_LEVEL), SmallSamples(settings), settings, tmp_path / str(accumulate))
        weights.append(average["denoising.conv_in.weight"])
    assert torch.allclose(weights[0], weights[1], atol=1e-5)


def test_one_process_trains_in_both_precisions(tmp_path: Path) -> None:
    for number, precision in enumerate(("bfloat16", "float32", "bfloat16")):
        settings = small_settings(run={"steps": 1, "precision": precision})
        train(make_trainee(config=ONE_LEVEL), SmallSamples(settings), settings, tmp_path / str(number))
    first, other, third = (read_log(tmp_path / str(number))[0]["loss"] for number in range(3))
    assert first == third and first != other and first == pytest.approx(other, rel=0.1)


def test_a_loss_that_is_not_finite_stops_the_run_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echomimic.train.diffusion.loop.MOST_SKIPPED", 4)

    class Broken(SmallSamples):
        def sample(self, n: int):
            return replace(super().sample(n), latents=torch.full((FRAMES, 4, 4, 4), float("nan")))

    settings = small_settings(run={"steps": 30})
    with pytest.raises(DeviceError, match="not finite in 4 steps"):
        train(make_trainee(config=ONE_LEVEL), Broken(settings), settings, tmp_path / "run")


def test_a_full_disk_keeps_the_older_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, folder = small_settings(run={"steps": 2, "checkpoint_every": 1}), tmp_path / "run"

    def full(path: Path, text: str) -> None:
        if "00000002" in str(path):
            raise OSError(28, "No space left on device")
        path.write_text(text)

    monkeypatch.setattr("echomimic.train.diffusion.checkpoints._write_text", full)
    with pytest.raises(OutputError, match=r"No space left.*--resume"):
        train(make_trainee(config=ONE_LEVEL), SmallSamples(settings), settings, folder)
    assert [path.name for path in (folder / "steps").iterdir()] == ["00000001"]


def test_a_resumed_run_has_the_same_bits(tmp_path: Path) -> None:
    """Cut off in the middle of a step; tests/integration/test_train_run.py kills whole processes."""
    settings = small_settings(run={"steps": 3, "checkpoint_every": 1}, drop={"reference": 0.4})
    train(make_trainee(config=ONE_LEVEL), SmallSamples(settings), settings, tmp_path / "whole")

    class Cut(SmallSamples):
        def sample(self, n: int):
            if n >= 2 * settings.optimizer.batch - 1:
                raise KeyboardInterrupt
            return super().sample(n)

    with pytest.raises(KeyboardInterrupt):
        train(make_trainee(config=ONE_LEVEL), Cut(settings), settings, tmp_path / "cut")
    train(make_trainee(config=ONE_LEVEL), SmallSamples(settings), settings, tmp_path / "cut", resume=True)
    whole, cut = (list_checkpoints(tmp_path / name)[-1] for name in ("whole", "cut"))
    assert whole.name == cut.name == "00000003"
    for name in ("model", "ema", "optimizer"):
        ours, theirs = (load_file(path / f"{name}.safetensors") for path in (whole, cut))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours), name


def test_a_run_of_other_settings_is_not_resumed(tmp_path: Path) -> None:
    folder, settings = tmp_path / "run", small_settings(run={"steps": 2})
    train(make_trainee(config=ONE_LEVEL), SmallSamples(settings), settings, folder)
    with pytest.raises(OptionError, match="holds a run already"):
        train(make_trainee(config=ONE_LEVEL), SmallSamples(settings), settings, folder)
    other = small_settings(run={"steps": 2}, optimizer={"rate": 2e-3})
    with pytest.raises(OptionError, match="made with other settings"):
        train(make_trainee(config=ONE_LEVEL), SmallSamples(other), other, folder, resume=True)


def test_settings_are_read_from_toml_and_overridden(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[optimizer]\nrate = 2e-5\n[model]\nvariant = "landmarks"\n')
    settings = read_settings(path, ["loss.spatial=0.05", "model.trained=all", "optimizer.betas=[0.9, 0.99]"])
    assert settings.optimizer.rate == 2e-5 and settings.loss.spatial == 0.05
    assert (settings.model.variant, settings.model.trained) == ("landmarks", "all")
    assert settings.optimizer.betas == (0.9, 0.99) and settings.drop == TrainSettings().drop
    assert learning_rate(0, settings) == pytest.approx(2e-5 / 500) and learning_rate(900, settings) == 2e-5


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("[optimiser]\nrate = 1", [], "optimiser.*expected one of data, model"),
        ("[optimizer]\nlr = 1", [], "optimizer.lr.*expected one of kind, rate"),
        ("[optimizer]\nrate = 'fast'", [], "optimizer.rate"),
        ("rate", [], "is not TOML"),
        ("", ["rate=1"], "expected group.field=value"),
        ("", ["model.trained=none"], "model.trained"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(OptionError, match=message) as caught:
        read_settings(path, overrides)
    assert "\n" not in str(caught.value)


def test_eight_bit_adam_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    settings = make_settings({"optimizer": {"kind": "adamw8bit"}}).optimizer
    with pytest.raises(OptionError, match="train-gpu"):
        make_optimizer({"w": torch.nn.Parameter(torch.zeros(2))}, settings)

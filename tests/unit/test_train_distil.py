"""Few-step distillation: phases are the sampler's steps, targets the teacher's, resuming gives the same bits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from echomimic.diffusion.schedule import Sampler
from echomimic.errors import OptionError
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.checkpoints import list_checkpoints
from echomimic.train.diffusion.distil import DistillationObjective, PhaseGrid, jump, pseudo_huber, sampler_edges
from echomimic.train.diffusion.loop import train
from echomimic.train.diffusion.settings import TrainSettings
from echomimic.train.diffusion.targets import NoiseSchedule
from helpers.training_samples import ONE_LEVEL, SmallSamples, make_trainee, small_batch, small_settings

SCHEDULE = NoiseSchedule.of_inference()


def distil_settings(kind: str = "consistency", steps: int = 2, lora: int = 0, **more: object) -> TrainSettings:
    return small_settings(
        model={"trained": "denoising", "lora_rank": lora},
        distil={"kind": kind, **more},
        run={"steps": steps, "checkpoint_every": 1},
    )


def kept_batch(timesteps: list[int]) -> Batch:
    batch = small_batch(len(timesteps))
    return replace(batch, timestep=torch.tensor(timesteps), keep=torch.ones(len(timesteps), 3))


@pytest.mark.parametrize("steps", [6, 12, 4])
def test_phases_are_the_steps_of_the_sampler(steps: int) -> None:
    sampler = Sampler("ddim", steps)
    edges = sampler_edges(steps)
    assert [high for high, _ in edges] == sampler.timesteps
    latents, velocity = torch.randn(2, 1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    for high, low in edges:
        ours = jump(SCHEDULE, latents, velocity, torch.tensor([high]), torch.tensor([low]))
        assert torch.allclose(ours, sampler.step(velocity, high, latents), atol=1e-5), (high, low)


def test_six_phases_have_eight_points_each_without_gaps() -> None:
    assert sampler_edges(6) == [(999, 833), (832, 666), (666, 500), (499, 333), (332, 166), (166, 0)]
    grid = PhaseGrid.of_sampler(6, 8)
    assert len(grid.start) == 48 and torch.equal(grid.start, grid.start.sort().values)
    for high, low in sampler_edges(6):
        points = [i for i in range(48) if grid.end[i] == low and low < grid.start[i] <= high]
        assert len(points) == 8
        assert [int(grid.start[i]) for i in points][-1] == high and int(grid.lower[points[0]]) == low
        assert all(grid.lower[i] == grid.start[i - 1] for i in points[1:])


def test_uniform_timesteps_choose_all_points_equally_and_guidance_independently() -> None:
    grid = PhaseGrid.of_sampler(6, 8)
    chosen, chance = grid.choose(torch.arange(1000))
    counts = torch.unique(chosen.start, return_counts=True)[1] if len(set(grid.start.tolist())) == 48 else None
    assert counts is None or (int(counts.min()) >= 20 and int(counts.max()) <= 21)
    assert float(chance.min()) >= 0 and float(chance.max()) < 1 and float(chance.mean()) == pytest.approx(0.5, abs=0.03)


def guided(objective: DistillationObjective, batch: Batch, noisy: Tensor, guidance: float) -> Tensor:
    teacher = objective._teacher
    with torch.no_grad():
        free = teacher(replace(batch, keep=torch.zeros_like(batch.keep)), noisy)[1]
        return free + guidance * (teacher(batch, noisy)[1] - free)


def test_at_the_end_of_a_phase_the_target_is_the_teachers_step() -> None:
    trainee = make_trainee()
    objective = DistillationObjective(trainee, distil_settings(guidance=[2.5, 2.5]))
    with torch.no_grad():
        for value in objective._target_parameters().values():
            value.add_(0.1)  # a target network that would be wrong
    grid = PhaseGrid.of_sampler(6, 8)
    last = [i for i in range(48) if grid.lower[i] == grid.end[i]]
    assert len(last) == 6
    points = PhaseGrid(*(values[last] for values in (grid.start, grid.lower, grid.end)))
    batch = replace(kept_batch([0] * 6), timestep=points.start)
    noisy = SCHEDULE.add_noise(batch.latents, batch.noise, batch.timestep)
    with torch.no_grad():
        wanted = objective._destination(batch, noisy, points, torch.full((6,), 2.5))
    direct = jump(SCHEDULE, noisy, guided(objective, batch, noisy, 2.5), points.start, points.end)
    assert torch.allclose(wanted, direct, atol=1e-6)


def loss_of(grid: int) -> float:
    """The loss of a student that equals its teacher, at the start of every phase."""
    trainee = make_trainee()
    with torch.no_grad():  # an untrained network is rough in time: its fastest sinusoid turns by a radian a step
        trainee.denoising.time_embedding.linear_2.weight.zero_()
    objective = DistillationObjective(trainee, distil_settings(grid=grid, guidance=[1.0, 1.0]))
    batch = kept_batch([166, 332, 499, 666, 832, 999])
    with torch.no_grad():
        return float(objective(trainee, batch, 0)["distil"])


def test_a_student_like_its_teacher_has_a_loss_that_vanishes_with_finer_grids() -> None:
    losses = [loss_of(grid) for grid in (4, 16, 80)]
    assert losses[1] < losses[0] / 2 and losses[2] < losses[1] / 2, losses


def test_the_progressive_target_is_two_steps_of_the_teacher() -> None:
    trainee = make_trainee()
    objective = DistillationObjective(trainee, distil_settings("progressive", guidance=[2.0, 2.0]))
    grid = objective._grid
    assert sorted(grid.start.tolist(), reverse=True) == Sampler("ddim", 6).timesteps
    batch = replace(kept_batch([0] * 6), timestep=grid.start)
    noisy = SCHEDULE.add_noise(batch.latents, batch.noise, batch.timestep)
    half = jump(SCHEDULE, noisy, guided(objective, batch, noisy, 2.0), grid.start, grid.lower)
    second = guided(objective, replace(batch, timestep=grid.lower), half, 2.0)
    with torch.no_grad():
        wanted = objective._destination(batch, noisy, grid, torch.full((6,), 2.0))
    assert torch.allclose(wanted, jump(SCHEDULE, half, second, grid.lower, grid.end), atol=1e-5)


def test_pseudo_huber_is_the_norm_far_away_and_quadratic_near_zero() -> None:
    x = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(pseudo_huber(100 * x, 0.00054), 100 * x.norm(dim=1), rtol=1e-3)
    c = 0.00054 * 10
    assert torch.allclose(pseudo_huber(1e-5 * x, 0.00054), (1e-5 * x).square().sum(dim=1) / (2 * c), rtol=0.05)


def test_only_the_student_moves_and_what_is_frozen_is_shared(tmp_path: Path) -> None:
    settings, trainee = distil_settings(), make_trainee()
    objective = DistillationObjective(trainee, settings)
    train(trainee, SmallSamples(settings), settings, _folder(tmp_path / "run"), objective=objective)
    start = make_trainee().state_dict()
    teacher, student = objective._teacher.state_dict(), trainee.state_dict()
    assert all(torch.equal(teacher[name], start[name]) for name in start)
    moved = {name for name in start if not torch.equal(start[name], student[name])}
    assert moved and all(name.startswith("denoising.") for name in moved)
    assert objective._teacher.reference.conv_in.weight is trainee.reference.conv_in.weight
    assert objective._teacher.denoising.conv_in.weight is not trainee.denoising.conv_in.weight


@pytest.mark.parametrize("lora", [0, 2])
def test_a_resumed_distillation_has_the_same_bits(tmp_path: Path, lora: int) -> None:
    settings = distil_settings(lora=lora)
    for name, stop in (("whole", 0), ("cut", 2)):
        folder = _folder(tmp_path / name)
        if stop:
            with pytest.raises(KeyboardInterrupt):
                _distil(folder, settings, _stop_at(stop))
        _distil(folder, settings, None)
    whole, cut = (list_checkpoints(tmp_path / name)[-1] for name in ("whole", "cut"))
    for name in ("model", "ema", "optimizer", "objective"):
        ours, theirs = (load_file(path / f"{name}.safetensors") for path in (whole, cut))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours), name
    model, target = (load_file(whole / f"{name}.safetensors") for name in ("model", "objective"))
    assert model.keys() == target.keys() and any(not torch.equal(model[key], target[key]) for key in model)


def _distil(folder: Path, settings: TrainSettings, report: Callable[[dict[str, Any]], None] | None) -> None:
    trainee = make_trainee(config=ONE_LEVEL)
    objective = DistillationObjective(trainee, settings)
    train(trainee, SmallSamples(settings), settings, folder, objective=objective, resume=True, report=report)


def _stop_at(step: int) -> Callable[[dict[str, Any]], None]:
    def report(record: dict[str, Any]) -> None:
        if record["step"] == step:
            raise KeyboardInterrupt

    return report


def test_gradient_checkpointing_does_not_reach_the_teacher() -> None:
    from echomimic.train.diffusion.trainee import checkpoint_layers

    trainee = make_trainee()
    checkpoint_layers(trainee.denoising)
    objective = DistillationObjective(trainee, distil_settings())
    batch = kept_batch([500])
    with torch.no_grad():
        before = objective._teacher(batch)[1]
        for value in trainee.denoising.parameters():
            value.mul_(0.5)
        assert torch.equal(objective._teacher(batch)[1], before)


def test_an_objective_without_a_kind_is_one_line() -> None:
    with pytest.raises(OptionError, match="expected consistency or progressive"):
        DistillationObjective(make_trainee(), distil_settings("off"))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path

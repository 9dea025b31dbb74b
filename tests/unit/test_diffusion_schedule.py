"""Ours vs theirs: timesteps, noise levels, trajectories, first noise, windows; and our own open windows."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from echomimic.diffusion.context import closed_windows, open_windows, ordered_halving, shifted
from echomimic.diffusion.denoise import SamplingConfig
from echomimic.diffusion.schedule import Sampler, SamplerName, first_noise

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture(scope="module")
def ddim() -> dict[str, torch.Tensor]:
    return load_file(GOLDEN / "scheduler_ddim.safetensors")


def test_timesteps_ours_vs_theirs(ddim) -> None:
    for steps in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 100):
        assert Sampler("ddim", steps).timesteps == ddim[f"timesteps.{steps}"].tolist()


@pytest.mark.parametrize("steps", [1, 2, 4, 6, 10, 30])
def test_trajectories_ours_vs_theirs(steps, ddim) -> None:
    sampler = Sampler("ddim", steps)
    samples, outputs = ddim[f"traj{steps}.samples"], ddim[f"traj{steps}.model_outputs"]
    latents = samples[0]
    for i, t in enumerate(sampler.timesteps):
        latents = sampler.step(outputs[i], t, latents)
        assert (latents - samples[i + 1]).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["dpm++", "unipc"])
def test_other_samplers_reach_the_clean_latents_of_a_perfect_network(name) -> None:
    sampler = Sampler(name, 8)
    alphas = Sampler("ddim", 8).levels
    clean, noise = torch.full((1, 4, 2, 2), 0.3), torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    latents = noise
    for t in sampler.timesteps:
        a = alphas[t].clamp(min=2**-24)
        epsilon = (latents - a.sqrt() * clean) / (1 - a).sqrt()
        latents = sampler.step(a.sqrt() * epsilon - (1 - a).sqrt() * clean, t, latents)
    assert (latents - clean).abs().max() < 0.02


def test_first_noise_ours_vs_theirs() -> None:
    theirs = load_file(GOLDEN / "initial_noise.safetensors")
    ours = first_noise(5, 8, 8, seed=420, clamp=None).transpose(0, 1)[None]
    assert torch.equal(ours, theirs["randn_seed420_float32"])
    for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        assert torch.equal(ours.to(dtype), theirs[f"randn_seed420_{name}"])
    clamped = first_noise(5, 8, 8, seed=420, clamp=1.5).transpose(0, 1)[None]
    assert torch.equal(clamped, theirs["randn_seed420_float32_clamped"])


def test_closed_windows_ours_vs_theirs() -> None:
    theirs = json.loads(gzip.decompress((GOLDEN / "context_schedules.json.gz").read_bytes()))
    for step, value in theirs["ordered_halving"].items():
        assert ordered_halving(int(step)) == value
    assert len(theirs["entries"]) == 3952
    for entry in theirs["entries"]:
        ours = closed_windows(*(entry[name] for name in ("num_frames", "size", "overlap", "stride", "step")))
        assert ours == entry["windows"]


def test_shifted_windows_go_round() -> None:
    assert shifted([[0, 1, 2]], 2, 3) == [[2, 0, 1]]


sizes = st.integers(2, 32).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


@given(st.integers(1, 300), sizes, st.integers(0, 200))
def test_open_windows_cover_every_frame_and_never_join_the_ends(frames, sizes, shift) -> None:
    size, overlap = sizes
    windows = open_windows(frames, size, overlap, shift)
    assert {i for window in windows for i in window} == set(range(frames))
    assert {len(window) for window in windows} == {min(size, frames)}
    assert all(window == list(range(window[0], window[-1] + 1)) for window in windows)
    assert frames <= size or not any(0 in window and frames - 1 in window for window in windows)
    shared = [len(set(a) & set(b)) for a, b in pairwise(windows)]
    assert all(count >= overlap for count in shared)


def test_open_windows_move_their_seams() -> None:
    config = SamplingConfig(30, 2.5, shift=2)
    first = {tuple(window) for window in config.at(0, 100)}
    assert not first & {tuple(window) for window in config.at(1, 100)[1:-1]}
    assert config.calls(100) == sum(len(config.at(step, 100)) for step in range(30))


@pytest.mark.parametrize("name", ["ddim", "dpm++", "unipc"])
def test_a_sampler_goes_on_from_its_history(name: SamplerName) -> None:
    start, *velocities = torch.randn(7, 1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    sampler, latents, states = Sampler(name, 6), start, []
    for velocity, t in zip(velocities, sampler.timesteps, strict=True):
        states.append((latents, sampler.history()))
        latents = sampler.step(velocity, t, latents)
    for step, (found, history) in enumerate(states):
        again = Sampler(name, 6)
        again.restore(history, found)
        for velocity, t in zip(velocities[step:], again.timesteps[step:], strict=True):
            found = again.step(velocity, t, found)
        assert torch.equal(found, latents)

"""`cache`: outer layers with kept features are those of the network, resumed runs are the same, FLOP as counted."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from echomimic.diffusion import denoise
from echomimic.diffusion.attention import KeysValues, UNetConfig
from echomimic.diffusion.deep_cache import full_steps, plan_cache, window_flops
from echomimic.diffusion.denoise import Conditions, Denoiser, SamplingConfig
from echomimic.diffusion.latent_store import DenoiserState
from echomimic.diffusion.networks import fill_by_rule
from echomimic.diffusion.unet import DeepFeatures, UNet
from echomimic.notes import collect_notes

SMALL = UNetConfig(channels=(32, 32), heads=2, motion_heads=2, audio_dim=8)
CLIP = SamplingConfig(6, 2.0, size=4, overlap=1, shift=2, cache=3)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield


class StandIn(torch.nn.Module):
    """In place of the network; counts the calls that compute all layers, and those that compute the outer ones."""

    full = outer = 0

    def forward(self, x: Tensor, *_: Any, deep: DeepFeatures | None = None) -> Tensor:
        known = None if deep is None else deep.value
        self.outer, self.full = self.outer + (known is not None), self.full + (known is None)
        inner = torch.tanh(x) if known is None else known
        if deep is not None:
            deep.value = inner
        return x + 0.5 * inner


def inputs(config: UNetConfig = SMALL, frames: int = 4) -> tuple[Any, ...]:
    """The arguments of a call with all conditions."""
    x, audio = torch.randn(frames, 4, 8, 8), torch.randn(frames, 50, config.audio_dim or 1)
    sizes = [64] * config.layers + [16] + [64] * (config.layers + 1)  # attention at the first level and in the middle
    portrait = [KeysValues(torch.randn(1, size, 32), torch.randn(1, size, 32)) for size in sizes]
    return x, torch.tensor([499]), audio, torch.randn(1, 32, 8, 8), portrait


@pytest.mark.parametrize("layers", [1, 2])
def test_outer_layers_with_the_features_of_the_same_call_give_the_same(layers: int) -> None:
    network = UNet(replace(SMALL, layers=layers))
    fill_by_rule(network)
    for given in (inputs(network.config), inputs()[:2]):
        deep = DeepFeatures()
        whole = network(*given)
        assert torch.equal(network(*given, deep=deep), whole) and deep.value is not None
        assert torch.equal(network(*given, deep=deep), whole)
        assert not torch.equal(network(given[0] + 1, *given[1:], deep=deep), network(given[0] + 1, *given[1:]))


@pytest.mark.parametrize("schedule", ["uniform", "quadratic"])
def test_one_of_n_steps_computes_all_layers(schedule: Any) -> None:
    assert full_steps(6, 1, schedule) == [*range(6)]
    for steps in (1, 2, 6, 30, 50):
        for every in (2, 3, 10):
            found = full_steps(steps, every, schedule)
            assert found[0] == 0 and found == sorted({*found}) and found[-1] < steps
            assert len(found) == -(-steps // every)
    assert full_steps(30, 3) == [*range(0, 30, 3)]
    gaps = [later - step for step, later in pairwise(full_steps(50, 5, "quadratic"))]
    assert min(gaps) in gaps[2:4] and min(gaps) < gaps[-1]  # closest together at 0.3 of the steps


@pytest.mark.parametrize(
    ("side", "conditional", "whole", "outer"),
    [
        (256, True, 3.1418, 0.6099),
        (256, False, 2.9548, 0.5433),
        (768, True, 41.413, 12.440),
        (768, False, 33.207, 8.368),
    ],
)
def test_flop_are_those_that_are_counted(side: int, conditional: bool, whole: float, outer: float) -> None:
    """Against PyTorch's FlopCounterMode: `python benchmarks/diffusion.py count`."""
    flops = window_flops(UNetConfig(), 12, (side // 8, side // 8), conditional)
    assert [flop / 1e12 for flop in flops] == pytest.approx([whole, outer], rel=1e-3)


def test_the_plan_is_half_for_a_third_of_the_steps_of_v1() -> None:
    config = SamplingConfig(30, 2.5, cache=3)
    planned = plan_cache(UNetConfig(), config, 12, (64, 64), 2)
    assert planned.whole_flops == pytest.approx(30 * 27.66e12, rel=0.001)  # as `benchmarks/diffusion.py count`
    assert planned.flops <= 0.5 * planned.whole_flops
    assert planned.feature_bytes == 2 * 12 * 320 * 64 * 64 * 2
    long = plan_cache(UNetConfig(), config, 12_000, (64, 64), 2)  # most windows' features do not fit
    assert 0.9 < long.flops / long.whole_flops < 1


def run(network: torch.nn.Module, config: SamplingConfig, **given: Any) -> Tensor:
    noise = torch.randn(9, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    *_, latents = Denoiser(cast(UNet, network), lambda _: Conditions(torch.ones(4)), config, torch.float32).run(
        noise, **given
    )
    return latents


def test_features_are_kept_until_the_next_full_step() -> None:
    network = StandIn()
    usual = run(network, replace(CLIP, cache=1))
    uncached = replace(CLIP, cache=1)
    assert (network.full, network.outer) == (2 * uncached.calls(9), 0)  # halves of guidance
    network.full = 0
    cached = run(network, CLIP)
    full = 2 * sum(len(CLIP.at(step, 9)) for step in (0, 3))
    assert (network.full, network.outer) == (full, 2 * CLIP.calls(9) - full)
    assert not torch.allclose(cached, usual)
    assert CLIP.at(0, 9) == CLIP.at(2, 9) != CLIP.at(3, 9), "windows stay and then move"
    assert torch.equal(run(network, replace(CLIP, steps=1)), run(network, replace(CLIP, steps=1, cache=1)))


def test_a_resumed_run_is_the_same() -> None:
    states: list[DenoiserState] = []
    whole = run(StandIn(), CLIP, keep=states.append)
    assert [state.step for state in states] == [3, 6], "only before full steps, which need no features"
    assert torch.equal(run(StandIn(), CLIP, start=states[0]), whole)


def test_features_that_do_not_fit_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoise, "FEATURE_BYTES", 1)
    run(network := StandIn(), CLIP)
    assert (network.full, network.outer) == (2 * CLIP.calls(9) - 4, 4), "those of the first half of the first window"


def test_without_memory_for_features_the_render_goes_on() -> None:
    class Small(StandIn):
        def forward(self, x: Tensor, *given: Any, deep: DeepFeatures | None = None) -> Tensor:
            if deep is not None and self.full > 3:
                raise torch.OutOfMemoryError
            return super().forward(x, *given, deep=deep)

    with collect_notes() as notes:
        run(network := Small(), CLIP)
    assert [note.code for note in notes] == ["cache_dropped"] and network.outer == 0


@pytest.mark.parametrize("cache", [1, 3])
def test_halves_of_guidance_are_computed_apart_where_memory_runs_out(cache: int) -> None:
    class Small(StandIn):
        def forward(self, x: Tensor, *given: Any, deep: DeepFeatures | None = None) -> Tensor:
            if len(x) > CLIP.size:
                raise torch.OutOfMemoryError
            return super().forward(x, *given, deep=deep)

    config = replace(CLIP, cache=cache)
    with collect_notes() as notes:
        found = run(Small(), replace(config, guidance_batch=True))
    assert [note.code for note in notes] == ["guidance_batch_dropped"]
    assert torch.equal(found, run(StandIn(), config))
    assert torch.equal(found, run(StandIn(), replace(config, guidance_batch=True)))

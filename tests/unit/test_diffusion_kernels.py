"""Every way to compute a layer gives the same result; attention to the portrait takes less memory than joined keys."""

from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
import torch

from echomimic.diffusion.attention import Attention, FeedForward, KeysValues, Linear
from echomimic.diffusion.kernels import (
    HAS_ONEDNN,
    MLP_ROWS,
    PLAIN,
    USUAL,
    PortraitWay,
    gated,
    measure_kernels,
    onednn_gated,
    quickest,
)
from echomimic.diffusion.networks import use_kernels
from helpers.memory import peak_bytes

CPU = torch.device("cpu")
WAYS: tuple[PortraitWay, ...] = ("joined", "frames", "parts")


@pytest.fixture(autouse=True)
def no_gradients():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_attention_to_the_portrait_is_that_of_joined_keys(way, dtype, tolerance) -> None:
    layer, x = Attention(32, 4).to(dtype), torch.randn(5, 80, 32).to(dtype)
    portrait = KeysValues(*torch.randn(2, 1, 60, 32).to(dtype))
    use_kernels(layer, PLAIN)
    expected = layer(x, portrait=portrait)
    use_kernels(layer, replace(PLAIN, portrait=way))
    assert (layer(x, portrait=portrait) - expected).abs().max() <= tolerance


def test_gated_layers_and_mlps_in_parts_are_the_same() -> None:
    layer, x = FeedForward(16), torch.randn(2, MLP_ROWS, 16)
    inner = cast(Linear, layer.get_submodule("net.0.proj"))
    expected = layer.get_submodule("net.2")(gated(x, inner.weight, inner.bias))
    assert torch.allclose(layer(x), expected, atol=1e-5)
    if HAS_ONEDNN:
        assert torch.allclose(onednn_gated(x, inner.weight, inner.bias), gated(x, inner.weight, inner.bias), atol=1e-5)


def test_fused_projections_keep_names_and_survive_a_move() -> None:
    layer, x = Attention(32, 4), torch.randn(2, 9, 32)
    expected, before = layer(x), layer.state_dict()
    layer.fuse()
    layer.to(torch.float64).to(torch.float32)
    assert layer.to_k.weight.data_ptr() == cast(torch.Tensor, layer.fused)[32:].data_ptr()
    assert layer.state_dict().keys() == before.keys()
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_another_way_is_taken_only_if_it_runs_and_is_clearly_quicker(monkeypatch) -> None:
    times: dict[Any, float] = {"usual": 1.0, "near": 0.97, "quick": 0.5}

    def seconds(way: Any, device: torch.device) -> float:
        if way not in times:
            raise NotImplementedError
        return times[way]

    monkeypatch.setattr("echomimic.diffusion.kernels.seconds_of", seconds)
    ways: Any = ["usual", "near", "missing", "quick"]
    assert quickest(ways[:3], CPU) == 0
    assert quickest(ways, CPU) == 3


def test_all_ways_are_measured(monkeypatch) -> None:
    def last(ways: Any, device: torch.device) -> int:
        for way in ways:
            way()
        return len(ways) - 1

    monkeypatch.setattr("echomimic.diffusion.kernels.quickest", last)
    chosen = measure_kernels.__wrapped__(CPU, torch.float32, 64)
    assert chosen == replace(USUAL, onednn=HAS_ONEDNN, gelu=HAS_ONEDNN, slices=False, portrait="parts")


def test_attention_to_the_portrait_needs_less_memory() -> None:
    layer, x = Attention(32, 4), torch.randn(12, 256, 32)
    portrait = KeysValues(x[:1].clone(), x[:1].clone())
    peaks = {}
    for way in WAYS:
        use_kernels(layer, replace(PLAIN, portrait=way))
        peaks[way] = peak_bytes(partial(layer, x, portrait=portrait))
    assert peaks["frames"] <= 0.7 * peaks["joined"]
    assert peaks["parts"] <= 0.9 * peaks["joined"]

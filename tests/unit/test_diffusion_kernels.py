"""All kernels give the same result; attention to the portrait needs less memory than with joined keys."""

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
    PortraitAttention,
    choose_kernels,
    gated,
    measure_kernels,
    onednn_gated,
    quickest,
)
from echomimic.diffusion.networks import use_kernels
from helpers.memory import peak_bytes

CPU = torch.device("cpu")
KINDS: tuple[PortraitAttention, ...] = ("joined", "frames", "parts")


@pytest.fixture(autouse=True)
def no_gradients():
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_attention_to_the_portrait_is_that_of_joined_keys(kind, dtype, tolerance) -> None:
    layer, x = Attention(32, 4).to(dtype), torch.randn(5, 80, 32).to(dtype)
    portrait = KeysValues(*torch.randn(2, 1, 60, 32).to(dtype))
    use_kernels(layer, PLAIN)
    expected = layer(x, portrait=portrait)
    use_kernels(layer, replace(PLAIN, portrait=kind))
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


def test_another_kernel_is_chosen_only_if_it_runs_and_is_clearly_quicker(monkeypatch) -> None:
    times: dict[Any, float] = {"usual": 1.0, "near": 0.97, "quick": 0.5}

    def seconds(kernel: Any, device: torch.device) -> float:
        if kernel not in times:
            raise NotImplementedError
        return times[kernel]

    monkeypatch.setattr("echomimic.diffusion.kernels.seconds_of", seconds)
    kernels: Any = ["usual", "near", "missing", "quick"]
    assert quickest(kernels[:3], CPU) == 0
    assert quickest(kernels, CPU) == 3


def test_all_kernels_are_measured(monkeypatch) -> None:
    def last(kernels: Any, device: torch.device) -> int:
        for kernel in kernels:
            kernel()
        return len(kernels) - 1

    monkeypatch.setattr("echomimic.diffusion.kernels.quickest", last)
    chosen = measure_kernels(CPU, torch.float32, 64)
    assert chosen == replace(USUAL, onednn=HAS_ONEDNN, gelu=HAS_ONEDNN, slices=False, portrait="parts")


def test_a_choice_is_kept_for_other_processes(monkeypatch, tmp_path) -> None:
    measured = iter([PLAIN, USUAL, USUAL, PLAIN])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("echomimic.diffusion.kernels.measure_kernels", lambda *_: next(measured))

    def chosen(dtype: torch.dtype = torch.float32) -> object:
        choose_kernels.cache_clear()  # as in another process
        return choose_kernels(CPU, dtype)

    assert chosen() == chosen() == PLAIN
    assert chosen(torch.bfloat16) == USUAL
    for path in (tmp_path / "echomimic" / "kernels").iterdir():
        path.write_text("{}}")
    assert (chosen(), chosen()) == (USUAL, PLAIN), "a damaged file is not used"
    choose_kernels.cache_clear()


def test_attention_to_the_portrait_needs_less_memory() -> None:
    layer, x = Attention(32, 4), torch.randn(12, 256, 32)
    portrait = KeysValues(x[:1].clone(), x[:1].clone())
    peaks = {}
    for kind in KINDS:
        use_kernels(layer, replace(PLAIN, portrait=kind))
        peaks[kind] = peak_bytes(partial(layer, x, portrait=portrait))
    assert peaks["frames"] <= 0.7 * peaks["joined"]
    assert peaks["parts"] <= 0.9 * peaks["joined"]

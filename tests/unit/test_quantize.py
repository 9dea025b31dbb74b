"""Weights in int8: the network's outputs stay close, its memory shrinks, and a missing package gives one line."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from echomimic.diffusion import quantize
from echomimic.diffusion.attention import Linear
from echomimic.diffusion.device import resident
from echomimic.diffusion.engine import DiffusionEngine
from echomimic.diffusion.kernels import Kernels
from echomimic.diffusion.networks import fill_by_rule, peak_megabytes, use_kernels
from echomimic.diffusion.unet import DENOISING, UNet
from echomimic.errors import SetupError
from echomimic.options import make_options
from echomimic.presets import find_preset

SMALL = replace(DENOISING, channels=(32, 64), layers=1)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def parts(weight: Tensor) -> list[Tensor]:
    names, _ = weight.__tensor_flatten__()  # type: ignore[attr-defined]
    return [getattr(weight, name) for name in names]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_quantized_network_is_close_and_smaller(dtype) -> None:
    pytest.importorskip("torchao")
    network = UNet(SMALL)
    fill_by_rule(network)
    usual = network.to(dtype).eval()
    use_kernels(usual, Kernels(onednn=True, gelu=True))
    small = copy.deepcopy(usual)
    quantize.quantize_linear(small)
    x, audio = torch.randn(3, 4, 8, 8).to(dtype), torch.randn(3, 50, 384).to(dtype)
    exact, found = (unet(x, torch.tensor([499]), audio).float() for unet in (usual, small))
    error = float((found - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    assert 0 < error < 0.05
    for name, layer in usual.named_modules():
        weight: Any = getattr(small.get_submodule(name), "weight", None)
        if isinstance(layer, Linear):
            assert sum(part.nbytes for part in parts(weight)) < 0.75 * layer.weight.nbytes
            assert any(part.dtype == torch.int8 for part in parts(weight))
        elif isinstance(layer, (nn.Linear, nn.Conv2d)):
            assert torch.equal(weight, layer.weight)


def test_a_quantized_network_moves_to_a_device() -> None:
    pytest.importorskip("torchao")
    network = UNet(SMALL).bfloat16().requires_grad_(False)
    quantize.quantize_linear(network)
    with resident(network, torch.device("meta"), offload=False):  # in inference mode, as the reference network
        pass
    layer = next(layer for layer in network.modules() if isinstance(layer, Linear))
    assert {part.device.type for part in parts(layer.weight)} == {"meta"}
    x, audio = (torch.zeros(shape, dtype=torch.bfloat16, device="meta") for shape in ((3, 4, 8, 8), (3, 50, 384)))
    assert network(x, torch.zeros(1, device="meta"), audio).shape == x.shape


def test_the_plan_counts_the_smaller_weights() -> None:
    preset = find_preset("v1")
    sizes = [
        peak_megabytes(preset, make_options({"quantize": kind, "dtype": "bfloat16"}, preset.defaults), CPU, (512, 512))
        for kind in ("none", "int8")
    ]
    assert sizes[0] - sizes[1] == pytest.approx(sum(quantize.QUANTIZED.values()) / 2**20, abs=1)


def test_a_missing_package_is_one_line(monkeypatch, tmp_path) -> None:
    from echomimic.data import demo_portrait
    from echomimic.media import read_picture
    from echomimic.media.sound import speech_from_samples

    engine, voice = DiffusionEngine(find_preset("tiny")), speech_from_samples(torch.ones(16_000).numpy(), 16_000)
    options = make_options({"quantize": "int8", "frames": 4, "device": "cpu"}, engine.preset.defaults)
    monkeypatch.setattr(quantize, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"^the package torchao is missing, which `quantize` needs; install it: .*$"):
        engine.prepare(read_picture(demo_portrait()), voice, None, options)
    render = engine.prepare(read_picture(demo_portrait()), voice, None, replace(options, exact=True))
    assert [note.code for note in render.warnings] == ["quantize_not_exact"] and not render.options.quantized

"""The step loop: the host does not wait for the device, compiled layers get calls of one shape."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from echomimic.diffusion.attention import MotionModule, SpatialTransformer, UNetConfig
from echomimic.diffusion.denoise import Conditions, Denoiser, SamplingConfig
from echomimic.diffusion.networks import compile_regions, fill_by_rule
from echomimic.diffusion.unet import ResnetBlock, UNet
from echomimic.diffusion.vae import picture_tensor
from echomimic.diffusion.whisper import windows_of_frames

META = torch.device("meta")
CLIP = SamplingConfig(2, 2.0, size=4, overlap=1, batch=2)
SMALL = UNetConfig(channels=(32, 32), layers=1, heads=2, motion_heads=2, audio_dim=8)


class Waits(TorchDispatchMode):
    """The operators for which the host waits for a device: copies to or from it, and numbers of its tensors."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.found = device, list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = str(func.overloadpacket), kwargs or {}
        if name == "aten._local_scalar_dense" and args[0].device.type == self.device:
            self.found.append(name)
        out = func(*args, **kwargs)
        devices = {x.device for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor) and x.ndim}
        if len(devices) > 1 and not kwargs.get("non_blocking"):
            self.found.append(name)
        return out


class FromLists(TorchFunctionMode):
    """The calls that make a tensor of the device from numbers of Python, which waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func is torch.tensor and str(kwargs.get("device", "cpu")) == "meta"
        indexed = func in (Tensor.__getitem__, Tensor.__setitem__) and args[0].device == META
        if made or (
            indexed and any(isinstance(x, list) for x in (args[1] if isinstance(args[1], tuple) else args[1:2]))
        ):
            self.found.append(func.__name__)
        return func(*args, **kwargs)


class Constant(torch.nn.Module):
    """In place of the network."""

    def forward(self, x: Tensor, t: Tensor, *_: Any, **__: Any) -> Tensor:
        return x * t


def conditions(frames: Sequence[int]) -> Conditions:
    tokens = windows_of_frames(torch.zeros(100, 5, 4, device=META), frames, 25.0)
    picture_tensor(torch.zeros(len(frames), 8, 8, 1, dtype=torch.uint8).numpy(), META, torch.float32)
    return Conditions(tokens)


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_no_step_waits_for_the_device(sampler: Any) -> None:
    config = replace(CLIP, sampler=sampler)
    denoiser = Denoiser(cast(UNet, Constant()), conditions, config, torch.float16)
    noise = torch.empty(12, 4, 2, 2, device=META)
    with torch.inference_mode(), FromLists() as lists, Waits("meta") as waits:
        for _ in denoiser.run(noise):
            pass
    assert lists.found + waits.found == []


def test_no_layer_waits_for_the_device() -> None:
    network = UNet(SMALL)
    fill_by_rule(network)
    with torch.inference_mode(), Waits("cpu") as waits:
        network(torch.ones(2, 4, 8, 8), torch.ones(1), torch.ones(2, 50, 8))
    assert waits.found == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that reports waits")
def test_no_step_waits_for_a_gpu() -> None:
    network = UNet(SMALL).cuda().requires_grad_(False)
    audio = torch.zeros(1, 50, 8, device="cuda")
    denoiser = Denoiser(network, lambda frames: Conditions(audio.expand(len(frames), -1, -1)), CLIP, torch.float32)
    with torch.inference_mode():
        steps = denoiser.run(torch.zeros(12, 4, 8, 8, device="cuda"))
        next(steps)
        torch.cuda.set_sync_debug_mode("error")
        try:
            next(steps)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("batch", "frames"), [(2, 12), (2, 15), (3, 12), (8, 12)])
def test_compiled_layers_get_calls_of_one_shape(batch: int, frames: int) -> None:
    sizes: list[int] = []

    class Recording(torch.nn.Module):
        def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
            sizes.append(len(x))
            return torch.sin(x)

    config = SamplingConfig(3, 2.0, size=4, overlap=1, shift=2, batch=batch)
    noise = torch.randn(frames, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    found = []
    for padded in (False, True):
        sizes.clear()
        same = replace(config, same_shapes=padded)
        found += [*Denoiser(cast(UNet, Recording()), lambda _: Conditions(), same, torch.float32).run(noise)][-1:]
    assert len({*sizes}) == 1 and sizes[0] <= 4 * min(batch, max(len(config.at(step, frames)) for step in range(3)))
    assert torch.equal(*found)


def test_what_is_compiled_goes_to_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "to be restored")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    compiled: list[torch.nn.Module] = []  # not by the compiler itself, which takes seconds to import
    monkeypatch.setattr(torch.nn.Module, "compile", lambda layer, **_: compiled.append(layer))
    network = UNet(SMALL)
    compile_regions(network)
    kinds = (ResnetBlock, SpatialTransformer, MotionModule)
    assert compiled == [layer for layer in network.modules() if isinstance(layer, kinds)] != []
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "echomimic" / "compiled")
    assert (tmp_path / "echomimic" / "compiled").is_dir()

"""Every operation of a clip has tensors of one device. The meta device, which computes nothing, stands for a GPU."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from echomimic.diffusion import attention, engine, kernels
from echomimic.diffusion.autoencoder import Autoencoder
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.conditioning import ConditioningFrame
from echomimic.diffusion.device import picture_dtype
from echomimic.diffusion.engine import DECODE_BATCH, DiffusionEngine, DiffusionRender
from echomimic.diffusion.networks import (
    TINY_VAE,
    Networks,
    condition_channels,
    fuse_projections,
    on_meta,
    use_kernels,
)
from echomimic.diffusion.unet import DENOISING, REFERENCE, UNet
from echomimic.diffusion.whisper import SpeechEncoder
from echomimic.landmarks.crop import Crop
from echomimic.media.sound import speech_from_samples
from echomimic.options import make_options
from echomimic.presets import Preset, find_preset
from echomimic.types import Portrait, PoseTrack

pytestmark = pytest.mark.skipif(find_spec("diffusers") is None, reason="diffusers is not installed")  # for dpm++
DEVICE, CPU, SIDE, FRAMES = torch.device("meta"), torch.device("cpu"), 64, 6
WINDOWS = {"context_frames": 4, "context_overlap": 1}
COPIES = {"to", "_to_copy", "copy_", "_has_compatible_shallow_copy_type"}
INDEXED = {"index", "index_put_", "index_put"}
"""Operations whose indices may be on the CPU."""


class OneDevice(TorchDispatchMode):
    """Raises if an operation mixes tensors of the device and of the CPU; copies to the CPU are counted, and zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.copies = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs or {}))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        kinds = {tensor.device.type for tensor in tensors if tensor.ndim}
        name = func.overloadpacket.__name__
        if "meta" in kinds and name in COPIES and CPU in leaves:
            self.copies += 1
            return torch.zeros(tensors[0].shape, dtype=tensors[0].dtype)
        if len(kinds) > 1 and name not in COPIES | INDEXED:
            raise AssertionError(f"{func} mixes {[(tensor.device.type, tuple(tensor.shape)) for tensor in tensors]}")
        self.operations += "meta" in kinds
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def kernels_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (attention, kernels):
        monkeypatch.setattr(module, "on_eager_cpu", lambda x: False)
    monkeypatch.setattr(engine, "ahead", lambda items: items)  # the mode below watches this thread only


def small(preset: Preset, dtype: torch.dtype) -> Networks:
    """Networks on the CPU, as they are loaded, of one level."""
    config = replace(DENOISING, channels=(32,), layers=1)

    def ready(build: Callable[[], nn.Module], dtype: torch.dtype = dtype) -> Any:
        return nn.Module.to(on_meta(build), dtype).to_empty(device=CPU).requires_grad_(False).eval()

    networks = Networks(
        ready(lambda: UNet(config)),
        ready(lambda: UNet(replace(REFERENCE, channels=(32,), layers=1))),
        ready(lambda: ConditionEncoder(condition_channels(preset), 32)),
        ready(lambda: Autoencoder(TINY_VAE), picture_dtype(dtype, DEVICE)),
        ready(SpeechEncoder, torch.float32),
    )
    fuse_projections(networks)
    return networks


def render_of(name: str, kernel: kernels.PortraitAttention, **options: Any) -> DiffusionRender:
    preset = find_preset(name)
    chosen = make_options({"size": SIDE, "frames": FRAMES, **WINDOWS, **options}, preset.defaults)
    networks = small(preset, torch.bfloat16 if chosen.dtype == "bfloat16" else torch.float32)
    use_kernels(networks.denoising, replace(kernels.USUAL, portrait=kernel))
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    crop, mask = Crop(0, 0, SIDE, SIDE, SIDE, SIDE), np.zeros((SIDE, SIDE), np.uint8)
    frame = ConditioningFrame(Portrait(picture), picture, crop, mask=mask)
    motion = None
    if preset.uses_hands:
        body, hands, face = (np.zeros((FRAMES, *shape, 3), np.float32) for shape in ((18,), (2, 21), (68,)))
        motion = PoseTrack(body, hands, face, 24.0)
    voice = speech_from_samples(np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32), 16_000)
    return DiffusionRender(DiffusionEngine(preset, networks=networks), voice, motion, chosen, DEVICE, frame, FRAMES)


@pytest.mark.parametrize(
    ("name", "kernel", "options"),
    [
        ("v1", "frames", {"steps": 2, "dtype": "bfloat16"}),
        ("v1", "parts", {"steps": 3, "dtype": "float32", "sampler": "dpm++", "context_batch": 2}),
        ("v2-acc", "joined", {"steps": 3, "dtype": "bfloat16", "sampler": "unipc"}),
        ("v2", "frames", {"steps": 2, "dtype": "bfloat16", "exact": True, "context_batch": 2}),
    ],
)
def test_a_clip_stays_on_its_device_and_only_pictures_leave_it(name, kernel, options) -> None:
    render = render_of(name, kernel, **options)
    with OneDevice() as watch:
        pictures = list(render.frames())
    assert len(pictures) == FRAMES and pictures[0].shape == (SIDE, SIDE, 3)
    assert watch.operations > 500
    assert watch.copies == -(-FRAMES // DECODE_BATCH)


def test_a_tensor_left_on_the_cpu_is_found() -> None:
    with OneDevice(), pytest.raises(AssertionError, match=r"cpu.*meta|meta.*cpu"):
        nn.Linear(4, 4, device=DEVICE)(torch.zeros(2, 4))

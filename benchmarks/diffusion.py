"""What the diffusion network costs: `python benchmarks/diffusion.py count | call | cached | load | length`.

The network has its published size and random weights, so no checkpoint is needed. `call --compare` alternates with
the work of the published pipelines in PyTorch's own kernels, on the same machine under the same load.
"""

import argparse
import gc
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from echomimic.checkpoints import read_tensors
from echomimic.diffusion.attention import KeysValues, SpatialBlock
from echomimic.diffusion.denoise import Conditions, Denoiser, SamplingConfig
from echomimic.diffusion.device import DTYPES, choose_device, choose_dtype
from echomimic.diffusion.kernels import PLAIN, Kernels, measure_kernels
from echomimic.diffusion.networks import compile_regions, in_format, load_strictly, on_meta, use_kernels
from echomimic.diffusion.unet import DENOISING, REFERENCE, DeepFeatures, UNet

FRAMES = 12


class OriginalBlock(SpatialBlock):
    """The published order of work: keys and values of the portrait are computed again for every frame, the null half
    twice.
    """

    def forward(
        self,
        x: Tensor,
        audio: Tensor | None,
        portrait: KeysValues | None,
        keep: list[Tensor] | None = None,
        audio_mask: Tensor | None = None,
        conditional: int | None = None,
    ) -> Tensor:
        normed = self.norm1(x)
        seen = torch.cat([normed, portrait.keys.expand(len(x), -1, -1)], dim=1)
        half = len(x) // 2
        attended = self.attn1(normed, seen)
        attended[:half] = self.attn1(normed[:half])
        x = x + attended
        x = x + self.audio_scale * self.attn2(self.norm2(x), audio)
        return x + self.ff(self.norm3(x))


def random_weights(module: nn.Module, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The module with weights that keep the variance; a short random row is repeated, which is quick."""
    module = module.to(dtype).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.ndim > 1:
            row = torch.randn(4099, generator=generator) * (tensor.numel() / len(tensor)) ** -0.5
            flat = row.to(dtype).repeat(tensor.numel() // len(row) + 1)[: tensor.numel()]
            tensor.copy_(flat.view_as(tensor))
        else:
            tensor.fill_(float("norm" in name and name.endswith("weight")))
    return module.to(device).requires_grad_(False).eval()


def inputs(side: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, speech and condition features of one window."""
    shapes = (FRAMES, 4, side // 8, side // 8), (FRAMES, 50, 384), (FRAMES, 320, side // 8, side // 8)
    return tuple(torch.randn(shape, device=device).to(dtype) for shape in shapes)


def features_of(unet: UNet, side: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
    """Features of a portrait, as the reference network would give them."""
    sizes = []
    for stage, level in zip(unet.stages(), (0, 1, 2, 3, 3, 3, 2, 1, 0), strict=True):
        tokens = (side // 8 // 2**level) ** 2
        sizes += [(1, tokens, layer.block.norm1.normalized_shape[0]) for layer in stage.attentions]
    return [torch.randn(size, device=device).to(dtype) for size in sizes]


def count() -> None:
    """TFLOP of a guided call, of the reference network, and of the portrait's keys and values."""
    with torch.inference_mode(), torch.device("meta"):
        unet, reference = UNet(DENOISING), UNet(REFERENCE)

        def tflop(work: Callable[[], object]) -> float:
            with FlopCounterMode(display=False) as counter:
                work()
            return counter.get_total_flops() / 1e12

        for side in (256, 512, 768):
            x, audio, condition = inputs(side, torch.float32, torch.device("meta"))
            portrait, t = reference.features(x[:1]), torch.zeros(1)
            projected = unet.project(portrait)
            deep = DeepFeatures(), DeepFeatures()
            conditional, conditional_outer = (  # the second call has deep features
                tflop(lambda: unet(x, t, audio, condition, projected, deep=deep[0]))  # noqa: B023 - called at once
                for _ in range(2)
            )
            free, free_outer = (tflop(lambda: unet(x, t, deep=deep[1])) for _ in range(2))  # noqa: B023
            once = tflop(lambda: reference.features(x[:1])), tflop(lambda: unet.project(portrait))  # noqa: B023
            print(
                f"{side}²: guided call {conditional + free:.2f} TFLOP "
                f"({conditional:.2f} conditional + {free:.2f} unconditional), "
                f"with deep features {conditional_outer:.3f} + {free_outer:.3f}, "
                f"once a portrait {once[0]:.2f} + {once[1]:.3f}"
            )


def as_original(unet: UNet, original: bool, kernels: Kernels) -> None:
    """Let the network work in the published order with PyTorch's own kernels, or in ours."""
    use_kernels(unet, PLAIN if original else kernels)
    for stage in unet.stages():
        for layer in stage.attentions:
            layer.block.__class__ = OriginalBlock if original else SpatialBlock
    unet.to(memory_format=torch.contiguous_format if original else torch.channels_last)


def call(
    side: int, dtype_name: str, device_name: str, threads: int, rounds: int, compiled: bool, compared: bool
) -> None:
    """Seconds of a guided call: wall and, on a CPU, processor time summed over threads; `compared` alternates."""
    torch.set_num_threads(threads)
    device = choose_device(device_name)
    dtype = choose_dtype(dtype_name, device)
    unet, kernels = random_weights(on_meta(UNet), dtype, device), measure_kernels(device, dtype)
    as_original(unet, False, kernels)
    if compiled:
        compile_regions(unet)
    x, audio, condition = inputs(side, dtype, device)
    features, t = features_of(unet, side, dtype, device), torch.tensor([499], device=device)

    def guided(portrait: list[KeysValues], original: bool) -> None:
        if original:
            both = torch.cat([torch.zeros_like(audio), audio]), torch.cat([torch.zeros_like(condition), condition])
            unet(torch.cat([x, x]), t, *both, portrait, FRAMES)
        else:
            unet(x.contiguous(memory_format=torch.channels_last), t, audio, condition, portrait)
            unet(x.contiguous(memory_format=torch.channels_last), t)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    with torch.inference_mode():
        projected = unet.project(features)
        print(f"{side}², {FRAMES} frames, {dtype}, {device}, {threads} threads, {kernels}", flush=True)
        for number in range(rounds + 1):
            for original in (False, True) if compared else (False,):
                as_original(unet, original, kernels)
                wall, cpu = time.perf_counter(), time.process_time()
                guided([KeysValues(f, f) for f in features] if original else projected, original)
                spent = f"{time.perf_counter() - wall:.2f} s wall, {time.process_time() - cpu:.2f} s CPU"
                print(f"{'warm-up' if number == 0 else 'call'}{', as the original' * original}: {spent}", flush=True)


def cached(side: int, dtype_name: str, device_name: str, threads: int, rounds: int) -> None:
    """Processor time of three denoising steps with guidance, each whole, and with the deep features of the first."""
    torch.set_num_threads(threads)
    device = choose_device(device_name)
    dtype = choose_dtype(dtype_name, device)
    unet = random_weights(on_meta(UNet), dtype, device)
    as_original(unet, False, measure_kernels(device, dtype))
    x, audio, condition = inputs(side, dtype, device)
    with torch.inference_mode():
        conditions = Conditions(audio, condition, unet.project(features_of(unet, side, dtype, device)))
        print(f"{side}², {FRAMES} frames, {dtype}, {device}, {threads} threads", flush=True)
        for _ in range(rounds):
            spent = []
            for every in (1, 3):
                began = time.process_time()
                config = SamplingConfig(3, 2.5, cache=every)
                for _latents in Denoiser(unet, lambda _: conditions, config, dtype).run(x.float()):
                    pass
                spent.append(time.process_time() - began)
            print(f"{spent[0]:.2f} s, with --cache 3 {spent[1]:.2f} s: {spent[1] / spent[0]:.3f}", flush=True)


def peak_of(work: Callable[[], object]) -> tuple[int, ...]:
    """Bytes of this process at most while `work` runs, above what it had before: own, mapped from files, both."""
    done, peaks = threading.Event(), [0, 0, 0]

    def read() -> tuple[int, ...]:
        lines = Path("/proc/self/status").read_text().splitlines()
        facts = dict(line.split(":", 1) for line in lines)
        return tuple(int(facts[name].split()[0]) << 10 for name in ("RssAnon", "RssFile", "VmRSS"))

    def watch() -> None:
        while not done.wait(0.01):
            peaks[:] = map(max, peaks, read())

    gc.collect()
    before = read()
    watcher = threading.Thread(target=watch)
    watcher.start()
    held = work()
    done.set()
    watcher.join()
    del held
    return tuple(peak - had for peak, had in zip(peaks, before, strict=True))


def load(dtype_name: str) -> None:
    """Peak memory of loading the denoising network from a file of float32, as published, and of bfloat16."""
    dtype = DTYPES[dtype_name]
    with tempfile.TemporaryDirectory() as folder:
        for stored in (torch.float32, torch.bfloat16):
            path = Path(folder) / f"{stored}.safetensors"
            save_file(random_weights(on_meta(UNet), stored, torch.device("cpu")).state_dict(), path)
            gc.collect()

            def work(path: Path = path) -> nn.Module:
                unet = load_strictly(on_meta(UNet), in_format(read_tensors(path), dtype), str(path))
                for parameter in unet.parameters():
                    parameter.view(torch.uint8).view(-1)[::4096].sum()  # touch every page
                return unet

            own, mapped, both = peak_of(work)
            weights = sum(p.numel() for p in on_meta(UNet).state_dict().values()) * dtype.itemsize
            sizes = f"weights {weights / 1e9:.2f} GB, peak {both / 1e9:.2f}"
            print(f"{stored} to {dtype}: {sizes} (own {own / 1e9:.2f}, mapped {mapped / 1e9:.2f})", flush=True)
            path.unlink()


def length() -> None:
    """Peak memory of `tiny` over clips of 10 and 40 seconds, each in a process of its own."""
    import multiprocessing

    for seconds in (10, 40):
        process = multiprocessing.get_context("spawn").Process(target=_clip, args=(seconds,))
        process.start()
        process.join()


def _clip(seconds: int) -> None:
    from echomimic.data import demo_portrait
    from echomimic.diffusion.engine import DiffusionEngine
    from echomimic.media import read_picture
    from echomimic.media.sound import speech_from_samples
    from echomimic.options import make_options
    from echomimic.presets import find_preset

    preset = find_preset("tiny")
    noise = np.random.default_rng(0).normal(0, 0.1, seconds * 16_000).astype(np.float32)
    options = make_options({"steps": 1, "guidance_scale": 1.0, "device": "cpu"}, preset.defaults)
    voice = speech_from_samples(noise, 16_000)
    frames = DiffusionEngine(preset).prepare(read_picture(demo_portrait()), voice, None, options).frames()
    count = sum(1 for _ in frames)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds} s, {count} frames: peak {peak:.0f} MB, latents {count * 4 * 64 * 4 / 2**20:.2f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["count", "call", "cached", "load", "length"])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--compare", action="store_true")
    given = parser.parse_args()
    if given.what == "call":
        settings = given.side, given.dtype, given.device, given.threads, given.rounds, given.compile
        call(*settings, given.compare)
    elif given.what == "cached":
        cached(given.side, given.dtype, given.device, given.threads, given.rounds)
    else:
        {"count": count, "load": lambda: load(given.dtype), "length": length}[given.what]()


if __name__ == "__main__":
    main()

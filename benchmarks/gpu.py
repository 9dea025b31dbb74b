"""Measure the diffusion engine on a GPU, with random weights of the published size, in at most 8 minutes.

    export PYTHONPATH=src
    python benchmarks/gpu.py --to results          # everything; results/gpu-CARD.md and .json grow row by row
    python benchmarks/gpu.py --only call,vae       # some pieces
    python benchmarks/gpu.py --size tiny --device cpu --only call,clip

No network, checkpoint, portrait or face is needed. The wheels that it imports beside PyTorch (2.7 or newer) and numpy:
lazy-loader, opencv-python-headless, pydantic with pydantic-core, annotated-types, typing-extensions and
typing-inspection, and safetensors. Encoding needs av, `quantize` needs torchao. Where one is missing, its rows say so.
The package itself is `src`, by PYTHONPATH. Rows of full size need 10 GB of disk and 16 GB of the processor's memory.
"""

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from echomimic.checkpoints import FILES, Geometry, write_geometry
from echomimic.diffusion.attention import KeysValues, UNetConfig
from echomimic.diffusion.autoencoder import Autoencoder, VaeConfig
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.conditioning import ConditioningFrame
from echomimic.diffusion.denoise import Conditions, Denoiser, SamplingConfig
from echomimic.diffusion.device import DTYPES, choose_device, is_out_of_memory, move
from echomimic.diffusion.engine import DECODE_BATCH, DiffusionEngine, DiffusionRender
from echomimic.diffusion.kernels import PLAIN, USUAL
from echomimic.diffusion.networks import (
    TINY_VAE,
    Networks,
    condition_channels,
    empty_networks,
    fill_by_rule,
    on_meta,
    use_kernels,
)
from echomimic.diffusion.unet import DENOISING, UNet
from echomimic.diffusion.vae import FACTOR, decode_latents
from echomimic.errors import EchoMimicError
from echomimic.landmarks.crop import Crop
from echomimic.media.sound import speech_from_samples
from echomimic.notes import collect_notes
from echomimic.options import make_options
from echomimic.presets import PRESETS
from echomimic.types import Portrait, PoseTrack
from table import HEAD, Report, Row

ROOT = Path(__file__).resolve().parents[1]
WINDOW = 12
KERNELS = ("joined", "frames", "parts")
PRESET = {"v1": "v1-acc", "v2": "v2-acc"}
PEAKS = {"H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200": 989, "B200": 2250}
PEAKS |= {"A100": 312, "A10": 125, "L40S": 362, "L4": 121, "RTX 4090": 165, "RTX 3090": 71}
"""Dense bfloat16 TFLOP/s that the maker states, by a part of the card's name; the first that fits counts."""


@dataclass(frozen=True)
class Size:
    """Sides of pictures, geometry (None: as published), frames of a clip and of its warm-up, time for one figure."""

    sides: dict[str, int]
    geometry: Geometry | None
    vae: VaeConfig
    clip_frames: int
    warm_up: int
    seconds: float


SMALL = Geometry(
    channels=(32,), layers=1, heads=4, motion_heads=4, audio_dim=88, encoder_widths=(4, 4, 8, 8), speech="mel"
)
SIZES = {
    "full": Size({"v1": 512, "v2": 768}, None, VaeConfig(), 96, WINDOW + 1, 1.0),
    "tiny": Size({"v1": 64, "v2": 64}, SMALL, TINY_VAE, 4, 0, 0.0),
}


@dataclass
class Bench:
    """The device and what the pieces share: the folder of weights, one loaded engine, outputs by number format."""

    device: torch.device
    size: Size
    folder: Path
    engine: DiffusionEngine | None = None
    held: tuple[str, str, bool, bool] | None = None
    outputs: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    @cached_property
    def weights(self) -> Path:
        """Files of random weights in float32, named and shaped as the published ones."""
        geometry = self.size.geometry
        made: dict[str, Path] = {}
        for name in PRESET.values():
            networks = on_meta(partial(empty_networks, condition_channels(PRESETS[name]), geometry))
            for part, file in PRESETS[name].files.items():
                path = self.folder / f"{file}.safetensors"
                path.parent.mkdir(parents=True, exist_ok=True)
                if part in made and made[part] != path:
                    path.hardlink_to(made[part])
                elif part not in made:
                    save_file(random_tensors(networks, part), path)
                if part != "condition":  # the only one in which V1 and V2 differ
                    made[part] = path
                if geometry is not None:
                    write_geometry(path.parent, geometry)
        return self.folder

    def networks(self, family: str, dtype: str, compiled: bool = False, quantized: bool = False) -> Networks:
        """The networks of a family as the engine loads them, on the device; the last ones are kept."""
        if self.held != (family, dtype, compiled, quantized):
            self.release()
            weights = self.weights
            self.engine = DiffusionEngine(PRESETS[PRESET[family]], weights)
            self.held = (family, dtype, compiled, quantized)
        assert self.engine is not None
        networks = self.engine.networks(self.device, DTYPES[dtype], compiled, quantized)
        for part in vars(networks).values():
            move(part, self.device)
        return networks

    def release(self) -> None:
        """Give back the memory of the last networks."""
        self.engine = self.held = None
        gc.collect()
        self.clear()

    def clear(self) -> None:
        """Release cached memory of the device, and reset the peak of memory."""
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> str:
        """The device's peak memory since `clear`."""
        return f"peak {torch.cuda.max_memory_allocated(self.device) / 1e9:.2f} GB" if self.device.type == "cuda" else ""

    def milliseconds(self, work: Callable[[], object]) -> float:
        """The median time of one call, after one to warm up."""
        self.seconds(work)
        times = [self.seconds(work)]
        while sum(times) < (4 if len(times) < 3 else 1) * self.size.seconds and len(times) < 20:
            times.append(self.seconds(work))
        return 1000 * statistics.median(times)

    def seconds(self, work: Callable[[], object]) -> float:
        """Wall time of one call."""
        self.synchronize()
        began = time.perf_counter()
        work()
        self.synchronize()
        return time.perf_counter() - began

    def synchronize(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def latents(self, family: str) -> tuple[int, int]:
        return (self.size.sides[family] // FACTOR,) * 2


def random_tensors(networks: Networks, part: str) -> dict[str, Tensor]:
    """Random weights of a file: layers keep the variance; a short random row is repeated, which is quick."""
    kinds = {"denoising": "denoising", "motion": "denoising", "vae": "vae", "speech": "speech"}
    found: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(0)
    for name, tensor in getattr(networks, kinds.get(part, part)).state_dict().items():
        if part in ("denoising", "motion") and (".motion_modules." in name) != (part == "motion"):
            continue
        if tensor.ndim > 1:
            row = torch.randn(4099, generator=generator) * (tensor.numel() / len(tensor)) ** -0.5
            value = row.repeat(tensor.numel() // len(row) + 1)[: tensor.numel()].view(tensor.shape)
        else:
            value = torch.full(tensor.shape, float("norm" in name and name.endswith("weight")))
        found[FILES["whisper"].prefix * (part == "speech") + name] = value.clone()
    return found


@dataclass(frozen=True)
class Call:
    """The inputs of the denoising network for some windows."""

    unet: UNet
    x: Tensor
    t: Tensor
    audio: Tensor
    condition: Tensor
    portrait: Sequence[KeysValues]

    def conditional(self) -> Tensor:
        return self.unet(self.x, self.t, self.audio, self.condition, self.portrait, WINDOW)

    def guided(self) -> Tensor:
        null = self.unet(self.x, self.t, frames=WINDOW)
        return null + 2.5 * (self.conditional() - null)


def call_of(bench: Bench, family: str, dtype: str, windows: int = 1, compiled: bool = False) -> Call:
    """The same random inputs for every device and number format."""
    networks, (h, w) = bench.networks(family, dtype, compiled), bench.latents(family)
    generator = torch.Generator().manual_seed(1)
    config = networks.denoising.config

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(bench.device, DTYPES[dtype])

    frames = windows * WINDOW
    x = random(frames, 4, h, w).contiguous(memory_format=torch.channels_last)
    audio, condition = random(frames, 50, config.audio_dim or 384), random(frames, config.channels[0], h, w)
    portrait = networks.denoising.project(networks.reference.features(random(1, 4, h, w)))
    return Call(networks.denoising, x, torch.tensor([499], device=bench.device), audio, condition, portrait)


@cache
def tflop(side: int, config: UNetConfig, guided: bool) -> float:
    """Counted TFLOP of a call of one window."""
    with torch.inference_mode(), torch.device("meta"):
        unet, reference = UNet(config), UNet(replace(config, audio_dim=None, motion=False, head=False))
        for network in (unet, reference):
            use_kernels(network, PLAIN)
        x, audio = torch.zeros(WINDOW, 4, side // 8, side // 8), torch.zeros(WINDOW, 50, config.audio_dim or 0)
        portrait, t = unet.project(reference.features(x[:1])), torch.zeros(1)
        with FlopCounterMode(display=False) as counter:
            unet(x, t, audio, torch.zeros(1, config.channels[0], side // 8, side // 8), portrait)
            if guided:
                unet(x, t)
    return counter.get_total_flops() / 1e12


def share(bench: Bench, call: Call, family: str, milliseconds: float, guided: bool, windows: int = 1) -> str:
    """Counted FLOP per second, and its share of the card's peak in bfloat16."""
    rate = windows * tflop(bench.size.sides[family], call.unet.config, guided) / milliseconds * 1000
    name = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else ""
    peak = next((peak for part, peak in PEAKS.items() if part in name), None)
    known = f", {100 * rate / peak:.0f} % of {peak}" if peak and call.x.element_size() == 2 else ""
    return f"{rate:.3g} TFLOP/s{known}"


def parity(bench: Bench, family: str, dtype: str) -> Iterator[Row]:
    """The recorded call of the original network in float32, by each kernel."""
    with np.load(ROOT / "tests/golden/denoise.npz") as file:
        golden = torch.from_numpy(file["unet_out cfg=True fp32bank t=499 face_mask"])
    config = replace(DENOISING, channels=(32, 64, 96, 96))
    unet, reference = UNet(config), UNet(replace(config, audio_dim=None, motion=False, head=False))
    for network in (unet, reference, encoder := ConditionEncoder(1, 32)):
        fill_by_rule(network)
        move(network.eval(), bench.device)

    def wave(shape: tuple[int, ...], frequency: float, phase: float) -> Tensor:
        values = np.sin(frequency * np.arange(np.prod(shape)) + phase).astype(np.float32)
        return torch.from_numpy(values.reshape(shape)).to(bench.device)

    mask = torch.zeros(1, 1, 128, 128, device=bench.device)
    mask[..., 30:100, 40:90] = 1
    x, t = wave((1, 4, 5, 16, 16), 0.053, 0.1)[0].transpose(0, 1), torch.tensor([499], device=bench.device)
    for precise in (True, False) if bench.device.type == "cuda" else (True,):
        torch.backends.cudnn.allow_tf32 = not precise
        for kernel in KERNELS:
            use_kernels(unet, replace(USUAL, portrait=kernel))
            portrait = unet.project(reference.features(wave((1, 4, 16, 16), 0.071, 0.5)))
            conditional = unet(x, t, wave((5, 50, 384), 0.011, 0.3), encoder(mask), portrait)
            ours = torch.stack([unet(x, t), conditional]).transpose(1, 2).cpu()
            difference = float((ours - golden).abs().max())
            case = f"float32, {kernel}, {'without' if precise else 'with'} TF32 in convolutions"
            yield Row("parity", case, difference, "largest |difference|", "asked 1e-4" * precise)


def load(bench: Bench, family: str, dtype: str) -> Iterator[Row]:
    """Seconds from the files to the device."""
    bench.release()
    written = bench.seconds(lambda: bench.weights)
    taken = bench.seconds(lambda: bench.networks(family, dtype))
    networks = bench.networks(family, dtype)
    gigabytes = sum(p.nbytes for part in vars(networks).values() for p in part.state_dict().values()) / 1e9
    kernels = next(layer.kernels for layer in networks.denoising.modules() if hasattr(layer, "kernels"))
    notes = [f"weights {gigabytes:.2f} GB", bench.peak(), str(kernels), f"files made in {written:.0f} s"]
    yield Row("load", f"{family} {dtype}, files of float32", taken, "s", joined(notes))


def reference(bench: Bench, family: str, dtype: str) -> Iterator[Row]:
    """The reference network, and the portrait's keys and values."""
    networks, (h, w) = bench.networks(family, dtype), bench.latents(family)
    x = torch.randn(1, 4, h, w, device=bench.device).to(DTYPES[dtype])
    bench.clear()
    taken = bench.milliseconds(lambda: networks.denoising.project(networks.reference.features(x)))
    yield Row("reference", case_of(bench, family, dtype), taken, "ms", bench.peak())


def joined(notes: Sequence[str]) -> str:
    return "; ".join(note for note in notes if note)


def case_of(bench: Bench, family: str, dtype: str, more: str = "") -> str:
    side = bench.size.sides[family]
    return f"{family} {side}² {dtype}" + f", {more}" * bool(more)


def call(bench: Bench, family: str, dtype: str, how: str = "eager", windows: int = 1) -> Iterator[Row]:
    """A conditional and a guided call of the denoising network, and its error against float32."""
    inputs = call_of(bench, family, dtype, windows, how == "compiled")
    piece = "call" if windows == 1 else "batch"
    for name, work in (("unguided", inputs.conditional), ("guided", inputs.guided)):
        bench.clear()
        first = bench.seconds(work)
        taken = bench.milliseconds(captured(work) if how == "graph" else work)
        notes = [share(bench, inputs, family, taken, name == "guided", windows), bench.peak()]
        notes += [f"first call {first:.1f} s"] if how == "compiled" else []
        case = case_of(bench, family, dtype, f"{name}, {how}" + f", {windows} windows" * (windows > 1))
        yield Row(piece, case, taken, "ms", joined(notes))
    if piece == "call" and how == "eager":
        yield from error_of(bench, inputs, family, dtype)


def error_of(bench: Bench, inputs: Call, family: str, dtype: str) -> Iterator[Row]:
    """The root mean square error of a guided call against float32, as a part of its root mean square."""
    bench.outputs[family, dtype] = found = inputs.guided().float().cpu()
    exact = bench.outputs.get((family, "float32"))
    if exact is not None and dtype != "float32":
        error = float((found - exact).square().mean().sqrt() / exact.square().mean().sqrt())
        finite = "" if found.isfinite().all() else "not finite"
        yield Row("error", case_of(bench, family, dtype, "guided, against float32"), error, "relative RMS", finite)


def captured(work: Callable[[], object]) -> Callable[[], None]:
    """The work as a CUDA graph."""
    if not torch.cuda.is_available():
        raise SkippedError(NO_CUDA)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def batch(bench: Bench, family: str, dtype: str) -> Iterator[Row]:
    """A call of 2 and 4 windows; `call` has one."""
    for windows in (2, 4):
        yield from call(bench, family, dtype, "eager", windows)


def kernels(bench: Bench, family: str, dtype: str) -> Iterator[Row]:
    """A conditional call with each kernel of the attention to the portrait."""
    inputs = call_of(bench, family, dtype)
    for kernel in KERNELS:
        use_kernels(inputs.unet, replace(USUAL, slices=False, portrait=kernel))
        bench.clear()
        taken = bench.milliseconds(inputs.conditional)
        yield Row("kernels", case_of(bench, family, dtype, f"unguided, {kernel}"), taken, "ms", bench.peak())
    bench.release()


def vae(bench: Bench, family: str, dtype: str) -> Iterator[Row]:
    """Decoding as the engine does it, pictures on the CPU included."""
    bench.release()
    network = on_meta(lambda: Autoencoder(bench.size.vae)).requires_grad_(False).eval()
    network = network.to(DTYPES[dtype]).to_empty(device="cpu")
    for tensor in network.state_dict().values():
        torch.nn.init.normal_(tensor, std=0.02)
    move(network, bench.device)
    latents = torch.randn(2 * DECODE_BATCH, 4, *bench.latents(family), device=bench.device)
    bench.clear()
    taken = bench.milliseconds(lambda: list(decode_latents(network, latents, DECODE_BATCH))) / len(latents)
    yield Row(
        "vae", case_of(bench, family, dtype, f"decoding, {DECODE_BATCH} at once"), taken, "ms a frame", bench.peak()
    )


def render_of(bench: Bench, family: str, dtype: str, frames: int, **options: Any) -> DiffusionRender:
    """A prepared clip of noise, without a face."""
    bench.networks(family, dtype, options.get("compile", False), options.get("quantize") == "int8")
    if options.get("offload"):  # its networks are on no device yet
        bench.release()
    engine = bench.engine or DiffusionEngine(PRESETS[PRESET[family]], bench.weights)
    side, random = bench.size.sides[family], np.random.default_rng(0)
    chosen = {"device": str(bench.device), "dtype": dtype, "size": side, "frames": frames, **options}
    picture = random.integers(0, 256, (side, side, 3), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : -side // 4, side // 4 : -side // 4] = 255
    portrait = Portrait(picture)
    frame = ConditioningFrame(portrait, picture, Crop(0, 0, side, side, side, side), mask=mask)
    hands = random.random((frames, 2, 21, 3), np.float32)
    motion = PoseTrack(np.zeros((frames, 18, 3), np.float32), hands, np.zeros((frames, 68, 3), np.float32), 24.0)
    voice = speech_from_samples(random.normal(0, 0.1, 16_000 * (frames // 24 + 1)).astype(np.float32), 16_000)
    prepared = make_options(chosen, engine.preset.defaults)
    given = motion if family == "v2" else None
    return DiffusionRender(engine, voice, given, prepared, bench.device, frame, frames)


def clip(bench: Bench, family: str, dtype: str, length: int = 0, **options: Any) -> Iterator[Row]:
    """Frames a second of a whole clip in its file: reference pass, 6 steps or as given, decoding, encoding."""
    if bench.size.warm_up:
        list(render_of(bench, family, dtype, bench.size.warm_up, **options).frames())
    render = render_of(bench, family, dtype, length or bench.size.clip_frames, **options)
    bench.clear()
    began = time.perf_counter()
    stages: list[float] = []

    def watch(done: int, total: int) -> None:
        if not stages or (len(stages) == 1 and done > total - render.num_frames):
            stages.append(time.perf_counter() - began)

    frames, how = render.frames(watch), "encoded as mp4"
    if find_spec("av") is None:
        how, count = "not encoded: av is not installed", sum(1 for _ in frames)
    else:
        from echomimic.media.writer import write_clip

        with tempfile.TemporaryDirectory() as folder:
            count = write_clip(Path(folder) / "clip.mp4", frames, render.fps, render.speech, {})
    bench.synchronize()
    taken = time.perf_counter() - began
    words = ", ".join(f"{name} {value}" for name, value in options.items())
    notes = [how, f"{count} frames in {taken:.2f} s, of them {stages[0]:.2f} s to the first window done"]
    notes += [f"{stages[-1]:.2f} s to the first frame", bench.peak()]
    case = f"{PRESET[family]} {bench.size.sides[family]}² {dtype}" + f", {words}" * bool(words)
    yield Row("clip", case, count / taken, "frames/s", joined(notes))


def ladder(bench: Bench, family: str, dtype: str) -> Iterator[Row]:
    """How a batch of 8 windows is reduced if the device has too little memory for it."""
    if bench.device.type != "cuda":
        raise SkippedError(NO_CUDA)
    peaks = {}
    for windows in (1, 8):
        inputs = call_of(bench, family, dtype, windows)
        bench.clear()
        held = torch.cuda.memory_allocated(bench.device)
        inputs.conditional()
        peaks[windows] = torch.cuda.max_memory_allocated(bench.device)
    single, full = peaks[1], peaks[8]
    for name, limit in (
        ("memory for about 4 windows", (single + full) / 2),
        ("memory for part of a window", (held + single) / 2),
        ("no memory beside the weights", held + 2**25),
    ):
        yield Row("ladder", case_of(bench, family, dtype, name), limit / 1e9, "GB", descended(bench, inputs, limit))


def descended(bench: Bench, inputs: Call, limit: float) -> str:
    """The notes of a run of one step under a limit of memory, and how it ends."""
    noise = torch.randn(8 * (WINDOW - 3) + 3, 4, *inputs.x.shape[2:], device=bench.device)
    given = Conditions(inputs.audio[:1], inputs.condition[:1], inputs.portrait)

    def conditions(frames: Sequence[int]) -> Conditions:
        return replace(given, audio=given.audio.expand(len(frames), -1, -1))

    config = SamplingConfig(1, 1.0, WINDOW, batch=8)
    bench.clear()
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(bench.device).total_memory)
    try:
        with collect_notes() as notes:
            *_, latents = Denoiser(inputs.unet, conditions, config, inputs.x.dtype).run(noise)
        end = "finished" if latents.isfinite().all() else "finished, not finite"
    except EchoMimicError as error:
        end = str(error)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return joined([*map(str, notes), end])


def comfy(bench: Bench, family: str, dtype: str) -> Iterator[Row]:
    """The networks under ComfyUI's management of models."""
    if find_spec("comfy") is None:
        raise SkippedError("ComfyUI is not importable; set PYTHONPATH to its folder")
    from comfy import model_management

    from echomimic.apps.comfy.host import ModelManagement

    bench.release()
    engine = DiffusionEngine(PRESETS[PRESET[family]], bench.weights)
    chosen = {"device": str(bench.device), "dtype": dtype}
    manager, options = ModelManagement(engine), make_options(chosen, engine.preset.defaults)
    taken = bench.seconds(lambda: manager.load(options, 8000))
    yield Row("comfy", f"{PRESET[family]} {dtype}, loaded by the host", taken, "s", bench.peak())
    model_management.free_memory(1e15, bench.device)
    placed = {p.device.type for p in engine.networks(bench.device, DTYPES[dtype]).denoising.parameters()}
    yield Row("comfy", f"{PRESET[family]} {dtype}, after the host freed its memory", None, "", f"weights on {placed}")


class SkippedError(Exception):
    """A row cannot be measured here."""


NO_CUDA = "needs a CUDA device"
Piece = Callable[[Bench, str, str], Iterator[Row]]
PIECES: dict[str, Piece] = {
    each.__name__: each for each in (parity, load, reference, call, batch, kernels, vae, clip, ladder, comfy)
}
PIECES |= {"graph": partial(call, how="graph"), "compile": partial(call, how="compiled")}
PIECES |= {"offload": partial(clip, offload=True), "compiled-clip": partial(clip, compile=True)}
PIECES |= {"quantize": partial(clip, quantize="int8")}
GUIDED: dict[str, Any] = {"length": 30, "steps": 30, "guidance_scale": 2.5}
PIECES |= {"guided": partial(clip, **GUIDED), "cache": partial(clip, **GUIDED, cache=3)}
PIECES |= {"guidance-batch": partial(clip, **GUIDED, guidance_batch=True)}
PLAN = """
v1 float32: parity load reference call
v1 float16: load call vae
v1 bfloat16: load reference call graph batch kernels clip ladder offload quantize guided cache guidance-batch
v2 float32: call
v2 float16: call vae
v2 bfloat16: load reference call graph batch kernels clip
v1 bfloat16: comfy compile compiled-clip
v2 bfloat16: compile compiled-clip
"""
"""The pieces in the order in which they are run: those that compile come last, since they take minutes."""


def planned() -> Iterator[tuple[str, str, str]]:
    """Piece, family and number format."""
    for line in PLAN.strip().splitlines():
        head, pieces = line.split(": ")
        for piece in pieces.split():
            yield piece, *head.split()


@contextmanager
def as_row(bench: Bench, report: Report, piece: str, case: str) -> Iterator[None]:
    """Report a failure as a row."""
    try:
        yield
    except Exception as error:
        memory = isinstance(error, RuntimeError) and is_out_of_memory(error)
        first = next(iter(str(error).splitlines()), "")[:200].replace("|", "/")
        known = isinstance(error, (SkippedError, EchoMimicError))
        reason = "out of memory" if memory else first if known else f"{type(error).__name__}: {first}"
        report.add(Row(piece, case, None, "", reason))
    finally:
        if bench.device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)
        bench.clear()


def measure(bench: Bench, report: Report, names: Sequence[str], until: float) -> None:
    """Run the pieces of these names in the order of the plan until the time is over."""
    for piece, family, dtype in planned():
        case = case_of(bench, family, dtype)
        if piece in names and time.monotonic() > until:
            report.add(Row(piece, case, None, "", "no time left"))
        elif piece in names:
            with as_row(bench, report, piece, case), torch.inference_mode():
                for row in PIECES[piece](bench, family, dtype):
                    report.add(row)


def facts_of(device: torch.device) -> dict[str, Any]:
    """The card and the versions."""
    facts: dict[str, Any] = {"device": device.type, "torch": torch.__version__}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {"device": properties.name, "memory": f"{properties.total_memory / 1e9:.0f} GB"}
        facts |= {"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()}
    return facts


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default=",".join(PIECES), help=f"comma-separated, some of {', '.join(PIECES)}")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=8.0, help="no piece begins later")
    parser.add_argument("--to", type=Path, help="folder of the results")
    given = parser.parse_args(arguments)
    names = given.only.split(",")
    if unknown := [name for name in names if name not in PIECES]:
        parser.error(f"unknown piece {unknown[0]!r}; expected some of {', '.join(PIECES)}")
    until = time.monotonic() + 60 * given.minutes
    device = choose_device(given.device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", 0)
    report = Report(facts_of(device), given.to)
    print(f"{report.title}\n\n{HEAD}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        measure(Bench(device, SIZES[given.size], Path(folder)), report, names, until)
    return report.rows


if __name__ == "__main__":
    main()

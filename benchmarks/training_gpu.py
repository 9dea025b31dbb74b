"""One training step of each stage at full size with random weights: peak memory and milliseconds, in some minutes.

Each stage runs with and without checkpointing of layers, and once with 8-bit AdamW if bitsandbytes is installed. What
does not fit says so.

    python benchmarks/training_gpu.py                      # on the GPU
    python benchmarks/training_gpu.py --device cpu --mini  # the same code on small networks
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from echomimic.diffusion.attention import UNetConfig
from echomimic.diffusion.autoencoder import Autoencoder, VaeConfig
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.device import is_out_of_memory
from echomimic.diffusion.networks import TINY_VAE
from echomimic.diffusion.unet import DENOISING, UNet
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.loop import VelocityObjective, make_optimizer
from echomimic.train.diffusion.losses import SpatialLoss
from echomimic.train.diffusion.samples import CROP_CELLS
from echomimic.train.diffusion.settings import TrainSettings, read_settings
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.train.diffusion.trainee import Trainee, checkpoint_layers, freeze_in, select_parameters

GIB = 2**30
SMALL = UNetConfig(channels=(32, 32), layers=1, heads=2, motion_heads=2, audio_dim=16, groups=8)


@dataclass(frozen=True)
class Case:
    """A stage: settings of the package, clips of one card, and how it is run."""

    preset: str
    clips: int
    checkpointing: bool
    optimizer: str = "adamw"


@dataclass(frozen=True)
class Result:
    """Peak GiB of the device and median milliseconds of a step; None where it does not fit or is not installed."""

    case: Case
    gib: float | None
    milliseconds: float | None
    note: str = ""


STAGES = (("v1-stage1", 4), ("v1-stage2", 1), ("v1-stage3", 1), ("v2-a0", 2), ("v2-b", 1))
CASES: tuple[Case, ...] = (
    *(Case(preset, clips, checkpointing) for preset, clips in STAGES for checkpointing in (True, False)),
    Case("v1-stage1", 2, True, "adamw8bit"),
    Case("v1-stage3", 1, True, "adamw8bit"),
)


def build(settings: TrainSettings, config: UNetConfig, device: torch.device) -> Trainee:
    """Random networks of a stage on the device."""
    config = replace(config, motion=settings.data.frames > 1)
    channels = 1 if settings.model.variant == "mask" else 3
    with device:
        denoising = UNet(config)
        reference = UNet(replace(config, audio_dim=None, motion=False, head=False))
        condition = ConditionEncoder(channels, config.channels[0])
    return Trainee(denoising, reference, condition, NoiseSchedule.of_inference())


def random_batch(settings: TrainSettings, clips: int, config: UNetConfig, device: torch.device) -> Batch:
    """A batch of noise in the shapes of a stage."""
    frames, side = settings.data.frames, settings.data.size
    cells, crop = side // 8, min(CROP_CELLS, side // 8)
    channels, drawn = (1, 1) if settings.model.variant == "mask" else (3, frames)
    with device:
        latents = torch.randn(clips, frames, 4, cells, cells)
        return Batch(
            latents=latents,
            reference=latents[:, 0],
            audio=torch.randn(clips, frames, 50, config.audio_dim or 384),
            condition=torch.rand(clips, drawn, channels, side, side),
            noise=torch.randn_like(latents),
            timestep=torch.full((clips,), 300),
            mouth=torch.ones(clips, frames, 1, cells, cells),
            keep=torch.ones(clips, 3),
            crop=torch.tensor([[0, 0, 0, crop, crop]] * clips),
            crop_picture=torch.rand(clips, 3, 8 * crop, 8 * crop),
        )


def step_times(case: Case, settings: TrainSettings, mini: bool, device: torch.device, steps: int) -> list[float]:
    """Seconds of each step of a case; the first is a warm-up."""
    config = SMALL if mini else DENOISING
    trainee = build(settings, config, device)
    parameters = select_parameters(trainee, settings.model.trained)
    if case.checkpointing:
        checkpoint_layers(trainee.denoising)
        checkpoint_layers(trainee.reference)
    freeze_in(trainee, torch.bfloat16)
    vae = Autoencoder(TINY_VAE if mini else VaeConfig()).requires_grad_(False).to(device)
    optimizer = make_optimizer(parameters, settings.optimizer)
    terms = [SpatialLoss(trainee.schedule, vae, settings.loss)]
    objective = VelocityObjective(trainee.schedule, settings.loss, terms)
    batch, seconds = random_batch(settings, case.clips, config, device), []
    for _ in range(steps):
        began = time.monotonic()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            losses = objective(trainee, batch, 10**6)
        torch.stack([*losses.values()]).sum().backward()
        nn.utils.clip_grad_norm_(list(parameters.values()), 1.0)
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.monotonic() - began)
    return seconds


def measure(case: Case, mini: bool, device: torch.device, steps: int = 4) -> Result:
    """Memory and time of one case."""
    overrides = ["loss.spatial=0.1", "loss.perceptual=gradients", f"optimizer.kind={case.optimizer}"]
    overrides += ["data.size=64"] if mini else []
    settings = read_settings(Path(case.preset), overrides)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        seconds = sorted(step_times(case, settings, mini, device, steps)[1:])
    except Exception as error:
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            return Result(case, None, None, "does not fit")
        if case.optimizer == "adamw8bit":
            return Result(case, None, None, str(error).splitlines()[0])
        raise
    peak = torch.cuda.max_memory_allocated() / GIB if device.type == "cuda" else None
    return Result(case, peak, 1000 * seconds[len(seconds) // 2])


def results(mini: bool, device: torch.device, minutes: float, cases: Sequence[Case] = CASES) -> Iterator[Result]:
    """Measure cases until the time is over; those that are left say so."""
    until = time.monotonic() + 60 * minutes
    for case in cases:
        yield measure(case, mini, device) if time.monotonic() < until else Result(case, None, None, "no time left")


def line(result: Result) -> str:
    """A row of the table."""
    case = result.case
    gib = "–" if result.gib is None else f"{result.gib:.1f}"
    time_of = result.note if result.milliseconds is None else f"{result.milliseconds:.0f}"
    checkpointing = "on" if case.checkpointing else "off"
    return f"| {case.preset} | {case.clips} | {case.optimizer} | {checkpointing} | {gib} | {time_of} |"


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--mini", action="store_true", help="small networks at 64 pixels")
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--json", type=Path, help="write the results here too")
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device is here; expected one, or --device cpu --mini")
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    print(f"{name}, torch {torch.__version__}, bfloat16 autocast\n")
    print("| stage | clips | optimizer | checkpointing | peak GiB | ms a step |\n|---|---|---|---|---|---|")
    found = []
    for result in results(chosen.mini, device, chosen.minutes):
        print(line(result), flush=True)
        found.append(asdict(result))
    if chosen.json:
        chosen.json.write_text(json.dumps({"device": name, "results": found}, indent=1))
    return found


if __name__ == "__main__":
    main()

"""Processor seconds that one training sample costs in a loader's process, at 512 pixels with Whisper.

python benchmarks/training_samples.py DATA     # a folder that `echomimic train prepare` wrote
"""

import sys
import time
from pathlib import Path

import torch

from echomimic.diffusion.networks import fill_by_rule
from echomimic.diffusion.whisper import SpeechEncoder
from echomimic.train.diffusion.clips import open_clips
from echomimic.train.diffusion.samples import ClipSamples
from echomimic.train.diffusion.settings import read_settings

COUNT = 12


def seconds_per_sample(data: Path, preset: str, *overrides: str) -> tuple[float, float]:
    """Processor seconds of a sample whose voice is new, and of one whose speech features are in memory."""
    settings = read_settings(Path(preset), [f"data.path={data}", "data.cached_latents=false", *overrides])
    speech = SpeechEncoder().requires_grad_(False)
    fill_by_rule(speech)
    samples = ClipSamples(open_clips(data, settings)[0], speech, settings)
    measured = []
    for _ in range(2):
        began = time.process_time()
        for n in range(COUNT):
            samples.sample(n)
        measured.append((time.process_time() - began) / COUNT)
    return measured[0], measured[1]


def main() -> None:
    torch.set_num_threads(1)
    data = Path(sys.argv[1])
    print("| settings | new voice, s | features in memory, s |\n|---|---|---|")
    for preset in ("v1-stage1", "v1-stage2", "v1-landmarks-stage2"):
        new, known = seconds_per_sample(data, preset)
        print(f"| {preset} | {new:.2f} | {known:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""Kill renders at random moments and resume them; what keeping finished parts costs; spans rendered again.

    python benchmarks/survival.py kills [--preset mesh|tiny] [--kills 20]
    python benchmarks/survival.py cost [--rounds 5]
    python benchmarks/survival.py span

`kills` renders 60 s with mesh at 5 frames a second, or 20 s with tiny at 2, at 64 x 64. Each render is a fork of this
process, which has everything imported, and is killed (SIGKILL) after a random share of the time of a whole one; another
fork continues. Prints how many of the finished videos have the frames of an undisturbed one, and the most work lost:
frames of video, or for tiny, until it decodes, steps of denoising.
"""

import argparse
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from echomimic import api
from echomimic.data import demo_portrait, demo_voice
from echomimic.diffusion.latent_store import DenoiserState
from echomimic.files import work_path
from echomimic.media import read_video
from echomimic.media.segments import segment_start
from echomimic.options import WorkOptions
from echomimic.replay import compare_videos

FORK = multiprocessing.get_context("fork")
MESH: dict[str, Any] = {"preset": "mesh", "size": 64, "fps": 5, "frames": 300, "workers": 1}
TINY: dict[str, Any] = {"preset": "tiny", "size": 64, "fps": 2, "frames": 40, "steps": 3, "guidance_scale": 1}


class Killed:
    """Renders that are killed, and how much work each lost: in frames (mesh), or in steps of denoising (tiny)."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.folder, self.options = folder, options
        self.whole, self.output = folder / "whole.mp4", folder / "killed.mp4"
        self.done, self.total = FORK.RawValue("l", 0), FORK.RawValue("l", 0)
        self.engine = api.load(options["preset"])

    def render(self, output: Path) -> "multiprocessing.process.BaseProcess":
        """Begin a render in another process."""

        def progress(done: int, total: int) -> None:
            self.done.value, self.total.value = done, total

        def run() -> None:
            given = {name: value for name, value in self.options.items() if name != "preset"}
            api.animate(demo_portrait(), demo_voice(), output=output, engine=self.engine, progress=progress, **given)

        self.done.value = 0
        process = FORK.Process(target=run)
        process.start()
        return process

    def undisturbed(self) -> float:
        """Render in one run; return the seconds."""
        began = time.monotonic()
        process = self.render(self.whole)
        process.join()
        assert process.exitcode == 0
        return time.monotonic() - began

    def once(self, seconds: float) -> tuple[bool, float]:
        """Whether the frames are the same after a kill, and what was lost."""
        is_killed = False
        while not is_killed:  # again if it was finished already
            self.output.unlink(missing_ok=True)
            process = self.render(self.output)
            process.join(random.uniform(0, seconds))
            is_killed = process.is_alive()
            process.kill()
            process.join()
        lost = self._lost()
        process = self.render(self.output)
        process.join()
        return process.exitcode == 0 and self._is_same(), lost

    def _is_same(self) -> bool:
        """Compare the frames in a fork: this process must have no threads of decoders when it forks again."""
        process = FORK.Process(target=lambda: sys.exit(compare_videos(self.whole, self.output)[0] is not None))
        process.start()
        process.join()
        return process.exitcode == 0

    def _lost(self) -> float:
        """What had been computed and is not in the work folder."""
        work, done, frames = work_path(self.output), self.done.value, self.options["frames"]
        if not work.is_dir():
            return float(done)
        stored = segment_start(len(list(work.glob("segment-*.npz"))), self.options["fps"])
        steps = self.options.get("steps", 0)
        windows = self.total.value - frames if steps else 0
        if done >= windows and (windows or not steps):
            return max(0.0, done - windows - stored)
        latents = work / "latents-0.safetensors"
        state = DenoiserState.from_bytes(latents.read_bytes()) if latents.exists() else None
        return done / (windows / steps) - (state.step if state else 0)


def kills(folder: Path, preset: str, count: int) -> None:
    killed = Killed(folder, TINY if preset == "tiny" else MESH)
    seconds = killed.undisturbed()
    results = []
    for number in range(count):
        results.append(killed.once(seconds))
        print(f"{number + 1}: same frames {results[-1][0]}, lost {results[-1][1]:.2f}", flush=True)
    same = sum(is_same for is_same, _ in results)
    print(
        f"{preset}: same frames after {same} of {count}; most lost {max(lost for _, lost in results):.2f}", flush=True
    )


def cost(folder: Path, rounds: int) -> None:
    """CPU time with a work folder relative to that without, rounds alternating; bytes kept relative to the video."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    output = folder / "cost.mp4"
    engine = api.load("mesh")
    for number in range(2 * rounds + 2):
        keeps = number % 2 == 1
        shutil.rmtree(work_path(output), ignore_errors=True)
        began = time.process_time()
        work = WorkOptions(keep=True) if keeps else None
        given: dict[str, Any] = {"size": 512, "frames": 250, "workers": 1}
        api.animate(demo_portrait(), demo_voice(), output=output, engine=engine, work=work, **given)
        if number > 1:  # the first pair warms up
            seconds[keeps].append(time.process_time() - began)
    kept = sum(path.stat().st_size for path in work_path(output).iterdir())
    ratios = [a / b for a, b in zip(seconds[True], seconds[False], strict=True)]
    print(f"CPU with a work folder, relative to none: {', '.join(f'{ratio:.3f}' for ratio in ratios)}")
    print(f"medians: {median(seconds[True]) / median(seconds[False]):.3f}; kept: {kept / output.stat().st_size:.2f}")


def span(folder: Path) -> None:
    """A span with another option against a whole render with that option; mesh and tiny, seconds 2 to 4."""
    strong = {"guidance_scale": 2.5}
    for options, changed in (
        (MESH | {"fps": 25, "frames": 150, "size": 256}, {"mouth_strength": 1.4}),
        (TINY | {"fps": 10, "frames": 60, "steps": 4, "guidance_scale": 2}, strong),
    ):
        name, first, last = options["preset"], *((50, 100) if options["preset"] == "mesh" else (20, 40))
        output, whole = folder / f"{name}.mp4", folder / f"{name}-whole.mp4"

        def animate(to: Path, work: WorkOptions | None, **more: Any) -> np.ndarray[Any, Any]:
            given = {**options, **more}  # noqa: B023 - called in this round only
            api.animate(demo_portrait(), demo_voice(), output=to, work=work, **given)
            return np.stack([pixels for _, pixels in read_video(to).frames()]).astype(np.float32)

        before = animate(output, WorkOptions(keep=True))
        after = animate(output, WorkOptions(start=2, end=4), **changed)
        other = animate(whole, None, **changed)
        outside = np.r_[0:first, last : len(before)]
        steps, usual = (np.abs(np.diff(frames, axis=0)).mean((1, 2, 3)) for frames in (after, before))
        seams = [steps[at - 1] - usual[at - 1] for at in (first, last)]
        print(
            f"{name}: outside {'equal' if (after[outside] == before[outside]).all() else 'differs'}; inside "
            f"{np.abs(after[first:last] - other[first:last]).mean():.2f} grey values from a whole render, which is "
            f"{np.abs(other[first:last] - before[first:last]).mean():.2f} from the video before; the change from frame "
            f"to frame at the seams is {seams[0]:+.2f} and {seams[1]:+.2f} from that of the video before",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "cost", "span"))
    parser.add_argument("--preset", choices=("mesh", "tiny"), default="mesh")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)  # threads do not survive a fork
    with tempfile.TemporaryDirectory() as name:
        if given.what == "kills":
            kills(Path(name), given.preset, given.kills)
        elif given.what == "cost":
            cost(Path(name), given.rounds)
        else:
            span(Path(name))


if __name__ == "__main__":
    sys.exit(main())

"""One clip by several processes: the latents and frames of one; only the first writes; a process that dies."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from echomimic import api
from echomimic.diffusion.denoise import Conditions, Denoiser, SamplingConfig
from echomimic.diffusion.engine import DiffusionEngine
from echomimic.diffusion.networks import Networks, tiny_networks
from echomimic.diffusion.ranks import Ranks
from echomimic.files import work_path
from echomimic.options import WorkOptions
from echomimic.presets import find_preset
from echomimic.replay import compare_videos
from echomimic.types import Picture

TINY: dict[str, Any] = {
    "size": 64,
    "fps": 10,
    "frames": 18,
    "steps": 2,
    "context_frames": 8,
    "context_overlap": 2,
    "dtype": "float32",
    "device": "cpu",
}


class ThreadRanks(Ranks):
    """Ranks that are threads of this process, which exchange values in memory."""

    @classmethod
    def of(cls, count: int) -> "list[ThreadRanks]":
        barrier, sent = threading.Barrier(count, timeout=600), [None] * count
        ranks = [cls(rank, count) for rank in range(count)]
        for one in ranks:
            vars(one).update(barrier=barrier, sent=sent)
        return ranks

    def exchange(self, value: Any) -> list[Any]:
        barrier, sent = vars(self)["barrier"], vars(self)["sent"]
        sent[self.rank] = value
        barrier.wait()
        values = list(sent)
        barrier.wait()
        return values

    def join(self, device: torch.device) -> None:
        pass

    def add_up(self, tensor: Tensor) -> None:
        tensor.copy_(sum(self.exchange(tensor.clone())))

    def broadcast(self, data: bytes = b"") -> bytes:
        return bytes(self.exchange(data)[0])

    def gather(self, pictures: Sequence[Picture], most: int, like: tuple[int, ...]) -> list[Picture]:
        return [picture for some in self.exchange(pictures) for picture in some if self.is_first]


def by_threads(count: int, work: Callable[[Ranks], None]) -> None:
    """Run `work` once for each rank."""
    threads = [threading.Thread(target=work, args=(ranks,)) for ranks in ThreadRanks.of(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.fixture(scope="module")
def networks(kept_networks: None) -> Iterator[Networks]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("echomimic.diffusion.networks.TINY_WIDTHS", (32,))
        yield tiny_networks(find_preset("tiny"))


@pytest.mark.parametrize(("frames", "counts"), [(20, (2, 4)), (6, (2,))])
def test_all_ranks_have_the_latents_of_one_process(networks: Networks, frames: int, counts: tuple[int, ...]) -> None:
    config = SamplingConfig(steps=2, guidance_scale=2.5, size=8, overlap=3)
    noise = torch.randn(frames, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    audio = torch.randn(frames, 50, 384, generator=torch.Generator().manual_seed(1))
    found: dict[int, Tensor] = {}

    def denoise(ranks: Ranks) -> None:
        def conditions(index: Sequence[int]) -> Conditions:
            return Conditions(audio[list(index)])

        with torch.inference_mode():
            *_, found[ranks.rank] = Denoiser(networks.denoising, conditions, config, torch.float32, ranks).run(noise)

    denoise(Ranks())
    one = found.pop(0)
    assert one.abs().max() > 0.5
    for count in counts:
        by_threads(count, denoise)
        assert len(found) == count
        for rank in range(count):
            assert (found.pop(rank) - one).abs().max() <= 1e-6


class CutOff(BaseException):
    """Stops a render; like a kill it is not an error of the package."""


def test_a_render_of_one_process_is_resumed_by_two_and_its_span_is_rendered_again_by_two(
    networks: Networks, head_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    output, whole = tmp_path / "ranks.mp4", tmp_path / "one.mp4"

    def engine(ranks: Ranks) -> DiffusionEngine:
        return DiffusionEngine(find_preset("tiny"), networks=networks, ranks=ranks)

    def stop(done: int, total: int) -> None:
        if (work_path(output) / "latents-0.safetensors").exists():
            raise CutOff

    with pytest.raises(CutOff):
        api.animate(head_file, voice_file, output=output, engine=engine(Ranks()), progress=stop, **TINY)
    notes: list[str] = []
    changes: dict[str, Any] = {}

    def render(ranks: Ranks) -> None:
        if not ranks.is_first:
            return api.assist(head_file, voice_file, engine=engine(ranks), **TINY, **changes)
        clip = api.animate(head_file, voice_file, output=output, engine=engine(ranks), work=work, **TINY, **changes)
        notes.extend(clip.notes)
        ranks.broadcast()
        return None

    work = WorkOptions(keep=True)
    by_threads(2, render)
    api.animate(head_file, voice_file, output=whole, engine=engine(Ranks()), work=work, **TINY)
    assert "resumes after step 1 of 2" in notes
    assert compare_videos(whole, output) == (None, 0.0)
    work, changes["seed"] = WorkOptions(start=1), 5
    by_threads(2, render)
    api.animate(head_file, voice_file, output=whole, engine=engine(Ranks()), work=work, **TINY, **changes)
    assert "frames 10 to 17 are rendered again: a video is cut at whole seconds" in notes
    assert compare_videos(whole, output) == (None, 0.0)


DYING = """
import os, signal, sys, time
from pathlib import Path
from echomimic.apps.cli.main import main
from echomimic.diffusion import networks
from echomimic.diffusion.ranks import Ranks
from echomimic.files import work_path

networks.TINY_WIDTHS = (32,)
calls, gather = [], Ranks.gather

def die(self, *args):
    calls.append(0)
    if len(calls) == 3 and not self.is_first:
        segment = work_path(Path(sys.argv[sys.argv.index("-o") + 1])) / "segment-000000.npz"
        until = time.monotonic() + 60
        while not segment.exists() and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return gather(self, *args)

Ranks.gather = die
main()
"""
"""The command line with smaller networks; processes that are not the first die when 16 frames are decoded and a segment
is written."""


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_a_process_of_torchrun_that_dies_ends_the_others_in_one_line_and_one_process_resumes(
    networks: Networks, head_file: Path, voice_file: Path, tmp_path: Path
) -> None:
    output, whole, script = tmp_path / "two.mp4", tmp_path / "one.mp4", tmp_path / "dying.py"
    script.write_text(DYING)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    command = ["animate", str(head_file), str(voice_file), "-o", str(output), "--preset=tiny", *flags]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script), *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    # torchrun stops the first process as soon as it notices that the second has died
    assert line.startswith(("error: another process of torchrun ended", "error: stopped; ")), line
    assert "_Stopped" not in done.stderr
    assert not output.exists() and (work_path(output) / "segment-000000.npz").exists()
    engine = DiffusionEngine(find_preset("tiny"), networks=networks)
    clip = api.animate(head_file, voice_file, output=output, engine=engine, **TINY)
    assert "resumes at frame 10 of 18" in clip.notes
    api.animate(head_file, voice_file, output=whole, engine=engine, **TINY)
    mean = compare_videos(whole, output)[1]
    assert mean is not None and mean <= 0.01

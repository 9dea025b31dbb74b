"""The benchmarks of training in miniature: bytes kept for the backward pass, and one step of a stage."""

import sys
from dataclasses import replace
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from echomimic.train.diffusion.trainee import select_parameters
from helpers.training_samples import CONFIG

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def load(name: str) -> ModuleType:
    spec = util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_kept_bytes_grow_with_the_batch_and_shrink_with_checkpointing() -> None:
    memory = load("training_memory")
    sizes: dict[int, int] = {}
    for clips in (1, 4):
        trainee = memory.meta_trainee(CONFIG)
        select_parameters(trainee, "all")
        kept = memory.kept_by_step(trainee, memory.meta_batch(clips, 3, 64, CONFIG))
        sizes[clips] = kept.plain
        assert 0 < kept.checkpointed < 0.7 * kept.plain
    assert sizes[4] == pytest.approx(4 * sizes[1], rel=0.05)


def test_counted_bytes_are_those_that_autograd_keeps() -> None:
    memory = load("training_memory")
    layer, x = torch.nn.Linear(8, 16), torch.zeros(4, 8)
    with memory.counted((layer,)) as kept:
        torch.relu(layer(x))
    assert kept.plain == 4 * 4 * 8 + 4 * 4 * 16  # the input of the layer, and the result of relu; not the weight


def test_a_stage_is_measured_and_what_is_not_installed_says_so(tmp_path: Path) -> None:
    gpu = load("training_gpu")
    device, case = torch.device("cpu"), gpu.Case("v1-stage2", 1, True)
    found = gpu.measure(case, True, device, steps=2)
    assert found.milliseconds > 0 and found.gib is None and "v1-stage2 | 1 | adamw | on" in gpu.line(found)
    missing = gpu.measure(replace(case, optimizer="adamw8bit"), True, device, steps=2)
    assert missing.milliseconds is None and "train-gpu" in gpu.line(missing)
    late = list(gpu.results(True, device, -1.0, [case]))
    assert late[0].note == "no time left"

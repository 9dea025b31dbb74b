"""Runs of `echomimic` in processes of their own, forked from one that has imported PyTorch: each starts at once."""

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.waiting import PATIENCE

CONTEXT: Any = multiprocessing.get_context("forkserver")
MODULES = (
    "torch",
    "torch._dynamo",
    "accelerate",
    "echomimic.train.diffusion.run",
    "echomimic.media",
    "echomimic.apps.cli.main",
)


def start_run(
    arguments: Sequence[str], output: Path, environment: dict[str, str] | None = None, file_size: int | None = None
) -> Any:
    """Start a run whose output goes to a file, and return its process; no file may grow beyond `file_size` bytes."""
    CONTEXT.set_forkserver_preload(list(MODULES))
    process = CONTEXT.Process(target=_main, args=([*arguments], output, environment or {}, file_size), daemon=True)
    process.start()
    return process


def wait_for_runs(processes: Sequence[Any]) -> list[int]:
    """The exit codes of runs that belong together: if one fails or takes too long, the others are killed."""
    end = time.monotonic() + PATIENCE
    while any(process.is_alive() for process in processes):
        if any(process.exitcode for process in processes) or time.monotonic() > end:
            for process in processes:
                process.kill()
        for process in processes:
            process.join(0.05)
    return [process.exitcode for process in processes]


def _main(arguments: list[str], output: Path, environment: dict[str, str], file_size: int | None) -> None:
    import torch

    from echomimic.apps.cli.main import main

    torch.set_num_threads(1)
    os.environ.update(environment)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(descriptor, stream.fileno())
    if file_size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    main(arguments)

"""Where work is done: in this process, in processes of this machine, or on a Ray cluster."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from echomimic.parallel.cluster import run_ray
from echomimic.parallel.pool import run_pool
from echomimic.parallel.worker import Arguments, Worker


@dataclass(frozen=True)
class Runner:
    """Works with `workers` processes (0: this one), or with actors of the Ray cluster at `ray`: see `run_ray`.

    Each may use `threads` threads, and on a cluster `gpus` GPUs.
    """

    workers: int = 1
    ray: str = ""
    threads: int = 1
    gpus: float = 0

    def __call__(self, worker: type[Worker], arguments: Arguments, items: Sequence[str], shared: Path) -> Iterator[str]:
        """Outcomes of the items as they are finished; `shared` is a folder that all machines of a cluster can write."""
        if not items:
            return
        if self.ray:
            yield from run_ray(worker, arguments, items, self.ray, self.workers, shared, self.threads, self.gpus)
        else:
            yield from run_pool(worker, arguments, items, self.workers, self.threads)

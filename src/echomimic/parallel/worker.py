"""What works on the items: one class, of which each process of a pool and each actor of Ray makes its own."""

import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar

MOST_ATTEMPTS = 2
"""An item that has killed its process so often is given up."""

Arguments = tuple[Any, ...]
"""Arguments with which each process makes its worker; they can be pickled."""


class Worker(ABC):
    """Works on items, one at a time; items and outcomes are JSON texts.

    `number` is the number of the process in its pool, from 0; `threads` is how many threads it may use.
    """

    items_per_process: ClassVar[int] = 50
    """Items after which a process is replaced, so that leaks of libraries do not add up."""
    number: int = 0
    threads: int = 1

    @abstractmethod
    def run(self, text: str) -> str:
        """The outcome of an item. Raises only what must stop the others, such as an OutputError of a full disk."""

    @abstractmethod
    def crashed(self, text: str) -> str:
        """The outcome of an item that has killed its process `MOST_ATTEMPTS` times."""


def available_cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(worker: Worker, number: int, threads: int) -> Worker:
    """The worker with its number, in a process whose libraries compute with `threads` threads."""
    import cv2

    cv2.setNumThreads(threads)
    worker.number, worker.threads = number, threads
    return worker

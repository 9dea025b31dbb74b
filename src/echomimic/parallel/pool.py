"""Work in processes of this machine, each of which has a queue of neighbouring items."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise

from echomimic.parallel.worker import MOST_ATTEMPTS, Arguments, Worker, limit_threads

_Make = Callable[[], Worker]
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_worker: Worker | None = None


def run_pool(
    worker: type[Worker], arguments: Arguments, items: Sequence[str], workers: int, threads: int = 1
) -> Iterator[str]:
    """Outcomes of the items as they are finished, by `workers` processes; with 0 by this process.

    Neighbouring items go to the same process, which can reuse what it has prepared; a process without items takes over
    some of another. If a process dies, its item is tried once more, and then given up.
    """
    make = partial(worker, *arguments)
    here = make()
    if workers == 0:
        yield from map(limit_threads(here, 0, threads).run, items)
        return
    queues = _blocks(items, min(workers, len(items)))
    deaths: Counter[str] = Counter()
    running: dict[Future[str], tuple[int, str]] = {}
    with _processes(make, len(queues), threads, worker.items_per_process) as processes:

        def start(number: int) -> None:
            item = _next(queues, number)
            if item is not None:
                running[processes[number].submit(item)] = number, item

        for number in range(len(queues)):
            start(number)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, item = running.pop(future)
                outcome: str | None = None
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    deaths[item] += 1
                    if deaths[item] < MOST_ATTEMPTS:
                        queues[number].appendleft(item)
                    else:
                        outcome = here.crashed(item)
                start(number)
                if outcome is not None:
                    yield outcome


def _blocks(items: Sequence[str], count: int) -> list[deque[str]]:
    """The items in `count` queues of neighbours, as long as each other."""
    ends = [len(items) * number // count for number in range(count + 1)]
    return [deque(items[start:end]) for start, end in pairwise(ends)]


def _next(queues: list[deque[str]], number: int) -> str | None:
    """The next item of a process: of its own queue, else the last of the longest; None if all are empty."""
    if queues[number]:
        return queues[number].popleft()
    longest = max(queues, key=len)
    return longest.pop() if longest else None


class _Process:
    """A process that is replaced when it has died, or after `items` items."""

    def __init__(self, make: _Make, number: int, threads: int, items: int) -> None:
        self._arguments, self._threads, self._items = (make, number, threads), threads, items
        self._executor: ProcessPoolExecutor | None = None
        self._left = 0

    def submit(self, item: str) -> "Future[str]":
        """Begin an item; the one before must be finished."""
        if self._executor is not None and self._left > 0:
            with suppress(BrokenProcessPool):
                return self._send(self._executor, item)
        self.close()
        context = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(1, context, initializer=_start, initargs=self._arguments)
        self._left = self._items
        return self._send(self._executor, item)

    def _send(self, executor: ProcessPoolExecutor, item: str) -> "Future[str]":
        self._left -= 1
        with _thread_variables(self._threads):
            return executor.submit(_run, item)

    def close(self, *, wait: bool = False) -> None:
        """Let the process end, and `wait` for it."""
        if self._executor is not None:
            self._executor.shutdown(wait=wait, cancel_futures=True)


@contextmanager
def _processes(make: _Make, count: int, threads: int, items: int) -> Iterator[list[_Process]]:
    """Processes that end at once if the block is left by an exception, such as Ctrl-C."""
    before = set(multiprocessing.active_children())
    processes = [_Process(make, number, threads, items) for number in range(count)]
    try:
        yield processes
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        for process in processes:
            process.close()
        raise
    for process in processes:
        process.close(wait=True)


@contextmanager
def _thread_variables(threads: int) -> Iterator[None]:
    """Let processes that start inside the block compute with `threads` threads."""
    known = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in known.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start(make: _Make, number: int, threads: int) -> None:
    """Set up a process. It is stopped by its parent, not by Ctrl-C, removes its unfinished files, and ends with it."""
    global _worker  # noqa: PLW0603 - the state of a process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = limit_threads(make(), number, threads)


def _end_with_parent() -> None:
    """Stop this process when its parent has died, of whatever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _run(item: str) -> str:
    assert _worker is not None
    return _worker.run(item)

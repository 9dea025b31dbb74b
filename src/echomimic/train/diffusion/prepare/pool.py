"""Run the preparation in processes of this machine."""

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any

from echomimic.train.diffusion.prepare.worker import MOST_ATTEMPTS, Arguments, Outcome, Prepare, decode_outcome

_Make = Callable[[], Prepare]
_TASKS = 50
"""Videos after which a worker is replaced, so that leaks of libraries do not add up (from Python 3.11 on)."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_worker: Prepare | None = None


def run_pool(worker: type[Prepare], arguments: Arguments, items: Sequence[str], workers: int) -> Iterator[Outcome]:
    """Outcomes of the items (JSON) as they are finished; with 0 workers in this process.

    If a worker dies, the videos that were in work are prepared again one by one, so that only the one to blame is
    dropped, after it has killed a worker of its own twice.
    """
    make = partial(worker, *arguments)
    here = make()
    if workers == 0:
        yield from (decode_outcome(here.one(item)) for item in items)
        return
    todo: deque[str] = deque(items)
    while todo:
        suspects: list[str] = []
        yield from _round(make, todo, workers, suspects)
        for item in suspects:
            here.forget_attempts(item)
            yield from _alone(make, here, item)


def _alone(make: _Make, here: Prepare, item: str) -> Iterator[Outcome]:
    """The outcome of an item in a worker of its own, which may die `MOST_ATTEMPTS` times."""
    for _ in range(MOST_ATTEMPTS):
        died: list[str] = []
        yield from _round(make, deque([item]), 1, died)
        if not died:
            return
    yield decode_outcome(here.one(item))  # not prepared any more: it was tried too often


def _round(make: _Make, todo: deque[str], workers: int, suspects: list[str]) -> Iterator[Outcome]:
    """Work until `todo` is empty or a worker has died; `suspects` receives the items that were in work then."""
    running: dict[Future[str], str] = {}
    with _executor(make, min(workers, len(todo))) as executor:
        while todo or running:
            while todo and len(running) < workers:
                item = todo.popleft()
                running[executor.submit(_work, item)] = item
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                try:
                    yield decode_outcome(future.result())
                except BrokenProcessPool:
                    suspects.append(item)
            if suspects:
                suspects += [item for future, item in running.items() if not _is_finished(future)]
                yield from [decode_outcome(future.result()) for future in running if _is_finished(future)]
                return


def _is_finished(future: "Future[str]") -> bool:
    """Whether a future has a result; waits for the pool to fail the others."""
    return future.exception() is None


@contextmanager
def _executor(make: _Make, workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose workers end at once if the block is left by an exception, such as Ctrl-C."""
    more: dict[str, Any] = {"max_tasks_per_child": _TASKS} if sys.version_info >= (3, 11) else {}
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(make,), **more)
    with _one_thread_each():
        try:
            yield executor
        except BaseException:
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        executor.shutdown()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that start inside the block compute with one thread."""
    known = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in known.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start(make: _Make) -> None:
    """Set up a worker: the run is stopped by its parent, not by Ctrl-C."""
    import cv2

    global _worker  # noqa: PLW0603 - the state of a worker process
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _worker = make()


def _work(item: str) -> str:
    assert _worker is not None
    return _worker.one(item)

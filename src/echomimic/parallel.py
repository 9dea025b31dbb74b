"""Work on many items in several processes: of this machine, or of a Ray cluster; and the manifests that name them.

On a cluster, actors of a worker's class write to a folder that all machines share; only JSON passes through Ray's
object store. Ray restarts an actor that dies and gives it the item again; an item that has killed `MOST_ATTEMPTS`
actors is reported as crashed by the next one.
"""

import csv
import hashlib
import json
import logging
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from echomimic.errors import DeviceError, EchoMimicError, InputError, OptionError, SetupError
from echomimic.installation import missing_package
from echomimic.media.output import writing

_DELIMITERS = ",;\t"


def read_rows(path: Path, accepted: str) -> list[tuple[int, Mapping[str, object]]]:
    """The rows of a .csv or .jsonl file with their numbers, from 1; empty lines are left out.

    The cells of a CSV, which may be separated by commas, semicolons or tabs, are texts. Raises InputError, whose
    message says what is `accepted`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _json_rows(text, path, accepted) if path.suffix.lower() == ".jsonl" else _csv_rows(text)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); expected {accepted}") from None
    except (ValueError, csv.Error):
        raise InputError(f"{path} is not a readable manifest; expected {accepted}") from None


def _csv_rows(text: str) -> list[tuple[int, Mapping[str, object]]]:
    header = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=header.count)
    rows = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    return [(number, row) for number, row in enumerate(rows, 1) if any(row.values())]


def _json_rows(text: str, path: Path, accepted: str) -> list[tuple[int, Mapping[str, object]]]:
    rows: list[tuple[int, Mapping[str, object]]] = []
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        row = None
        with suppress(ValueError):
            row = json.loads(line)
        if isinstance(row, dict):
            rows.append((number, row))
        elif line:
            raise InputError(f"row {number} of {path} is {line!r:.60}, not a JSON object; expected {accepted}")
    return rows


def parse_shard(text: str) -> tuple[int, int]:
    """Number and count of a shard "i/n". Raises OptionError for anything else."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise OptionError(f"shard {text!r}; expected i/n with i from 1 to n, such as 1/4")
    return int(number), int(count)


MOST_ATTEMPTS = 2
"""Number of processes that an item may kill before it is reported as crashed."""

Arguments = tuple[Any, ...]
"""Arguments with which each process makes its worker; they can be pickled."""


class Worker(ABC):
    """Works on items, one at a time; items and outcomes are JSON texts.

    `number` is the number of the process in its pool, from 0; `threads` is how many threads it may use.
    """

    items_per_process: ClassVar[int] = 50
    """Number of items after which a process is replaced, so that memory leaks of libraries do not accumulate."""
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


_Make = Callable[[], Worker]
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_worker: Worker | None = None


def run_pool(
    worker: type[Worker], arguments: Arguments, items: Sequence[str], workers: int, threads: int = 1
) -> Iterator[str]:
    """Yield the outcomes of the items, in the order of completion, from `workers` processes; with 0 from this process.

    Neighbouring items go to the same process, which can reuse what it has prepared; a process without items takes over
    some of another. If a process dies, its item is tried once more, and then reported as crashed.
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
    """The items in `count` queues of neighbours, of equal length."""
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
    """A set of processes that end at once if the block is left by an exception, such as Ctrl-C."""
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
    """Make processes that start inside the block compute with `threads` threads."""
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
    """Stop this process when its parent has died, for any reason."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _run(item: str) -> str:
    assert _worker is not None
    return _worker.run(item)


LOCAL = "local"
"""The address that starts a cluster on this machine during the run."""
_ANSWER_SECONDS = 10.0
_BLOCKS = 10_000
"""Maximum number of blocks of Ray's data set; if an actor dies, its block is repeated."""


class Actor:
    """A worker in an actor of Ray; it counts attempts at each item in the folder `attempts`, which machines share."""

    def __init__(self, worker: type[Worker], arguments: Arguments, attempts: str, threads: int) -> None:
        self._worker, self._attempts = limit_threads(worker(*arguments), 0, threads), Path(attempts)

    def __call__(self, batch: dict[str, Sequence[str]]) -> dict[str, list[str]]:
        """Work on a batch of Ray Data: a column `item` of JSON gives a column `outcome` of JSON."""
        return {"outcome": [self._run(str(text)) for text in batch["item"]]}

    def _run(self, text: str) -> str:
        attempts = self._attempts / hashlib.sha256(text.encode()).hexdigest()
        if attempts.exists() and attempts.stat().st_size >= MOST_ATTEMPTS:
            return self._worker.crashed(text)
        with writing(), attempts.open("ab") as file:
            file.write(b".")
        outcome = self._worker.run(text)
        attempts.unlink(missing_ok=True)
        return outcome


def run_ray(
    worker: type[Worker],
    arguments: Arguments,
    items: Sequence[str],
    address: str,
    actors: int,
    shared: Path,
    threads: int = 1,
    gpus: float = 0,
) -> Iterator[str]:
    """Yield the outcomes of the items, in the order of completion, from up to `actors` actors of a Ray cluster.

    With `actors` 0 there are as many as fit the cluster. `address` is that of a cluster, as for `ray.init`, or "local";
    each actor gets `threads` CPUs and `gpus` GPUs; all machines can write the folder `shared`. Raises SetupError if Ray
    is missing or cannot be reached, DeviceError if the cluster lacks what an actor needs.
    """
    with connect(address, actors * threads) as ray, _attempts_folder(shared) as attempts:
        most = actors or _actors_that_fit(ray.cluster_resources(), threads, gpus)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        rows = ray.data.from_items([{"item": item} for item in items], override_num_blocks=min(len(items), _BLOCKS))
        outcomes = rows.map_batches(
            Actor,
            batch_size=1,
            fn_constructor_args=(worker, arguments, str(attempts), threads),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(items))),
            num_cpus=threads,
            num_gpus=gpus or None,
        )  # actors that die are restarted; each counts the attempts of an item in the shared folder
        try:
            yield from (row["outcome"] for row in outcomes.iter_rows())
        except ray.exceptions.RayError as error:
            raise _in_one_line(error) from None


def _actors_that_fit(resources: dict[str, float], threads: int, gpus: float) -> int:
    """How many actors the cluster has room for. Raises DeviceError if there is room for none."""
    if gpus and resources.get("GPU", 0) < gpus:
        raise DeviceError(
            f"each actor needs {gpus:g} GPU and the Ray cluster has {resources.get('GPU', 0):g}; expected a cluster "
            "with GPUs: add some, or use `device` cpu"
        )
    room = [resources.get("CPU", 1) / threads, *([resources["GPU"] / gpus] if gpus else [])]
    return max(1, int(min(room)))


@contextmanager
def _attempts_folder(shared: Path) -> Iterator[Path]:
    """A folder in `shared` that exists during a run."""
    folder = shared.resolve() / f".attempts-{secrets.token_hex(4)}"
    with writing():
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_answers(address: str) -> None:
    """Raise SetupError if nothing answers at "host:port" or "ray://host:port"; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or "no answer"
        raise SetupError(f"no Ray cluster at {address!r} ({why}); expected its address, or {LOCAL!r}") from None


def _in_one_line(error: BaseException) -> EchoMimicError:
    """The error of this package that a worker raised, else Ray's own message in one line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EchoMimicError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    why = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
    return DeviceError(f"the Ray cluster failed ({why.strip()[:200]}); what is finished is kept: run the command again")


@contextmanager
def connect(address: str, cpus: int = 0) -> Iterator[Any]:
    """The module `ray`, connected to a cluster; a connection that exists already is used and kept.

    A local cluster has `cpus` CPUs (0: as many as there are). Raises SetupError.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SetupError(missing_package(error.name, "cluster", "spreads work over machines")) from None
    if ray.is_initialized():
        yield ray
        return
    _check_answers(address)
    where: dict[str, Any] = {"address": address}
    if address == LOCAL:
        modules = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
        where = {"num_cpus": cpus or None, "include_dashboard": False, "runtime_env": modules}
    try:
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of any class: Ray raises plain ones where a node does not start in time
        why = " ".join(str(error).split())[:200]
        raise SetupError(f"no Ray cluster at {address!r} ({why}); expected its address, or {LOCAL!r}") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


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
        """Yield the outcomes in the order of completion; all machines of a cluster can write to the folder `shared`."""
        if not items:
            return
        if self.ray:
            yield from run_ray(worker, arguments, items, self.ray, self.workers, shared, self.threads, self.gpus)
        else:
            yield from run_pool(worker, arguments, items, self.workers, self.threads)


__all__ = ["LOCAL", "Runner", "Worker", "available_cores", "connect", "parse_shard", "read_rows"]

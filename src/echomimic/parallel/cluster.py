"""Work on a cluster, with Ray Data: actors of a worker's class write to a folder that all machines share.

Only JSON passes through Ray's object store. Ray restarts an actor that dies and gives it the item again; an item that
has killed `MOST_ATTEMPTS` actors is given up by the next one.
"""

import hashlib
import logging
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from echomimic.errors import DeviceError, EchoMimicError, SetupError
from echomimic.installation import missing_package
from echomimic.media.output import writing
from echomimic.parallel.worker import MOST_ATTEMPTS, Arguments, Worker, limit_threads

LOCAL = "local"
"""The address that starts a cluster on this machine for the time of the run."""
_ANSWER_SECONDS = 10.0
_BLOCKS = 10_000
"""Most parts that Ray keeps account of; a part is what is given again if an actor dies."""


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
    """Outcomes of the items as they are finished, by up to `actors` actors of the cluster (0: as many as fit it).

    `address` is that of a cluster, as for `ray.init`, or "local"; each actor gets `threads` CPUs and `gpus` GPUs; all
    machines can write the folder `shared`. Raises SetupError if Ray is missing or not reached, DeviceError if the
    cluster lacks what an actor needs.
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
            max_restarts=-1,
            max_task_retries=MOST_ATTEMPTS + 1,
        )
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
    """A folder in `shared` for the time of a run."""
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
    """The error of this package that a worker raised, else what Ray says."""
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

"""Run the preparation on a cluster, with Ray Data: actors of the same class write to a folder that all machines share.

Only JSON passes through Ray's object store. Ray restarts an actor that dies and gives it the video again; a video that
has killed `MOST_ATTEMPTS` actors is dropped by the next one.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from echomimic.errors import DeviceError, EchoMimicError, SetupError
from echomimic.installation import missing_package
from echomimic.train.diffusion.prepare.worker import MOST_ATTEMPTS, Arguments, Outcome, Prepare, decode_outcome

LOCAL = "local"
"""The address that starts a cluster on this machine for the time of the run."""
_BLOCKS = 10_000
"""Most parts that Ray keeps account of; a part is what is given again if an actor dies."""


def run_ray(
    worker: type[Prepare], arguments: Arguments, items: Sequence[str], address: str, actors: int
) -> Iterator[Outcome]:
    """Outcomes of the items (JSON) as they are finished, by up to `actors` actors of the cluster (0: one for each CPU).

    `address` is that of a cluster, as for `ray.init`, or "local". Raises SetupError if Ray is missing or not reached.
    """
    with _connected(address, actors) as ray:
        most = actors or max(1, int(ray.cluster_resources().get("CPU", 1)))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        rows = ray.data.from_items([{"item": item} for item in items], override_num_blocks=min(len(items), _BLOCKS))
        outcomes = rows.map_batches(
            worker,
            batch_size=1,
            fn_constructor_args=arguments,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(items))),
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=MOST_ATTEMPTS + 1,
        )
        try:
            yield from (decode_outcome(row["outcome"]) for row in outcomes.iter_rows())
        except ray.exceptions.RayError as error:
            raise _in_one_line(error) from None


def _in_one_line(error: BaseException) -> EchoMimicError:
    """The error of this package that a worker raised, else what Ray says."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EchoMimicError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    why = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
    return DeviceError(f"the Ray cluster failed ({why.strip()[:200]}); finished videos are kept: run the command again")


@contextmanager
def _connected(address: str, actors: int) -> Iterator[Any]:
    """The module `ray`, connected to a cluster; a connection that exists already is used and kept."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SetupError(missing_package(error.name, "cluster", "spreads work over machines")) from None
    if ray.is_initialized():
        yield ray
        return
    where: dict[str, Any] = {"address": address}
    if address == LOCAL:
        modules = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
        where = {"num_cpus": actors or None, "include_dashboard": False, "runtime_env": modules}
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

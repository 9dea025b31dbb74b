"""Share the work of one clip among the processes ("ranks") that torchrun started.

The windows of each denoising step are dealt to the ranks, which exchange the velocities, so that each has the latents
of the whole clip. Frames are decoded by all and gathered by the first, which has the work folder and yields them.
"""

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from echomimic.errors import DeviceError
from echomimic.types import Picture


@dataclass(frozen=True)
class Ranks:
    """The number of this process, from 0, the number of processes, and the number of this one on its machine."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process yields the frames."""
        return self.rank == 0

    def device(self, device: torch.device) -> torch.device:
        """The device of this process: one of several GPUs, unless the options name one."""
        if self.count == 1 or device.type == "cpu" or ":" in str(device):
            return device
        chosen = torch.device(device.type, self.local % torch.accelerator.device_count())
        torch.accelerator.set_device_index(chosen)
        return chosen

    def owns(self, number: int) -> bool:
        """Whether this rank does a numbered piece of work."""
        return number % self.count == self.rank

    def join(self, device: torch.device) -> None:
        """Connect to the other processes: by gloo, and tensors of another device by its own backend.

        Raises DeviceError.
        """
        if self.count == 1 or dist.is_initialized():
            return
        backends = {"cpu": "gloo", device.type: dist.get_default_backend_for_device(device)}
        with _in_one_line():
            dist.init_process_group(",".join(f"{name}:{backend}" for name, backend in backends.items()))
        atexit.register(_leave)

    def add_up(self, tensor: Tensor) -> None:
        """Add to the tensor those of the other ranks."""
        if self.count > 1:
            with _in_one_line():
                dist.all_reduce(tensor)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.count == 1:
            return flag
        total = torch.tensor([float(flag)])
        self.add_up(total)
        return bool(total.item() > 0)

    def broadcast(self, data: bytes = b"") -> bytes:
        """The bytes of the first rank."""
        if self.count == 1:
            return data
        length = torch.tensor([len(data) if self.is_first else 0])
        with _in_one_line():
            dist.broadcast(length, 0)
            sent = torch.zeros(int(length.item()), dtype=torch.uint8)
            if self.is_first:
                sent.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else sent)
            if len(sent):
                dist.broadcast(sent, 0)
        return sent.numpy().tobytes()

    def gather(self, pictures: Sequence[Picture], most: int, like: tuple[int, ...]) -> list[Picture]:
        """The pictures of all ranks in their order, on the first; each rank has at most `most`, of the shape `like`."""
        own = np.zeros((most, *like), np.uint8)
        own[: len(pictures)] = np.asarray(pictures).reshape(len(pictures), *like)
        sent = torch.from_numpy(own)
        found = [torch.empty_like(sent) for _ in range(self.count)] if self.is_first else None
        with _in_one_line():
            dist.gather(sent, found)
        return [picture for tensor in found or () for picture in tensor.numpy()]


SINGLE = Ranks()
"""This process alone."""


def launched_ranks() -> Ranks:
    """What torchrun says about this process in its environment; one process without it."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    rank, count, local = (int(os.environ.get(name, default)) for name, default in zip(names, "010", strict=True))
    return Ranks(rank, count, local)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Turn the errors of torch.distributed, which name no cause, into one of this package."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise DeviceError(
            f"another process of torchrun ended, or cannot be reached ({why}); expected all of them to run: see its "
            "own error, and run the same command again",
            code="rank_lost",
        ) from None


def _leave() -> None:
    with suppress(Exception):
        dist.destroy_process_group()

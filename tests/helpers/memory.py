"""Counts the bytes of tensors that exist at the same time while something is computed, on any device."""

from collections.abc import Callable
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Alive(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[StorageWeakRef, int] = {}
        self.old: set[StorageWeakRef] = set()
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        storages = [x.untyped_storage() for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        self.old |= {StorageWeakRef(storage) for storage in storages} - self.sizes.keys()
        out = func(*args, **(kwargs or {}))
        made = [x.untyped_storage() for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        self.sizes = {ref: size for ref, size in self.sizes.items() if not ref.expired()}
        self.sizes |= {StorageWeakRef(storage): storage.nbytes() for storage in made}
        self.peak = max(self.peak, sum(size for ref, size in self.sizes.items() if ref not in self.old))
        return out


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes of new tensors that exist at the same time while `work` runs."""
    with _Alive() as alive:
        work()
    return alive.peak

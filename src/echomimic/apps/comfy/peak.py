"""How much memory a run took, of the process and of its device."""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any


class Peak:
    """The peak of a run: of the device's memory from here on, of the process's since it started.

    `device` is where the networks are, None for an engine without any.
    """

    def __init__(self, device: str | None) -> None:
        self._name = device or ""
        self._memory = _statistics(device) if device else None
        if self._memory is not None:
            self._memory.reset_peak_memory_stats(device)

    def words(self) -> str:
        """Both in one line; empty where this system tells neither."""
        said = []
        if self._memory is not None:
            said.append(f"{self._memory.max_memory_allocated(self._name) / 2**20:,.0f} MB of {self._name} in this run")
        process = process_megabytes()
        if process:
            said.append(f"{process:,.0f} MB of ComfyUI since it started")
        return "peak memory: " + ", ".join(said) if said else ""


def process_megabytes() -> float:
    """The most memory that this process has held so far; 0 where the system does not tell."""
    if find_spec("resource"):
        resource: Any = import_module("resource")
        peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
    if find_spec("psutil"):  # Windows; ComfyUI needs it too
        return float(getattr(import_module("psutil").Process().memory_info(), "peak_wset", 0)) / 2**20
    return 0.0


def _statistics(device: str) -> Any:
    """The part of torch that counts a device's memory; None for a device without a count, as the CPU."""
    counts = getattr(import_module("torch"), device.partition(":")[0], None)
    return counts if hasattr(counts, "max_memory_allocated") else None

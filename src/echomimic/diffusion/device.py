"""The device and number format of the networks, and moving them on and off the device."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from echomimic.errors import DeviceError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is the accelerator if there is one, else the CPU. Raises DeviceError."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if name == "auto":
        return found or torch.device("cpu")
    here = ["auto", "cpu"] + ([found.type] if found else [])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in here:
        raise DeviceError(
            f"device is {name!r}; this machine and this torch have {', '.join(here)}: use `device` auto",
            code="device_unknown",
        )
    if (device.index or 0) >= (torch.accelerator.device_count() if device.type != "cpu" else 1):
        raise DeviceError(
            f"device is {name!r}; this machine has {torch.accelerator.device_count()} of that kind",
            code="device_unknown",
        )
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format called `name`; `auto` is bfloat16 if the chip supports it, else float16 on accelerators."""
    if name != "auto":
        return DTYPES[name]
    if device.type == "cpu":
        return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32
    says = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    return torch.bfloat16 if says is None or says() else torch.float16


def _cpu_has_bfloat16() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name)() for name in checks if hasattr(torch.cpu, name))


def indices_on(device: torch.device, indices: Sequence[int]) -> torch.Tensor:
    """Indices as a tensor on the device; the host does not wait for the device, as it does to index with a list."""
    return torch.tensor(indices).to(device, non_blocking=True)


def picture_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The format of the autoencoder: float16 instead of bfloat16 on accelerators, since bfloat16 causes banding."""
    return torch.float16 if dtype == torch.bfloat16 and device.type != "cpu" else dtype


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device ran out of memory; every backend has its own message."""
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in words or "can't allocate memory" in words


def move(module: nn.Module, device: torch.device) -> None:
    """Move a module to a device, channels last on an accelerator."""
    with torch.inference_mode(False), torch.no_grad():  # quantized weights cannot be moved in inference mode
        if device.type == "cpu":  # weights may be mapped from their file: leave them there
            module.to(device)
        else:
            module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def resident(module: nn.Module, device: torch.device, offload: bool) -> Iterator[None]:
    """Keep the module on `device` inside the block; with `offload` it is moved to the CPU afterwards."""
    move(module, device)
    try:
        yield
    finally:
        if offload and device.type != "cpu":
            move(module, torch.device("cpu"))
            torch.get_device_module(device).empty_cache()  # torch.accelerator has none for Apple's GPUs

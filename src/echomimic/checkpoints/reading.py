"""Read checkpoint files as memory-mapped tensors, without executing code in pickles."""

import ctypes
import hashlib
import os
import pickle
import sys
from contextlib import suppress
from mmap import PAGESIZE
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echomimic.errors import SetupError, WeightsError
from echomimic.files import user_cache
from echomimic.installation import missing_package

if TYPE_CHECKING:
    from torch import Tensor

_POINTER = b"version https://git-lfs"
_BLOCK = 1 << 22
_PAGE_OUT = 21  # MADV_PAGEOUT, Linux 5.4: safe whatever the memory is
AGAIN = "fetch it again: echomimic weights fetch"


def read_tensors(path: Path, prefix: str = "") -> "dict[str, Tensor]":
    """Read the tensors of a .safetensors, .pth, .pt or .bin file, memory-mapped.

    Only those whose names begin with `prefix` are read, and it is removed from the names.

    Pickles are read with `weights_only`, so code in them is never executed. Raises WeightsError for files that are no
    checkpoints: Git LFS pointers, truncated downloads, HTML pages, pickles with code.
    """
    refuse_placeholders(path)
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    named = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if not named:
        raise WeightsError(f"{path} holds no tensors under {prefix!r}; expected the published file: {AGAIN}")
    return named


def release_pages(tensor: "Tensor") -> None:
    """Let the system reclaim the pages of a tensor that is mapped from a file and has been copied.

    Only a hint, on Linux: a tensor that is used again is read again.
    """
    if sys.platform != "linux" or tensor.device.type != "cpu":
        return
    start = -(-tensor.data_ptr() // PAGESIZE) * PAGESIZE
    length = tensor.data_ptr() + tensor.nbytes - start
    if length > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _PAGE_OUT)


def default_folder() -> Path:
    """The folder that `fetch` uses by default."""
    return user_cache("weights")


def checksum(path: Path) -> str:
    """The SHA-256 of a file, as the hub gives it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def cached_checksum(path: Path) -> str:
    """The SHA-256 of a large file, remembered for as long as its size and time of change stay."""
    status = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()
    remembered = user_cache("checksums") / key
    with suppress(OSError):
        if len(text := remembered.read_text(encoding="ascii")) == 64:
            return text
    found = checksum(path)
    with suppress(OSError):
        remembered.parent.mkdir(parents=True, exist_ok=True)
        part = remembered.with_name(f"{key}.{os.getpid()}")
        part.write_text(found, encoding="ascii")
        part.replace(remembered)
    return found


def refuse_placeholders(path: Path, fix: str = AGAIN) -> None:
    """Raise WeightsError with the advice `fix` if the first bytes show that the file is not a checkpoint."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}; {fix}") from None
    if head.startswith(_POINTER):
        raise WeightsError(f"{path} is a Git LFS pointer of {path.stat().st_size} bytes, not the file; {fix}")
    if head.lstrip()[:1] == b"<":
        raise WeightsError(f"{path} is a web page, not a checkpoint; {fix}")
    if not head:
        raise WeightsError(f"{path} is empty; {fix}")


def _read_safetensors(path: Path) -> "dict[str, Tensor]":
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise missing_tensor_package(error) from None
    try:
        return dict(load_file(path))
    except (SafetensorError, ValueError, OSError) as error:
        raise WeightsError(f"{path} is truncated or not a safetensors file ({_first_line(error)}); {AGAIN}") from None


def _read_pickle(path: Path) -> "dict[str, Tensor]":
    try:
        import torch
    except ImportError as error:
        raise missing_tensor_package(error) from None
    try:
        held = _torch_load(path)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is a pickle that asks for more than tensors ({_first_line(error)}); refused, since it may be "
            f"code: {AGAIN}"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise WeightsError(f"{path} is truncated or not a checkpoint ({_first_line(error)}); {AGAIN}") from None
    for key in ("model_state_dict", "state_dict"):
        held = held.get(key, held) if isinstance(held, dict) else held
    if not isinstance(held, dict) or not all(isinstance(value, torch.Tensor) for value in held.values()):
        raise WeightsError(f"{path} holds no state dict; expected names with tensors: {AGAIN}")
    return held


def _torch_load(path: Path) -> Any:
    """Memory-map files of the newer format (a zip archive), read others whole."""
    import torch

    with path.open("rb") as file:
        mapped = file.read(2) == b"PK"
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _first_line(error: BaseException) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0].strip()
    return text if len(text) <= 120 else text[:117] + "…"


def missing_tensor_package(error: ImportError) -> SetupError:
    """The error for a missing package that reads tensors."""
    return SetupError(missing_package(error.name, "diffusion"))

"""Checkpoints of a training run: folders of safetensors and JSON, each written completely or not at all."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from echomimic import __version__
from echomimic.errors import OptionError, OutputError, WeightsError
from echomimic.files import sync_file
from echomimic.train.diffusion.settings import TrainSettings

_PART = ".part"
_EXTRA = "objective.safetensors"


@runtime_checkable
class Stateful(Protocol):
    """An object with its own tensors in a checkpoint, such as an objective with an averaged network."""

    def state(self) -> dict[str, Tensor]:
        """The tensors by name."""
        ...

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        ...


def save_checkpoint(
    folder: Path,
    step: int,
    settings: TrainSettings,
    parameters: Mapping[str, nn.Parameter],
    average: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    extra: Stateful | None = None,
) -> Path:
    """Write `folder/steps/<step>` through a temporary folder and a rename, and delete old checkpoints.

    The newest `run.keep` and those of every `run.keep_every` steps are kept. `extra` has further tensors, such
    as an objective's. Raises OutputError if the disk is full; the older checkpoints stay.
    """
    target = folder / "steps" / f"{step:08d}"
    part = target.with_name(target.name + _PART)
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        _save(part / "model.safetensors", {name: value.detach() for name, value in parameters.items()})
        _save(part / "ema.safetensors", average)
        _save(part / "optimizer.safetensors", optimizer_tensors(parameters, optimizer))
        if extra:
            _save(part / _EXTRA, extra.state())
        state = {"step": step, "settings": settings.digest(), "torch": torch.__version__, "echomimic": __version__}
        _write_text(part / "state.json", json.dumps(state, indent=1))
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        sync_file(target.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        why = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"the checkpoint of step {step} cannot be written to {folder} ({why}); "
            "free some space and run again with --resume"
        ) from None
    for old in list_checkpoints(folder)[: -settings.run.keep]:
        if int(old.name) % settings.run.keep_every:
            shutil.rmtree(old, ignore_errors=True)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a run, the newest last."""
    return sorted(path for path in (folder / "steps").glob("*") if path.is_dir() and path.suffix != _PART)


def load_checkpoint(
    path: Path,
    settings: TrainSettings,
    parameters: Mapping[str, nn.Parameter],
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    extra: Stateful | None = None,
    *,
    force: bool = False,
) -> int:
    """Restore a run in place and return its step. Raises OptionError if it had other settings, unless `force`."""
    state = read_state(path)
    if not force and state.get("settings") != settings.digest():
        raise OptionError(f"{path} was made with other settings; expected the same to resume: start a new run folder")
    device = next(iter(parameters.values())).device
    saved = load_file(path / "model.safetensors", device=str(device))
    if saved.keys() != parameters.keys():
        raise WeightsError(f"{path} holds other parameters than this run trains; expected a checkpoint of this run")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])
        for name, tensor in load_file(path / "ema.safetensors").items():
            average[name].copy_(tensor)
    restore_optimizer(load_file(path / "optimizer.safetensors", device=str(device)), parameters, optimizer)
    if extra:
        extra.load_state(load_file(path / _EXTRA))
    return int(state["step"])


def read_state(path: Path) -> dict[str, Any]:
    """Read the state.json of a checkpoint. Raises WeightsError if the checkpoint is not whole."""
    try:
        state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise WeightsError(
            f"{path} is not a whole checkpoint; expected a folder of `train run`, such as steps/00001000"
        ) from None
    return state


def optimizer_tensors(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as tensors named `<parameter>|<entry>`, by parameter name instead of index."""
    return {
        f"{name}|{entry}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in parameters.items()
        for entry, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> None:
    """Put back what `optimizer_tensors` returned."""
    for key, tensor in tensors.items():
        name, _, entry = key.rpartition("|")
        optimizer.state[parameters[name]][entry] = tensor


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    sync_file(path)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    sync_file(path)

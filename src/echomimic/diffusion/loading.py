"""Tensors into modules: names and shapes must be exactly the module's, and memory holds the weights once."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from echomimic.errors import WeightsError

Module = TypeVar("Module", bound=nn.Module)


class MismatchError(WeightsError):
    """A file does not hold what the network needs; `missing`, `unexpected` and `misshapen` are complete."""

    def __init__(self, source: str, missing: list[str], unexpected: list[str], misshapen: list[str], mend: str) -> None:
        self.missing, self.unexpected, self.misshapen = missing, unexpected, misshapen
        found = ", ".join(
            f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
            for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
            if names
        )
        super().__init__(f"{source}: tensors are not those of this network: {found}; {mend}")


def on_meta(build: Callable[[], Module]) -> Module:
    """The module that `build` makes, without memory for its weights."""
    with torch.device("meta"):
        return build()


def require_same(module: nn.Module, shapes: Mapping[str, Iterable[int]], source: str, mend: str) -> None:
    """Raise MismatchError unless `shapes` are exactly the names and shapes of the module's tensors."""
    ours = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    theirs = {name: tuple(shape) for name, shape in shapes.items()}
    misshapen = [
        f"{name} {list(theirs[name])} instead of {list(shape)}"
        for name, shape in ours.items()
        if name in theirs and theirs[name] != shape
    ]
    missing, unexpected = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    if missing or unexpected or misshapen:
        raise MismatchError(source, missing, unexpected, misshapen, mend)


def load_strictly(
    module: Module, tensors: Mapping[str, Tensor], source: str, mend: str = "expected the published file"
) -> Module:
    """Put `tensors` in place of the module's own, which may be on the meta device; the same tensors, no copies."""
    require_same(module, {name: tensor.shape for name, tensor in tensors.items()}, source, mend)
    module.load_state_dict(dict(tensors), strict=True, assign=True)
    return module.requires_grad_(False).eval()

"""Tensors into modules: names and shapes must be exactly the module's, and memory holds the weights once."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from echomimic.errors import WeightsError

Module = TypeVar("Module", bound=nn.Module)
Shapes = Mapping[str, tuple[int, ...]]


class MismatchError(WeightsError):
    """A file does not hold what the network needs; `missing`, `unexpected` and `misshapen` are complete."""

    code = "weights_mismatch"

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


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    """The shape of each tensor, by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def require_same(ours: Shapes, theirs: Shapes, source: str, mend: str) -> None:
    """Raise MismatchError unless names and shapes of a file are exactly those of the network."""
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
    require_same(shapes_of(module.state_dict()), shapes_of(tensors), source, mend)
    module.load_state_dict(dict(tensors), strict=True, assign=True)
    return module.requires_grad_(False).eval()

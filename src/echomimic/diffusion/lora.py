"""Merge a LoRA into loaded networks."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from echomimic.checkpoints import Lora, LoraFile, other_preset, read_lora, release_pages
from echomimic.errors import WeightsError


def merge_lora_file(networks: Mapping[str, nn.Module], file: LoraFile, preset: str) -> None:
    """Change `networks` by part name as a LoRA file says. Raises WeightsError if it is of another preset or network."""
    lora = read_lora(file.path)
    if lora.metadata.preset != preset:
        raise WeightsError(other_preset(file.path, lora.metadata.preset, preset))
    merge_lora(networks, lora, file.strength, file.path)


def merge_lora(networks: Mapping[str, nn.Module], lora: Lora, strength: float, source: object) -> None:
    """Add the product of the factors to the weights, all of them or, with a WeightsError, none."""
    changed = [(_find_layer(networks, name, pair, source), *pair) for name, pair in lora.factors.items()]
    for layer, a, b in changed:
        old = layer.weight
        layer.weight = nn.Parameter(changed_weight(old, a, b, strength * lora.scale), requires_grad=False)
        release_pages(old)


def changed_weight(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """`weight + scale * b @ a`, computed in float32, in the format of `weight`."""
    with torch.no_grad():
        return torch.addmm(weight.float(), b.float().to(weight.device), a.float().to(weight.device), alpha=scale).to(
            weight.dtype
        )


def _find_layer(networks: Mapping[str, nn.Module], name: str, pair: tuple[Tensor, Tensor], source: object) -> nn.Linear:
    """The linear layer `<network>.<layer>` if the factors have its shape."""
    part, _, inner = name.partition(".")
    try:
        layer = networks[part].get_submodule(inner)
    except (KeyError, AttributeError):
        layer = None
    if not isinstance(layer, nn.Linear):
        raise WeightsError(f"{source} changes {name}, which is not a layer of these networks; expected a LoRA of them")
    shape = (len(pair[1]), pair[0].shape[1])
    if tuple(layer.weight.shape) != shape:
        raise WeightsError(
            f"{source} changes {name} as a layer of shape {list(shape)} instead of {list(layer.weight.shape)}; "
            "expected a LoRA of networks of this size"
        )
    return layer

"""Weights by rule: the same small random network on every machine, for tests and for the preset `tiny`."""

import numpy as np
import torch
from torch import nn


def fill_by_rule(module: nn.Module) -> None:
    """Fill every weight of `module` in place from numpy's legacy generator, seeded by the weight's rank by name.

    Positions keep their sinusoids. Scales are gentle: norms about 1, biases about 0, layers that keep the variance.
    """
    with torch.no_grad():
        for rank, (name, tensor) in enumerate(sorted(module.state_dict().items())):
            if name.endswith((".pe", "positional_embedding")):
                continue
            values = np.random.RandomState(rank).standard_normal(tensor.numel()).reshape(tensor.shape)
            if tensor.ndim > 1:
                values /= np.sqrt(tensor.numel() / len(tensor))
            else:
                values = 0.1 * values + (1 if name.endswith(".weight") else 0)
            tensor.copy_(torch.from_numpy(values))

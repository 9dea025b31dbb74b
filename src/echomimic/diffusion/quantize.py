"""Weights in int8 by torchao: less memory on small cards. What is computed keeps the number format of the network."""

from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import nn

from echomimic.diffusion.attention import GEGLU, Linear
from echomimic.errors import SetupError
from echomimic.installation import missing_package, quiet_import

QUANTIZED = {"denoising": 232_611_840, "motion": 452_812_800, "reference": 198_246_400}
"""Values that become int8 in the published networks, by part of a preset."""


def require_torchao() -> None:
    """Raise SetupError if the extra `quantize` is not installed."""
    if find_spec("torchao") is None:
        raise SetupError(missing_package("torchao", "quantize", "`quantize` needs"))


def quantize_linear(network: nn.Module) -> None:
    """Keep the weights of attention, MLP and motion layers in int8, with a scale for each output channel.

    These layers then use PyTorch's default kernels. The timestep embedding and convolutions are not quantized.
    """
    with quiet_import(), torch.inference_mode(False), torch.no_grad():
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        quantize_(network, Int8WeightOnlyConfig(), filter_fn=lambda layer, _: isinstance(layer, Linear))
    for layer in network.modules():
        if isinstance(layer, (Linear, GEGLU)):
            layer.kernels = replace(layer.kernels, onednn=False, gelu=False)

"""Small networks that are filled once in a process, and speech that is encoded once."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

KEPT = 8
_filled: dict[Any, Any] = {}
_encoded: dict[Any, Any] = {}


@pytest.fixture(scope="module")
def kept_networks() -> Iterator[None]:
    """Make `tiny` smaller, and reuse its weights and the features of speech among the tests of a module, bit for bit.

    The speech encoder always sees 30 seconds; that is the larger half of a render of a few small frames.
    """
    if find_spec("torch") is None or find_spec("diffusers") is None:
        yield
        return
    import torch

    from echomimic.diffusion import networks, whisper

    fill, encode = networks.fill_by_rule, whisper.SpeechEncoder.forward

    def fill_once(module: torch.nn.Module) -> None:
        key = (type(module), *((name, tensor.shape) for name, tensor in module.state_dict().items()))
        if key not in _filled:
            fill(module)
            _filled[key] = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        module.load_state_dict(_filled[key])

    def encode_once(self: whisper.SpeechEncoder, mel: torch.Tensor) -> torch.Tensor:
        weight = self.conv1.weight
        key = (mel.cpu().numpy().tobytes(), float(weight.double().sum()), torch.is_inference_mode_enabled())
        if key not in _encoded:
            if len(_encoded) == KEPT:
                del _encoded[next(iter(_encoded))]
            _encoded[key] = encode(self, mel)
        return _encoded[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "TINY_WIDTHS", (32,))
        patch.setattr(networks, "fill_by_rule", fill_once)
        patch.setattr(whisper.SpeechEncoder, "forward", encode_once)
        yield

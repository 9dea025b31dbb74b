"""Low-rank adaptation (LoRA; Hu et al., 2021) of the linear layers of the denoising and the reference network.

A run trains a LoRA if `settings.model.lora_rank` is above 0: `loop.train` then wraps the layers and trains only the
factors, whose names are those of the layers and `.lora_a` or `.lora_b`; checkpoints, averages and resuming work as for
other runs. `settings.model.trained` chooses the layers: "picture" the attention and MLP inside frames of both networks
(a person's looks), "motion+audio" attention to speech and along time, "all" both. On the trained mini, for a new
portrait:

    settings = make_settings({"model": {"variant": "landmarks", "trained": "all", "lora_rank": 8, "lora_alpha": 8.0}})
    average = train(trainee_with_the_weights_of_the_mini, samples_of_the_new_clips, settings, folder)
    lora = lora_of(average, "v1-landmarks", settings.model, subject="person-4", consent="written")
    write_lora(folder / "person-4.safetensors", lora)   # checkpoints.write_lora; `--lora` of `animate` takes the file
    merge_layers(trainee)                               # or continue with ordinary layers that contain the change
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from echomimic.checkpoints import Lora, LoraMetadata
from echomimic.diffusion.attention import Linear
from echomimic.diffusion.lora import changed_weight
from echomimic.train.diffusion.rights import Consent, Rights, require_written_consent
from echomimic.train.diffusion.settings import ModelSettings, TrainSettings
from echomimic.train.diffusion.trainee import Trainee, learns, select_parameters, unused_reference_names

A, B = "lora_a", "lora_b"
_LAYERS = (".attn1.", ".attn2.", ".attention_blocks.", ".ff.")


class LoraLinear(Linear):
    """A linear layer with a frozen weight and a trained change of low rank, which is zero at first."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.scale = layer.in_features, layer.out_features, alpha / rank
        self.weight, self.bias = layer.weight, layer.bias
        bound = 1 / math.sqrt(layer.in_features)
        values = torch.rand(rank, layer.in_features, generator=generator) * 2 * bound - bound
        device = layer.weight.device
        self.lora_a = nn.Parameter(values.to(device))
        self.lora_b = nn.Parameter(torch.zeros(layer.out_features, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        return super().forward(x) + self.scale * F.linear(F.linear(x, self.lora_a), self.lora_b)


def trainable_parameters(trainee: Trainee, settings: TrainSettings) -> dict[str, nn.Parameter]:
    """Prepare a trainee for a run and return what is trained by name: factors of a LoRA, or the networks' own."""
    if settings.model.lora_rank:
        return add_lora(trainee, settings.model, settings.run.seed)
    return select_parameters(trainee, settings.model.trained)


def add_lora(trainee: Trainee, settings: ModelSettings, seed: int = 0) -> dict[str, nn.Parameter]:
    """Wrap the layers that `settings.trained` chooses, unless they are already, and return their factors by name."""
    trainee.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name in adapted_layers(trainee, settings):
        layer = trainee.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        if not isinstance(layer, LoraLinear):
            layer = LoraLinear(layer, settings.lora_rank, settings.lora_alpha, generator)
            _replace(trainee, name, layer)
        layer.lora_a.requires_grad_(True)
        layer.lora_b.requires_grad_(True)
    return {name: value for name, value in trainee.named_parameters() if name.endswith((f".{A}", f".{B}"))}


def adapted_layers(trainee: Trainee, settings: ModelSettings) -> list[str]:
    """Names `<network>.<layer>` of the linear layers that a LoRA changes."""
    unused = unused_reference_names(trainee.reference)
    return [
        name
        for name, layer in trainee.named_modules()
        if isinstance(layer, Linear)
        and any(part in name for part in _LAYERS)
        and learns(*_split(f"{name}.weight"), settings.trained)
        and f"{name}.weight".removeprefix("reference.") not in unused
    ]


def merge_layers(trainee: Trainee) -> None:
    """Replace the wrapped layers by ordinary ones that contain the change."""
    for name, layer in list(trainee.named_modules()):
        if isinstance(layer, LoraLinear):
            merged = Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
            weight = changed_weight(layer.weight, layer.lora_a, layer.lora_b, layer.scale)
            merged.weight, merged.bias = nn.Parameter(weight, requires_grad=False), layer.bias
            _replace(trainee, name, merged)


def lora_of(
    average: Mapping[str, Tensor], preset: str, settings: ModelSettings, subject: str, consent: Consent
) -> Lora:
    """The LoRA of a run from its averaged parameters. Raises OptionError without written consent of the subject."""
    require_written_consent([Rights("as stated", consent, subject)], "a LoRA of one person")
    layers = [name.removesuffix(f".{A}") for name in average if name.endswith(f".{A}")]
    factors = {layer: (average[f"{layer}.{A}"], average[f"{layer}.{B}"]) for layer in layers}
    return Lora(LoraMetadata(preset, settings.lora_rank, settings.lora_alpha, subject, consent), factors)


def _split(name: str) -> tuple[str, str]:
    network, _, inner = name.partition(".")
    return network, inner


def _replace(trainee: Trainee, name: str, layer: nn.Module) -> None:
    """Put `layer` in the place of the module called `name`."""
    parent, _, child = name.rpartition(".")
    setattr(trainee.get_submodule(parent), child, layer)

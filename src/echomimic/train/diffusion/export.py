"""Export trained networks in the published layout: the presets load them unchanged."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from echomimic.checkpoints import FILES, Geometry, write_geometry
from echomimic.errors import OutputError
from echomimic.presets import Preset
from echomimic.train.diffusion.trainee import Trainee

_MOTION = ".motion_modules."


def export_networks(
    trainee: Trainee,
    average: Mapping[str, Tensor],
    preset: Preset,
    folder: Path,
    *,
    geometry: Geometry | None = None,
    others: Mapping[str, nn.Module] | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> list[Path]:
    """Write the files of `preset` into `folder` and return their paths. Raises OutputError.

    `average` are the averaged weights by parameter name of `trainee`; all other tensors are the trainee's own.
    `others` are further networks by the part of the preset (vae, speech). Networks of other than the published sizes
    need their `geometry`, which goes beside them.
    """
    tensors = exported_tensors(trainee, average)
    for part, network in (others or {}).items():
        tensors[part] = dict(network.state_dict())
    paths = []
    try:
        for part, values in tensors.items():
            paths.append(_write(folder / f"{FILES[preset.files[part]].name}.safetensors", values, part, dtype))
        if geometry is not None:
            write_geometry(paths[0].parent, geometry)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}); free some space") from None
    return paths


def exported_tensors(trainee: Trainee, average: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each file by part: the denoising network is split into its picture and its motion part."""
    files: dict[str, dict[str, Tensor]] = {"denoising": {}, "motion": {}, "reference": {}, "condition": {}}
    for network, module in trainee.networks().items():
        for name, tensor in module.state_dict().items():
            part = "motion" if network == "denoising" and _MOTION in f".{name}" else network
            files[part][name] = average.get(f"{network}.{name}", tensor).detach().cpu()
    return files


def _write(path: Path, tensors: Mapping[str, Tensor], part: str, dtype: torch.dtype) -> Path:
    """Write one file by a temporary name and a rename; autoencoder and speech keep float32."""
    wanted = dtype if part in ("denoising", "motion", "reference", "condition") else torch.float32
    prefix = "encoder." if part == "speech" else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    try:
        save_file(
            {prefix + name: tensor.to(wanted).contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={"format": "pt", "made_by": "echomimic train"},
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path

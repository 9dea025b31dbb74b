"""Convert checkpoints to safetensors, in half precision and without data that belongs to no tensor."""

from pathlib import Path
from typing import Literal

from echomimic.checkpoints.reading import read_tensors
from echomimic.checkpoints.registry import WeightFile
from echomimic.errors import WeightsError

Format = Literal["stored", "float16", "bfloat16"]


def convert_file(file: WeightFile, source: Path, folder: Path, dtype: Format = "bfloat16") -> Path:
    """Write `source` as `folder`/NAME.safetensors and return that path; the old file stays.

    Only the tensors are written: V2's pose_encoder.pth has 1.7 GB of buffers and 2 MB of tensors. `stored` keeps the
    number format. Whole or not at all.
    """
    import torch
    from safetensors.torch import save_file

    target = folder / f"{file.name}.safetensors"
    if target.exists() and target.samefile(source):
        raise WeightsError(f"{target} would be written over itself; give another folder with `to`")
    wanted = None if dtype == "stored" else {"float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
    tensors = {
        file.prefix + name: (
            tensor.to(wanted) if wanted and tensor.is_floating_point() else tensor.clone()
        ).contiguous()
        for name, tensor in read_tensors(source, file.prefix).items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        save_file(tensors, part, metadata={"format": "pt", "made_from": source.name})
        part.replace(target)
    except OSError as error:
        raise WeightsError(
            f"{target} cannot be written: {error.strerror or error}; free some space or give another folder with `to`"
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return target

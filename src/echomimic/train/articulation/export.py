"""Export a trained network as safetensors: float16, shipped curves only, normalization folded into the head."""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from echomimic.mesh.speech_to_face import CHANNELS as SHIPPED
from echomimic.mesh.speech_to_face import ArticulationNetwork, network_from
from echomimic.train.articulation.labels import CHANNELS
from echomimic.train.articulation.network import DILATIONS
from echomimic.train.articulation.training import Trained
from echomimic.types import Floats


def tensors_of(trained: Trained) -> dict[str, Floats]:
    """The shipped tensors by name, float16: `stem`, `blocks.N` and one `head` for all channels."""
    state = {name: tensor.detach().numpy() for name, tensor in trained.network.state_dict().items()}
    rows = [CHANNELS.index(name) for name in SHIPPED[:-1]]
    scale, shift = trained.spread[rows], trained.mean[rows]
    weight = np.concatenate([state["curves.weight"][rows] * scale[:, None, None], state["closure.weight"]])
    bias = np.concatenate([state["curves.bias"][rows] * scale + shift, state["closure.bias"]])
    kept = {name: tensor for name, tensor in state.items() if name.startswith(("stem", "blocks"))}
    return {
        name: tensor.astype(np.float16) for name, tensor in (kept | {"head.weight": weight, "head.bias": bias}).items()
    }


def to_numpy(trained: Trained) -> ArticulationNetwork:
    """The network as it will run, rounded to float16 like the file."""
    return network_from(tensors_of(trained), DILATIONS)


def save(trained: Trained, path: Path, about: dict[str, str]) -> None:
    """Write the weight file; `about` goes into its header."""
    header = {"channels": " ".join(SHIPPED), "dilations": " ".join(map(str, DILATIONS)), **about}
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors_of(trained).items()}, path, header)
    path.chmod(0o644)


def agreement(trained: Trained, frames: int = 1000) -> float:
    """The largest difference between torch and numpy on noise, both with their own rounding."""
    features = np.random.default_rng(0).standard_normal((frames, 40)).astype(np.float32)
    with torch.no_grad():
        curves, closure, _ = trained.network(torch.from_numpy(features.T[None].copy()))
    rows = [CHANNELS.index(name) for name in SHIPPED[:-1]]
    wanted = curves[0].numpy()[rows].T * trained.spread[rows] + trained.mean[rows]
    wanted = np.concatenate([wanted, closure[0].numpy()[:, None]], axis=1)
    return float(np.abs(to_numpy(trained)(features) - wanted).max())

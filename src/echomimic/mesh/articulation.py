"""Speech to mouth curves on one CPU thread, in numpy: log-mel, a small convolutional network, readable controls.

The weights come from `python -m echomimic.train.articulation`, which learns from synthesised speech only. Sound
is taken as a stream, so three hours of it need no more memory than a minute, but for the curves themselves.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import safe_open

from echomimic.data import data_path
from echomimic.mesh.lips import Heard, shape_mouth
from echomimic.mesh.logmel import BANDS, BIN, QUIET, REACH, levelled, loudness, mel_blocks
from echomimic.types import MOUTH_CURVES, Curves, Floats

CHANNELS: tuple[str, ...] = ("gap", "width", "upper_lip", "tuck", "tongue", "speech", "closure")
"""What the network says, at 50 Hz; `closure` is a logit."""
_CHUNK = 40 * BIN
_MARGIN = (2 * REACH + 2) * BIN
_THROATS = (0.95, 1.0, 1.05)
_EDGE = BIN
"""Frames of silence put before and after the sound: the network has learned how a mouth starts and ends."""


@dataclass(frozen=True)
class Network:
    """The weights as matrices: `stem` and `blocks` hold one (in, out) matrix per tap, `head` (width, 7)."""

    stem: Floats
    stem_bias: Floats
    blocks: tuple[Floats, ...]
    block_biases: tuple[Floats, ...]
    dilations: tuple[int, ...]
    head: Floats
    head_bias: Floats

    def __call__(self, features: Floats) -> Floats:
        """Levelled log-mel (T, 40) at 100 Hz to the channels (T / 2 rounded up, 7) at 50 Hz."""
        padded = np.pad(features, ((2, 3), (0, 0)))
        count = (len(features) + 1) // 2
        hidden = _gelu(
            sum(padded[k : k + 2 * count : 2][:count] @ tap for k, tap in enumerate(self.stem)) + self.stem_bias
        )
        for taps, bias, step in zip(self.blocks, self.block_biases, self.dilations, strict=True):
            padded = np.pad(hidden, ((step, step), (0, 0)))
            hidden = hidden + _gelu(sum(padded[k * step : k * step + count] @ tap for k, tap in enumerate(taps)) + bias)
        result: Floats = hidden @ self.head + self.head_bias
        return result


def _gelu(x: Floats) -> Floats:
    """GELU in its tanh form (Hendrycks and Gimpel 2016)."""
    inner = np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)
    result: Floats = np.float32(0.5) * x * (1 + np.tanh(inner))
    return result


def network_from(tensors: Mapping[str, Floats], dilations: Iterable[int]) -> Network:
    """A network from tensors named as in torch: `stem`, `blocks.N` and `head`, each with `.weight` and `.bias`."""
    dilations = tuple(dilations)
    weights = {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}

    def taps(name: str) -> Floats:
        return np.ascontiguousarray(weights[f"{name}.weight"].transpose(2, 1, 0))

    return Network(
        taps("stem"),
        weights["stem.bias"],
        tuple(taps(f"blocks.{k}") for k in range(len(dilations))),
        tuple(weights[f"blocks.{k}.bias"] for k in range(len(dilations))),
        dilations,
        np.ascontiguousarray(weights["head.weight"][:, :, 0].T),
        weights["head.bias"],
    )


def load_network(path: Path) -> tuple[Network, dict[str, str]]:
    """The network of a weight file (float16 safetensors), and what the file says about itself."""
    with safe_open(path, "np") as file:
        about = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    return network_from(tensors, map(int, about["dilations"].split())), about


@cache
def _shipped() -> tuple[Network, dict[str, str]]:
    return load_network(data_path("articulation.safetensors"))


def hear(blocks: Iterable[Floats], network: Network | None = None) -> Heard:
    """Run the network over sound given as blocks (n,) of 16 kHz mono in -1..1, in any sizes."""
    network = network or _shipped()[0]
    pieces = [_listen(power, start, stop, network) for power, start, stop in _windows(_with_edges(mel_blocks(blocks)))]
    joined = np.concatenate([np.zeros((0, len(CHANNELS) + 2), np.float32), *pieces])[_EDGE // 2 :]
    columns = {name: joined[:, k] for k, name in enumerate((*CHANNELS, "level", "loudness"))}
    closure = 1 / (1 + np.exp(-np.clip(columns.pop("closure"), -30, 30)))
    return Heard(**columns, closure=closure)


def mouth(blocks: Iterable[Floats], frames: int, fps: float, strength: float = 1.0) -> Floats:
    """Mouth curves (frames, 6) in the order of `MOUTH_CURVES` from blocks of 16 kHz sound; rest where it has ended."""
    return shape_mouth(hear(blocks), frames, fps, strength)


def opening(curves: Curves) -> Floats:
    """How far the lips are apart (T,): the jaw's share that closure leaves."""
    gap: Floats = curves["jaw"] * (1 - curves["closure"])
    return gap


def width(curves: Curves) -> Floats:
    """How wide the mouth is (T,), rounded (-) to spread (+)."""
    return curves["spread"]


def with_mouth(curves: Curves, values: Floats) -> Curves:
    """The curves with the mouth replaced by `values` (T, 6)."""
    return curves.replace(**{name: values[:, k] for k, name in enumerate(MOUTH_CURVES)})


def _with_edges(powers: Iterable[Floats]) -> Iterator[Floats]:
    silence = np.zeros((_EDGE, BANDS), np.float32)
    yield silence
    yield from powers
    yield silence


def _windows(powers: Iterable[Floats]) -> Iterator[tuple[Floats, int, int]]:
    """Pieces of a long recording with all that their level depends on: (power, start, stop) of the new frames.

    Starts lie on whole seconds of the recording, so that the pieces say exactly what the whole would.
    """
    kept, done = np.zeros((0, BANDS), np.float32), 0
    for power in powers:
        kept = np.concatenate([kept, power])
        while len(kept) >= done + _CHUNK + _MARGIN:
            yield kept[: done + _CHUNK + _MARGIN], done, done + _CHUNK
            dropped = max(0, done + _CHUNK - _MARGIN)
            kept, done = kept[dropped:], done + _CHUNK - dropped
    if len(kept) > done:
        yield kept, done, len(kept)


def _agreed(features: Floats, network: Network) -> Floats:
    """What the network says on average when it hears the voice as that of a shorter and a longer throat too, and 10 ms
    earlier and later: steadier curves and fewer false closures than one hearing gives."""
    total = np.zeros(((len(features) + 1) // 2, len(CHANNELS)), np.float32)
    for stretch in _THROATS:
        heard = _stretched(features, stretch)
        between = network(heard[1:]) if len(heard) > 1 else network(heard)
        later = np.concatenate([between, between[-1:]])[: len(total)]
        earlier = np.concatenate([between[:1], between])[: len(total)]
        total += 0.5 * network(heard) + 0.25 * (earlier + later)
    return total / np.float32(len(_THROATS))


def _stretched(features: Floats, stretch: float) -> Floats:
    """Features (T, 40) with band k taken from `stretch * k`."""
    at = np.clip(np.arange(BANDS) * stretch, 0, BANDS - 1)
    low = at.astype(int)
    share = (at - low).astype(np.float32)
    stretched: Floats = features[:, low] * (1 - share) + features[:, np.minimum(low + 1, BANDS - 1)] * share
    return stretched


def _listen(power: Floats, start: int, stop: int, network: Network) -> Floats:
    """Channels, level and loudness of the frames from `start` to `stop`, at 50 Hz."""
    first, last = max(0, start - BIN), min(len(power), stop + BIN)
    said = _agreed(levelled(power)[first:last], network)[(start - first) // 2 : (stop - first + 1) // 2]
    level, energy = loudness(power)[start:stop:2], power.sum(axis=1)[start:stop:2]
    decibels = 10 * np.log10(energy / level + 1e-6)
    return np.concatenate([said, (level / QUIET)[:, None], decibels[:, None]], axis=1)

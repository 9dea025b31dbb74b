"""Speech features: the log-mel spectrum and Whisper-tiny's encoder (Radford et al., 2022), windowed per video frame.

Features are (rows, 5, 384) at 50 rows a second: the encoder's input and the outputs of its four blocks.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

RATE = 16_000
ROWS_A_SECOND = 50
HOP, WINDOW, MELS = 160, 400, 80
SEGMENT = 3000
"""Mel frames that the encoder processes at once: 30 seconds."""
ROWS_BEFORE, ROWS_AFTER = 4, 6
STATES = 5


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * math.log(6.4) / 27))


def mel_filters() -> Tensor:
    """Triangles of equal area, (80, 201) float32, over the bins of a 400-point spectrum at 16 kHz."""
    top = 15 + math.log(8) * 27 / math.log(6.4)
    edges = _mel_to_hz(np.linspace(0, top, MELS + 2))
    ramps = edges[:, None] - np.linspace(0, RATE / 2, WINDOW // 2 + 1)[None]
    widths = np.diff(edges)[:, None]
    triangles = np.maximum(0, np.minimum(-ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]))
    return torch.from_numpy((triangles * 2 / (edges[2:] - edges[:-2])[:, None]).astype(np.float32))


def _spectra(blocks: Iterable[npt.NDArray[np.float32]]) -> Iterator[Tensor]:
    """Power spectra (frames, 201) of a stream of sound, frames centred on every 160th sample, ends mirrored."""
    half, window = WINDOW // 2, torch.hann_window(WINDOW)
    buffer, total = torch.zeros(0), 0
    for block in blocks:
        begins = total <= half
        buffer, total = (
            torch.cat([buffer, torch.from_numpy(np.ascontiguousarray(block, np.float32))]),
            total + len(block),
        )
        if begins and total > half:
            buffer = torch.cat([buffer[1 : half + 1].flip(0), buffer])
        if total > half and len(buffer) >= 2 * WINDOW:  # what stays back is enough to mirror the end
            count = (len(buffer) - 2 * WINDOW) // HOP + 1
            yield torch.fft.rfft(buffer[: (count - 1) * HOP + WINDOW].unfold(0, WINDOW, HOP) * window).abs() ** 2
            buffer = buffer[count * HOP :]
    if total <= half:
        buffer = F.pad(buffer, (half, WINDOW - total))  # a few milliseconds: add silence on both sides
    buffer = torch.cat([buffer, buffer[-half - 1 : -1].flip(0)])
    if len(buffer) >= WINDOW + HOP:
        yield torch.fft.rfft(buffer.unfold(0, WINDOW, HOP)[:-1] * window).abs() ** 2


def log_mel(blocks: Iterable[npt.NDArray[np.float32]]) -> Tensor:
    """Log-mel spectrum (80, frames) of mono 16 kHz sound, 100 frames a second, as Whisper expects it.

    The floor, 80 dB below the loudest of the whole sound, is the smallest value.
    """
    filters = mel_filters().T
    logs = [(power @ filters).clamp(min=1e-10).log10() for power in _spectra(blocks)]
    mel = torch.cat(logs).T if logs else torch.full((MELS, 1), -10.0)
    return (mel.clamp(min=mel.max() - 8) + 4) / 4


@dataclass(frozen=True)
class SpeechConfig:
    """The geometry of the encoder; the defaults are Whisper-tiny's."""

    width: int = 384
    heads: int = 6
    blocks: int = 4
    positions: int = 1500


class SelfAttention(nn.Module):
    """Multi-head self-attention under Whisper's names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, rows, width) to the same shape."""
        queries, keys, values = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.query(x), self.key(x), self.value(x))
        )
        out = F.scaled_dot_product_attention(queries, keys, values)
        return cast(Tensor, self.out(out.transpose(1, 2).flatten(2)))


class SpeechBlock(nn.Module):
    """A transformer block of the encoder."""

    def __init__(self, config: SpeechConfig) -> None:
        super().__init__()
        width = config.width
        self.attn = SelfAttention(width, config.heads)
        self.attn_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, rows, width) to the same shape."""
        x = x + self.attn(self.attn_ln(x))
        return cast(Tensor, x + self.mlp(self.mlp_ln(x)))


def row_positions(rows: int, width: int) -> Tensor:
    """Sinusoidal positions (rows, width): sines in the first half of the channels, cosines in the second."""
    with torch.device("cpu"):  # on the meta device this arithmetic would import the compiler of PyTorch
        rates = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
        angles = torch.arange(rows)[:, None] * rates
        positions = torch.cat([angles.sin(), angles.cos()], dim=1)
    return positions.to(torch.get_default_device())


class SpeechEncoder(nn.Module):
    """Whisper's encoder; attribute names are those of OpenAI's files behind `encoder.`."""

    positional_embedding: Tensor

    def __init__(self, config: SpeechConfig | None = None) -> None:
        super().__init__()
        config = config or SpeechConfig()
        self.conv1 = nn.Conv1d(MELS, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", row_positions(config.positions, config.width))
        self.blocks = nn.ModuleList(SpeechBlock(config) for _ in range(config.blocks))
        self.ln_post = nn.LayerNorm(config.width)  # in the files; the features are taken before it

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel (n, 80, 3000) to the states (n, 1500, 5, 384)."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2) + self.positional_embedding
        states = [x]
        for block in self.blocks:
            states.append(x := block(x))
        return torch.stack(states, dim=2)

    def features(self, blocks: Iterable[npt.NDArray[np.float32]], *, exact: bool = False) -> Tensor:
        """Features (rows, 5, 384) of mono 16 kHz sound."""
        return encode(self, log_mel(blocks), exact=exact)

    def tokens(self, features: Tensor, frames: Sequence[int], fps: float) -> Tensor:
        """The speech tokens of video frames: (frames, 50, 384)."""
        return windows_of_frames(features, frames, fps)


def encode(encoder: SpeechEncoder, mel: Tensor, *, exact: bool = False) -> Tensor:
    """Features (rows, 5, 384) on the encoder's device, of a log-mel spectrum of any length, 30 seconds at a time.

    The last piece is padded with silence; `exact` pads it with zeros, which are rather loud, as the original does.
    """
    weight = encoder.conv1.weight
    features = []
    for piece in torch.split(mel, SEGMENT, dim=1):
        filler = 0.0 if exact else float(mel.min())
        padded = F.pad(piece, (0, SEGMENT - piece.shape[1]), value=filler)
        states = encoder(padded[None].to(weight.device, weight.dtype))[0]
        features.append(states[: piece.shape[1] // 2])
    return torch.cat(features)


def feature_rows(mel_frames: int) -> int:
    """Number of feature rows that `encode` makes of a spectrum with this number of frames."""
    return mel_frames // SEGMENT * (SEGMENT // 2) + mel_frames % SEGMENT // 2


def rows_of_frames(indices: Sequence[int], fps: float, rows: int) -> npt.NDArray[np.int64]:
    """The ten feature rows, (frames, 10), of each video frame: 80 ms before it to 100 ms after it."""
    centres = (np.asarray(indices) * ROWS_A_SECOND / fps).astype(np.int64)
    return np.clip(centres[:, None] + np.arange(-ROWS_BEFORE, ROWS_AFTER), 0, max(rows - 1, 0))


def windows_of_frames(features: Tensor, indices: Sequence[int], fps: float) -> Tensor:
    """The speech tokens of these video frames: (frames, 50, 384), ordered by time, then by state."""
    rows = torch.from_numpy(rows_of_frames(indices, fps, len(features))).to(features.device, non_blocking=True)
    return features[rows].flatten(1, 2)


def original_frames(rows: int, fps: float) -> int:
    """Number of frames that the original generates for a sound: one or two more than it lasts."""
    frame = 0
    while int(frame * ROWS_A_SECOND / fps) <= rows:
        frame += 1
    return frame + 1

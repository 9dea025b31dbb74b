"""What the mouth network hears: log-mel frames at 100 Hz, levelled by the loudness of the seconds around them."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from echomimic.types import Floats

_Doubles = npt.NDArray[np.float64]

RATE = 16_000
HOP = 160
WINDOW = 400
FFT = 512
BANDS = 40
FRAME_RATE = RATE / HOP
BIN = 100
"""Frames over which loudness is taken together: one second."""
REACH = 12
"""Seconds on each side that have a say in the level of a frame."""
FLOOR = 1e-3
"""Noise floor added below the loud frames (30 dB): clean and noisy recordings then look alike."""
QUIET = 0.07
"""Frame energy of white noise at -60 dB of full scale: nothing quieter is amplified to speech level."""
_PRE_EMPHASIS = 0.97


def mel_filters() -> Floats:
    """(257, 40) triangles from 50 to 7600 Hz, equally wide on the mel scale, each of peak 1."""
    low, high = 2595 * np.log10(1 + np.array([50.0, 7600.0]) / 700)
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FFT, 1 / RATE)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    filters: Floats = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    return filters


def mel_blocks(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """Turn blocks of 16 kHz sound (n,) in -1..1 into blocks of mel power (frames, 40); frame k is centred at k / 100 s.

    Values that are not finite count as silence. Memory is that of one block.
    """
    filters, window = mel_filters(), np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    pending, last = np.zeros(WINDOW // 2, np.float32), np.float32(0)
    for block in _with_tail(blocks):
        block = np.nan_to_num(np.asarray(block, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        if not len(block):
            continue
        sharpened = block - np.float32(_PRE_EMPHASIS) * np.concatenate([[last], block[:-1]])
        last = block[-1]
        pending = np.concatenate([pending, sharpened])
        count = (len(pending) - WINDOW) // HOP + 1
        if count > 0:
            frames = np.lib.stride_tricks.sliding_window_view(pending, WINDOW)[::HOP][:count]
            spectrum = np.fft.rfft(frames * window, FFT, axis=1)
            power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
            yield power @ filters
            pending = pending[count * HOP :]


def _with_tail(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """The blocks, then the half window of silence that the last frames look into."""
    yield from blocks
    yield np.zeros(WINDOW // 2, np.float32)


def loudness(power: Floats) -> Floats:
    """Level around each frame (T,): a mean over the seconds within `REACH`, to which loud seconds say more.

    Frames without any sound, as beyond the ends of a recording, do not count.
    """
    energy = power.sum(axis=1)
    starts = range(0, len(energy), BIN)
    loud = np.array([np.quantile(energy[k : k + BIN], 0.8) for k in starts], np.float64)
    share = np.array([np.count_nonzero(energy[k : k + BIN]) / BIN for k in starts])
    level: Floats = np.maximum(np.float32(QUIET), _to_frames(np.sqrt(_around(loud**2, share)), len(energy)))
    return level


def levelled(power: Floats) -> Floats:
    """Mel power (T, 40) to what the network takes (T, 40): log, zero mean and unit spread in each band.

    Mean and spread are those of the frames that sound, within `REACH` seconds, so that a frame never depends on what
    is said half a minute away and long recordings can be taken piece by piece.
    """
    level = loudness(power)
    logs = np.log(power + (level * (FLOOR / BANDS))[:, None])
    sounding = 0.02 + 1 / (1 + np.exp(-4 * (np.log10(power.sum(axis=1) / level + 1e-9) + 2.2)))
    sums = [_bins(weighted) for weighted in (sounding[:, None], sounding[:, None] * logs, sounding[:, None] * logs**2)]
    weight, mean, square = (_around(total, np.ones(len(total))) for total in sums)
    mean, square = mean / weight, square / weight
    spread = np.sqrt(np.maximum(square - mean**2, 0)) + 0.3
    result: Floats = ((logs - _to_frames(mean, len(power))) / _to_frames(spread, len(power))).astype(np.float32)
    return result


def _bins(values: Floats) -> _Doubles:
    """Sums over whole seconds: (T, n) to (seconds, n)."""
    sums: _Doubles = np.add.reduceat(values.astype(np.float64), np.arange(0, len(values), BIN), axis=0)
    return sums


def _around(values: _Doubles, share: _Doubles) -> _Doubles:
    """Weighted mean over neighbouring seconds: full weight to 6 seconds away, none from `REACH` on."""
    second = np.arange(len(values))
    near = np.clip((REACH - np.abs(second[:, None] - second)) / (REACH / 2), 0, 1) * share
    mean: _Doubles = (near / (near.sum(axis=1, keepdims=True) + 1e-9)) @ values
    return mean


def _to_frames(values: _Doubles, frames: int) -> Floats:
    """Values at the middle of each second, drawn out to frames by straight lines."""
    at = np.clip((np.arange(frames) + 0.5) / BIN - 0.5, 0, len(values) - 1)
    low = at.astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    share = (at - low).reshape(-1, *[1] * (values.ndim - 1))
    drawn: Floats = (values[low] * (1 - share) + values[high] * share).astype(np.float32)
    return drawn

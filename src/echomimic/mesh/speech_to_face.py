"""Speech to mouth curves on a CPU: log-mel features, a small convolutional network, mouth shaping.

The weights come from `python -m echomimic.train.articulation`, which trains on synthesised speech only. Sound is
processed as a stream: only the resulting curves grow with its length.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from echomimic.data import data_path
from echomimic.media.loudness import level_loudness
from echomimic.mesh.mouth_range import jaw_of, spread_of, upper_lip_of
from echomimic.signals import gaussian_smooth, runs
from echomimic.types import MOUTH_CURVES, Curves, Floats

_Doubles = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.bool_]

SAMPLE_RATE = 16_000
HOP = 160
WINDOW = 400
FFT = 512
BANDS = 40
BIN = 100
"""Mel frames per second, over which loudness statistics are pooled."""
REACH = 12
"""Seconds on each side that contribute to the level of a frame."""
FLOOR = 1e-3
"""Noise floor added 30 dB below the loud frames, so that clean and noisy recordings give similar features."""
QUIET = 0.07
"""Frame energy of white noise at -60 dB of full scale; the level of a frame is never below it."""
PRE_EMPHASIS = 0.97

CHANNELS: tuple[str, ...] = ("gap", "width", "upper_lip", "tuck", "tongue", "speech", "closure")
"""Outputs of the network; `closure` is a logit."""
FEATURES = len(CHANNELS) + 2
FEATURE_RATE = 50
"""Outputs per second."""
EDGE = 50
"""Outputs of silence at both ends: the network was trained with the onset and offset of speech."""
CLOSURE_THRESHOLD = 0.5
"""Probability of a labial from which the lips shut."""
_CHUNK = 40 * BIN
_MARGIN = (2 * REACH + 2) * BIN
_TRACT_WARPS = (0.95, 1.0, 1.05)

_SPEECH_THRESHOLD, _SPEECH_LEVEL = 0.5, 1.5
_PAUSE = 0.15
"""Seconds: in shorter pauses the mouth follows the network."""
_SILENT = -25.0
"""Loudness, in decibels relative to the surrounding speech, below which a pause is silent and closes the mouth."""
_NOISY_PAUSE = 1.0
"""Seconds: pauses with other sounds close the mouth if they are longer."""
_FALL, _RISE = 0.16, 0.12
"""Seconds in which the mouth closes when a pause begins, and opens before it ends."""
_ENDS, _LAST = 0.12, 0.05
"""Seconds in which the mouth opens and closes if a recording starts or stops in mid-speech, and in which it is shut."""
_ATTACK = 0.03
"""Seconds in which the lips close, and open again."""
_LOUDNESS_FRACTION = 0.25
"""Fraction of the jaw opening that follows loudness."""
_CORNER_SMOOTHING = 0.05
"""Seconds over which lip corners are smoothed, because they move slowly."""


@dataclass(frozen=True)
class SpeechFeatures:
    """Articulation at 50 Hz, each field (T,).

    The first seven are the network's channels, `closure` as a probability. `level` is the surrounding loudness in
    units of `QUIET`; `loudness` is the frame's energy in decibels relative to that level.
    """

    gap: Floats
    width: Floats
    upper_lip: Floats
    tuck: Floats
    tongue: Floats
    speech: Floats
    closure: Floats
    level: Floats
    loudness: Floats

    @classmethod
    def from_rows(cls, rows: Floats) -> "SpeechFeatures":
        """From rows (T, 9): the network's outputs, whose last is the logit of the closure, then level and loudness."""
        columns = {name: rows[:, k] for k, name in enumerate((*CHANNELS, "level", "loudness"))}
        closure = 1 / (1 + np.exp(-np.clip(columns.pop("closure"), -30, 30)))
        return cls(**columns, closure=closure)

    def __len__(self) -> int:
        return len(self.gap)

    def cut(self, first: int, last: int) -> "SpeechFeatures":
        """The features from `first` up to `last`, without it."""
        return SpeechFeatures(**{name: values[first:last] for name, values in vars(self).items()})


class Stretch(NamedTuple):
    """Where a piece of a long clip lies: its first frame, its first feature, and the number of all features."""

    frame: int = 0
    feature: int = 0
    features: int | None = None


_WHOLE = Stretch()


def analyze_speech(
    blocks: Iterable[Floats], network: "ArticulationNetwork | None" = None, threads: int = 1
) -> SpeechFeatures:
    """Run the network over blocks (n,) of 16 kHz mono sound in -1..1, of any sizes; quiet speech is raised first.

    Each of the `threads` works on 40 s of a long recording at a time.
    """
    pieces = feature_rows(blocks, network, threads)
    return SpeechFeatures.from_rows(np.concatenate([np.zeros((0, FEATURES), np.float32), *pieces])[EDGE:-EDGE])


def feature_rows(
    blocks: Iterable[Floats], network: "ArticulationNetwork | None" = None, threads: int = 1
) -> Iterator[Floats]:
    """The rows (n, 9) of `SpeechFeatures.from_rows` piece by piece, with `EDGE` more at the start and at the end."""
    network = network or _shipped()[0]
    windows = _windows(_with_edges(mel_blocks(level_loudness(blocks, SAMPLE_RATE))))

    def run(window: tuple[Floats, int, int]) -> Floats:
        return _run_network(*window, network)

    if threads == 1:
        yield from map(run, windows)
        return
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(windows, threads)):  # never all: a window of power is larger than its features
            yield from pool.map(run, some)


def predict_mouth(blocks: Iterable[Floats], frames: int, fps: float, strength: float = 1.0) -> Floats:
    """Mouth curves (frames, 6) in the order of `MOUTH_CURVES` from blocks of 16 kHz sound; at rest after its end."""
    return shape_mouth(analyze_speech(blocks), frames, fps, strength)


def lip_opening(curves: Curves) -> Floats:
    """Visible distance of the lips (T,): jaw times (1 - closure)."""
    return curves["jaw"] * (1 - curves["closure"])


def with_mouth(curves: Curves, values: Floats) -> Curves:
    """The curves with the mouth replaced by `values` (T, 6)."""
    return curves.replace(**{name: values[:, k] for k, name in enumerate(MOUTH_CURVES)})


# Log-mel features


def mel_filters() -> Floats:
    """(257, 40) triangular filters from 50 to 7600 Hz, equally wide on the mel scale, each with peak 1."""
    low, high = 2595 * np.log10(1 + np.array([50.0, 7600.0]) / 700)
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def mel_blocks(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """Turn blocks of 16 kHz sound (n,) in -1..1 into blocks of mel power (frames, 40); frame k is centred at k / 100 s.

    Values that are not finite count as silence.
    """
    filters, window = mel_filters(), np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    pending, last = np.zeros(WINDOW // 2, np.float32), np.float32(0)
    for block in _with_tail(blocks):
        block = np.nan_to_num(np.asarray(block, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        if not len(block):
            continue
        sharpened = block - np.float32(PRE_EMPHASIS) * np.concatenate([[last], block[:-1]])
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
    """The blocks, then half a window of silence for the last frames."""
    yield from blocks
    yield np.zeros(WINDOW // 2, np.float32)


def frame_level(power: Floats) -> Floats:
    """Loudness around each frame of mel power (T, 40), as (T,): a mean within `REACH` seconds, weighted by loudness.

    Frames of digital silence do not count.
    """
    energy = power.sum(axis=1)
    starts = range(0, len(energy), BIN)
    loud = np.array([np.quantile(energy[k : k + BIN], 0.8) for k in starts], np.float64)
    weight = np.array([np.count_nonzero(energy[k : k + BIN]) / BIN for k in starts])
    return np.maximum(np.float32(QUIET), _per_frame(np.sqrt(_local_mean(loud**2, weight)), len(energy)))


def normalized_log_mel(power: Floats) -> Floats:
    """Mel power (T, 40) to network input (T, 40): logarithm, with zero mean and unit spread in each band.

    Mean and spread are those of the sounding frames within `REACH` seconds, so long recordings can be processed piece
    by piece.
    """
    level = frame_level(power)
    logs = np.log(power + (level * (FLOOR / BANDS))[:, None])
    sounding = 0.02 + 1 / (1 + np.exp(-4 * (np.log10(power.sum(axis=1) / level + 1e-9) + 2.2)))
    sums = [_per_second(x) for x in (sounding[:, None], sounding[:, None] * logs, sounding[:, None] * logs**2)]
    weight, mean, square = (_local_mean(total, np.ones(len(total))) for total in sums)
    mean, square = mean / weight, square / weight
    spread = np.sqrt(np.maximum(square - mean**2, 0)) + 0.3
    return ((logs - _per_frame(mean, len(power))) / _per_frame(spread, len(power))).astype(np.float32)


def _per_second(values: Floats) -> _Doubles:
    """Sums over whole seconds: (T, n) to (seconds, n)."""
    return np.add.reduceat(values.astype(np.float64), np.arange(0, len(values), BIN), axis=0)


def _local_mean(values: _Doubles, weight: _Doubles) -> _Doubles:
    """Weighted mean over neighbouring seconds: full weight up to 6 seconds away, none from `REACH` on."""
    second = np.arange(len(values))
    near = np.clip((REACH - np.abs(second[:, None] - second)) / (REACH / 2), 0, 1) * weight
    return (near / (near.sum(axis=1, keepdims=True) + 1e-9)) @ values


def _per_frame(values: _Doubles, frames: int) -> Floats:
    """Values at the middle of each second, interpolated linearly to frames."""
    at = np.clip((np.arange(frames) + 0.5) / BIN - 0.5, 0, len(values) - 1)
    low = at.astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    weight = (at - low).reshape(-1, *[1] * (values.ndim - 1))
    return (values[low] * (1 - weight) + values[high] * weight).astype(np.float32)


# The network


@dataclass(frozen=True)
class ArticulationNetwork:
    """Weights as matrices: `stem` and `blocks` hold one (in, out) matrix per tap, `head` is (width, 7).

    A block sees `ahead` outputs of the future and `2 * dilation - ahead` of the past.
    """

    stem: Floats
    stem_bias: Floats
    blocks: tuple[Floats, ...]
    block_biases: tuple[Floats, ...]
    dilations: tuple[int, ...]
    ahead: tuple[int, ...]
    head: Floats
    head_bias: Floats

    def __call__(self, features: Floats) -> Floats:
        """Normalised log-mel (T, 40) at 100 Hz to the channels (T / 2 rounded up, 7) at 50 Hz."""
        padded = np.pad(features, ((2, 3), (0, 0)))
        count = (len(features) + 1) // 2
        hidden = _gelu(
            _sum(padded[k : k + 2 * count : 2][:count] @ tap for k, tap in enumerate(self.stem)) + self.stem_bias
        )
        for taps, bias, step, ahead in zip(self.blocks, self.block_biases, self.dilations, self.ahead, strict=True):
            padded = np.pad(hidden, ((2 * step - ahead, ahead), (0, 0)))
            change = _sum(padded[k * step : k * step + count] @ tap for k, tap in enumerate(taps))
            change += bias
            hidden += _gelu(change)
        return hidden @ self.head + self.head_bias


def _sum(products: Iterator[Floats]) -> Floats:
    """The sum of arrays, in the memory of the first."""
    total = next(products)
    for product in products:
        total += product
    return total


def _gelu(x: Floats) -> Floats:
    """GELU in its tanh form (Hendrycks and Gimpel 2016), in few passes over memory."""
    inner = np.float32(0.044715) * x
    inner *= x
    inner *= x
    inner += x
    inner *= np.float32(0.7978845608)
    np.tanh(inner, out=inner)
    inner += np.float32(1)
    inner *= np.float32(0.5) * x
    return inner


def network_from(
    tensors: Mapping[str, Floats], dilations: Iterable[int], ahead: Iterable[int] | None = None
) -> ArticulationNetwork:
    """A network from tensors with torch's names: `stem`, `blocks.N` and `head`, each with `.weight` and `.bias`.

    Without `ahead` every block sees as much of the future as of the past.
    """
    dilations = tuple(dilations)
    weights = {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}

    def taps(name: str) -> Floats:
        return np.ascontiguousarray(weights[f"{name}.weight"].transpose(2, 1, 0))

    return ArticulationNetwork(
        taps("stem"),
        weights["stem.bias"],
        tuple(taps(f"blocks.{k}") for k in range(len(dilations))),
        tuple(weights[f"blocks.{k}.bias"] for k in range(len(dilations))),
        dilations,
        dilations if ahead is None else tuple(ahead),
        np.ascontiguousarray(weights["head.weight"][:, :, 0].T),
        weights["head.bias"],
    )


def load_network(path: Path) -> tuple[ArticulationNetwork, dict[str, str]]:
    """The network in a weight file (float16 safetensors), and the file's metadata."""
    with safe_open(path, "np") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    dilations = [int(number) for number in metadata["dilations"].split()]
    ahead = [int(number) for number in metadata["ahead"].split()] if "ahead" in metadata else None
    return network_from(tensors, dilations, ahead), metadata


@cache
def _shipped() -> tuple[ArticulationNetwork, dict[str, str]]:
    return load_network(data_path("articulation.safetensors"))


def _with_edges(powers: Iterable[Floats]) -> Iterator[Floats]:
    silence = np.zeros((2 * EDGE, BANDS), np.float32)
    yield silence
    yield from powers
    yield silence


def _windows(powers: Iterable[Floats]) -> Iterator[tuple[Floats, int, int]]:
    """Overlapping pieces of a long recording: (power, start, stop), where only start..stop is new.

    A piece holds all that the levels of its new frames depend on, and starts on a whole second, so the pieces give
    exactly what the whole would.
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


def _augmented_mean(features: Floats, network: ArticulationNetwork) -> Floats:
    """Test-time augmentation: the mean output over three vocal-tract warps and shifts of 10 ms.

    It gives steadier curves and fewer false closures than a single pass.
    """
    total = np.zeros(((len(features) + 1) // 2, len(CHANNELS)), np.float32)
    for warp in _TRACT_WARPS:
        warped = _warp_bands(features, warp)
        between = network(warped[1:]) if len(warped) > 1 else network(warped)
        later = np.concatenate([between, between[-1:]])[: len(total)]
        earlier = np.concatenate([between[:1], between])[: len(total)]
        total += 0.5 * network(warped) + 0.25 * (earlier + later)
    return total / np.float32(len(_TRACT_WARPS))


def _warp_bands(features: Floats, warp: float) -> Floats:
    """Features (T, 40) with band k taken from `warp * k`."""
    at = np.clip(np.arange(BANDS) * warp, 0, BANDS - 1)
    low = at.astype(int)
    weight = (at - low).astype(np.float32)
    warped = features[:, low] * (1 - weight) + features[:, np.minimum(low + 1, BANDS - 1)] * weight
    return np.ascontiguousarray(warped)  # indexing gave columns, which matrix products read slowly


def _run_network(power: Floats, start: int, stop: int, network: ArticulationNetwork) -> Floats:
    """Channels, level and loudness of the frames from `start` to `stop`, at 50 Hz."""
    first, last = max(0, start - 2 * BIN), min(len(power), stop + BIN)  # more than the network's receptive field
    outputs = _augmented_mean(normalized_log_mel(power)[first:last], network)
    outputs = outputs[(start - first) // 2 : (stop - first + 1) // 2]
    level, energy = frame_level(power)[start:stop:2], power.sum(axis=1)[start:stop:2]
    decibels = 10 * np.log10(energy / level + 1e-6)
    return np.concatenate([outputs, (level / QUIET)[:, None], decibels[:, None]], axis=1)


# Mouth shapes


def speech_flags(features: SpeechFeatures) -> _Flags:
    """(T,) where somebody speaks, without gaps or bursts under 0.06 s; never in near-silence."""
    flags: _Flags = (features.speech > _SPEECH_THRESHOLD) & (features.level > _SPEECH_LEVEL)
    return _without_short_runs(_without_short_runs(flags, 3, True), 3, False)


def labials(features: SpeechFeatures) -> list[tuple[int, int]]:
    """(start, stop) of each stretch in which the lips should be shut, in frames at 50 Hz."""
    return runs((features.closure > CLOSURE_THRESHOLD) & (features.level > _SPEECH_LEVEL))


def shape_mouth(
    features: SpeechFeatures, frames: int, fps: float, strength: float = 1.0, at: Stretch = _WHOLE
) -> Floats:
    """Mouth curves (frames, 6) at `fps`: jaw, spread, upper lip, tuck, closure, tongue; at rest beyond the sound.

    Of a stretch of a clip, `features` reach 2 s further on both sides, unless it ends there.
    """
    gate = _gate(speech_flags(features), features.loudness < _SILENT, at)
    firm = gate * min(1.0, strength)
    wide = gate * np.float32(strength)
    loud = np.clip(1 + _smooth(features.loudness, 0.03) / 25, 0, 1.2)
    jaw = jaw_of(features.gap) * (1 - _LOUDNESS_FRACTION + _LOUDNESS_FRACTION * loud)
    columns = [
        to_frames(jaw * wide, frames, fps, at),
        to_frames(spread_of(_smooth(features.width, _CORNER_SMOOTHING)) * wide, frames, fps, at),
        to_frames(upper_lip_of(features.upper_lip) * wide, frames, fps, at),
        to_frames(np.clip((features.tuck - 0.15) / 0.5, 0, 1) * firm, frames, fps, at),
        _peaks(_closures(features.closure) * firm, frames, fps, at),
        to_frames(np.clip(features.tongue / 0.8, 0, 1) * firm, frames, fps, at),
    ]
    result: Floats = np.stack(columns, axis=1)
    return result.clip(np.array([0, -1, 0, 0, 0, 0], np.float32), np.float32(1), out=result)


def to_frames(values: Floats, frames: int, fps: float, at: Stretch = _WHOLE) -> Floats:
    """Sample a curve (T,) at 50 Hz in the middle of each video frame (frames,), averaged over frames above 20 ms."""
    points = max(1, int(np.ceil(FEATURE_RATE / fps)))
    total, known = np.zeros(frames, np.float32), np.append(values, np.float32(0))
    numbers, places = np.arange(at.frame, at.frame + frames), np.arange(at.feature, at.feature + len(known))
    for offset in (np.arange(points) + 0.5) / points:
        total += np.interp((numbers + offset) * (FEATURE_RATE / fps), places, known)
    return total / np.float32(points)


def _without_short_runs(flags: _Flags, length: int, value: bool) -> _Flags:
    """Flags with stretches of `value` shorter than `length` inverted."""
    result = flags.copy()
    for start, stop in runs(flags == value):
        if stop - start < length:
            result[start:stop] = not value
    return result


def _gate(speaks: _Flags, silent: _Flags, at: Stretch) -> Floats:
    """1 during speech and short pauses; in longer ones and at both ends closed (T,).

    At the ends of a stretch that are no ends of the clip only the features beyond it are affected.
    """
    active = speaks | ~silent
    for start, stop in runs(~active):
        if start > 0 and stop < len(speaks) and stop - start < _PAUSE * FEATURE_RATE:
            active[start:stop] = True
    for start, stop in runs(~speaks):
        if start == 0 or stop == len(speaks) or stop - start >= _NOISY_PAUSE * FEATURE_RATE:
            active[start:stop] = False
    times = np.arange(at.feature, at.feature + len(active)) / FEATURE_RATE
    spoken = np.flatnonzero(active)
    if not len(spoken):
        return np.zeros(len(active), np.float32)
    after = np.searchsorted(spoken, np.arange(len(active)), "right") - 1
    since = np.where(after >= 0, times - times[spoken[np.maximum(after, 0)]], np.inf)
    until = np.where(after + 1 < len(spoken), times[spoken[np.minimum(after + 1, len(spoken) - 1)]] - times, np.inf)
    last = times[-1] - times[spoken[-1]]
    haste = np.where(times > times[spoken[-1]], min(1.0, max(0.05, last / _FALL)), 1.0)
    falling = np.clip(1 - since / haste / _FALL, 0, 1)
    rise = np.where(times < times[spoken[0]], min(_RISE, max(times[spoken[0]], 1e-3)), _RISE)
    rising = np.clip(1 - until / rise, 0, 1)
    end = times[-1] if at.features is None else (at.features - 1) / FEATURE_RATE
    ends = np.minimum(times, end - times - _LAST) / _ENDS
    return _ease(np.clip(ends, 0, 1) * np.maximum(falling, rising))


def _closures(probability: Floats) -> Floats:
    """1 over the core of every likely labial, with short ramps on both sides (T,).

    The lips part at the burst, before the phone ends, so stretches of four and more lose one frame at each end.
    """
    shut = np.zeros(len(probability), np.bool_)
    for start, stop in runs(probability > CLOSURE_THRESHOLD):
        trim = 1 if stop - start > 3 else 0
        shut[start + trim : stop - trim] = True
    at, core = np.arange(len(shut)), np.flatnonzero(shut)
    if not len(core):
        return np.zeros(len(shut), np.float32)
    right = np.clip(np.searchsorted(core, at), 0, len(core) - 1)
    away = np.minimum(np.abs(core[right] - at), np.abs(core[np.maximum(right - 1, 0)] - at)) / FEATURE_RATE
    return _ease(np.clip(1 - away / _ATTACK, 0, 1))


def _smooth(values: Floats, seconds: float) -> Floats:
    return gaussian_smooth(values, seconds * FEATURE_RATE)


def _ease(x: Floats) -> Floats:
    return (x * x * (3 - 2 * x)).astype(np.float32)


def _peaks(values: Floats, frames: int, fps: float, at: Stretch) -> Floats:
    """The largest value of a curve (T,) within each video frame (frames,), so that no short closure is lost."""
    known = np.append(values, np.float32(0))
    edges = np.arange(at.frame, at.frame + frames + 1) / fps * FEATURE_RATE
    first = np.ceil(edges[:-1]) if fps < FEATURE_RATE else np.floor(edges[:-1])
    first = np.minimum(first.astype(int) - at.feature, len(known) - 1)
    last = np.minimum(np.ceil(edges[1:]).astype(int) - at.feature, len(known))
    spans = np.stack([first, np.maximum(last, first + 1)], axis=1).ravel()  # reduceat: from each index to the next
    return np.maximum.reduceat(np.append(known, np.float32(0)), spans)[::2]

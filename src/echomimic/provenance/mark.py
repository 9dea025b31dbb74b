"""An imperceptible mark in frames, which holds 48 bits: weak noise in luma, stronger in texture.

Decision page 60 states what it survives and what it cannot promise. The pattern is square tiles of band-limited noise,
one for each time slot, whose signs hold the payload. The period is PAIRS pairs of slots: the second slot of a pair has
the tile of the first with the opposite sign, so that the pattern has zero mean over time and a still picture cancels
out. A third of the coefficients is the same in every mark; it tells where and when the pattern begins. The rest holds
the coded bits. Sizes are relative to the width of the picture, which makes the mark independent of the video's size.
"""

import binascii
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.media import read_frames, read_video
from echomimic.types import Floats, Picture

PAYLOAD_BYTES = 6
_MEMORY = 6
_STATES = 1 << _MEMORY
_GENERATORS = (0o171, 0o133)
"""Generators of the usual code of rate 1/2 and constraint length 7."""
_MESSAGE_BITS = 8 * (PAYLOAD_BYTES + 2)
CODED_BITS = 2 * (_MESSAGE_BITS + _MEMORY)

Signs = npt.NDArray[np.float64]


def encode_payload(payload: bytes) -> Signs:
    """Coded bits (CODED_BITS,) of a payload of PAYLOAD_BYTES, as -1 and 1."""
    if len(payload) != PAYLOAD_BYTES:
        raise ValueError(f"a payload of {len(payload)} bytes; expected {PAYLOAD_BYTES}")
    message = payload + binascii.crc_hqx(payload, 0xFFFF).to_bytes(2, "big")
    bits = np.concatenate([np.unpackbits(np.frombuffer(message, np.uint8)), np.zeros(_MEMORY, np.uint8)])
    outputs, state = [], 0
    for bit in bits:
        outputs.append(_outputs()[state, bit])
        state = (state >> 1) | (int(bit) << (_MEMORY - 1))
    return np.concatenate(outputs)


def decode_payload(soft: Signs) -> bytes | None:
    """The payload of received values (CODED_BITS,), whose sign is the bit; None if its checksum is wrong."""
    branches = np.einsum("tk,sbk->tsb", soft.reshape(-1, 2), _outputs())
    score = np.full(_STATES, -np.inf)
    score[0] = 0
    choices = []
    states = np.arange(_STATES)
    bit = states >> (_MEMORY - 1)  # the bit that leads into a state
    before = np.stack([(states << 1) & (_STATES - 1), ((states << 1) & (_STATES - 1)) | 1])
    for branch in branches:
        reached = score[before] + branch[before, bit]
        choice = reached.argmax(0)
        choices.append(choice)
        score = reached[choice, states]
    return _check(_trace_back(choices, before))


def _trace_back(choices: list[npt.NDArray[np.intp]], before: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """The bits of the best path that ends in state 0."""
    bits, state = [], 0
    for choice in reversed(choices):
        bits.append(state >> (_MEMORY - 1))
        state = int(before[choice[state], state])
    return np.array(bits[::-1], np.uint8)


def _check(bits: npt.NDArray[np.uint8]) -> bytes | None:
    message = np.packbits(bits[:_MESSAGE_BITS]).tobytes()
    payload, checksum = message[:PAYLOAD_BYTES], message[PAYLOAD_BYTES:]
    return payload if binascii.crc_hqx(payload, 0xFFFF).to_bytes(2, "big") == checksum else None


@cache
def _outputs() -> Signs:
    """The two output bits, as -1 and 1, of every state and input bit: (states, 2, 2)."""
    table = np.zeros((_STATES, 2, 2))
    for state in range(_STATES):
        for bit in (0, 1):
            register = (bit << _MEMORY) | state
            table[state, bit] = [1 if (register & generator).bit_count() % 2 else -1 for generator in _GENERATORS]
    return table


TILE = 64
"""Pixels of a tile's side."""
WIDTH = 4 * TILE
"""Pixels to which the width of a picture is scaled."""
PAIRS = 4
SLOT = 0.25
"""Seconds of a time slot."""
LOWEST, HIGHEST = 2.0, 8.0
"""Spatial frequencies in cycles per tile."""
_SEED = 20261126
_SYNC = -1


@dataclass(frozen=True)
class Layout:
    """How the coefficients are used.

    Attributes:
        index: flat positions (n,) of the coefficients in a TILE x TILE spectrum; their conjugates follow from them.
        use: (PAIRS, n, 2) of the real and imaginary parts: the coded bit that it holds, or -1 for synchronization.
        sign: (PAIRS, n, 2) random signs.
        radius: (TILE, TILE) frequencies in cycles per tile.
    """

    index: npt.NDArray[np.intp]
    use: npt.NDArray[np.int64]
    sign: Signs
    radius: Signs

    def spectrum(self, values: Signs) -> npt.NDArray[np.complex128]:
        """Spectra (PAIRS, TILE, TILE) of coefficients (PAIRS, n, 2)."""
        spectrum = np.zeros((PAIRS, TILE * TILE), np.complex128)
        spectrum[:, self.index] = values[..., 0] + 1j * values[..., 1]
        return spectrum.reshape(PAIRS, TILE, TILE)

    def synchronization(self) -> npt.NDArray[np.complex128]:
        """Spectra of the part that is the same in every mark."""
        return self.spectrum(np.where(self.use == _SYNC, self.sign, 0.0))

    def received_bits(self, spectra: npt.NDArray[np.complex128]) -> Signs:
        """Soft values (CODED_BITS,) of aligned spectra (PAIRS, TILE, TILE)."""
        chosen = spectra.reshape(PAIRS, -1)[:, self.index]
        values = np.stack([chosen.real, chosen.imag], axis=-1) * self.sign
        held = self.use != _SYNC
        return np.bincount(self.use[held], weights=values[held], minlength=CODED_BITS).astype(np.float64)


@cache
def layout() -> Layout:
    """The layout of every mark."""
    random = np.random.default_rng(_SEED)
    frequency = np.fft.fftfreq(TILE) * TILE
    y, x = np.meshgrid(frequency, frequency, indexing="ij")
    radius = np.hypot(x, y)
    half = ((y > 0) | ((y == 0) & (x > 0))) & (radius >= LOWEST) & (radius <= HIGHEST)
    index = np.flatnonzero(half)
    count = PAIRS * len(index) * 2
    sync = count // 3
    use = np.concatenate([np.full(sync, _SYNC), np.arange(count - sync) % CODED_BITS])
    shape = (PAIRS, len(index), 2)
    return Layout(index, random.permutation(use).reshape(shape), random.choice([-1.0, 1.0], size=shape), radius)


def tiles(coded: Signs) -> npt.NDArray[np.float32]:
    """The tiles (PAIRS, TILE, TILE) of coded bits, of unit spread."""
    plan = layout()
    values = np.where(plan.use == _SYNC, 1.0, coded[np.maximum(plan.use, 0)]) * plan.sign
    pattern = np.fft.ifft2(plan.spectrum(values)).real
    return (pattern / pattern.std()).astype(np.float32)


FLAT = 0.3
"""Strength in flat areas, in grey values (root mean square)."""
TEXTURED = 1.6
"""Strength that full texture adds."""
_FULL_TEXTURE = 12.0
"""Local standard deviation in grey values from which texture counts in full."""
_WINDOW = (9, 9)


def mark_frames(frames: Iterator[Picture], fps: float, payload: bytes, first: int = 0) -> Generator[Picture]:
    """Yield copies of `frames` (H, W, 3) with a mark that holds `payload`, 6 bytes.

    `first` is the number of the first frame in the clip; at the start of a segment the frames are the same as if the
    clip were marked from its beginning.
    """
    marker: Marker | None = None
    try:
        for index, frame in enumerate(frames, first):
            marker = marker or Marker(payload, (frame.shape[0], frame.shape[1]), fps)
            yield marker.mark(frame, index)
    finally:
        close = getattr(frames, "close", None)
        if close is not None:
            close()


class Marker:
    """Marks frames of one size (height, width), one after the other."""

    def __init__(self, payload: bytes, size: tuple[int, int], fps: float) -> None:
        self._size, self._fps = size, fps
        self._small = (WIDTH, max(1, round(WIDTH * size[0] / size[1])))
        repeats = (-(-self._small[1] // TILE), WIDTH // TILE)
        self._tiles = [np.tile(tile, repeats)[: self._small[1]] for tile in tiles(encode_payload(payload))]
        self._slot = -1
        self._plus: Picture
        self._minus: Picture

    def mark(self, frame: Picture, index: int) -> Picture:
        """Frame number `index` with the mark."""
        slot = int(index / self._fps / SLOT + 1e-6)
        if slot != self._slot:
            self._slot = slot
            self._prepare(frame, slot % (2 * PAIRS))
        return np.asarray(cv2.subtract(cv2.add(frame, self._plus), self._minus), np.uint8)

    def _prepare(self, frame: Picture, slot: int) -> None:
        """What is added and subtracted in a slot, which follows the texture of its first frame."""
        pattern = self._tiles[slot // 2] if slot % 2 == 0 else -self._tiles[slot // 2]
        strength = _strength(cv2.resize(frame[..., 1], self._small, interpolation=cv2.INTER_AREA))
        height, width = self._size
        change = cv2.resize(strength * pattern, (width, height), interpolation=cv2.INTER_LINEAR)
        plus, minus = (cv2.convertScaleAbs(np.maximum(sign * change, 0)) for sign in (1, -1))
        self._plus, self._minus = (np.asarray(cv2.merge([part] * 3), np.uint8) for part in (plus, minus))


def _strength(luma: npt.NDArray[Any]) -> Floats:
    """Strength of the mark (H, W) by the local contrast of a picture (H, W)."""
    values = luma.astype(np.float32)
    mean = cv2.boxFilter(values, -1, _WINDOW)
    variance = np.maximum(cv2.boxFilter(values * values, -1, _WINDOW) - mean * mean, 0)
    return np.asarray(FLAT + TEXTURED * np.minimum(np.sqrt(variance) / _FULL_TEXTURE, 1), np.float32)


BINS = 4 * PAIRS
"""Time bins of a period, each half a slot long."""
_BIN = SLOT / 2
FOUND = 7.5
"""Smallest score that counts as a mark: chance reaches it in less than one of 10 million videos (decision page 60)."""
LONGEST = 60.0
"""Seconds of a video that are read."""
_SCALES = (TILE, *np.arange(TILE - 1, TILE * 1.13, 0.5).tolist())
"""Sides of a tile in a picture that is scaled to the usual width: larger ones are of cropped pictures."""
_CLIP = 2.5

Spectra = npt.NDArray[np.complex128]


@dataclass(frozen=True)
class MarkResult:
    """Whether a mark was found, its score in standard deviations, and its payload if that could be read."""

    found: bool
    score: float
    payload: bytes | None


def find_mark(video: Path, longest: float = LONGEST, fps: float = 25.0) -> MarkResult:
    """Look for a mark in the first `longest` seconds of a video, or of a folder of frames at `fps` a second.

    Raises the errors of reading a video or a picture.
    """
    return find_mark_in(_luma_of(video, longest, fps))


def find_mark_in(frames: Iterable[tuple[float, Floats]]) -> MarkResult:
    """Look for a mark in pairs of a time in seconds and a luma picture (H, WIDTH)."""
    bins = _time_bins(frames)
    if len(bins) < BINS // 2:  # a second
        return MarkResult(False, 0.0, None)
    plan = layout()
    folded = _accumulate(bins)
    score, spectra = max((_best_at_scale(plan, folded, scale) for scale in _SCALES), key=lambda candidate: candidate[0])
    found = score >= FOUND
    return MarkResult(found, score, decode_payload(plan.received_bits(spectra)) if found else None)


def _luma_of(video: Path, longest: float, fps: float) -> Iterator[tuple[float, Floats]]:
    """Times and luma pictures of a video or a folder of frames, scaled to WIDTH."""
    timed: Iterable[tuple[float, Picture]]
    if video.is_dir():
        timed = ((number / fps, frame) for number, frame in enumerate(read_frames(video)))
    else:
        timed = read_video(video).frames()
    for time, frame in timed:
        if time > longest:
            return
        height = max(1, round(WIDTH * frame.shape[0] / frame.shape[1]))
        small = cv2.resize(frame, (WIDTH, height), interpolation=cv2.INTER_AREA)
        yield time, cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)


def _time_bins(frames: Iterable[tuple[float, Floats]]) -> list[Floats]:
    """The mean picture of each time bin; bins without a frame repeat the one before."""
    sums: dict[int, Floats] = {}
    counts: dict[int, int] = {}
    for time, luma in frames:
        index = int(time / _BIN + 1e-6)
        sums[index] = sums[index] + luma if index in sums else luma.astype(np.float32)
        counts[index] = counts.get(index, 0) + 1
    bins: list[Floats] = []
    for index in range(max(sums) + 1) if sums else ():
        bins.append(sums[index] / counts[index] if index in sums else bins[-1] if bins else next(iter(sums.values())))
    return bins


def _accumulate(bins: list[Floats]) -> Floats:
    """The pictures of a period (BINS, H, WIDTH): changes over time, equalized in contrast and averaged over periods."""
    total = np.zeros((BINS, *bins[0].shape), np.float32)
    for index in range(2, len(bins) - 2):
        change = bins[index] - 0.5 * (bins[index - 2] + bins[index + 2])
        change = change - cv2.GaussianBlur(change, (0, 0), 8)
        contrast = np.sqrt(np.maximum(cv2.boxFilter(change * change, -1, (17, 17)), 0))
        total[index % BINS] += np.clip(change / (contrast + 0.3), -_CLIP, _CLIP)
    return total


def _best_at_scale(plan: Layout, pictures: Floats, side: float) -> tuple[float, Spectra]:
    """The score of the best place and time if a tile is `side` pixels wide, and the spectra of the pairs there."""
    spectra = _whitened(plan, np.fft.fft2(np.stack([_fold(picture, TILE / side) for picture in pictures])))
    reference = np.conj(plan.synchronization())
    shifted = [_pair_spectra(spectra, shift) for shift in range(BINS)]
    planes = np.fft.ifft2(np.stack([(pairs * reference).sum(0) for pairs in shifted])).real
    shift, y, x = np.unravel_index(planes.argmax(), planes.shape)
    frequency = np.fft.fftfreq(TILE)
    phase = np.exp(2j * np.pi * (frequency[:, None] * y + frequency[None] * x))
    return float(planes.max() / (planes.std() + 1e-12)), shifted[shift] * phase


def _pair_spectra(spectra: Spectra, shift: int) -> Spectra:
    """First slot minus second slot of each pair (PAIRS, TILE, TILE) if the period begins at time bin `shift`."""
    slots = np.roll(spectra, -shift, axis=0).reshape(PAIRS, 2, 2, TILE, TILE).sum(2)
    return np.asarray(slots[:, 0] - slots[:, 1])


def _fold(picture: Floats, scale: float) -> Floats:
    """The sum of all tiles of a picture that is resized by `scale` (TILE, TILE)."""
    if scale != 1:
        picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32)
    height, width = picture.shape
    padded = np.pad(picture, ((0, -height % TILE), (0, -width % TILE)))
    return np.asarray(padded.reshape(padded.shape[0] // TILE, TILE, padded.shape[1] // TILE, TILE).sum((0, 2)))


def _whitened(plan: Layout, spectra: Spectra) -> Spectra:
    """Spectra of equal power in each ring of frequencies, zero outside the band."""
    power = (np.abs(spectra) ** 2).mean(0)
    rings = np.round(plan.radius).astype(int)
    gain = np.zeros_like(power)
    for ring in range(int(LOWEST), int(HIGHEST) + 2):
        chosen = rings == ring
        gain[chosen] = 1 / np.sqrt(power[chosen].mean() + 1e-12)
    return spectra * gain

"""Find the mark in the frames of any video, without its tags: by correlation over scale, place and time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.media import read_frames, read_video
from echomimic.provenance.mark_code import decode_payload
from echomimic.provenance.mark_pattern import HIGHEST, LOWEST, PAIRS, SLOT, TILE, WIDTH, Layout, layout
from echomimic.types import Floats, Picture

BINS = 4 * PAIRS
"""Time bins of a period, each half a slot long."""
_BIN = SLOT / 2
FOUND = 7.5
"""Least score of a mark: chance reaches it in less than one of 10 million videos (docs/decisions)."""
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


@dataclass(frozen=True)
class _Candidate:
    score: float
    spectra: Spectra


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
    best = max((_best_at_scale(plan, folded, scale) for scale in _SCALES), key=lambda candidate: candidate.score)
    found = best.score >= FOUND
    payload = decode_payload(plan.received_bits(best.spectra)) if found else None
    return MarkResult(found, best.score, payload)


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


def _best_at_scale(plan: Layout, pictures: Floats, side: float) -> _Candidate:
    """The best place and time if a tile is `side` pixels wide."""
    spectra = _whitened(plan, np.fft.fft2(np.stack([_fold(picture, TILE / side) for picture in pictures])))
    reference = np.conj(plan.synchronization())
    shifted = [_pair_spectra(spectra, shift) for shift in range(BINS)]
    planes = np.fft.ifft2(np.stack([(pairs * reference).sum(0) for pairs in shifted])).real
    shift, y, x = np.unravel_index(planes.argmax(), planes.shape)
    frequency = np.fft.fftfreq(TILE)
    phase = np.exp(2j * np.pi * (frequency[:, None] * y + frequency[None] * x))
    return _Candidate(float(planes.max() / (planes.std() + 1e-12)), shifted[shift] * phase)


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

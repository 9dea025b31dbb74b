"""Functions on series over time: runs of flags, Gaussian smoothing, interpolation, filling of gaps."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Array = TypeVar("Array", npt.NDArray[np.float32], npt.NDArray[np.float64])


def runs(flags: Flags) -> list[tuple[int, int]]:
    """(start, stop) of each run of True in `flags` (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def gaussian_smooth(values: Array, sigma: float, reach: int | None = None) -> Array:
    """Convolve `values` (T,) with a Gaussian of `sigma` samples, truncated at `reach` samples (3 sigma by default).

    The ends are padded with the first and the last value. The result has the dtype of `values`.
    """
    if not len(values):
        return values
    reach = max(1, round(3 * sigma)) if reach is None else reach
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(values.dtype)
    return np.convolve(np.pad(values, reach, mode="edge"), weights / weights.sum(), "valid")


def sample_at(values: Array, when: npt.NDArray[np.float64]) -> Array:
    """Sample `values` (T, ...) linearly at fractional indices `when` (N,) within 0..T-1; keeps their dtype."""
    low = np.floor(when).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    fraction = (when - low).astype(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    return values[low] * (1 - fraction) + values[high] * fraction


def fill_gaps(values: Array, known: Flags) -> Array:
    """Fill the rows of `values` (T, ...) that are not `known` (T,): interpolated linearly, and held at both ends.

    At least one row must be known.
    """
    frames = np.arange(len(values))
    have = np.flatnonzero(known)
    after = np.clip(np.searchsorted(have, frames), 0, len(have) - 1)
    before = np.maximum(after - (have[after] > frames), 0)
    span = np.maximum(have[after] - have[before], 1)
    fraction = np.clip((frames - have[before]) / span, 0, 1).astype(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    filled = values[have[before]] * (1 - fraction) + values[have[after]] * fraction
    filled[have] = values[have]
    return filled

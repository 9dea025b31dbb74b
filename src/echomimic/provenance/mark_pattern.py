"""The pattern of the mark: square tiles of band-limited noise, one for each time slot, whose signs hold the payload.

The period is PAIRS pairs of slots: the second slot of a pair has the tile of the first with the opposite sign, so that
the pattern has zero mean over time and a still picture cancels out. A third of the coefficients is the same in every
mark; it tells where and when the pattern begins. The rest holds the coded bits. Sizes are relative to the width of the
picture, which makes the mark independent of the size of the video.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from echomimic.provenance.mark_code import CODED_BITS, Signs

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

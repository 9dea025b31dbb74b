"""Perceptual fingerprints of clips, to find those that show and say the same."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.mesh.speech_to_face import mel_blocks
from echomimic.types import Floats, Picture

PLACES = (1 / 6, 1 / 2, 5 / 6)
"""Places of the hashed frames in a clip, in fractions of its length."""
_TIMES, _BANDS = 16, 4
_PICTURE_BITS, _SOUND_BITS = 64 * len(PLACES), _TIMES * _BANDS
_PICTURES_DIFFER, _SOUND_DIFFERS = 24, 6
"""Bits in which the fingerprints of one recording may differ, for another encoding of it."""
_KEYS = 4
"""Parts of the sound's bits by which candidates are looked up."""


def picture_bits(pixels: Picture) -> npt.NDArray[np.bool_]:
    """64 bits: signs of the low frequencies of a picture's luma against their median (pHash)."""
    small = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = np.asarray(cv2.dct(small.astype(np.float32)), np.float32)[:8, :8].ravel()
    bits: npt.NDArray[np.bool_] = low > np.median(low[1:])
    return bits


def sound_bits(samples: Floats) -> npt.NDArray[np.bool_]:
    """64 bits of 16 kHz sound: signs of changes over time and frequency (Haitsma and Kalker, 2002)."""
    power = np.concatenate([np.zeros((0, 40), np.float32), *mel_blocks([samples])])
    parts = np.array_split(power, _TIMES + 1)
    bands = np.stack([part.reshape(len(part), _BANDS + 1, -1).sum(axis=(0, 2)) for part in parts])
    levels = np.log(bands.astype(np.float64) + 1e-3)
    bits: npt.NDArray[np.bool_] = (np.diff(np.diff(levels, axis=1), axis=0) > 0).ravel()
    return bits


def fingerprint(pictures: Sequence[Picture], samples: Floats) -> str:
    """Hex fingerprint of a clip from its frames at `PLACES` and its sound."""
    bits = np.concatenate([*map(picture_bits, pictures), sound_bits(samples)])
    return np.packbits(bits).tobytes().hex()


def duplicates(fingerprints: Iterable[tuple[str, str]]) -> dict[str, str]:
    """From (id, fingerprint) in order: each id that duplicates an earlier one, with that one."""
    found: dict[str, str] = {}
    kept: dict[tuple[int, bytes], list[tuple[str, npt.NDArray[np.bool_]]]] = {}
    for name, text in fingerprints:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).astype(np.bool_)
        keys = [(k, part.tobytes()) for k, part in enumerate(np.split(bits[_PICTURE_BITS:], _KEYS))]
        near = (other for key in keys for other in kept.get(key, ()) if _is_same(bits, other[1]))
        same = next(near, None)
        if same is not None:
            found[name] = same[0]
            continue
        for key in keys:
            kept.setdefault(key, []).append((name, bits))
    return found


def _is_same(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> bool:
    differ = a != b
    return bool(differ[:_PICTURE_BITS].sum() <= _PICTURES_DIFFER and differ[_PICTURE_BITS:].sum() <= _SOUND_DIFFERS)

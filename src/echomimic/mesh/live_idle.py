"""Idle motion without an end: segments of `IdleMotion`, each blended into the next."""

import numpy as np

from echomimic.mesh.idle import NODS, RAISES, IdleMotion
from echomimic.types import CURVE_NAMES, Floats

_SEGMENT, _OVERLAP = 60.0, 2.0
"""Seconds between the starts of two segments, and in which they are blended."""
_EASE_IN = 0.8
_BEFORE, _AFTER = 0.2, 0.45
"""Seconds of a nod before its stress and after it."""
_QUIET_PART, _VOICE_SECONDS = 0.7, 0.6
"""Fraction of the motion that remains in silence, and seconds in which it follows the voice."""
_BLINK, _PITCH, _BROW = (CURVE_NAMES.index(name) for name in ("blink", "pitch", "brow"))
_FIXED = tuple(CURVE_NAMES.index(name) for name in ("blink", "breath"))


class IdleStream:
    """Everything but the mouth, frame by frame: blinks, gaze, head, brows and breath; nods on stresses.

    The same seed and cues give the same motion. Memory does not grow: two segments are kept.
    """

    def __init__(self, fps: float, seed: int = 0, strength: float = 1.0, blink_rate: float = 16.0) -> None:
        self._fps, self._seed, self._strength, self._blink_rate = fps, seed, strength, blink_rate
        self._period, self._overlap = round(_SEGMENT * fps), max(1, round(_OVERLAP * fps))
        self._draw = np.random.default_rng([seed, *b"nods"])
        self._frame = 0
        self._voice = 0.0
        self._nod: tuple[float, float, float] | None = None  # frame, degrees, brows
        self._segment = self._make(0)
        self._next: Floats | None = None

    def row(self, voice: float = 0.0, stress: float | None = None) -> Floats:
        """(18,) the next frame; `stress` is the time in seconds to a stressed syllable."""
        at = self._frame % self._period
        self._voice += (voice - self._voice) / max(1.0, _VOICE_SECONDS * self._fps)
        row = self._blended(at)
        amount = (_QUIET_PART + (1 - _QUIET_PART) * self._voice) * min(1.0, self._frame / (_EASE_IN * self._fps))
        fixed = row[list(_FIXED)]
        row = row * np.float32(amount)
        row[list(_FIXED)] = fixed
        self._add_nod(row, stress)
        self._frame += 1
        if self._frame % self._period == 0:
            self._segment = self._following()
            self._next = None
        return row

    def _blended(self, at: int) -> Floats:
        """Frame `at` of the segment; in its last frames it becomes the next one's."""
        row = self._segment[at + self._overlap].copy()
        since = at - (self._period - self._overlap)
        if since >= 0:
            x = (since + 1) / (self._overlap + 1)
            other = self._following()[since]
            blink = max(row[_BLINK], other[_BLINK])
            row += np.float32(x * x * (3 - 2 * x)) * (other - row)
            row[_BLINK] = blink
        return row

    def _following(self) -> Floats:
        if self._next is None:
            self._next = self._make(self._frame // self._period + 1)
        return self._next

    def _make(self, number: int) -> Floats:
        """(period + overlap, 18) a segment; its first `overlap` frames are shown while the one before it ends."""
        count = self._period + self._overlap
        seed = (self._seed + 7919 * number) & 0x7FFFFFFF
        idle = IdleMotion(count, self._fps, seed, self._strength, self._blink_rate, eased=False)
        curves = idle.curves(0, count)
        segment = np.zeros((count, len(CURVE_NAMES)), np.float32)
        for name, column in curves.items():
            segment[:, CURVE_NAMES.index(name)] = column
        return segment

    def _add_nod(self, row: Floats, stress: float | None) -> None:
        if stress is not None:
            at = self._frame + stress * self._fps
            self._nod = (at, float(self._draw.uniform(*NODS)), float(self._draw.uniform(*RAISES)))
        if self._nod is not None:
            at, degrees, brows = self._nod
            x = (self._frame - at) / self._fps
            x = float(np.clip(x / (_BEFORE if x < 0 else _AFTER), -1, 1))
            bump = self._strength * np.cos(x * np.pi / 2) ** 2
            row[_PITCH] += bump * degrees
            row[_BROW] += bump * brows

"""How far the mouth moves: the network's articulation mapped to the range of filmed speakers.

The network is trained on synthetic articulation and predicts means, so its range is too small. The maps are monotone
and fixed. They were chosen by hand so that the sample voices reach `TARGETS` in the picture.
"""

import numpy as np

from echomimic.types import Floats

TARGETS = {"gap_p95": 0.40, "width_sd": 0.055, "shut": 0.15, "narrowest": 0.85, "widest": 1.25}
"""Filmed speech, which strength 1 means: lip gap in mouth widths (95th percentile), deviation of the mouth's width in
distances of the outer eye corners, fraction of shut frames, and the range of the width relative to rest."""

GAP_SHUT, GAP_WIDE = 0.15, 0.6
"""Predicted gaps at which the lips just part, and at which they are nearly as wide as the jaw allows."""
_JAW_GAIN, _JAW_BEND = 1.45, 1.6
_NARROW_GAIN, _SPREAD_GAIN, _SPREAD_BIAS = 3.8, 6.5, 0.14
"""Spread corners need more, because the network hardly predicts them; a speaking mouth is wider than one at rest."""
_LIP_REST, _LIP_GAIN = 0.1, 1.4


def jaw_of(gap: Floats) -> Floats:
    """The curve jaw (T,) of predicted lip gaps (T,): small gaps stay small, large ones open wide."""
    x = np.maximum((gap - GAP_SHUT) / (GAP_WIDE - GAP_SHUT), 0)
    return np.tanh(_JAW_GAIN * x**_JAW_BEND).astype(np.float32)


def spread_of(width: Floats) -> Floats:
    """The curve spread (T,) in -1..1 of predicted mouth widths (T,)."""
    scaled = np.where(width < 0, _NARROW_GAIN * width, _SPREAD_GAIN * width)
    return np.tanh(scaled + _SPREAD_BIAS).astype(np.float32)


def upper_lip_of(raised: Floats) -> Floats:
    """The curve upper_lip (T,) of the predicted one (T,)."""
    return np.clip((raised - _LIP_REST) * _LIP_GAIN, 0, 1).astype(np.float32)

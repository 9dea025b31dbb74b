"""The mouth expected from a sound, for comparison with the mouth in a video."""

import math
from dataclasses import dataclass

import numpy as np

from echomimic.media import sound_blocks
from echomimic.mesh.speech_to_face import (
    FEATURE_RATE,
    SAMPLE_RATE,
    SpeechFeatures,
    analyze_speech,
    labials,
    lip_opening,
    shape_mouth,
    with_mouth,
)
from echomimic.types import Curves, Floats, Speech


@dataclass(frozen=True)
class ExpectedMouth:
    """Expected mouth: `opening` (T,) at the video's rate, `closures` (start, stop) in seconds of p, b, m."""

    opening: Floats
    closures: tuple[tuple[float, float], ...]


def expected_mouth(speech: Speech, frames: int, fps: float, start: float = 0.0) -> ExpectedMouth:
    """Predict the mouth from the sound with the mesh engine's speech network.

    Times are relative to the first picture, which is shown `start` seconds after the file begins.
    """
    return mouth_of_features(analyze_speech(sound_blocks(speech, SAMPLE_RATE)), frames, fps, start)


def mouth_of_features(features: SpeechFeatures, frames: int, fps: float, start: float = 0.0) -> ExpectedMouth:
    """The same from features that were computed before."""
    count = frames + math.ceil(start * fps)
    gap = lip_opening(with_mouth(Curves.rest(count, fps), shape_mouth(features, count, fps)))
    at = np.arange(frames) + start * fps
    closures = tuple((first / FEATURE_RATE - start, last / FEATURE_RATE - start) for first, last in labials(features))
    return ExpectedMouth(np.interp(at, np.arange(count), gap).astype(np.float32), closures)

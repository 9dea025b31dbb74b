"""Crops of training examples: labels follow the features, noise hides what is quiet."""

import numpy as np
import pytest

from echomimic.train.articulation.corpus import Example
from echomimic.train.articulation.crops import Crop, at_tempo, random_crop, with_noise
from echomimic.train.articulation.labels import Labels

FRAMES = 1200


def example() -> Example:
    """Slow waves in every band, the same wave as a curve, and a closure at each of its crests."""
    wave = np.sin(np.arange(FRAMES) / 15).astype(np.float32)
    features = np.tile(wave[:, None], (1, 40)).astype(np.float16)
    crest = (wave > 0.9).astype(np.float32)
    return Example(features, Labels(np.tile(wave[:, None], (1, 8)), crest, crest.astype(np.int64)), True)


@pytest.mark.parametrize("tempo", [0.0, 1.0])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_labels_follow_the_features_of_a_crop(tempo: float, noise: float) -> None:
    for seed in range(6):
        crop = random_crop(example(), 400, np.random.default_rng(seed), tempo, noise)
        assert [part.shape for part in crop] == [(400, 40), (200, 8), (200,), (200,)]
        heard = np.median(crop.features[::2], axis=1)
        assert np.corrcoef(heard, crop.curves[:, 0])[0, 1] > (0.8 if noise else 0.97)
        assert np.array_equal(crop.closure, crop.phones)
        assert crop.curves[crop.closure > 0].min(initial=1) > 0.7


@pytest.mark.parametrize("speed", [0.75, 1.0, 2.0])
def test_another_tempo_is_the_same_speech_in_another_time(speed: float) -> None:
    whole, labels = example().features.astype(np.float32), example().labels
    fast = at_tempo(Crop(whole, labels.curves, labels.closure, labels.phones.astype(np.float32)), speed)
    expected = np.sin(np.arange(len(fast.curves)) * speed / 15)
    assert len(fast.features) == int((FRAMES - 1) / speed)
    assert np.abs(fast.curves[:, 0] - expected).max() < 0.02
    assert np.array_equal(fast.closure > 0.5, fast.phones > 0.5)


def test_noise_hides_quiet_frames_and_leaves_loud_ones() -> None:
    draw = np.random.default_rng(0)
    voice = np.repeat(draw.choice([-3.0, 2.0], 200), 5)[:, None] + 0.3 * draw.standard_normal((1000, 40))
    detail = [
        np.corrcoef(voice[loud].ravel(), with_noise(voice, draw)[loud].ravel())[0, 1]
        for loud in (voice[:, 0] > 0, voice[:, 0] < 0)
    ]
    assert detail[0] > 0.5 > 0.3 > detail[1]

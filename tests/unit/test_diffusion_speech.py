"""Ours vs theirs: the spectrum, the speech encoder with weights by rule, and the feature rows of a video frame."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from echomimic.diffusion.networks import fill_by_rule
from echomimic.diffusion.whisper import (
    SpeechEncoder,
    encode,
    log_mel,
    original_frames,
    rows_of_frames,
    windows_of_frames,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NOTES = json.loads((GOLDEN / "speech.json").read_text())


def sound(seconds: float) -> np.ndarray:
    """The recordings' test sound."""
    t = np.arange(int(seconds * 16000)) / 16000
    x = (
        0.35
        * np.sin(2 * np.pi * (120 + 40 * np.sin(2 * np.pi * 0.7 * t)) * t)
        * (0.55 + 0.45 * np.sin(2 * np.pi * 2.3 * t))
    )
    x += 0.1 * np.sin(2 * np.pi * (900 + 500 * np.sin(2 * np.pi * 0.31 * t)) * t)
    return (np.round(x * 32767).astype(np.int16) / 32768).astype(np.float32)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN / "speech.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


@pytest.fixture(scope="module", autouse=True)
def no_gradients():
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    made = SpeechEncoder()
    fill_by_rule(made)
    return made


def test_names_and_shapes_are_the_published_ones(encoder) -> None:
    assert {name: list(tensor.shape) for name, tensor in encoder.state_dict().items()} == NOTES["encoder_keys"]


@pytest.mark.parametrize("name", NOTES["files"])
def test_spectrum_and_features_ours_vs_theirs(name, golden, encoder) -> None:
    facts = NOTES["files"][name]
    samples = sound(facts["seconds"])
    mel = log_mel(np.array_split(samples, 7))
    assert mel.shape == (80, facts["mel_frames"])
    assert (mel[:, facts["mel_columns"]] - golden[f"{name}.mel"]).abs().max() < 1e-4
    features = encode(encoder, mel, exact=True)
    assert features.shape == (facts["feature_count"], 5, 384)
    assert (features[facts["feature_rows"]] - golden[f"{name}.features"]).abs().max() < 1e-4
    window = windows_of_frames(features, [2], 25)[0]
    assert (window - golden[f"{name}.window_25fps_frame2"]).abs().max() < 1e-4


@pytest.mark.parametrize("name", NOTES["files"])
def test_rows_and_counts_ours_vs_theirs(name) -> None:
    facts = NOTES["files"][name]
    rows = facts["feature_count"]
    for fps, theirs in facts["frames"].items():
        count = original_frames(rows, float(fps))
        assert count == theirs["count"]
        ends = rows_of_frames([0, 1, 2, count - 2, count - 1], float(fps), rows)
        assert ends.tolist() == theirs["rows_of_frames"]["first3_last2"]


@pytest.mark.parametrize("cuts", [1, 3, 50])
def test_blocks_of_any_length_give_the_same_spectrum(cuts) -> None:
    samples = sound(0.7)
    assert torch.allclose(log_mel(np.array_split(samples, cuts)), log_mel([samples]), atol=1e-6)


@pytest.mark.parametrize("samples", [0, 1, 159, 200, 201, 400, 1000])
def test_short_sounds_have_a_spectrum(samples) -> None:
    mel = log_mel([np.full(samples, 0.1, np.float32)])
    assert mel.shape[1] >= 1
    assert torch.isfinite(mel).all()


def test_the_end_is_filled_with_silence(encoder) -> None:
    mel = log_mel([sound(0.5)])
    assert not torch.allclose(encode(encoder, mel), encode(encoder, mel, exact=True), atol=1e-3)

"""Loudness levelling: quiet speech is raised, everything else passes unchanged, memory is bounded."""

import tracemalloc
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from echomimic.data import data_path
from echomimic.media import read_speech, sound_blocks
from echomimic.media.loudness import level_loudness
from echomimic.mesh.speech_to_face import predict_mouth
from echomimic.notes import collect_notes
from echomimic.types import Floats

RATE = 16_000


@pytest.fixture(scope="module")
def voice() -> Floats:
    return np.concatenate(list(sound_blocks(read_speech(data_path("demo_voice.flac")), RATE)))


def blocks(samples: Floats) -> Iterator[Floats]:
    samples = np.asarray(samples, np.float32)
    return iter([samples[start : start + 10 * RATE] for start in range(0, len(samples), 10 * RATE)])


def jaw(samples: Floats) -> Floats:
    return predict_mouth(blocks(samples), round(len(samples) / RATE * 25), 25.0)[:, 0]


@pytest.fixture(scope="module")
def usual(voice: Floats) -> Floats:
    """The jaw of the voice as it is."""
    return jaw(voice)


@pytest.fixture(scope="module")
def usual_of_four(voice: Floats) -> Floats:
    """The jaw of the voice four times in a row."""
    return jaw(np.tile(voice, 4))


def peaking(samples: Floats, decibels: float) -> Floats:
    return (samples / np.abs(samples).max() * 10 ** (decibels / 20)).astype(np.float32)


def alike(got: Floats, expected: Floats, correlation: float = 0.98, amplitude: float = 0.1) -> bool:
    r = float(np.corrcoef(got, expected)[0, 1]) if got.std() else 0.0
    return r > correlation and abs(got.std() / expected.std() - 1) < amplitude


@pytest.mark.parametrize("decibels", [-25, -30, -40, -50])
@pytest.mark.parametrize("bits", [16, 32])
def test_a_quiet_voice_moves_the_mouth_as_a_loud_one(voice: Floats, usual: Floats, decibels: float, bits: int) -> None:
    quiet = peaking(voice, decibels)
    if bits == 16:
        quiet = np.rint(quiet * 32768) / 32768
    assert alike(jaw(quiet), usual)


@pytest.mark.parametrize("decibels", [0, -6, -12, -18])
def test_a_normal_voice_passes_unchanged(voice: Floats, decibels: float) -> None:
    given = list(blocks(peaking(np.tile(voice, 4), decibels)))
    with collect_notes() as notes:
        assert all(out is block for out, block in zip(level_loudness(given), given, strict=True))
    assert notes == []


def test_more_than_20_decibels_are_noted_once(voice: Floats) -> None:
    with collect_notes() as notes:
        list(level_loudness(blocks(peaking(voice, -40))))
        list(level_loudness(blocks(peaking(voice, -40))))
    assert [note.code for note in notes] == ["voice_quiet"]
    assert 30 < notes[0].values["decibels"] < 45


@pytest.mark.parametrize("milliseconds", [0.1, 5.0])
def test_a_loud_click_in_a_quiet_voice_does_not_decide_the_level(
    voice: Floats, usual: Floats, milliseconds: float
) -> None:
    quiet, count = peaking(voice, -40), max(1, round(milliseconds * 16))
    quiet[len(quiet) // 2 :][:count] = np.random.default_rng(0).uniform(-1, 1, count)
    assert alike(jaw(quiet), usual)


def test_a_slam_in_a_quiet_voice_does_not_shut_the_mouth(voice: Floats, usual: Floats) -> None:
    quiet = peaking(voice, -40)
    quiet[len(quiet) // 2 :][:4800] = np.random.default_rng(0).uniform(-1, 1, 4800)
    assert jaw(quiet).mean() > 0.6 * usual.mean()


@pytest.mark.parametrize("disturbance", ["hum", "offset", "hiss", "much hiss"])
def test_a_quiet_voice_is_raised_out_of_hum_offset_and_hiss(voice: Floats, disturbance: str) -> None:
    times, white = np.arange(len(voice)) / RATE, np.random.default_rng(2).standard_normal(len(voice))
    rms = float(np.sqrt((voice**2).mean()))
    added = {
        "hum": 2 * np.sin(2 * np.pi * 50 * times),
        "offset": np.full(len(voice), 1.0),
        "hiss": rms / 10 * white,
        "much hiss": rms / 3 * white,
    }[disturbance]
    assert alike(jaw(0.01 * (voice + added)), jaw(voice + (0 if disturbance == "offset" else added)))


def test_a_fade_in_is_followed(voice: Floats) -> None:
    long = np.tile(voice, 2)
    faded = long * 10 ** (np.linspace(-60, 0, len(long)) / 20)
    assert alike(jaw(faded), jaw(long), correlation=0.93, amplitude=0.15)


@pytest.mark.parametrize("gain", [0.1, 0.03, 0.01])
@pytest.mark.parametrize("quiet_first", [False, True])
def test_a_quiet_half_is_followed_within_a_second(
    voice: Floats, usual_of_four: Floats, gain: float, quiet_first: bool
) -> None:
    long = np.tile(voice, 4)
    halved, half = long.copy(), len(long) // 2
    quiet = slice(None, half) if quiet_first else slice(half, None)
    halved[quiet] *= gain
    got, expected, frame = jaw(halved), usual_of_four, round(half / RATE * 25)
    for part in (slice(None, frame - 25), slice(frame + 25, None)):
        assert alike(got[part], expected[part], correlation=0.95)
    assert alike(got, expected, correlation=0.93)


@cache
def noises() -> dict[str, Floats]:
    draw, times = np.random.default_rng(1), np.arange(10 * RATE) / RATE
    white = draw.standard_normal(len(times))
    return {
        "silence": np.zeros(len(times)),
        "hiss": 1e-4 * white,
        "room": 1e-3 * white,
        "last bit": np.rint(0.6 * white) / 32768,
        "hum": 1e-3 * np.sin(2 * np.pi * 50 * times) + 1e-5 * white,
        "bursts at the rate of syllables": 3e-4 * white * (np.sin(2 * np.pi * 4 * times) > 0) + 1e-5 * white,
        "clicks": np.where(times % 0.5 < 0.002, 1e-2, 1e-5) * white,
        "one loud click": np.where(np.arange(len(times)) == 80_000, 1.0, 1e-4 * white),
    }


@pytest.mark.parametrize("kind", noises())
def test_noise_alone_is_not_raised(kind: str) -> None:
    given = list(blocks(noises()[kind]))
    with collect_notes() as notes:
        assert all(out is block for out, block in zip(level_loudness(given), given, strict=True))
    assert notes == []
    assert predict_mouth(iter(given), 250, 25.0)[:, 0].mean() < 0.03


def test_samples_that_are_no_numbers_do_not_spread(voice: Floats) -> None:
    quiet = peaking(voice, -40)
    quiet[1000] = np.nan
    raised = np.concatenate(list(level_loudness(blocks(quiet))))
    assert np.flatnonzero(~np.isfinite(raised)).tolist() == [1000]


def test_the_result_does_not_depend_on_the_blocks(voice: Floats) -> None:
    quiet = peaking(np.tile(voice, 3), -40)
    whole = np.concatenate(list(level_loudness([quiet])))
    for pieces in (np.array_split(quiet, 97), [quiet[:1], quiet[1:1], quiet[1:70_001], quiet[70_001:]]):
        np.testing.assert_array_equal(np.concatenate(list(level_loudness(pieces))), whole)
    assert list(level_loudness([])) == []


def test_memory_does_not_grow_with_length(voice: Floats) -> None:
    second = peaking(voice[RATE : 2 * RATE], -40)
    peaks = []
    for seconds in (20, 20, 60):
        tracemalloc.start()
        assert sum(map(len, level_loudness(second for _ in range(seconds)))) == seconds * RATE
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


def test_the_diffusion_engine_hears_a_quiet_voice_at_the_usual_level(voice: Floats) -> None:
    pytest.importorskip("torch")
    from echomimic.diffusion.whisper import log_mel

    quiet, loud = peaking(voice, -40), log_mel(blocks(voice))
    assert float((log_mel(blocks(quiet)) - loud).abs().mean()) > 0.8
    assert float((log_mel(level_loudness(blocks(quiet))) - loud).abs().mean()) < 0.15

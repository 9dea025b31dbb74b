import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("scipy", reason="the extra 'train' is not installed")

import torch

from echomimic.errors import SetupError
from echomimic.mesh.speech_to_face import SAMPLE_RATE, load_network
from echomimic.motion.lags import pearson
from echomimic.train.articulation import synthesis
from echomimic.train.articulation.augment import CODECS, apply_codec, degrade, no_voice
from echomimic.train.articulation.build import Closures, count_closures
from echomimic.train.articulation.corpus import Example, examples, features_of, join
from echomimic.train.articulation.labels import (
    CHANNELS,
    CLASS_OF,
    CONSONANTS,
    VOWELS,
    Segment,
    canonical,
    canonical_segments,
    make_labels,
)
from echomimic.train.articulation.neural import merged
from echomimic.train.articulation.resynthesis import resynthesize, stretch
from echomimic.train.articulation.synthesis import Utterance
from echomimic.train.articulation.training import TrainingConfig, agreement, save, train

PAPA = [
    Segment(0.0, 0.3, "pau"), Segment(0.3, 0.4, "p"), Segment(0.4, 0.6, "aa"), Segment(0.6, 0.7, "p"),
    Segment(0.7, 0.9, "uw"), Segment(0.9, 1.0, "f"), Segment(1.0, 1.2, "iy"), Segment(1.2, 1.3, "l"),
    Segment(1.3, 1.5, "aa"), Segment(1.5, 2.0, "pau"),
]  # fmt: skip


def column(curves: np.ndarray, name: str) -> np.ndarray:
    return curves[:, CHANNELS.index(name)]


def buzz(seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.2 * np.sign(np.sin(2 * np.pi * 130 * time)) * np.clip(np.sin(2 * np.pi * 3 * time), 0, 1)).astype(
        np.float32
    )


def utterance(seed: int = 0) -> Utterance:
    samples = buzz(2.0) + 0.001 * np.random.default_rng(seed).standard_normal(2 * SAMPLE_RATE)
    return Utterance((samples * 32767).astype(np.int16), PAPA, "buzz")


@pytest.mark.parametrize(
    ("name", "language", "expected"),
    [
        ("em", "en", ["ax", "m"]),
        ("ay", "en", ["aa", "ih"]),
        ("axr", "en", ["er"]),
        ("h#", "en", ["pau"]),
        ("a1", "it", ["aa"]),
        ("tS", "it", ["ch"]),
        ("p:", "fi", ["p"]),
        ("c", "cs", ["s"]),
        ("ch", "cs", ["hh"]),
        ("pp", "ru", ["p"]),
        ("ʃ", "ipa", ["sh"]),
        ("ˈaɪ", "ipa", ["aa", "ih"]),
        ("_:", "ipa", ["pau"]),
        ("???", "en", ["ax"]),
    ],
)
def test_phone_names_are_mapped_to_ours(name, language, expected):
    name = name.replace("aɪ", "ai") if expected == ["aa", "ih"] and language == "ipa" else name
    phones = [phone for phone, _ in canonical(name, language)]
    assert phones[0] == expected[0] and len(phones) == len(expected)
    assert sum(share for _, share in canonical(name, language)) == pytest.approx(1)


def test_every_phone_has_a_class():
    assert set(CLASS_OF) >= VOWELS | CONSONANTS | {"pau"}


def test_pauses_join_and_diphthongs_split():
    found = canonical_segments([Segment(0, 0.1, "pau"), Segment(0.1, 0.2, "pau"), Segment(0.2, 0.4, "ow")], "en")
    assert [s.phone for s in found] == ["pau", "ao", "uw"]
    assert found[0].end == pytest.approx(0.2)
    assert found[1].end == pytest.approx(0.32)


def test_labels_describe_the_mouth():
    labels = make_labels(PAPA, 200)
    assert labels.curves.shape == (200, len(CHANNELS)) and labels.closure.shape == labels.phones.shape == (200,)
    gap, wide = column(labels.curves, "gap"), column(labels.curves, "width")
    assert gap[35] < 0.2 and gap[50] > 0.5, "shut on p, open on aa"
    assert labels.closure[[33, 36, 64]].all() and not labels.closure[[10, 50, 80, 110]].any()
    assert wide[80] < wide[110] - 0.3, "oo is rounder than ee"
    assert column(labels.curves, "tuck")[94] > 0.8 > 0.2 > column(labels.curves, "tuck")[50]
    assert column(labels.curves, "tongue")[124] > 0.8
    assert column(labels.curves, "speech")[100] > 0.9 > 0.1 > column(labels.curves, "speech")[190]
    assert labels.phones[35] == CLASS_OF["p"] and labels.phones[0] == CLASS_OF["pau"]


def test_short_pauses_hold_the_mouth():
    held = make_labels([Segment(0, 0.5, "aa"), Segment(0.5, 0.7, "pau"), Segment(0.7, 1.2, "aa")], 120)
    assert column(held.curves, "gap")[60] > 0.8


def test_sentences_repeat_with_their_seed():
    assert (
        synthesis.english_sentences(20, 1) == synthesis.english_sentences(20, 1) != synthesis.english_sentences(20, 2)
    )
    assert len(synthesis.foreign_sentences("cs", 33, 0)) == 33
    assert all(
        character not in "abcdefghijklmnopqrstuvwxyz"
        for character in synthesis.nonsense(__import__("random").Random(0), "ru")
    )


def test_missing_synthesisers_are_named_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.setattr(synthesis, "_FESTIVAL_VOICES", tmp_path)
    with pytest.raises(SetupError, match=r"apt-get install .*espeak-ng.*festvox-us-slt-hts.*flite") as caught:
        synthesis.check_tools()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "codec", [codec for codec in CODECS if codec], ids=lambda codec: f"{codec.encoder}-{codec.bits}"
)
def test_codecs_keep_length_and_time(codec):
    draw = np.random.default_rng(0)
    samples = np.convolve(
        draw.standard_normal(2 * SAMPLE_RATE) * (np.sin(np.arange(2 * SAMPLE_RATE) / 3000) > 0), np.hanning(9), "same"
    )
    samples = (0.3 * samples / np.abs(samples).max()).astype(np.float32)
    back = apply_codec(codec, samples)
    assert back.shape == samples.shape
    assert pearson(back[SAMPLE_RATE // 2 :], samples[SAMPLE_RATE // 2 :]) > 0.7


def test_degraded_voices_stay_finite_and_differ():
    draw = np.random.default_rng(0)
    voices = [utterance().samples]
    for _ in range(20):
        poor = degrade(buzz(1.0), draw, voices)
        assert poor.shape == (SAMPLE_RATE,) and poor.dtype == np.float32
        assert np.isfinite(poor).all() and 0.005 < np.abs(poor).max() <= 1
        assert np.isfinite(no_voice(SAMPLE_RATE, draw)).all()


def test_tokens_become_segments_and_marks_and_short_spaces_join_their_neighbours():
    names = ["pau", "p", "ˈ", "a", "ː", " ", "m", ",", "u", "pau"]
    lengths = [0.3, 0.1, 0.02, 0.1, 0.05, 0.05, 0.1, 0.2, 0.1, 0.2]
    found = merged(names, lengths, 1.17, 0.05)
    assert [s.phone for s in found] == ["pau", "p", "a", "m", "pau", "u", "pau"]
    assert found[1].start == pytest.approx(0.25) and found[2].end == pytest.approx(0.595 - 0.05)
    assert found[0].start == 0 and found[-1].end == 1.17


@pytest.mark.parametrize("kind", ["whisper", "song"])
def test_resynthesis_keeps_the_syllables(kind):
    voice, draw = buzz(2.0), np.random.default_rng(0)
    changed = resynthesize(voice, kind, draw)
    loudness = [np.convolve(np.abs(sound), np.ones(800) / 800, "same") for sound in (voice, changed)]
    assert changed.shape == voice.shape and pearson(*loudness) > 0.8
    assert abs(pearson(voice, changed)) < 0.5, "another source"


@pytest.mark.parametrize("speed", [0.6, 1.8])
def test_a_stretched_voice_keeps_its_pitch(speed):
    voice = np.sin(2 * np.pi * 200 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    changed = stretch(voice, speed)
    assert len(changed) == int(len(voice) / speed)
    assert np.argmax(np.abs(np.fft.rfft(changed))) * SAMPLE_RATE / len(changed) == pytest.approx(200, abs=3)


def test_joined_utterances_keep_their_times():
    sound = join([utterance(), utterance(1)], np.random.default_rng(3))
    assert sound.segments[-1].end == pytest.approx(len(sound.samples) / SAMPLE_RATE, abs=1e-3)
    loud = np.array(
        [np.abs(sound.samples[int(s.start * SAMPLE_RATE) : int(s.end * SAMPLE_RATE)]).mean() for s in sound.segments]
    )
    assert loud[[s.phone == "aa" for s in sound.segments]].mean() > 5 * loud[-1]
    starts, ends = [s.start for s in sound.segments[1:]], [s.end for s in sound.segments[:-1]]
    np.testing.assert_allclose(starts, ends, atol=1e-3)


def test_examples_hold_clean_degraded_and_wordless_clips():
    made = list(examples([utterance(k) for k in range(6)], copies=2, seed=0))
    assert {example.clean for example in made} == {True, False}
    for example in made:
        assert example.features.dtype == np.float16 and example.features.shape[1] == 40
        assert len(example.features) == len(example.labels.curves) == len(example.labels.closure)
    assert any(not example.labels.closure.any() for example in made), "a clip in which nobody speaks"


@pytest.fixture(scope="module")
def trained():
    """A tiny network that has to tell two sounds apart: lips shut on a hiss, open on a low tone."""
    draw = np.random.default_rng(0)
    made = []
    for _ in range(8):
        segments = [Segment(0.1 * k, 0.1 * k + 0.1, str(draw.choice(["m", "aa"]))) for k in range(60)]
        features = draw.normal(0, 0.3, (600, 40))
        for start, end, phone in segments:
            features[round(start * 100) : round(end * 100), slice(0, 10) if phone == "aa" else slice(30, 40)] += 2
        made.append(Example(features.astype(np.float16), make_labels(segments, 600), True))
    torch.set_num_threads(1)
    return train(made, TrainingConfig(width=16, steps=(40, 20), batch=4, crop=300, rate=1e-2)), made


def test_a_tiny_network_learns_closures(trained, tmp_path, caplog):
    result, made = trained
    path = tmp_path / "net.safetensors"
    save(result, path, {"seed": "0"})
    network, about = load_network(path)
    assert about["seed"] == "0"
    said = network(made[0].features.astype(np.float32))
    assert pearson(said[:, 6], made[0].labels.closure[::2]) > 0.7
    assert pearson(said[:, 0], column(made[0].labels.curves, "gap")[::2]) > 0.6


def test_numpy_and_torch_agree(trained):
    assert agreement(trained[0], 200) < 0.05


def test_weights_hold_only_safetensors(trained, tmp_path):
    save(trained[0], tmp_path / "net.safetensors", {})
    assert (tmp_path / "net.safetensors").read_bytes()[8:9] == b"{"


def test_closure_counts():
    curve = np.zeros(50)
    curve[8:10] = 1
    curve[30] = 1
    counts = count_closures(curve, PAPA, 25.0)
    assert counts == Closures(spoken=2, hit=1, made=2, right=1)
    assert (counts + counts).recall == 0.5 and Closures().precision == 0


def test_closures_in_a_pause_do_not_count():
    curve = np.zeros(50)
    curve[[3, 4, 42, 43]] = 1
    assert count_closures(curve, PAPA, 25.0).made == 0


def test_features_of_silence_are_finite():
    assert np.isfinite(features_of(np.zeros(SAMPLE_RATE, np.float32))).all()


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_flite_speaks_with_the_times_of_its_phones():
    voice = next(voice for voice in synthesis.VOICES if voice.name == "flite-slt")
    spoken = list(synthesis.speak(voice, 2, seed=1))
    again = list(synthesis.speak(voice, 2, seed=1))
    assert [u.segments for u in spoken] == [u.segments for u in again]
    for u in spoken:
        assert u.segments[-1].end == pytest.approx(len(u.samples) / SAMPLE_RATE, abs=0.1)
        assert {s.phone for s in u.segments} <= VOWELS | CONSONANTS | {"pau"}


def test_the_tool_shows_its_flags():
    command = [sys.executable, "-m", "echomimic.train.articulation", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--seed" in said and "--out" in said


def test_the_tool_fails_in_one_line_without_synthesisers(monkeypatch, caplog, tmp_path):
    from echomimic.train.articulation.__main__ import main

    monkeypatch.setattr(shutil, "which", lambda program: None)
    with caplog.at_level(logging.ERROR):
        assert main(["--out", str(tmp_path)]) == 2
    assert "apt-get install" in caplog.text and not list(tmp_path.iterdir())

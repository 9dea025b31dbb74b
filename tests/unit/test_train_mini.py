"""The parts of the mini: geometry, linear codec, log-mel features, clips, samples, evaluator, report, command."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from echomimic.apps.cli.main import run
from echomimic.checkpoints import Geometry, read_geometry, write_geometry
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.condition_images import PARTS
from echomimic.diffusion.small import LinearCodec, MelSpeech
from echomimic.errors import OptionError, SetupError, WeightsError
from echomimic.train.articulation.synthesis import HELD_OUT, VOICES, planned_sentences
from echomimic.train.diffusion import mini_hands
from echomimic.train.diffusion.mini import fit_codec, mini_settings, scale_encoder
from echomimic.train.diffusion.mini_data import (
    FPS,
    SIDE,
    TRAINED_VOICES,
    MiniClip,
    available_voices,
    held_out_seed,
    with_gestures,
)
from echomimic.train.diffusion.mini_evaluation import (
    CASES,
    Case,
    Faces,
    Figures,
    best_lag,
    correlation,
    motion_of,
    partner,
    sound_of,
    table,
)
from echomimic.train.diffusion.mini_report import HANDS, MiniPlan, portrait_variants, report_text, run_mini
from echomimic.train.diffusion.mini_samples import FRAMES, MiniSamples, condition_pictures, vary_speech
from echomimic.types import Curves, LandmarkTrack, Portrait, PoseTrack

GEOMETRY = Geometry(channels=(32,), layers=1, heads=2, motion_heads=2, audio_dim=88, encoder_widths=(4, 4, 8, 8))


def made_clip(seed: int, portrait: int = 0, frames: int = 60) -> MiniClip:
    """A clip whose mouth is a bright square that grows with the jaw, on noise that differs between portraits."""
    draw = np.random.default_rng(seed)
    jaw = np.abs(np.convolve(draw.normal(size=frames), np.ones(5) / 5, "same")).astype(np.float32)
    curves = Curves.rest(frames, FPS).replace(jaw=np.clip(jaw, 0, 1))
    backdrop = np.random.default_rng(1000 + portrait).integers(0, 120, (SIDE, SIDE, 3))
    pictures = np.repeat(backdrop[None], frames, 0).astype(np.float32)
    pictures[:, 40:48, 24:40] += 120 * curves["jaw"][:, None, None, None]
    points = np.tile(draw.uniform(20, 44, (478, 3)).astype(np.float32), (frames, 1, 1))
    points[:, :, 1] = np.linspace(24, 50, 478)
    sound = draw.normal(0, 0.1, int(frames / FPS * 16_000)).astype(np.float32)
    return MiniClip(pictures.clip(0, 255).astype(np.uint8), points, curves, sound, "made", portrait)


def test_a_geometry_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_geometry(tmp_path / "denoising_unet.safetensors") is None
    write_geometry(tmp_path, GEOMETRY)
    assert read_geometry(tmp_path / "denoising_unet.safetensors") == GEOMETRY


@pytest.mark.parametrize("text", ["", "{}", '{"channels": [32], "surprise": 1}', '{"channels": "wide"}'])
def test_a_wrong_geometry_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "networks.json").write_text(text)
    with pytest.raises(WeightsError, match="expected what `train export` wrote") as caught:
        read_geometry(tmp_path / "denoising_unet.safetensors")
    assert "\n" not in str(caught.value)


def test_the_linear_codec_restores_pictures_of_few_components() -> None:
    torch.manual_seed(0)
    patterns, amounts = torch.randn(4, 192), torch.randn(6, 8, 8, 4)
    blocks = (amounts @ patterns).permute(0, 3, 1, 2) * 0.01
    pictures = torch.nn.functional.pixel_shuffle(blocks, 8)
    codec = LinearCodec.fit(pictures)
    latents = codec.encode(pictures)
    assert latents.shape == (6, 4, 8, 8)
    assert torch.allclose(codec.decode(latents), pictures, atol=1e-4)
    assert float((0.18215 * latents).square().mean()) == pytest.approx(1, abs=0.05)


def test_log_mel_tokens_carry_their_place_in_the_window() -> None:
    speech = MelSpeech()
    features = speech.features([np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)])
    tokens = speech.tokens(features, range(5, 9), FPS)
    assert features.shape == (100, 1, 80) and tokens.shape == (4, 10, 88)
    assert torch.equal(tokens[0, :, 80:], tokens[3, :, 80:])
    assert float(features.mean()) == pytest.approx(0, abs=1e-3)


def test_varied_speech_keeps_its_time() -> None:
    features = torch.zeros(50, 1, 80)
    features[20:25] = 3
    for seed in range(8):
        varied = vary_speech(features, np.random.default_rng(seed))
        assert torch.equal(varied, vary_speech(features, np.random.default_rng(seed)))
        loud = varied[:, 0].mean(1)
        assert varied.shape == features.shape and set(loud.topk(5).indices.tolist()) == set(range(20, 25))


def test_the_encoder_starts_with_features_of_one_spread() -> None:
    torch.manual_seed(0)
    encoder = ConditionEncoder(3, 32, (4, 4, 8, 8))
    pictures = torch.zeros(6, 3, SIDE, SIDE)
    for n in range(6):
        pictures[n, :, 10 + 5 * n, 8:50] = 0.4
    before = float(encoder(pictures).detach().std())
    scale_encoder(encoder, pictures)
    after = encoder(pictures).detach()
    assert before < 0.2
    assert float(after.std()) == pytest.approx(0.5, rel=1e-3)
    assert float((after - after.mean(0)).std()) > 0.1  # they depend on the picture


def test_gestures_move_brows_and_lids_and_leave_the_mouth() -> None:
    curves = Curves.rest(70, FPS).replace(jaw=0.4)
    track = LandmarkTrack(np.zeros((70, 478, 3), np.float32), (64, 64), FPS, np.ones(70, bool), curves)
    moved = with_gestures(track, np.random.default_rng(3)).curves
    assert moved is not None
    assert moved["blink"].max() > 0.9 and moved["brow"].std() > 0.05
    assert np.array_equal(moved["jaw"], curves["jaw"])


def test_held_out_voices_say_sentences_that_are_not_in_training() -> None:
    trained = ["flite-slt", "flite-awb"]
    seed = held_out_seed(0, trained, 40, HELD_OUT, 6)
    by_name = {voice.name: voice for voice in VOICES}
    said = {line for name in trained for line in planned_sentences(by_name[name], 40, 0)}
    new = {line for name in HELD_OUT for line in planned_sentences(by_name[name], 6, seed)}
    assert len(new) >= 10 and not said & new
    assert not set(TRAINED_VOICES) & set(HELD_OUT)


def test_missing_synthesizers_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SetupError):
        available_voices(TRAINED_VOICES)
    assert run(["train", "mini", "-o", str(tmp_path / "run")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "apt-get install flite espeak-ng" in line
    assert not (tmp_path / "run").exists()


def test_correlation_ignores_drift_and_lags_are_found() -> None:
    draw = np.random.default_rng(0)
    curve = np.convolve(draw.normal(size=140), np.ones(3) / 3, "same").astype(np.float32)
    drifting = curve + np.linspace(0, 30, 140, dtype=np.float32)
    assert correlation(drifting, curve) > 0.95
    assert correlation(np.ones(50, np.float32), curve[:50]) == 0
    assert [best_lag(np.roll(curve, shift), curve) for shift in (-3, 0, 4)] == [-3, 0, 4]


def test_faces_read_the_mouth_and_tell_portraits_apart() -> None:
    trained = [made_clip(seed, seed % 2) for seed in range(6)]
    faces, new = Faces(trained), made_clip(9, 1)
    found = faces.correlations(new, new.frames)
    assert found.keys() == {"mouth"}  # nothing else moves in it
    assert found["mouth"] > 0.95
    assert faces.nearest(new.frames) == 1 and faces.nearest(made_clip(8, 0).frames) == 0
    assert abs(correlation(faces.curve("mouth", 1, made_clip(10, 1).frames), new.opening)) < 0.5


def test_cases_select_voice_and_landmarks() -> None:
    clips = [made_clip(seed, seed % 2, 40 + seed) for seed in range(4)]
    clip, other = clips[0], partner(clips[0], clips)
    assert other is clips[2] and partner(clips[3], clips) is clips[1]
    assert len(sound_of(Case("x", voice="other"), clip, other)) == len(clip.sound)
    assert not sound_of(Case("x", voice="none"), clip, other).any()
    noisy = sound_of(Case("x", babble=True), clip, other)
    assert np.corrcoef(noisy, clip.sound)[0, 1] == pytest.approx(0.5**0.5, abs=0.05)  # as much noise as voice
    track = motion_of(Case("x", ("eyes",), landmarks="other"), clip, other)
    assert isinstance(track, LandmarkTrack)
    assert len(track) == len(clip) and track.parts == ("eyes",)
    assert len({case.name for case in CASES}) == len(CASES)


def test_samples_have_the_voice_only_at_first_and_landmarks_later() -> None:
    clips = [made_clip(seed) for seed in range(3)]
    settings = mini_settings(40)
    samples = MiniSamples(clips, fit_codec(clips), settings, 0.5)
    early, late = [samples.sample(n) for n in range(40)], [samples.sample(n) for n in range(80, 120)]
    assert not any(sample.condition.any() for sample in early)
    assert sum(bool(sample.condition.any()) for sample in late) > 20
    one = samples.sample(90)
    assert one.latents.shape == (FRAMES, 4, 8, 8) and one.audio.shape == (FRAMES, 10, 88)
    assert torch.equal(one.noise, samples.sample(90).noise) and torch.equal(one.audio, samples.sample(90).audio)
    assert float(one.mouth.mean()) == pytest.approx(1, abs=1e-5)


def condition_centre(pictures: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Centres (T, 2) of what is drawn."""
    weights = pictures.sum(1).double().numpy()
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    total = weights.sum((1, 2))
    return np.stack([(weights * columns).sum((1, 2)) / total, (weights * rows).sum((1, 2)) / total], 1)


def test_a_painted_hand_and_its_drawing_follow_the_path() -> None:
    clip = mini_hands.with_hand(made_clip(0), np.random.default_rng(0))
    assert clip.pose is not None
    wrist = clip.pose.hands[:, 0, 0, :2]
    assert wrist.min() > 0 and wrist.max() < 1 and wrist.std(0).min() > 0.02
    drawn = condition_centre(condition_pictures(clip, range(len(clip)), ()))
    for axis in (0, 1):
        assert np.corrcoef(drawn[:, axis], wrist[:, axis])[0, 1] > 0.99
    assert (clip.frames != made_clip(0).frames).any(axis=(1, 2, 3)).all()
    trained = [mini_hands.with_hand(made_clip(seed), np.random.default_rng(seed)) for seed in range(1, 9)]
    assert Faces(trained).wrist(clip, clip.frames) > 0.9
    other = mini_hands.with_hand(made_clip(9, frames=40), np.random.default_rng(9))
    pose = motion_of(HANDS[1], clip, other)
    assert isinstance(pose, PoseTrack)
    assert len(pose.body) == len(pose.hands) == len(pose.face) == len(clip)


def test_portraits_of_one_photo_differ() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    looks = portrait_variants(Portrait(pixels))
    assert len(looks) == 3 and len({look.pixels.tobytes() for look in looks}) == 3


def test_the_report_shows_figures_and_targets() -> None:
    row = Figures(CASES[0].name, 0.8, 0.7, 0.1, 0.2, (0, 0, 1), 1.1, 1.0)
    assert "| a: voice alone | 0.800 | 0.700 | 0.100 | 0.200 | 2 of 3 | 1.10 | 1.00 |" in table([row])
    assert table([replace(row, wrist=0.9)]).splitlines()[0].endswith("wrist r |")
    from echomimic.presets import find_preset

    plan = MiniPlan("v1-landmarks", 100, 0, ["flite-slt"], 2, 1)
    text = report_text(plan, find_preset("v1-landmarks"), [row], {"mouth": 0.99}, 3)
    assert "mouth 0.990" in text and "mouth r at least 0.75" in text


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echomimic.train.diffusion.mini_report.available_voices", list)
    (tmp_path / "mini.json").write_text("{}")
    with pytest.raises(OptionError, match="--resume"):
        run_mini(tmp_path, 1, [])
    with pytest.raises(WeightsError, match="start in a new folder"):
        run_mini(tmp_path, 1, [], resume=True)


def test_conditions_are_black_without_regions() -> None:
    clip = made_clip(0)
    assert not condition_pictures(clip, [0, 1], ()).any()
    assert condition_pictures(clip, [0, 1], tuple(PARTS)).any()

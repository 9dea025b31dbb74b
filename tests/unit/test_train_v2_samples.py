"""Samples of V2: half bodies, padded headshots, and a run of the curriculum from end to end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from echomimic.apps.cli.train import app
from echomimic.diffusion.condition_images import draw_pose
from echomimic.diffusion.small import MelSpeech
from echomimic.errors import OptionError
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.clips import open_clips
from echomimic.train.diffusion.curriculum import check_curriculum, is_headshot, state_at
from echomimic.train.diffusion.half_body import HalfBodySamples, SizeGroups, open_headshots, region_crop
from echomimic.train.diffusion.headshots import GREY, measure_faces, place_face, placement_of_sample
from echomimic.train.diffusion.losses import latent_loss
from echomimic.train.diffusion.manifest import read_manifest, write_rows
from echomimic.train.diffusion.reader import (
    PosePairs,
    load_reader,
    measure_headshots,
    open_half_bodies,
    save_reader,
    train_reader,
)
from echomimic.train.diffusion.run import run_training
from echomimic.train.diffusion.settings import (
    HeadshotSettings,
    LossSettings,
    TrainSettings,
    make_settings,
    read_settings,
)
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.types import LandmarkTrack
from helpers.half_body import make_half_data, small_reader, synthetic_pose
from helpers.training_data import make_data, make_start

PHASES = [
    {"name": "b0", "steps": 2, "parts": ["body", "head", "lips", "hands"], "audio": ["lips", "lips"], "headshots": 0.5},
    {"name": "b3", "steps": 2, "audio": ["head", "all"], "blend_steps": 1, "headshots": 0.5},
]
PHASE_LOSS = {"pose": 0.1, "detail": 0.1, "perceptual": 0.1, "crop": 4, "distance": "gradients"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half bodies in `half`, faces in `heads`, small start weights in `start`, a reader."""
    folder = tmp_path_factory.mktemp("v2")
    make_half_data(folder / "half")
    make_data(folder / "heads", ("aa01", "bb02"))
    make_start(folder / "start", "v2")
    save_reader(small_reader(), folder / "reader.safetensors")
    return folder


def _settings(folder: Path, **groups: dict[str, object]) -> TrainSettings:
    values: dict[str, dict[str, object]] = {
        "data": {"path": str(folder / "half"), "headshots": str(folder / "heads"), "size": 64, "frames": 3},
        "model": {"variant": "hands", "trained": "attention", "start": str(folder / "start")},
        "loss": {"weighting": "v"},
        "curriculum": {"phases": PHASES},
        "headshots": {"heights": [0.3, 0.4], "across": [0.45, 0.55], "down": [0.45, 0.55]},
        "phase_loss": {**PHASE_LOSS, "reader": str(folder / "reader.safetensors"), "pose_warmup": 1},
        "optimizer": {"batch": 4, "warmup": 1, "rate": 1e-3},
        "run": {"steps": 4, "precision": "float32", "workers": 0, "alarm_every": 0, "validate_every": 0},
    }
    for group, fields in groups.items():
        values[group] = {**values.get(group, {}), **fields}
    return make_settings(values)


def _samples(settings: TrainSettings) -> HalfBodySamples:
    clips, _ = open_clips(Path(settings.data.path), settings)
    return HalfBodySamples(clips, MelSpeech(), settings, open_headshots(settings))


def _numbers(settings: TrainSettings, headshot: bool) -> list[int]:
    return [n for n in range(4) if is_headshot(settings.run.seed, n, 4, 0.5) == headshot]


def test_a_sample_of_a_half_body(data: Path) -> None:
    settings = _settings(data, drop={"hands": 0.0})
    samples = _samples(settings)
    n = _numbers(settings, headshot=False)[0]
    sample = samples.sample(n)
    assert sample.pictures is not None and sample.pictures.shape == (3, 3, 64, 64)
    assert sample.audio_mask is not None and sample.audio_mask.shape == (3, 1, 8, 8)
    assert 0 < float(sample.audio_mask.mean()) < 0.1
    assert sample.origin is not None
    first = int(sample.origin[1])
    drawn = draw_pose(samples.clips.track(0), first + 1, (64, 64))  # type: ignore[arg-type]
    assert torch.equal(sample.condition[1], torch.from_numpy(drawn).permute(2, 0, 1) / 255)
    again = samples.sample(n)
    assert torch.equal(again.condition, sample.condition) and torch.equal(again.pictures, sample.pictures)  # type: ignore[arg-type]
    last = samples.sample(12 + n)
    assert last.audio_mask is not None and bool((last.audio_mask == 1).all())


def test_a_headshot_has_no_loss_and_no_gradient_on_its_padding(data: Path) -> None:
    settings = _settings(data)
    sample = _samples(settings).sample(_numbers(settings, headshot=True)[0])
    assert sample.pictures is not None and sample.reference_picture is not None and sample.audio_mask is not None
    assert not sample.condition.any() and sample.condition.shape == (3, 3, 64, 64)
    padded = (sample.pictures == GREY).all(dim=1).all(dim=0)
    assert 0.2 < float(padded.float().mean()) < 0.95
    assert torch.equal((sample.reference_picture == GREY).all(dim=0), padded)
    assert 0 < float(sample.audio_mask.mean()) < 1
    batch = Batch.stack([replace(sample, pictures=None, reference_picture=None)])
    velocity = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    latent_loss(NoiseSchedule.of_inference(), batch, velocity, LossSettings(weighting="v")).backward()
    counts = sample.mouth > 0
    assert velocity.grad is not None
    assert bool(((velocity.grad[0] != 0).any(dim=1, keepdim=True) == counts).all())
    assert float(sample.mouth.mean()) == pytest.approx(1, abs=1e-4)
    touched = torch.nn.functional.max_pool2d(padded.float()[None, None], 8)[0]
    assert not (counts[0] & (touched > 0)).any()


def test_a_headshot_has_no_loss_of_the_pose(data: Path) -> None:
    settings = _settings(data, curriculum={"phases": [{**PHASES[0], "steps": 4, "headshots": 1.0}]})
    seen = set()
    samples = _samples(settings)
    for sample in map(samples.sample, range(30)):
        assert sample.crop is not None
        assert (int(sample.crop[3]) == 0) == (int(sample.timestep) >= 900)
        seen.add(int(sample.crop[3]))
    assert seen == {0, 4}


def test_headshots_have_faces_as_high_as_half_bodies() -> None:
    generator = np.random.default_rng(0)
    points = generator.uniform((150, 100), (350, 380), (1, 478, 2))
    track = LandmarkTrack(np.pad(points, ((0, 0), (0, 0), (0, 1))).astype(np.float32), (512, 512), 24, np.ones(1, bool))
    settings, heights, middles = HeadshotSettings(), list[float](), list[float]()
    for n in range(400):
        placement = placement_of_sample(0, n, track, [0], (768, 512), settings)
        face = placement.track(track).points[0, :, :2]
        heights.append(float(np.ptp(face[:, 1])) / 512)
        middles.append(float(face[:, 0].min() + face[:, 0].max()) / 2 / 768)
    wanted = np.interp(np.linspace(0, 1, 101), np.linspace(0, 1, 5), settings.heights)
    found = np.quantile(heights, np.linspace(0, 1, 101))
    assert np.abs(found / np.mean(heights) - wanted / np.mean(wanted)).max() < 0.08
    assert np.mean(heights) == pytest.approx(np.mean(wanted), rel=0.15)
    assert min(middles) > 0.38 and max(middles) < 0.62 and np.ptp(middles) > 0.1


def test_faces_of_half_bodies_are_measured() -> None:
    measured = measure_faces([synthetic_pose(30)], 3)
    assert measured.heights == pytest.approx((0.2, 0.2, 0.2), abs=0.01)
    assert measured.across[1] == pytest.approx(0.5, abs=0.01) and measured.down[1] == pytest.approx(0.27, abs=0.01)
    assert measure_faces([]) == HeadshotSettings()


def test_pictures_are_pasted_where_their_points_are() -> None:
    picture = np.zeros((1, 100, 100, 3), np.uint8)
    picture[0, 38:42, 58:62] = 255
    face = np.array([(0.5, 0.3), (0.7, 0.7)], np.float32)
    placement = place_face(face, (100, 100), (96, 64), 0.5, (0.3, 0.5))
    pasted, at = placement.paste(picture)[0], placement.points(np.array([(0.6, 0.4)], np.float32))[0] * (96, 64)
    white = np.argwhere((pasted > 250).all(axis=2)).mean(axis=0)[::-1]
    assert np.abs(white + 0.5 - at).max() < 1.5
    weights = placement.weights()
    assert weights.shape == (1, 8, 12) and float(weights.mean()) == pytest.approx(1) and float(weights.min()) == 0


def test_samples_without_hands_show_few(data: Path) -> None:
    settings = _settings(data, drop={"hands": 1.0}, data={"headshots": ""}, curriculum={"phases": []})
    samples = _samples(settings)
    track = synthetic_pose(30)
    track.hands[:12, ..., 2] = 0
    samples.clips.track = lambda index: track  # type: ignore[method-assign]
    firsts = [samples.window(0, n)[0] for n in range(30)]
    assert np.mean([first <= 9 for first in firsts]) > 0.8
    assert not samples.sample(0).condition.any()


def test_the_samples_of_a_step_have_one_size(data: Path) -> None:
    folder = data / "mixed"
    if not folder.exists():
        shutil.copytree(data / "half", folder)
        tall = make_half_data(data / "tall", ("dd11", "ee12"), side=64, crop=48)
        rows = read_manifest(folder) + read_manifest(tall)
        shutil.copytree(tall / "clips", folder / "clips", dirs_exist_ok=True)
        write_rows(folder / "manifest.jsonl", rows)
    settings = _settings(data, data={"path": str(folder)})
    samples, seen = _samples(settings), set()
    for step in range(6):
        batch = Batch.stack([samples.sample(n) for n in range(4 * step, 4 * step + 4)])
        assert batch.pictures is not None and batch.condition.shape[3:] == batch.pictures.shape[3:]
        assert batch.mouth.shape[3:] == batch.latents.shape[3:]
        seen.add(tuple(batch.latents.shape[3:]))
    assert seen == {(8, 8), (8, 6)}


def test_sizes_are_drawn_as_often_as_they_are() -> None:
    groups = SizeGroups([(64, 64)] * 30 + [(48, 64)] * 10, seed=0, batch=4)
    sizes = [groups.size(4 * step) for step in range(400)]
    assert sizes.count((48, 64)) == 100
    for n in range(200):
        assert (groups.clip(n) >= 30) == (groups.size(n) == (48, 64))
    alone = SizeGroups([(64, 64)] * 10, seed=0, batch=4)
    assert sorted(alone.clip(n) for n in range(10)) == list(range(10))


def test_crops_take_turns() -> None:
    track = synthetic_pose(4)
    crops = [region_crop(0, n, track, range(4), (768, 768), 48) for n in range(60)]
    sizes = {crop[3:] for crop in crops}
    assert sizes == {(48, 48), (96, 96)} and {crop[0] for crop in crops} == {0, 1, 2, 3}
    assert len({crop[1:3] for crop in crops}) > 3
    small = region_crop(0, 1, track, range(4), (64, 96), 48)
    assert small[3] == small[4] <= 8


def test_a_run_of_two_phases(data: Path, tmp_path: Path) -> None:
    settings = _settings(data, run={"validate_every": 4, "validation_samples": 8, "validation_clips": 0})
    records = list[dict[str, float]]()
    average = run_training(settings, tmp_path / "run", report=records.append)
    assert len(records) == 4 and all(np.isfinite(record["loss"]) for record in records)
    for record in records:
        assert {"latent", "pose", "detail", "perceptual"} <= record.keys()
    assert sum(record["detail"] for record in records) > 0
    assert all(bool(torch.isfinite(value).all()) for value in average.values())
    assert {name.split(".")[0] for name in average} == {"denoising", "condition"}
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert any(np.isfinite(line.get("val_loss", np.nan)) for line in log)
    written = (tmp_path / "run" / "settings.toml").read_text()
    assert read_settings(tmp_path / "run" / "settings.toml") == settings
    assert "b3" in written and json.loads((tmp_path / "run" / "data.json").read_text())["clips"] == 3


def test_a_reader_and_the_places_of_faces_come_from_the_data(data: Path, tmp_path: Path) -> None:
    clips = open_half_bodies(data / "half")
    pair = PosePairs(clips, side=32).pair(5)
    assert pair[0].shape == pair[1].shape == (3, 32, 32)
    assert float(pair[0].min()) >= -1 and 0 <= float(pair[1].min()) < 0.01 and float(pair[1].max()) > 0.2
    made = train_reader(PosePairs(clips, side=32).pair, 2, batch=2, widths=(8, 8), side=32)
    save_reader(made, tmp_path / "reader.safetensors")
    assert load_reader(tmp_path / "reader.safetensors").side == 32
    found = CliRunner().invoke(app, ["faces", str(data / "half")])
    assert found.exit_code == 0, found.output
    (tmp_path / "faces.toml").write_text(found.output)
    measured = read_settings(tmp_path / "faces.toml").headshots
    assert measured == measure_headshots(clips) and measured.heights[0] == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("name", ["v2-a0", "v2-a1", "v2-b", "v2-c"])
def test_presets_of_v2_fit_together(name: str) -> None:
    settings = read_settings(Path(name))
    check_curriculum(settings)
    assert settings.model.variant == "hands" and settings.data.size == 768
    last = state_at(settings.curriculum, settings.run.steps)
    if name in ("v2-b", "v2-c"):
        assert (last.parts, last.small, last.large) == (("hands",), "all", "all")


def test_settings_that_do_not_fit_are_refused_in_one_line(data: Path) -> None:
    with pytest.raises(OptionError, match="headshots, but there are none"):
        _samples(_settings(data, data={"headshots": ""}))
    with pytest.raises(OptionError, match="cached_latents = false"):
        _samples(_settings(data, data={"cached_latents": True}))
    with pytest.raises(OptionError, match=r"the run has 5"):
        _samples(_settings(data, run={"steps": 5}))
    with pytest.raises(OptionError, match=r"loss.spatial is a loss of V1"):
        _samples(_settings(data, loss={"spatial": 0.1}))

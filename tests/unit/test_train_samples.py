"""Samples of V1's training from a prepared data set: frames, voices, condition pictures, losses on pictures."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from echomimic.diffusion.autoencoder import Autoencoder
from echomimic.diffusion.condition_images import PARTS, draw_landmarks
from echomimic.diffusion.networks import TINY_VAE, fill_by_rule
from echomimic.diffusion.small import LinearCodec, MelSpeech
from echomimic.errors import InputError, OptionError, SetupError, VideoError
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.clips import Recent, open_clips, read_frames
from echomimic.train.diffusion.conditions import (
    crop_of_sample,
    face_box,
    jitter_points,
    landmark_conditions,
    lips_of,
    mask_conditions,
    mouth_maps,
)
from echomimic.train.diffusion.encoding import cache_latents, encode_batch
from echomimic.train.diffusion.losses import (
    SpatialLoss,
    decoder_layers,
    gradient_distance,
    perceptual_distance,
    without_margin,
)
from echomimic.train.diffusion.manifest import Row, read_manifest, write_rows
from echomimic.train.diffusion.randomness import regions_of_sample
from echomimic.train.diffusion.samples import ClipSamples, augment_voice, shift_pitch
from echomimic.train.diffusion.settings import AudioSettings, LossSettings, TrainSettings, make_settings
from echomimic.train.diffusion.targets import NoiseSchedule
from echomimic.types import LandmarkTrack
from helpers.training_data import COUNT, FPS, SIDE, make_data, write_clip_file

SCHEDULE = NoiseSchedule.of_inference()
QUIET = AudioSettings(noise=0, gain=0, pitch=0, room=0, codec=0, features=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("made") / "data")


def settings_for(folder: Path, **groups: dict[str, object]) -> TrainSettings:
    values: dict[str, dict[str, object]] = {
        "data": {"path": str(folder), "size": SIDE, "frames": 6, "reference_distance": 6},
        "optimizer": {"batch": 2},
    }
    for group, fields in groups.items():
        values[group] = {**values.get(group, {}), **fields}
    return make_settings(values)


def samples_for(folder: Path, *, augmented: bool = True, **groups: dict[str, object]) -> ClipSamples:
    settings = settings_for(folder, **groups)
    return ClipSamples(open_clips(folder, settings)[0], MelSpeech(), settings, augmented=augmented)


def test_frames_are_read_at_random_as_in_order(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    frames = [np.full((64, 64, 3), 3 * number, np.uint8) for number in range(60)]
    for frame in frames:
        frame[:8, :8] = draw.integers(0, 255, 3)
    write_clip_file(tmp_path / "clip.mp4", frames)
    whole = read_frames(tmp_path / "clip.mp4", range(60), 24.0)
    assert np.abs(whole[:, 32, 32, 0].astype(int) - 3 * np.arange(60)).max() <= 4
    for numbers in ([0], [59], [13], [59, 0, 30], [11, 12, 13], [40, 40, 2]):
        assert np.array_equal(read_frames(tmp_path / "clip.mp4", numbers, 24.0), whole[numbers])
    with pytest.raises(VideoError, match="has no frame 60"):
        read_frames(tmp_path / "clip.mp4", [60], 24.0)


def bursts() -> np.ndarray:
    """Three seconds with bursts of a rich tone at irregular times."""
    time = np.arange(48_000) / 16_000
    tone = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 8))
    gate = np.zeros(48_000)
    for start in (0.3, 0.75, 1.4, 1.9, 2.6):
        gate[int(start * 16_000) : int((start + 0.12) * 16_000)] = 1
    return (0.2 * tone * gate).astype(np.float32)


def envelope(sound: np.ndarray) -> np.ndarray:
    power = np.convolve(np.asarray(sound, np.float64) ** 2, np.ones(160) / 160, "same")[::80]
    return power - power.mean()


@pytest.mark.parametrize("effect", ["noise", "gain", "pitch", "codec"])
def test_augmentation_never_changes_time(effect: str) -> None:
    sound, changed, full = bursts(), 0, cast(dict[str, Any], {effect: 1.0})
    for seed in range(6):
        made = augment_voice(sound, np.random.default_rng(seed), replace(QUIET, **full))
        assert made.shape == sound.shape and made.dtype == np.float32 and np.abs(made).max() <= 1
        changed += not np.array_equal(made, sound)
        match = np.correlate(envelope(made), envelope(sound), "full")
        assert abs(int(match.argmax()) - (len(envelope(sound)) - 1)) <= 2, (effect, seed)  # 10 ms
    assert changed >= (3 if effect == "codec" else 6)
    assert np.array_equal(augment_voice(sound, np.random.default_rng(0), QUIET), sound)


def test_echoes_of_a_room_follow_the_direct_sound() -> None:
    click = np.zeros(16_000, np.float32)
    click[5_000] = 0.5
    for seed in range(6):
        made = augment_voice(click, np.random.default_rng(seed), replace(QUIET, room=1.0))
        assert int(np.abs(made).argmax()) == 5_000 and np.abs(made[:4_999]).max() < 1e-6
        assert np.abs(made[5_001:]).max() > 1e-4


def test_pitch_moves_by_the_semitones_asked_for() -> None:
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    for semitones in (-2.0, 1.0, 2.0):
        spectrum = np.abs(np.fft.rfft(shift_pitch(tone, semitones)[8_000:24_000] * np.hanning(16_000)))
        assert spectrum.argmax() == pytest.approx(440 * 2 ** (semitones / 12), abs=4)


def test_a_sample_depends_on_its_number_alone(data: Path) -> None:
    one, other = samples_for(data, loss={"spatial": 0.1}), samples_for(data, loss={"spatial": 0.1})
    for n in (5, 0, 3):
        other.sample(n)
    for n in (0, 3, 11):
        ours, theirs = (vars(samples.sample(n)) for samples in (one, other))
        for name, value in ours.items():
            assert value is None or torch.equal(value, theirs[name]), name
    sample = one.sample(2)
    cells = SIDE // 8
    assert sample.pictures is not None and sample.reference_picture is not None
    assert sample.pictures.shape == (6, 3, SIDE, SIDE) and sample.reference_picture.shape == (3, SIDE, SIDE)
    assert sample.latents.shape == sample.noise.shape == (6, 4, cells, cells)
    assert sample.audio.shape == (6, 10, 88) and sample.condition.shape == (1, 1, SIDE, SIDE)
    assert sample.mouth.shape == (6, 1, cells, cells)
    assert sample.mouth.mean(dim=(1, 2, 3)).numpy() == pytest.approx(1, abs=1e-5)


def test_voices_have_variants_and_validation_has_the_voice_itself(data: Path) -> None:
    samples = samples_for(data, audio={"noise": 1.0, "gain": 0.0, "features": 0.0})
    heard = {samples.tokens(0, range(4), n).numpy().tobytes() for n in range(40)}
    assert len(heard) == 4
    plain = samples_for(data, augmented=False)
    assert torch.equal(plain.tokens(0, range(4), 1), plain.tokens(0, range(4), 2))
    assert plain.tokens(0, range(4), 1).numpy().tobytes() not in heard
    assert all(bool(plain.sample(n).keep.all()) for n in range(30))
    noisy = samples_for(data, audio={"noise": 0.0, "pitch": 0, "room": 0, "codec": 0, "gain": 0.0, "features": 1.0})
    one, other = (noisy.tokens(0, range(4), n) for n in (1, 2))
    assert 0.02 < float((one - other).std() / plain.tokens(0, range(4), 0).std()) < 0.2


def test_cached_speech_gives_the_same_features(data: Path) -> None:
    cached = samples_for(data, data={"cached_speech": True})
    made, read = cached.tokens(0, range(4), 1), samples_for(data, data={"cached_speech": True}).tokens(0, range(4), 1)
    assert torch.equal(made, read)
    assert torch.allclose(made, samples_for(data).tokens(0, range(4), 1), atol=2e-2)


def track_of(data: Path) -> LandmarkTrack:
    track = samples_for(data).clips.track(0)
    assert isinstance(track, LandmarkTrack) and len(track) == COUNT
    return track


def test_the_mask_covers_the_face_of_the_whole_clip(data: Path) -> None:
    track, settings = track_of(data), settings_for(data)
    masks = [mask_conditions(settings, track, [n], (SIDE, SIDE), n).pictures for n in range(30)]
    areas = sorted(float(mask.sum()) for mask in masks)
    assert areas[0] < areas[-1]  # the margin is jittered
    box = [face_box(track, frame, (SIDE, SIDE)) for frame in range(COUNT)]
    left, top = (int(np.ceil(min(side[i] for side in box))) for i in (0, 1))
    right, bottom = (int(max(side[i] for side in box)) for i in (2, 3))
    for mask in masks:
        assert mask.shape == (1, 1, SIDE, SIDE) and set(mask.unique().tolist()) <= {0.0, 1.0}
        assert bool(mask[0, 0, max(top, 0) : bottom, max(left, 0) : right].all())


def test_regions_that_are_not_selected_are_black_and_the_rest_is_unchanged(data: Path) -> None:
    track, settings = track_of(data), settings_for(data, model={"variant": "landmarks"}, landmarks={"jitter": 0.0})
    seen = set()
    for n in range(60):
        regions = regions_of_sample(settings.run.seed, n, settings.landmarks)
        seen.add(regions)
        made = landmark_conditions(settings, track, [0, 3], (SIDE, SIDE), n)
        assert made.pictures.shape == (2, 3, SIDE, SIDE)
        assert made.silent == (settings.landmarks.silent_with_all if regions == tuple(PARTS) else 0.0)
        for place, frame in enumerate((0, 3)):
            # the same regions in every frame of the sample, drawn as the engine draws them
            drawn = draw_landmarks(track.points[frame], track.image_size, (SIDE, SIDE), regions)
            ours = (made.pictures[place].permute(1, 2, 0) * 255).round().byte().numpy()
            assert np.array_equal(ours, drawn if regions else np.zeros_like(drawn))
    assert () in seen and tuple(PARTS) in seen


def test_jitter_is_one_small_similarity_for_all_frames(data: Path) -> None:
    points = track_of(data).points[:4]
    moved = jitter_points(points, np.random.default_rng(3))
    shift = moved[..., :2] - points[..., :2]
    size = float(np.ptp(points[..., 0]))
    assert 0 < np.abs(shift).max() < 0.1 * size
    flat, to = points[..., :2].reshape(-1, 2).astype(float), moved[..., :2].reshape(-1, 2)
    basis = np.column_stack([flat, np.ones(len(flat))])
    solved, *_ = np.linalg.lstsq(basis, to, rcond=None)
    assert np.abs(basis @ solved - to).max() < 1e-3  # one map for all frames
    assert solved[0, 0] == pytest.approx(solved[1, 1], abs=1e-4)
    assert solved[0, 1] == pytest.approx(-solved[1, 0], abs=1e-4)


def test_the_mouth_weighs_more_in_frames_with_speech_only(data: Path) -> None:
    track = track_of(data)
    maps = mouth_maps(track, [0, 1], [True, False], (128, 128), 3.0)
    assert float(maps[1].max()) == float(maps[1].min()) == 1
    lips = lips_of(track, 0, (128, 128))
    assert lips is not None
    x, y = (lips.mean(0) / 8).astype(int)
    assert float(maps[0, 0, y, x]) == float(maps[0].max())
    assert float(maps[0].max() / maps[0].min()) == pytest.approx(3)


def test_the_crop_lies_inside_and_shows_the_face(data: Path) -> None:
    track = track_of(data)
    for n in range(50):
        frame, top, left, height, width = crop_of_sample(0, n, track, [2, 5, 9], (512, 512), 32)
        assert 0 <= frame < 3 and height == width == 32 and 0 <= top <= 32 and 0 <= left <= 32
        x0, y0, x1, y1 = (side / 8 for side in face_box(track, (2, 5, 9)[frame], (512, 512)))
        assert min(x1, left + 32) - max(x0, left) > 0.5 * min(32, x1 - x0)
        assert min(y1, top + 32) - max(y0, top) > 0.5 * min(32, y1 - y0)
    assert crop_of_sample(0, 1, track, [0], (SIDE, SIDE), 32)[1:] == (0, 0, 8, 8)


def test_pictures_are_encoded_once_or_for_each_batch(data: Path) -> None:
    vae = LinearCodec.fit(torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    fresh, cached = samples_for(data), samples_for(data, data={"cached_latents": True})
    cache_latents(cached.clips, vae, torch.device("cpu"))
    batch = encode_batch(vae, Batch.stack([fresh.sample(n) for n in range(2)]))
    assert batch.pictures is None and float(batch.latents.std()) > 0.1
    read = Batch.stack([cached.sample(n) for n in range(2)])
    assert read.pictures is None and torch.allclose(read.latents, batch.latents, atol=4e-3)
    assert torch.allclose(read.reference, batch.reference, atol=4e-3)
    assert encode_batch(vae, read) is read


def spatial_batch(timesteps: tuple[int, ...], cells: int = 16) -> Batch:
    count = len(timesteps)
    draw = torch.Generator().manual_seed(1)
    latents = torch.randn(count, 2, 4, 24, 24, generator=draw)
    return Batch(
        latents=latents,
        reference=latents[:, 0],
        audio=torch.zeros(count, 2, 1, 1),
        condition=torch.zeros(count, 1, 1, 8, 8),
        noise=torch.randn(latents.shape, generator=draw),
        timestep=torch.tensor(timesteps),
        mouth=torch.ones(count, 2, 1, 24, 24),
        keep=torch.ones(count, 3),
        crop=torch.tensor([[1, 4, 2, cells, cells]] * count),
        crop_picture=torch.zeros(count, 3, 8 * cells, 8 * cells),
    )


def small_vae() -> Autoencoder:
    vae = Autoencoder(TINY_VAE)
    fill_by_rule(vae)
    return vae.requires_grad_(False)


SPATIAL = LossSettings(spatial=0.1, perceptual="gradients", spatial_from=10)


def test_the_spatial_loss_reaches_the_velocity_of_its_crop_and_not_the_decoder() -> None:
    batch, vae = spatial_batch((200, 900)), small_vae()
    loss = SpatialLoss(SCHEDULE, vae, SPATIAL)
    noisy = SCHEDULE.add_noise(batch.latents, batch.noise, batch.timestep)
    velocity = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert loss(batch, noisy, velocity, 9) == {}
    value = loss(batch, noisy, velocity, 10)["spatial"]
    value.backward()
    assert velocity.grad is not None and float(value.detach()) > 0
    inside = velocity.grad[0, 1, :, 4:20, 2:18]
    assert bool(inside.abs().sum() > 0)
    assert float(velocity.grad.abs().sum()) == pytest.approx(float(inside.abs().sum()))  # nothing at t = 900
    assert all(parameter.grad is None for parameter in vae.parameters())
    assert float(loss(spatial_batch((700, 999)), noisy, velocity, 10)["spatial"]) == 0


def test_the_checkpointed_decoder_gives_the_same_gradient_and_a_perfect_guess_a_small_loss() -> None:
    batch = spatial_batch((300,))
    noisy = SCHEDULE.add_noise(batch.latents, batch.noise, batch.timestep)
    perfect = SCHEDULE.velocity(batch.latents, batch.noise, batch.timestep)
    gradients: list[torch.Tensor | None] = []
    for vae in (small_vae(), small_vae()):
        loss = SpatialLoss(SCHEDULE, vae, SPATIAL)
        if gradients:
            for layer in decoder_layers(vae.decoder):
                del layer.forward  # the class's own, which keeps its activations
        real = vae.decode(batch.latents[:, 1, :, 4:20, 2:18] / 0.18215)
        exact = replace(batch, crop_picture=real)
        assert float(loss(exact, noisy, perfect, 10)["spatial"]) < 1e-6
        velocity = perfect.clone().add_(0.1).requires_grad_()
        loss(exact, noisy, velocity, 10)["spatial"].backward()
        gradients.append(velocity.grad)
    assert gradients[0] is not None and gradients[1] is not None
    assert torch.allclose(gradients[0], gradients[1], atol=1e-8)


def test_margins_are_removed_and_distances_are_zero_for_equal_pictures() -> None:
    assert without_margin(torch.zeros(1, 3, 256, 256)).shape[2:] == (192, 192)
    assert without_margin(torch.zeros(1, 3, 64, 64)).shape[2:] == (64, 64)
    picture = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert float(gradient_distance(picture, picture).sum()) == 0
    blurred = torch.nn.functional.avg_pool2d(picture, 3, 1, 1)
    assert bool((gradient_distance(blurred, picture) > 0.1).all())
    assert perceptual_distance("none")(picture, blurred).tolist() == [0, 0]


def test_lpips_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(SetupError, match=r"train-gpu, or loss.perceptual=gradients"):
        perceptual_distance("lpips")


def rewrite(data: Path, to: Path, change) -> Path:  # type: ignore[no-untyped-def]
    """A copy of the data set whose rows are changed."""
    to.mkdir()
    (to / "clips").symlink_to(data / "clips")
    write_rows(to / "manifest.jsonl", [change(number, row) for number, row in enumerate(read_manifest(data))])
    return to


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda number, row: replace(row, size=(96, 96)), "expected a longer side of 64: set data.size"),
        (lambda number, row: replace(row, size=(64, 48)) if number else row, "expected one size"),
        (lambda number, row: replace(row, kind="half") if number else row, "mixes kinds"),
        (lambda number, row: replace(row, clip="clips/gone.mp4") if number else row, "gone.mp4 of clip bb02"),
        (lambda number, row: replace(row, frames=6), "no training clip of more than 6 frames"),
        (lambda number, row: replace(row, dropped="no face"), "no clip to train on"),
    ],
)
def test_a_data_set_that_does_not_fit_is_one_line(data: Path, tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    other = rewrite(data, tmp_path / "other", change)
    with pytest.raises(InputError, match=message) as caught:
        open_clips(other, settings_for(other))
    assert "\n" not in str(caught.value)


def test_a_changed_file_is_detected_when_it_is_read(data: Path, tmp_path: Path) -> None:
    def other_sum(number: int, row: Row) -> Row:
        assert row.checksums is not None
        return replace(row, checksums=replace(row.checksums, clip="0" * 64))

    clips, _ = open_clips(rewrite(data, tmp_path / "other", other_sum), settings_for(data))
    with pytest.raises(InputError, match="has changed since it was prepared"):
        clips.frames(0, [0])


def test_hands_have_no_v1_conditioner_and_recent_results_are_few(data: Path) -> None:
    made: list[int] = []

    def make(key: int) -> int:
        made.append(key)
        return key

    recent = Recent(make, 2)
    assert [recent(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2] and made == [1, 2, 3, 2]
    assert recent.__getstate__()["_values"] == {}
    with pytest.raises((OptionError, InputError)):
        samples_for(data, model={"variant": "hands"})
    assert FPS == 24

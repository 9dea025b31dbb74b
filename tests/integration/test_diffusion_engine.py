"""The engine on `tiny`: seeds, windows in one call, cancel, memory that does not grow, every dtype and odd sizes."""

import threading
import tracemalloc
from collections.abc import Generator
from typing import cast

import numpy as np
import pytest
import torch

from echomimic.data import demo_portrait
from echomimic.diffusion import denoise as loop
from echomimic.diffusion.denoise import Conditions, Denoiser, SamplingConfig
from echomimic.diffusion.device import choose_device, choose_dtype
from echomimic.diffusion.engine import DiffusionEngine, ahead, sampling_config
from echomimic.diffusion.networks import tiny_networks
from echomimic.diffusion.schedule import Sampler
from echomimic.diffusion.unet import UNet
from echomimic.diffusion.vae import decode_latents
from echomimic.errors import Cancelled, DeviceError, WeightsError
from echomimic.media import read_picture
from echomimic.media.sound import speech_from_samples
from echomimic.motion import gestures
from echomimic.notes import collect_notes
from echomimic.options import make_options
from echomimic.presets import find_preset
from echomimic.types import LandmarkTrack, Portrait, Speech

TINY = find_preset("tiny")
pytestmark = pytest.mark.usefixtures("kept_networks")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return read_picture(demo_portrait())


@pytest.fixture(scope="module")
def speech() -> Speech:
    time = np.arange(16_000) / 16_000
    return speech_from_samples((0.3 * np.sin(2 * np.pi * 150 * time)).astype(np.float32), 16_000)


@pytest.fixture(scope="module")
def engine() -> DiffusionEngine:
    return DiffusionEngine(TINY)


def clip(engine, portrait, speech, progress=None, motion=None, **given) -> np.ndarray:
    defaults = {**engine.preset.defaults, "size": 64, "frames": 5, "steps": 1, "dtype": "float32", "device": "cpu"}
    options = make_options(given, defaults)
    return np.stack(list(engine.prepare(portrait, speech, motion, options).frames(progress)))


def test_seeds_repeat_and_differ(engine, portrait, speech) -> None:
    first = clip(engine, portrait, speech, seed=1)
    assert first.shape == (5, 64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, clip(engine, portrait, speech, seed=1))
    assert not np.array_equal(first, clip(engine, portrait, speech, seed=2))


def test_frames_do_not_depend_on_how_many_windows_go_in_one_call(engine, portrait, speech) -> None:
    given = {"frames": 9, "context_frames": 4, "context_overlap": 1, "steps": 2, "guidance_scale": 2.0}
    one, three = (clip(engine, portrait, speech, context_batch=batch, **given).astype(int) for batch in (1, 3))
    assert abs(one - three).max() <= 1  # sums in another order may round another way


@pytest.mark.parametrize(
    "given", [{"guidance_scale": 1.0}, {"windows": "closed"}, {"exact": True}, {"sampler": "unipc", "steps": 2}]
)
def test_options_that_change_the_loop(engine, portrait, speech, given) -> None:
    usual = clip(engine, portrait, speech, frames=6, context_frames=4, context_overlap=1, steps=given.get("steps", 1))
    other = clip(engine, portrait, speech, frames=6, context_frames=4, context_overlap=1, **given)
    assert other.shape == usual.shape
    assert not np.array_equal(other, usual)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 64), ("float32", 104), ("bfloat16", 104), ("float16", 64)])
def test_every_dtype_and_odd_latents(engine, portrait, speech, dtype, size) -> None:
    frames = clip(engine, portrait, speech, dtype=dtype, size=size, frames=1)
    assert frames.shape == (1, size, size, 3)
    assert frames.std() > 1


def test_sizes_are_rounded_with_a_note(engine, portrait, speech) -> None:
    with collect_notes() as notes:
        assert clip(engine, portrait, speech, size=70, frames=1).shape == (1, 72, 72, 3)
    assert notes == ["70 x 70 pixels become 72 x 72: multiples of 8"]


def test_full_framing_changes_only_the_face(engine, portrait, speech) -> None:
    frames = clip(engine, portrait, speech, framing="full", frames=1)
    assert frames[0].shape == portrait.pixels.shape
    assert np.array_equal(frames[0][:8], portrait.pixels[:8])
    assert not np.array_equal(frames[0], portrait.pixels)


def test_progress_counts_up_to_its_total(engine, portrait, speech) -> None:
    reported = []
    clip(engine, portrait, speech, lambda done, total: reported.append((done, total)), steps=2, frames=3)
    assert reported == [(done, 5) for done in range(1, 6)]


@pytest.mark.parametrize("after", [1, 3])
def test_cancel_leaves_nothing(engine, portrait, speech, after) -> None:
    calls = []

    def stop(done: int, total: int) -> None:
        calls.append(done)
        if done == after:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        clip(engine, portrait, speech, stop, steps=2, frames=3)
    assert calls[-1] == after
    assert not torch.is_inference_mode_enabled()
    assert clip(engine, portrait, speech, frames=1).shape == (1, 64, 64, 3)


def test_memory_is_flat(engine, portrait) -> None:
    voice = Speech(1, 16_000, samples=np.zeros(16_000, np.float32))

    def peak(frames: int) -> int:
        """Bytes that numpy and Python hold at most; torch's own are latents and windows."""
        options = make_options(
            {}, {**TINY.defaults, "steps": 1, "guidance_scale": 1.0, "frames": frames, "device": "cpu"}
        )
        tracemalloc.start()
        for _ in engine.prepare(portrait, voice, None, options).frames():
            pass
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    peak(2)
    short, long = peak(6), peak(16)
    assert long < short + 2 * 64 * 64 * 3  # of 10 more frames


def denoiser_of(network: torch.nn.Module, config: SamplingConfig) -> Denoiser:
    """A denoiser of a stand-in for the network."""
    return Denoiser(cast(UNet, network), lambda _: Conditions(), config, torch.float32)


def test_out_of_memory_halves_the_batch_with_a_note(monkeypatch) -> None:
    sizes = []

    class Small(torch.nn.Module):
        def forward(self, x, t, audio, condition, portrait, frames, **_):
            sizes.append(len(x) // frames)
            if len(x) > 2 * frames:
                raise torch.OutOfMemoryError("out of memory")
            return x

    config = SamplingConfig(1, 1.0, size=4, overlap=1, batch=8)
    with collect_notes() as notes:
        *_, latents = denoiser_of(Small(), config).run(torch.ones(28, 4, 1, 1))
    assert len(latents) == 28
    assert sizes[:3] == [8, 4, 2]
    assert len(notes) == 2
    monkeypatch.setattr(loop, "is_out_of_memory", lambda _: True)

    class Never(torch.nn.Module):
        def forward(self, *_, **__):
            raise RuntimeError("out of memory")

    with pytest.raises(DeviceError, match="a window of 4 frames does not fit"):
        list(denoiser_of(Never(), config).run(torch.ones(28, 4, 1, 1)))


def test_windows_that_do_not_fit_become_shorter() -> None:
    sizes = []

    class Small(torch.nn.Module):
        def forward(self, x, t, audio, condition, portrait, frames, **_):
            sizes.append(frames)
            if frames > 6:
                raise torch.OutOfMemoryError("out of memory")
            return x

    reported = []
    config = SamplingConfig(2, 1.0, size=12, overlap=3)
    denoiser = denoiser_of(Small(), config)
    with collect_notes() as notes:
        *_, latents = denoiser.run(torch.ones(30, 4, 1, 1), lambda done, total: reported.append((done, total)))
    assert len(latents) == 30
    assert [sizes[0], sizes[1], sizes[2]] == [12, 8, 5]
    assert [note.split(" ")[2] for note in notes] == ["12", "8"]
    assert [done for done, _ in reported] == list(range(1, len(reported) + 1))
    assert {total for _, total in reported} == {len(reported)}
    exact = make_options({"exact": True}, TINY.defaults)
    with pytest.raises(DeviceError, match="a window of 12 frames"):
        next(denoiser_of(Small(), sampling_config(exact, TINY)).run(torch.ones(30, 4, 1, 1)))


class Watching:
    """A progress that looks at every preview."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []
        self.reported: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.reported.append((done, total))

    def preview(self, make) -> None:
        self.seen.append(make())


@pytest.mark.parametrize("framing", ["crop", "full"])
def test_the_middle_frame_is_shown_after_every_step(engine, portrait, speech, framing) -> None:
    watching = Watching()
    frames = clip(engine, portrait, speech, watching, steps=4, frames=3, framing=framing)
    assert len(watching.seen) == 4
    assert all(seen.shape == frames[1].shape for seen in watching.seen)
    far = [np.abs(seen.astype(int) - frames[1]).mean() for seen in watching.seen]
    assert far[-1] < far[0]
    assert np.array_equal(frames, clip(engine, portrait, speech, steps=4, frames=3, framing=framing))
    assert watching.reported[-1] == (7, 7)


def test_the_clean_latents_are_what_the_noise_was_added_to() -> None:
    sampler = Sampler("ddim", 10)
    clean, noise = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    for t in sampler.timesteps[1:]:
        signal = float(sampler.levels[t])
        noisy = signal**0.5 * clean + (1 - signal) ** 0.5 * noise
        velocity = signal**0.5 * noise - (1 - signal) ** 0.5 * clean
        assert torch.allclose(sampler.clean(velocity, t, noisy), clean, atol=1e-5)


def test_decoding_takes_fewer_at_a_time_where_memory_runs_out() -> None:
    class Vae(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def decode(self, latents):
            if len(latents) > 1:
                raise torch.OutOfMemoryError("out of memory")
            return torch.zeros(1, 3, 8, 8)

    assert len(list(decode_latents(Vae(), torch.zeros(5, 4, 1, 1)))) == 5


def test_pictures_are_decoded_while_those_before_are_used() -> None:
    made: list[tuple[int, int]] = []
    seen: list[bool] = []

    def batches():
        for number in range(4):
            made.append((number, threading.get_ident()))
            yield number
        if not seen:
            raise DeviceError("a fault in the other thread")

    items = ahead(batches())
    assert next(items) == 0
    items.close()
    assert [number for number, _ in made] == [0, 1], "one more, in another thread"
    assert threading.get_ident() not in {thread for _, thread in made}
    with pytest.raises(DeviceError, match="a fault"):
        list(ahead(batches()))
    seen.append(True)
    assert list(ahead(batches())) == [0, 1, 2, 3]


def test_missing_weights_are_named(portrait, speech, tmp_path) -> None:
    engine = DiffusionEngine(find_preset("v1"), weights=tmp_path)
    with pytest.raises(WeightsError, match="preset v1 needs it: echomimic weights fetch v1"):
        clip(engine, portrait, speech)


def test_exact_is_the_published_loop() -> None:
    options = make_options({"exact": True, "guidance_scale": 1.0}, find_preset("v1").defaults)
    config = sampling_config(options, find_preset("v1"))
    assert (config.windows, config.divide, config.shift) == ("closed", False, 2)
    assert sampling_config(options, find_preset("v1-acc")).divide


def test_the_saving_of_the_cache_is_reported_and_exact_renders_do_not_use_it(portrait, speech, monkeypatch) -> None:
    monkeypatch.setattr("echomimic.diffusion.networks.TINY_WIDTHS", (32, 32))  # an inner level, whose work is saved
    engine = DiffusionEngine(TINY)

    def prepared(**given):
        return engine.prepare(
            portrait, speech, None, make_options({"device": "cpu", "frames": 4, **given}, TINY.defaults)
        )

    usual, cached = prepared(), prepared(cache=2)
    (said,) = cached.warnings
    assert said.code == "cache_saves" and 0.5 < said.values["done"] / said.values["whole"] < 0.8
    assert cached.memory_mb >= usual.memory_mb
    (said,) = prepared(cache=2, exact=True).warnings
    assert said.code == "cache_not_exact"
    assert sampling_config(prepared(cache=2, exact=True).options, TINY).cache == 1


def test_devices_are_named_in_the_error() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_dtype("float16", torch.device("cpu")) == torch.float16
    for name in ("mps:9", "nonsense"):
        with pytest.raises(DeviceError, match=f"device is '{name}'"):
            choose_device(name)


def test_hands_gesture_with_the_voice_where_no_motion_is_given(portrait, speech, monkeypatch) -> None:
    monkeypatch.setattr(gestures, "find_body", lambda _: None)
    engine = DiffusionEngine(find_preset("v2"), networks=tiny_networks(find_preset("v2")))
    with collect_notes() as notes:
        assert clip(engine, portrait, speech, frames=2).shape == (2, 64, 64, 3)
    assert notes == ["hands gesture with the voice, since no motion was given"]


def test_a_landmark_preset_asks_for_the_motion_it_lacks(portrait, speech) -> None:
    asked = []

    def predict(*given) -> LandmarkTrack:
        asked.append(given)
        points = np.random.default_rng(0).uniform(10, 90, (3, 478, 3)).astype(np.float32)
        return LandmarkTrack(points, (100, 100), 25.0, np.ones(3, bool))

    engine = DiffusionEngine(find_preset("v1-landmarks"), predict=predict)
    engine._loaded = ((torch.device("cpu"), torch.float32, False, False), tiny_networks(engine.preset))
    assert clip(engine, portrait, speech, frames=3).shape == (3, 64, 64, 3)
    assert len(asked) == 1


def test_frames_come_one_by_one(engine, portrait, speech) -> None:
    options = make_options({"frames": 6, "steps": 1, "device": "cpu"}, TINY.defaults)
    frames = engine.prepare(portrait, speech, None, options).frames()
    assert isinstance(frames, Generator)
    assert next(frames).shape == (64, 64, 3)
    frames.close()
    assert not torch.is_inference_mode_enabled()

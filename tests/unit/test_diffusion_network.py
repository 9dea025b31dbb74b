"""Ours vs theirs: the UNets, the condition encoder and four whole loops, at a tiny width with weights by rule."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from conftest import shared_folder
from echomimic.diffusion.attention import UNetConfig
from echomimic.diffusion.condition_encoder import ConditionEncoder
from echomimic.diffusion.denoise import Conditions, Denoiser, SamplingConfig
from echomimic.diffusion.kernels import attend
from echomimic.diffusion.networks import fill_by_rule
from echomimic.diffusion.schedule import first_noise
from echomimic.diffusion.unet import UNet

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
WIDTHS = (32, 64, 96, 96)
TOLERANCE = 1e-4


def wave(shape: tuple[int, ...], frequency: float, phase: float) -> Tensor:
    """The input rule of the recordings."""
    return torch.from_numpy(np.sin(frequency * np.arange(np.prod(shape)) + phase).astype(np.float32).reshape(shape))


def frames_first(theirs: Tensor) -> Tensor:
    """(1, channels, frames, h, w) to (frames, channels, h, w)."""
    return theirs[0].transpose(0, 1)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN / "denoise.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


@pytest.fixture(scope="module", autouse=True)
def no_gradients():
    torch.set_num_threads(1)  # threads that wait for each other are slow on a shared machine
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def unet() -> UNet:
    network = UNet(UNetConfig(channels=WIDTHS))
    fill_by_rule(network)
    return network


@pytest.fixture(scope="module")
def reference() -> UNet:
    network = UNet(UNetConfig(channels=WIDTHS, audio_dim=None, motion=False, head=False))
    fill_by_rule(network)
    return network


@pytest.fixture(scope="module")
def encoders() -> dict[int, ConditionEncoder]:
    made = {channels: ConditionEncoder(channels, 32) for channels in (1, 3)}
    for encoder in made.values():
        fill_by_rule(encoder)
    return made


def mask() -> Tensor:
    picture = torch.zeros(1, 1, 128, 128)
    picture[..., 30:100, 40:90] = 1
    return picture


def drawing(frames: int) -> Tensor:
    return frames_first(0.5 * (wave((1, 3, frames, 128, 128), 0.013, 0.2) + 1))


def close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < TOLERANCE


def find(golden: dict[str, Tensor], start: str) -> Tensor:
    return next(value for name, value in golden.items() if name.startswith(start))


def test_condition_encoder_ours_vs_theirs(golden, encoders) -> None:
    close(encoders[1](mask()), frames_first(find(golden, "face_locator_1ch")))
    close(encoders[3](drawing(5)), frames_first(find(golden, "face_locator_3ch")))


def test_reference_features_ours_vs_theirs(golden, reference) -> None:
    features = reference.features(wave((1, 4, 16, 16), 0.071, 0.5))
    assert len(features) == 16
    for index, place in (
        (0, "down_blocks.0.attentions.0"),
        (6, "mid_block.attentions.0"),
        (15, "up_blocks.3.attentions.2"),
    ):
        close(features[index], golden[f"bank:{place}.transformer_blocks.0"])


def test_network_ours_vs_theirs(golden, unet, reference, encoders) -> None:
    portrait = unet.project(reference.features(wave((1, 4, 16, 16), 0.071, 0.5)))
    x, audio = frames_first(wave((1, 4, 5, 16, 16), 0.053, 0.1)), wave((5, 50, 384), 0.011, 0.3)
    t = torch.tensor([499])
    conditional = unet(x, t, audio, encoders[1](mask()), portrait)
    close(conditional, frames_first(golden["unet_out cfg=False fp32bank t=499 face_mask"]))
    guided = golden["unet_out cfg=True fp32bank t=499 face_mask"]
    close(unet(x, t), frames_first(guided[:1]))
    close(conditional, frames_first(guided[1:]))
    close(
        unet(x, t, audio, encoders[3](drawing(5)), portrait),
        frames_first(golden["unet_out cfg=False fp32bank t=499 pose"]),
    )


@pytest.mark.parametrize("tokens", [(7, 7), (64, 50), (300, 600)])
def test_attention_in_slices_is_attention(tokens) -> None:
    queries, keys = (torch.randn(2, 3, count, 8, generator=torch.Generator().manual_seed(count)) for count in tokens)
    exact = torch.nn.functional.scaled_dot_product_attention(queries, keys, keys)
    ours = attend(queries.bfloat16(), keys.bfloat16(), keys.bfloat16()).float()
    assert (ours - exact).abs().max() < 0.03


def test_silence_is_what_zero_audio_gives(unet) -> None:
    x, t = frames_first(wave((1, 4, 3, 16, 16), 0.05, 0.1)), torch.tensor([7])
    assert torch.allclose(unet(x, t), unet(x, t, torch.zeros(3, 50, 384)), atol=1e-5)


def test_windows_in_one_call_do_not_see_each_other(unet) -> None:
    x, t = frames_first(wave((1, 4, 6, 16, 16), 0.05, 0.1)), torch.tensor([7])
    apart = torch.cat([unet(x[:3], t), unet(x[3:], t)])
    assert torch.allclose(unet(x, t, frames=3), apart, atol=1e-5)


def test_both_halves_of_guidance_in_one_call_are_those_of_two(unet, reference, encoders) -> None:
    portrait = unet.project(reference.features(wave((1, 4, 16, 16), 0.071, 0.5)))
    x, audio, t = frames_first(wave((1, 4, 6, 16, 16), 0.05, 0.1)), wave((6, 50, 384), 0.011, 0.3), torch.tensor([7])
    for condition in (encoders[1](mask()), encoders[3](drawing(6))):
        two = torch.cat([unet(x, t, audio, condition, portrait, 3), unet(x, t, frames=3)])
        one = unet(torch.cat([x, x]), t, audio, condition, portrait, 3)
        assert (one - two).abs().max() < 1e-5

    def conditions(frames: Sequence[int]) -> Conditions:
        return Conditions(audio[list(frames)], condition[list(frames)], portrait)

    config, found = SamplingConfig(1, 2.5, size=4, overlap=1, batch=2), []
    for at_once in (False, True):
        denoiser = Denoiser(unet, conditions, replace(config, guidance_batch=at_once), torch.float32)
        found += [*denoiser.run(first_noise(6, 16, 16, seed=0, clamp=1.5))]
    assert (found[0] - found[1]).abs().max() < 1e-5


LOOPS = {
    "audio": (4, 2.5, 1, 2, True, 1.5),
    "audio_acc": (3, 1.0, 1, 2, True, 1.5),
    "pose": (4, 2.5, 3, 3, True, None),
    "pose_acc": (3, 1.0, 3, 3, True, None),
}


replayed = pytest.mark.skipif(shared_folder() is not None, reason="test_diffusion_parity.py replays this pipeline")
"""There with other weights, which are in the sample data; the other pairs of pictures and guidance run here."""


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        pytest.param("audio", 1, marks=[pytest.mark.slow, replayed]),
        ("audio_acc", 3),
        pytest.param("pose", 2, marks=pytest.mark.slow),
        pytest.param("pose_acc", 1, marks=replayed),
    ],
)
def test_loop_ours_vs_theirs(name, batch, golden, unet, reference, encoders) -> None:
    steps, guidance, channels, roll, divide, clamp = LOOPS[name]
    grey = torch.arange(128)[:, None] + torch.arange(128)
    image = torch.nn.functional.avg_pool2d((grey % 256).float()[None] / 127.5 - 1, 8).expand(4, -1, -1)
    # their features are rounded to float16 even in float32
    features = [f.half().float() for f in reference.features(0.18215 * image[None])]
    portrait = unet.project(features)
    audio = wave((20, 50, 384), 0.0107, 0.7)
    condition = encoders[channels](mask() if channels == 1 else drawing(20))

    def conditions(frames) -> Conditions:
        return Conditions(audio[frames], condition if len(condition) == 1 else condition[frames], portrait)

    config = SamplingConfig(steps, guidance, shift=roll, windows="closed", divide=divide, batch=batch)
    noise = first_noise(20, 16, 16, seed=420, clamp=clamp)
    *_, latents = Denoiser(unet, conditions, config, torch.float32).run(noise)
    close(latents, frames_first(find(golden, f"pipeline:{name} ")))


def _hear(audio: Tensor, frames: Sequence[int]) -> Conditions:
    return Conditions(audio[frames])


@pytest.mark.parametrize(("windows", "reaches"), [("open", False), ("closed", True)])
def test_the_end_of_a_clip_reaches_its_start_only_in_closed_windows(windows, reaches) -> None:
    unet = UNet(UNetConfig(channels=(32,), layers=1))
    fill_by_rule(unet)
    config = SamplingConfig(2, 1.0, size=8, overlap=2, windows=windows)
    noise = first_noise(30, 8, 8, seed=0, clamp=1.5)
    starts = []
    for last in (0.0, 1.0):
        audio = torch.zeros(30, 50, 384)
        audio[-1] = last
        conditions = partial(_hear, audio)
        *_, latents = Denoiser(unet, conditions, config, torch.float32).run(noise)
        starts.append(latents[0])
    assert torch.equal(*starts) is not reaches

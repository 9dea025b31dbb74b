"""V2's Phase-specific Denoising loss: phases, gradients, edges; and the pose reader."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from echomimic.diffusion.condition_images import draw_pose
from echomimic.diffusion.small import LinearCodec
from echomimic.errors import OptionError, WeightsError
from echomimic.train.diffusion.batch import Batch
from echomimic.train.diffusion.losses import gradient_distance
from echomimic.train.diffusion.phase_losses import PHASES, PhaseLoss, edges, in_phase, load_phase_loss
from echomimic.train.diffusion.reader import load_reader, save_reader, train_reader
from echomimic.train.diffusion.settings import PhaseLossSettings
from echomimic.train.diffusion.targets import NoiseSchedule
from helpers.half_body import draw_person, small_reader, synthetic_pose
from helpers.training_samples import FRAMES, SIDE, small_batch

SCHEDULE = NoiseSchedule.of_inference()
ON = PhaseLossSettings(pose=0.1, detail=0.1, perceptual=0.1, pose_warmup=10)


class _TrainableCodec(nn.Module):
    """An autoencoder whose weights would take gradients if nobody stopped them."""

    def __init__(self) -> None:
        super().__init__()
        self.codec = LinearCodec.fit(torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1)
        self.codec.requires_grad_(True)

    def decode(self, latents: Tensor):  # type: ignore[no-untyped-def]
        return self.codec.decode(latents)


def _batch(t: int, height: int = SIDE) -> Batch:
    crop = torch.tensor([[1, 0, 0, height, height]] * 2)
    picture = torch.rand(2, 3, 8 * SIDE, 8 * SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return replace(small_batch(2), timestep=torch.tensor([t, t]), crop=crop, crop_picture=picture)


def _losses(
    batch: Batch, step: int = 100, settings: PhaseLossSettings = ON
) -> tuple[dict[str, Tensor], Tensor, nn.Module]:
    torch.manual_seed(0)
    codec = _TrainableCodec()
    term = PhaseLoss(SCHEDULE, codec, ON, small_reader(), gradient_distance)
    noisy = SCHEDULE.add_noise(batch.latents, batch.noise, batch.timestep)
    velocity = torch.randn(noisy.shape).requires_grad_()
    return term(batch, noisy, velocity, step), velocity, codec


@pytest.mark.parametrize(
    ("t", "name"),
    [(0, "perceptual"), (299, "perceptual"), (300, "detail"), (899, "detail"), (900, "pose"), (999, "pose")],
)
def test_each_phase_has_its_loss_whose_gradient_reaches_the_velocity(t: int, name: str) -> None:
    losses, velocity, codec = _losses(_batch(t))
    assert set(losses) == set(PHASES) and [key for key, loss in losses.items() if loss > 0] == [name]
    losses[name].backward()
    assert velocity.grad is not None
    shown, others = velocity.grad[:, 1], velocity.grad[:, [frame for frame in range(FRAMES) if frame != 1]]
    assert float(shown.abs().sum()) > 0 and torch.isfinite(shown).all() and not others.any()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in codec.parameters())


def test_phases_cover_every_timestep_once() -> None:
    t = torch.arange(1000)
    counts = torch.stack([in_phase(name, t, ON) for name in PHASES]).sum(dim=0)
    assert (counts == 1).all()
    assert [int(in_phase(name, t, ON).sum()) for name in PHASES] == [100, 600, 300]


def test_a_crop_without_height_counts_for_nothing() -> None:
    losses, _, _ = _losses(_batch(950, height=0))
    assert all(float(loss) == 0 for loss in losses.values())
    one = _batch(950)
    one = replace(one, crop=one.crop * torch.tensor([[1], [0]]))  # type: ignore[operator]
    both, half = (_losses(some)[0]["pose"].item() for some in (_batch(950), one))
    assert 0 < half < both


def test_the_loss_of_the_pose_grows_from_zero() -> None:
    values = [_losses(_batch(950), step)[0]["pose"].item() for step in (0, 5, 10, 20)]
    assert values[0] == 0 and values[1] == pytest.approx(values[2] / 2) and values[2] == pytest.approx(values[3])
    assert _losses(_batch(500), 0)[0]["detail"].item() > 0


def test_larger_crops_are_compared_at_a_reduced_size() -> None:
    batch = _batch(500)
    batch = replace(batch, crop_picture=torch.zeros(2, 3, 16, 16))
    losses, velocity, _ = _losses(batch)
    losses["detail"].backward()
    assert velocity.grad is not None and bool((velocity.grad[:, 1].abs().sum(dim=1) > 0).all())


def test_edges_are_those_of_the_picture() -> None:
    picture = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert float((edges(picture) - edges(picture.clone())).abs().max()) == 0
    moved = torch.roll(picture, 1, dims=3)
    assert float(((edges(moved) - edges(picture)) ** 2).mean()) > 1e-3
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert float(edges(flat).max()) == pytest.approx(1e-3, rel=0.1)
    step = torch.ones(1, 3, 16, 16)
    step[..., :8] = -1
    row = edges(step)[0, 0, 8]
    assert int(row.argmax()) in (7, 8) and float(row.max()) == pytest.approx(float(row.flip(0).max()))


class _People:
    """Pictures and maps of the made person, at 32 pixels."""

    def __init__(self) -> None:
        track = synthetic_pose(40)
        self.frames = draw_person(track, 32)
        self.maps = np.stack([draw_pose(track, frame, (32, 32)) for frame in range(40)])

    def pair(self, n: int) -> tuple[Tensor, Tensor]:
        index = (7 * n) % 40
        picture, drawn = (torch.from_numpy(part[index]).permute(2, 0, 1).float() for part in (self.frames, self.maps))
        return picture / 127.5 - 1, drawn / 255


def test_a_reader_learns_to_draw_the_pose_of_a_picture(tmp_path: Path) -> None:
    people, losses = _People(), list[float]()
    reader = train_reader(
        people.pair, 60, batch=4, rate=5e-3, widths=(8, 16), side=32, report=lambda _, loss: losses.append(loss)
    )
    truth = torch.stack([people.pair(n)[1] for n in range(40)])
    assert np.mean(losses[-5:]) < 0.8 * float(((truth - truth.mean(dim=0)) ** 2).mean()), "it does not see the picture"
    save_reader(reader, tmp_path / "reader.safetensors")
    again, picture = load_reader(tmp_path / "reader.safetensors"), people.pair(3)[0][None]
    assert torch.equal(again(picture), reader(picture))
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_a_missing_or_wrong_reader_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"no")
    for name in ("gone.safetensors", "other.safetensors"):
        with pytest.raises(WeightsError, match="is not a pose reader; expected a file that"):
            load_reader(tmp_path / name)
    codec = LinearCodec()
    with pytest.raises(OptionError, match=r"needs phase_loss.reader"):
        load_phase_loss(SCHEDULE, codec, replace(ON, distance="gradients"))

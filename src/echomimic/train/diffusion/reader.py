"""The pose reader: a small U-Net that predicts the pose map of a picture, trained in advance and then frozen.

V2's loss of the noisiest phase compares the maps that it predicts from the generated and from the real picture.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from echomimic.diffusion.condition_images import draw_pose
from echomimic.diffusion.device import choose_device
from echomimic.errors import WeightsError
from echomimic.media import write_file
from echomimic.train.diffusion.clips import Clips, open_clips
from echomimic.train.diffusion.half_body import reduced_crop, region_crop
from echomimic.train.diffusion.headshots import measure_faces
from echomimic.train.diffusion.manifest import read_manifest
from echomimic.train.diffusion.randomness import clip_of_sample
from echomimic.train.diffusion.settings import HeadshotSettings, PhaseLossSettings, TrainSettings, make_settings
from echomimic.types import PoseTrack

SIDE = 256
"""Pixels of a side at which pictures are read."""
WIDTHS = (32, 64, 128, 224)
_GROUPS = 8


Pair = Callable[[int], tuple[Tensor, Tensor]]
"""A picture (3, H, W) in -1..1 and its pose map (3, H, W) in 0..1: a pure function of its number."""


class _Block(nn.Module):
    """Two convolutions with normalization."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(dim, out, 3, padding=1), nn.GroupNorm(_GROUPS, out), nn.SiLU()),
            *(nn.Conv2d(out, out, 3, padding=1), nn.GroupNorm(_GROUPS, out), nn.SiLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, dim, h, w) to (n, out, h, w)."""
        return self.layers(x)


class PoseReader(nn.Module):
    """A U-Net (Ronneberger et al., 2015) from pictures to pose maps; `side` pixels is the size at which it reads."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS, side: int = SIDE) -> None:
        super().__init__()
        self.widths, self.side = widths, side
        self.down = nn.ModuleList(_Block(a, b) for a, b in pairwise((3, *widths)))
        self.up = nn.ModuleList(_Block(a + b, b) for a, b in pairwise(widths[::-1]))
        self.out = nn.Conv2d(widths[0], 3, 1)
        nn.init.zeros_(self.out.weight)  # maps are black nearly everywhere
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in -1..1 to pose maps (n, 3, side, side), about 0..1."""
        x = resized(pictures, self.side)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.avg_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skips.pop()], dim=1))
        return self.out(x)


def resized(pictures: Tensor, side: int) -> Tensor:
    """Pictures (n, channels, H, W) at `side` pixels, with gradients."""
    if pictures.shape[-2:] == (side, side):
        return pictures
    return F.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True)


def train_reader(
    pair: Pair,
    steps: int = 5_000,
    *,
    batch: int = 8,
    rate: float = 1e-3,
    seed: int = 0,
    device: str = "cpu",
    widths: tuple[int, ...] = WIDTHS,
    side: int = SIDE,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> PoseReader:
    """Train a reader from scratch with Adam, a cosine rate and the mean squared error of maps. Raises OptionError."""
    place = choose_device(device)
    torch.manual_seed(seed)
    reader = PoseReader(widths, side).to(place).train()
    optimizer = torch.optim.Adam(reader.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step, (pictures, maps) in enumerate(_batches(pair, steps, batch), 1):
        wanted = resized(maps.to(place), side)
        loss = F.mse_loss(reader(pictures.to(place)), wanted)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        report(step, float(loss.detach()))
    return reader.cpu().requires_grad_(False).eval()


def _batches(pair: Pair, steps: int, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    for step in range(steps):
        pictures, maps = zip(*(pair(step * batch + place) for place in range(batch)), strict=True)
        yield torch.stack(pictures), torch.stack(maps)


def save_reader(reader: PoseReader, path: Path) -> None:
    """Write a reader as safetensors, whole or not at all."""
    geometry = {"widths": " ".join(map(str, reader.widths)), "side": str(reader.side)}
    write_file(path, save({name: tensor.contiguous() for name, tensor in reader.state_dict().items()}, geometry))


def load_reader(path: Path) -> PoseReader:
    """Read a frozen reader. Raises WeightsError in one line."""
    try:
        with safe_open(path, "pt") as file:
            geometry: dict[str, Any] = file.metadata() or {}
            reader = PoseReader(tuple(int(w) for w in geometry["widths"].split()), int(geometry["side"]))
            reader.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
        raise WeightsError(
            f"{path} is not a pose reader; expected a file that `echomimic train reader` wrote"
        ) from None
    return reader.requires_grad_(False).eval()


class PosePairs:
    """Crops of half bodies as V2's losses see them, and the drawn pose of the same crops."""

    def __init__(self, clips: Clips, seed: int = 0, side: int = SIDE, crop: int = PhaseLossSettings.crop) -> None:
        self._clips, self._seed, self._side, self._crop = clips, seed, side, crop

    def pair(self, n: int) -> tuple[Tensor, Tensor]:
        """Picture (3, side, side) in -1..1 and pose map (3, side, side) in 0..1."""
        index = clip_of_sample(self._seed, n, len(self._clips))
        row, track = self._clips.rows[index], self._clips.track(index)
        assert isinstance(track, PoseTrack)
        crop = region_crop(self._seed, n, track, range(row.frames), row.size, self._crop)
        picture = self._clips.frames(index, [crop[0]])[0]
        pixels, drawn = (
            reduced_crop(torch.from_numpy(part).permute(2, 0, 1), crop, self._crop)
            for part in (picture, draw_pose(track, crop[0], row.size))
        )
        return resized(pixels[None], self._side)[0], resized(drawn[None], self._side)[0] / 2 + 0.5


def open_half_bodies(folder: Path) -> Clips:
    """The training clips of a data set of half bodies, of any size. Raises InputError."""
    return open_clips(folder, half_body_settings(folder))[0]


def half_body_settings(folder: Path) -> TrainSettings:
    """Settings that fit the clips of a data set of half bodies."""
    size = max(read_manifest(folder, "half")[0].size)
    return make_settings({"data": {"path": str(folder), "size": size, "frames": 1}, "model": {"variant": "hands"}})


def measure_headshots(clips: Clips) -> HeadshotSettings:
    """The settings `[headshots]` for these half bodies."""
    tracks = (clips.track(index) for index in range(len(clips)))
    return measure_faces(track for track in tracks if isinstance(track, PoseTrack))

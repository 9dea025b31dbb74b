"""What V2's training measures and learns beforehand from half bodies: the pose reader, and where faces are."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from echomimic.diffusion.condition_images import draw_pose
from echomimic.diffusion.device import choose_device
from echomimic.train.diffusion.clips import Clips, open_clips
from echomimic.train.diffusion.half_body import reduced_crop, region_crop
from echomimic.train.diffusion.headshots import measure_faces
from echomimic.train.diffusion.manifest import read_manifest
from echomimic.train.diffusion.randomness import clip_of_sample
from echomimic.train.diffusion.reader import SIDE, WIDTHS, PoseReader, resized, save_reader, train_reader
from echomimic.train.diffusion.settings import HeadshotSettings, PhaseLossSettings, TrainSettings, make_settings
from echomimic.types import PoseTrack


class PosePairs:
    """Crops of half bodies as V2's losses see them, and the drawn pose of the same crops (`reader.ReaderSamples`)."""

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
    """The training clips of a data set of half bodies, of whatever size. Raises InputError."""
    return open_clips(folder, half_body_settings(folder))[0]


def half_body_settings(folder: Path) -> TrainSettings:
    """Settings that fit the clips of a data set of half bodies."""
    size = max(read_manifest(folder, "half")[0].size)
    return make_settings({"data": {"path": str(folder), "size": size, "frames": 1}, "model": {"variant": "hands"}})


def make_reader(
    clips: Clips,
    output: Path,
    steps: int = 5_000,
    *,
    batch: int = 8,
    rate: float = 1e-3,
    seed: int = 0,
    device: str = "auto",
    widths: tuple[int, ...] = WIDTHS,
    side: int = SIDE,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> PoseReader:
    """Train a pose reader on half bodies and write it to `output`. Raises OutputError, OptionError."""
    reader = train_reader(
        PosePairs(clips, seed, side),
        steps,
        batch=batch,
        rate=rate,
        seed=seed,
        device=choose_device(device),
        widths=widths,
        side=side,
        report=report,
    )
    save_reader(reader, output)
    return reader


def measure_headshots(clips: Clips) -> HeadshotSettings:
    """The settings `[headshots]` for these half bodies."""
    tracks = (clips.track(index) for index in range(len(clips)))
    return measure_faces(track for track in tracks if isinstance(track, PoseTrack))

"""Samples of V2's training: half bodies with drawn poses and audio masks, and headshots padded to the same canvas."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from echomimic.diffusion.small import MelSpeech
from echomimic.diffusion.vae import FACTOR
from echomimic.diffusion.whisper import SpeechEncoder
from echomimic.errors import OptionError
from echomimic.train.diffusion.batch import Sample
from echomimic.train.diffusion.clips import Clips, open_clips
from echomimic.train.diffusion.conditions import (
    Box,
    SampleConditions,
    Size,
    face_box,
    mouth_maps,
    square_around,
    voice_masks,
)
from echomimic.train.diffusion.curriculum import CurriculumState, check_curriculum, hides_hands, is_headshot, state_at
from echomimic.train.diffusion.headshots import placement_of_sample
from echomimic.train.diffusion.manifest import read_manifest
from echomimic.train.diffusion.randomness import (
    clip_of_sample,
    noise_of_sample,
    stream,
    timestep_of_sample,
    window_of_sample,
)
from echomimic.train.diffusion.samples import ClipSamples, crop_pixels
from echomimic.train.diffusion.settings import TrainSettings
from echomimic.types import LandmarkTrack, Motion, PoseTrack

_TRIES = 8
"""Number of windows from which a sample without drawn hands takes the one that shows the least of the hands."""
_APART = 1 << 40
_AT_THE_HEAD = CurriculumState("headshot", (), "head", "head", 1.0, 0.0, 1.0)


class SizeGroups:
    """Groups of clips by size: all samples of a step have the same size, because they are stacked to one tensor.

    A size is drawn for a step with the frequency that it has among the clips. With one size, every clip is used once in
    an epoch; with several, clips are drawn at random from the group of a step.
    """

    def __init__(self, sizes: Sequence[Size], seed: int, batch: int) -> None:
        self._sizes, self._seed, self._batch = list(sizes), seed, batch
        self._groups = {size: [i for i, other in enumerate(sizes) if other == size] for size in dict.fromkeys(sizes)}

    def size(self, n: int) -> Size:
        """Width and height of sample `n`."""
        return self._sizes[clip_of_sample(self._seed, n // self._batch, len(self._sizes))]

    def clip(self, n: int) -> int:
        """The index of the clip of sample `n`."""
        if len(self._groups) == 1:
            return clip_of_sample(self._seed, n, len(self._sizes))
        return int(stream("order", self._seed, n, 1).choice(self._groups[self.size(n)]))


class HalfBodySamples(ClipSamples):
    """Samples of half bodies and, in the fraction that the curriculum states, of headshots (`loop.Samples`).

    `heads` are clips of faces. Raises OptionError for settings that do not fit.
    """

    def __init__(
        self, clips: Clips, speech: SpeechEncoder | MelSpeech, settings: TrainSettings, heads: Clips | None = None
    ) -> None:
        check_settings(settings, heads)
        super().__init__(clips, speech, settings)
        groups = SizeGroups([row.size for row in clips.rows], settings.run.seed, settings.optimizer.batch)
        self._groups, self._heads = groups, HeadshotSamples(heads, speech, settings, groups) if heads else None

    def sample(self, n: int) -> Sample:
        """Sample `n` of the run."""
        batch, seed = self.settings.optimizer.batch, self.settings.run.seed
        headshots = state_at(self.settings.curriculum, n // batch).headshots
        if self._heads is not None and is_headshot(seed, n, batch, headshots):
            return self._heads.sample(n)
        return super().sample(n)

    def clip(self, n: int) -> int:
        """The index of the clip of sample `n`: all of a step have one size."""
        return self._groups.clip(n)

    def window(self, index: int, n: int) -> tuple[int, int]:
        """First frame and reference frame; without drawn hands the window of a few that shows the least of them."""
        seed, data, length = self.settings.run.seed, self.settings.data, self.clips.rows[index].frames
        if not hides_hands(seed, n, self.settings.drop.hands):
            return super().window(index, n)
        track = self.clips.track(index)
        assert isinstance(track, PoseTrack)
        draws = [
            window_of_sample(seed, n + attempt * _APART, length, data.frames, data.reference_distance)
            for attempt in range(_TRIES)
        ]
        return min(draws, key=lambda draw: float(track.hands[draw[0] : draw[0] + data.frames, ..., 2].mean()))

    def crop(self, index: int, n: int, window: Sequence[int]) -> tuple[int, ...] | None:
        """The crop that the phase losses decode: see `Sample.crop`; None if they are off."""
        if not self.settings.phase_loss.is_on:
            return None
        size, side = self.clips.rows[index].size, self.settings.phase_loss.crop
        return region_crop(self.settings.run.seed, n, self.clips.track(index), window, size, side)

    def crop_picture(self, picture: Tensor, crop: tuple[int, ...]) -> Tensor:
        """Pixels of the crop, at a reduced size if it is larger than the side of crops."""
        return reduced_crop(picture, crop, self.settings.phase_loss.crop)


class HeadshotSamples(ClipSamples):
    """Headshots on the canvas of half bodies: no drawn hands, an audio mask of the head, no loss on the padding."""

    def __init__(
        self, clips: Clips, speech: SpeechEncoder | MelSpeech, settings: TrainSettings, groups: SizeGroups
    ) -> None:
        super().__init__(clips, speech, settings, _draw_nothing)
        self._groups = groups

    def sample(self, n: int) -> Sample:
        """Sample `n` of the run."""
        seed, data, canvas = self.settings.run.seed, self.settings.data, self._groups.size(n)
        index = self.clip(n)
        first, reference = self.window(index, n)
        window, track = list(range(first, first + data.frames)), self.clips.track(index)
        assert isinstance(track, LandmarkTrack)
        placement = placement_of_sample(seed, n, track, window, canvas, self.settings.headshots)
        placed, cells = placement.track(track), (canvas[1] // FACTOR, canvas[0] // FACTOR)
        pixels = placement.paste(self.clips.frames(index, [*window, reference]))
        pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        timestep = timestep_of_sample(seed, n, self.settings.optimizer.batch)
        mouth = mouth_maps(placed, window, self.speaks(index, window), canvas, self.settings.loss.mouth)
        mouth = mouth * placement.weights()
        return Sample(
            latents=torch.zeros(data.frames, 4, *cells),
            reference=torch.zeros(4, *cells),
            pictures=pictures[:-1].contiguous(),
            reference_picture=pictures[-1].contiguous(),
            audio=self.tokens(index, window, n),
            condition=torch.zeros(data.frames, 3, canvas[1], canvas[0]),
            noise=noise_of_sample(seed, n, (data.frames, 4, *cells)),
            timestep=torch.tensor(timestep),
            mouth=mouth / mouth.mean(dim=(2, 3), keepdim=True).clamp(min=1e-6),
            keep=self.keep(n, 0.0),
            audio_mask=voice_masks(placed, window, cells, _AT_THE_HEAD),
            origin=torch.tensor([index, first]),
            **self._face_crop(n, placed, window, pictures, timestep),
        )

    def _face_crop(
        self, n: int, track: LandmarkTrack, window: Sequence[int], pictures: Tensor, timestep: int
    ) -> dict[str, Tensor]:
        """The crop of the phase losses; its height is 0 where the loss is that of the pose: headshots have none."""
        settings = self.settings.phase_loss
        if not settings.is_on:
            return {}
        crop = region_crop(self.settings.run.seed, n, track, window, self._groups.size(n), settings.crop)
        pixels = reduced_crop(pictures[crop[0]], crop, settings.crop)
        if timestep >= settings.pose_from:
            crop = (*crop[:3], 0, 0)
        return {"crop": torch.tensor(crop), "crop_picture": pixels}


def _draw_nothing(track: Motion, window: Sequence[int], size: Size, n: int) -> SampleConditions:
    return SampleConditions(torch.zeros(len(window), 3, size[1], size[0]))


def check_settings(settings: TrainSettings, heads: Clips | None) -> None:
    """Raise OptionError unless the settings of a V2 run fit each other and the data."""
    check_curriculum(settings)
    wants_heads = any(phase.headshots > 0 for phase in settings.curriculum.phases)
    if wants_heads and not heads:
        raise OptionError(
            "the curriculum has headshots, but there are none; expected data.headshots: a folder of faces that "
            "`echomimic train prepare` wrote, or headshots = 0 in every phase"
        )
    if wants_heads and settings.data.cached_latents:
        raise OptionError(
            "data.cached_latents is on, but headshots are placed anew in each sample; expected cached_latents = false"
        )
    if settings.loss.spatial > 0:
        raise OptionError("loss.spatial is a loss of V1; expected 0 for model.variant hands: use [phase_loss]")


def open_headshots(settings: TrainSettings) -> Clips | None:
    """The training clips of `data.headshots`, of any size; None without. Raises InputError."""
    if not settings.data.headshots:
        return None
    folder = Path(settings.data.headshots)
    side = max(read_manifest(folder, "face")[0].size)
    of_faces = replace(settings, data=replace(settings.data, size=side), model=replace(settings.model, variant="mask"))
    return open_clips(folder, of_faces)[0]


def crop_side(size: Size, side: int) -> int:
    """Side of crops, in latent cells, of pictures of `size` (width, height)."""
    return min(side, size[0] // FACTOR, size[1] // FACTOR)


def reduced_crop(picture: Tensor, crop: tuple[int, ...], side: int) -> Tensor:
    """Pixels (3, H, W) in -1..1 of a crop of a picture, by areas if the crop is larger than `side` cells."""
    pixels = crop_pixels(picture, crop)
    pixels_side = FACTOR * crop_side((picture.shape[2], picture.shape[1]), side)
    if pixels.shape[1] == pixels_side:
        return pixels
    return F.interpolate(pixels[None], size=(pixels_side, pixels_side), mode="area")[0]


def region_crop(seed: int, n: int, track: Motion, window: Sequence[int], size: Size, side: int) -> tuple[int, ...]:
    """The crop of sample `n`: frame, top, left, height, width in cells, of face, left hand, right hand or whole body.

    The body is a square of up to twice the side, which is compared at a reduced size. A hand that is not seen is
    replaced by the face. A headshot shows its face only.
    """
    draw = stream("crop", seed, n)
    frame, region = int(draw.integers(len(window))), int(draw.integers(4))
    side = crop_side(size, side)
    if not isinstance(track, PoseTrack) or region == 0:
        return frame, *square_around(draw, face_box(track, window[frame], size), size, side)
    if region == 3:
        whole = (0.0, 0.0, float(size[0]), float(size[1]))
        return frame, *square_around(draw, whole, size, crop_side(size, 2 * side))
    return frame, *square_around(draw, hand_box(track, window[frame], region - 1, size), size, side)


def hand_box(track: PoseTrack, frame: int, side: int, size: Size) -> Box:
    """The box of a hand (0: left, 1: right) in pixels of a picture of `size`; that of the face if it is not seen."""
    hand = track.hands[frame, side]
    seen = hand[hand[:, 2] > 0, :2] * np.array(size, np.float32)
    if not len(seen):
        return face_box(track, frame, size)
    (left, top), (right, bottom) = seen.min(0), seen.max(0)
    return float(left), float(top), float(right), float(bottom)

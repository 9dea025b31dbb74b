"""Condition pictures and loss weights of a training sample, from the motion track of its clip."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from echomimic.diffusion.condition_images import PARTS, draw_landmarks, draw_pose
from echomimic.diffusion.conditioning import motion_mask
from echomimic.diffusion.vae import FACTOR, picture_tensor
from echomimic.landmarks.topology import LIPS, LIPS_68
from echomimic.train.diffusion.curriculum import CurriculumState, drops_pose, hides_hands, state_at
from echomimic.train.diffusion.losses import mouth_weights
from echomimic.train.diffusion.masks import blended_mask, face_points
from echomimic.train.diffusion.randomness import regions_of_sample, stream
from echomimic.train.diffusion.settings import TrainSettings
from echomimic.types import Floats, LandmarkTrack, Motion, PoseTrack

Size = tuple[int, int]
Box = tuple[float, float, float, float]
LIPS_GROWN = 1.5
"""Size of the box with the larger loss weight, as a multiple of the size of the lips' box."""
_SHIFT, _SCALE, _DEGREES = 0.01, 0.01, 0.5
"""Standard deviations of the jitter of landmarks: shift in face sizes, relative scale, rotation in degrees."""


@dataclass(frozen=True)
class SampleConditions:
    """Condition pictures (1 | F, channels, H, W) in 0..1 of a sample.

    `silent` is a further probability of dropping the audio; `audio_mask` (F, 1, h, w) is where the audio is heard, None
    for everywhere.
    """

    pictures: Tensor
    silent: float = 0.0
    audio_mask: Tensor | None = None


Conditioner = Callable[[Motion, Sequence[int], Size, int], SampleConditions]
"""Conditions of sample `n`, which shows the frames `window` of a clip at `size` (width, height), from its track."""


def make_conditioner(settings: TrainSettings, *, final: bool = False) -> Conditioner:
    """The conditioner of the variant that is trained; `final` for the end of the curriculum, as in validation."""
    if settings.model.variant == "mask":
        return partial(mask_conditions, settings)
    if settings.model.variant == "landmarks":
        return partial(landmark_conditions, settings)
    return partial(pose_conditions, settings, final)


def mask_conditions(
    settings: TrainSettings, track: Motion, window: Sequence[int], size: Size, n: int
) -> SampleConditions:
    """V1's mask: all places of the face in the clip, grown by a random margin; one picture for all frames."""
    assert isinstance(track, LandmarkTrack)
    margin = stream("jitter", settings.run.seed, n).uniform(*settings.data.mask_margin)
    mask = motion_mask(track, size, margin)
    return SampleConditions(picture_tensor(mask[None, ..., None], torch.device("cpu"), torch.float32))


def landmark_conditions(
    settings: TrainSettings, track: Motion, window: Sequence[int], size: Size, n: int
) -> SampleConditions:
    """V1's drawn landmarks with Random Landmark Selection; some samples are moved by a small similarity transform."""
    assert isinstance(track, LandmarkTrack)
    seed, chosen = settings.run.seed, settings.landmarks
    regions = regions_of_sample(seed, n, chosen)
    silent = chosen.silent_with_all if regions == tuple(PARTS) else 0.0
    if not regions:
        return SampleConditions(torch.zeros(len(window), 3, size[1], size[0]), silent)
    draw, points = stream("jitter", seed, n), track.points[list(window)]
    if draw.random() < chosen.jitter:
        points = jitter_points(points, draw)
    pictures = np.stack([draw_landmarks(frame, track.image_size, size, regions) for frame in points])
    return SampleConditions(picture_tensor(pictures, torch.device("cpu"), torch.float32), silent)


def pose_conditions(
    settings: TrainSettings, final: bool, track: Motion, window: Sequence[int], size: Size, n: int
) -> SampleConditions:
    """V2's drawn pose and audio mask, as the curriculum states; with `final` as at the end of the run, no drops."""
    assert isinstance(track, PoseTrack)
    state = state_at(settings.curriculum, settings.run.steps if final else n // settings.optimizer.batch)
    parts = state.parts if final else drawn_parts(settings, n, state)
    pictures = torch.zeros(len(window), 3, size[1], size[0])
    if parts:
        drawn = np.stack([draw_pose(track, frame, size, parts) for frame in window])
        pictures = picture_tensor(drawn, torch.device("cpu"), torch.float32)
    silent = 1.0 if state.small == state.large == "off" else 0.0
    cells = (size[1] // FACTOR, size[0] // FACTOR)
    return SampleConditions(pictures, silent, voice_masks(track, window, cells, state))


def drawn_parts(settings: TrainSettings, n: int, state: CurriculumState) -> tuple[str, ...]:
    """The parts of the pose that sample `n` draws; none if the whole pose is dropped."""
    if drops_pose(settings.run.seed, n, state.pose_drop):
        return ()
    hidden = {"hands"} if hides_hands(settings.run.seed, n, settings.drop.hands) else set()
    return tuple(part for part in state.parts if part not in hidden)


def voice_masks(track: Motion, window: Sequence[int], cells: tuple[int, int], state: CurriculumState) -> Tensor:
    """Where the frames of a window hear the voice (F, 1, h, w)."""
    masks = [blended_mask(state.small, state.large, state.mix, face_points(track, frame), cells) for frame in window]
    return torch.from_numpy(np.stack(masks))[:, None]


def jitter_points(points: Floats, draw: np.random.Generator) -> Floats:
    """Landmarks (F, 478, 2 or 3) under one small random similarity transform of their plane."""
    flat = points[..., :2].astype(np.float64)
    centre, extent = flat.mean((0, 1)), float(np.ptp(flat, axis=(0, 1)).max())
    shift = draw.normal(0, _SHIFT, 2) * extent
    scale, angle = 1 + draw.normal(0, _SCALE), np.radians(draw.normal(0, _DEGREES))
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved = points.copy()
    moved[..., :2] = (flat - centre) @ turn + centre + shift
    return moved


def lips_of(track: Motion, frame: int, size: Size) -> Floats | None:
    """Points of the lips (n, 2) in one frame, in pixels of a picture of `size` (width, height); None without a face."""
    if isinstance(track, LandmarkTrack):
        return track.points[frame, list(LIPS), :2] * (np.array(size, np.float32) / track.image_size)
    lips = track.face[frame, list(LIPS_68)]
    seen = lips[lips[:, 2] > 0]
    return seen[:, :2] * np.array(size, np.float32) if len(seen) else None


def mouth_maps(track: Motion, window: Sequence[int], speaks: Sequence[bool], size: Size, weight: float) -> Tensor:
    """Loss weights (F, 1, h, w) of mean 1 over a frame: `weight` in the box of the lips in frames with speech."""
    cells = (size[1] // FACTOR, size[0] // FACTOR)
    maps = []
    for frame, speaking in zip(window, speaks, strict=True):
        lips = lips_of(track, frame, size) if speaking else None
        maps.append(mouth_weights(None if lips is None else lips_box(lips, cells), cells, weight))
    return torch.stack(maps)


def lips_box(lips: Floats, cells: tuple[int, int]) -> tuple[int, int, int, int]:
    """The grown box of the lips in latent cells: left, top, right, bottom, at least one cell, inside the picture."""
    low, high = lips.min(0), lips.max(0)
    centre, half = (low + high) / 2 / FACTOR, (high - low) / 2 / FACTOR * LIPS_GROWN
    limits = np.array([cells[1], cells[0]])
    start = np.clip(np.floor(centre - half), 0, limits - 1).astype(int)
    stop = np.clip(np.ceil(centre + half), start + 1, limits).astype(int)
    return int(start[0]), int(start[1]), int(stop[0]), int(stop[1])


def face_box(track: Motion, frame: int, size: Size) -> Box:
    """The box of the face in one frame, in pixels of a picture of `size`; the whole picture if no face is seen."""
    if isinstance(track, PoseTrack):
        seen = track.face[frame][track.face[frame, :, 2] > 0][:, :2] * np.array(size, np.float32)
    else:
        seen = track.points[frame, :, :2] * (np.array(size, np.float32) / track.image_size)
    if not len(seen):
        return 0.0, 0.0, float(size[0]), float(size[1])
    (left, top), (right, bottom) = seen.min(0), seen.max(0)
    return float(left), float(top), float(right), float(bottom)


def crop_of_sample(seed: int, n: int, track: Motion, window: Sequence[int], size: Size, side: int) -> tuple[int, ...]:
    """The part of sample `n` that losses on pictures decode: frame, top, left, height, width in latent cells.

    A square of `side` cells (less in smaller pictures) around a random place of the face in a random frame.
    """
    draw = stream("spatial", seed, n)
    frame = int(draw.integers(len(window)))
    return frame, *square_around(draw, face_box(track, window[frame], size), size, side)


def square_around(draw: np.random.Generator, box: Box, size: Size, side: int) -> tuple[int, int, int, int]:
    """Top, left, height and width in cells of a square of `side` cells around a random place of a box in pixels."""
    left, top, right, bottom = (value / FACTOR for value in box)
    place = []
    for low, high, cells in ((top, bottom, size[1] // FACTOR), (left, right, size[0] // FACTOR)):
        length = min(side, cells)
        centre = (low + high) / 2 + draw.uniform(-0.5, 0.5) * max(0.0, high - low - length)
        place.append((int(np.clip(round(centre - length / 2), 0, cells - length)), length))
    (y, height), (x, width) = place
    return y, x, height, width

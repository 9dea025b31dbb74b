"""A synthetic half body of key points: a person who stands upright, whose hands and lips move."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from echomimic.motion import save_motion
from echomimic.train.diffusion.manifest import write_rows
from echomimic.train.diffusion.reader import PoseReader
from echomimic.types import Picture, PoseTrack
from helpers.training_data import COUNT, FPS, make_row, write_clip_file, write_sound_file

_BODY = (
    *((0.50, 0.25), (0.50, 0.42), (0.36, 0.43), (0.30, 0.62), (0.35, 0.75), (0.64, 0.43), (0.70, 0.62), (0.65, 0.75)),
    *((0.42, 0.85), (0.42, 1.10), (0.42, 1.30), (0.58, 0.85), (0.58, 1.10), (0.58, 1.30)),
    *((0.47, 0.22), (0.53, 0.22), (0.43, 0.23), (0.57, 0.23)),
)


def synthetic_pose(frames: int, fps: float = 24.0) -> PoseTrack:
    """A pose track in fractions of a square picture: the face is 0.2 high, both hands go up and down."""
    times = np.arange(frames) / fps
    body = np.zeros((frames, 18, 3), np.float32)
    body[..., :2], body[..., 2] = _BODY, 0.9
    face = np.ones((frames, 68, 3), np.float32)
    face[..., :2] = _face()
    face[:, 48:, 1] += 0.01 * np.sin(40 * times[:, None])
    hands = np.full((frames, 2, 21, 3), 0.9, np.float32)
    fan = np.stack([np.repeat(np.arange(5), 4) - 2.0, np.tile(np.arange(1, 5), 5)], axis=1) * (0.012, -0.02)
    for side, wrist in enumerate((7, 4)):
        lift = 0.1 * np.sin(2 * times + side)[:, None]
        body[:, wrist, 1] += lift[:, 0].astype(np.float32)
        hands[:, side, 0, :2] = body[:, wrist, :2]
        hands[:, side, 1:, :2] = body[:, None, wrist, :2] + fan.astype(np.float32)
    return PoseTrack(body, hands, face, fps)


def _face() -> npt.NDArray[np.float32]:
    """68 points: jaw, brows, nose, eyes on an oval of 0.15 x 0.2, lips below."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    oval = np.stack([0.5 + 0.075 * np.cos(angles), 0.27 + 0.1 * np.sin(angles)], axis=1)
    turns = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    lips = np.stack([0.5 + 0.03 * np.cos(turns), 0.325 + 0.015 * np.sin(turns)], axis=1)
    return np.concatenate([oval, lips]).astype(np.float32)


def draw_person(track: PoseTrack, side: int) -> Picture:
    """Frames (T, side, side, 3) of a synthetic person who follows the track: shirt, skin, moving hands and lips."""
    rows = np.linspace(40, 120, side)[:, None, None]
    frames = np.tile(np.broadcast_to(rows, (side, side, 3)).astype(np.uint8), (len(track), 1, 1, 1))
    for frame in range(len(track)):
        points = {name: getattr(track, name)[frame][..., :2] * side for name in ("body", "hands", "face")}
        shirt = points["body"][[2, 5, 11, 8]].astype(np.int32)
        cv2.fillConvexPoly(frames[frame], shirt, (30, 60, 160))
        skin, dark = (220, 170, 140), (120, 30, 40)
        cv2.fillConvexPoly(frames[frame], cv2.convexHull(points["face"][:48].astype(np.int32)), skin)
        cv2.fillConvexPoly(frames[frame], cv2.convexHull(points["face"][48:].astype(np.int32)), dark)
        for hand in points["hands"]:
            cv2.fillConvexPoly(frames[frame], cv2.convexHull(hand.astype(np.int32)), skin)
    return frames


def small_reader() -> PoseReader:
    """A reader with random weights that draws something."""
    torch.manual_seed(0)
    reader = PoseReader((8, 8, 8), 32)
    torch.nn.init.normal_(reader.out.weight)
    return reader


def make_half_data(folder: Path, names: Sequence[str] = ("aa11", "bb12"), side: int = 64, crop: int = 0) -> Path:
    """Clips of the synthetic person in the layout of `train prepare --half`, the last for validation.

    With `crop`, that many columns of the middle, with the whole picture's track.
    """
    width = crop or side
    rows = []
    for number, name in enumerate(names):
        track = synthetic_pose(COUNT + number, FPS)
        track = replace(track, image_size=(side, side))
        sound = np.random.default_rng(number).normal(0, 0.1, round(len(track) / FPS * 16_000)).astype(np.float32)
        place = folder / "clips" / name[:2]
        place.mkdir(parents=True, exist_ok=True)
        write_clip_file(place / f"{name}.mp4", [*draw_person(track, side)[:, :, (side - width) // 2 :][:, :, :width]])
        write_sound_file(place / f"{name}.flac", sound)
        save_motion(place / f"{name}.npz", track)
        split = "val" if number == len(names) - 1 else "train"
        rows.append(make_row(folder, name, split, kind="half", frames=len(track), size=(width, side)))
    write_rows(folder / "manifest.jsonl", rows)
    return folder

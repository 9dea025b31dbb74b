"""Headshots on the canvas of half bodies (Head Partial Attention of V2): the scale, the place, and the pasted area.

A headshot is scaled and pasted so that its face has the height and the place of the faces of half bodies. The rest of
the canvas is grey, which is 0 for the autoencoder, and has weight 0 in the loss.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from echomimic.diffusion.vae import FACTOR
from echomimic.train.diffusion.masks import face_points
from echomimic.train.diffusion.randomness import stream
from echomimic.train.diffusion.settings import HeadshotSettings
from echomimic.types import Floats, LandmarkTrack, Picture, PoseTrack

Size = tuple[int, int]
GREY = 128
CUT = 8
"""Width in pixels of the inner border of the pasted area without loss, since it is blended with the padding."""
_FRAMES_APART = 12


@dataclass(frozen=True)
class Placement:
    """A picture, scaled to `size` (width, height), with its left upper corner at `left`, `top` of a `canvas`."""

    canvas: Size
    size: Size
    left: int
    top: int

    def paste(self, pictures: Picture) -> Picture:
        """Pictures (F, H, W, 3) on grey canvases (F, height, width, 3); what lies outside is cut off."""
        x, y = (slice(max(0, at), min(at + span, limit)) for at, span, limit in self._sides())
        from_x, from_y = (slice(max(0, -at), min(span, limit - at)) for at, span, limit in self._sides())
        out = np.full((len(pictures), self.canvas[1], self.canvas[0], 3), GREY, np.uint8)
        for canvas, picture in zip(out, pictures, strict=True):
            how = cv2.INTER_AREA if self.size[0] < picture.shape[1] else cv2.INTER_LINEAR
            canvas[y, x] = cv2.resize(picture, self.size, interpolation=how)[from_y, from_x]
        return out

    def points(self, points: Floats) -> Floats:
        """Convert points (…, 2 or 3) from fractions of the picture to those of the canvas; a third value is kept."""
        moved = points.copy()
        moved[..., :2] = (points[..., :2] * self.size + (self.left, self.top)) / self.canvas
        return moved.astype(np.float32)

    def track(self, track: LandmarkTrack) -> LandmarkTrack:
        """A face track on the canvas."""
        points = track.points.copy()
        points[..., :2] = self.points(points[..., :2] / track.image_size) * self.canvas
        return LandmarkTrack(points, self.canvas, track.fps, track.valid, track.curves)

    def weights(self) -> Tensor:
        """Loss weights (1, h, w) of mean 1 over the latent cells: 0 outside of the pasted area, cut by 8 pixels."""
        spans = []
        for at, span, limit in self._sides():
            first = at + CUT if at > 0 else 0
            last = at + span - CUT if at + span < limit else limit
            cells = np.arange(0, limit, FACTOR)
            spans.append((cells >= first) & (cells + FACTOR <= last))
        inside = torch.from_numpy(spans[1][:, None] & spans[0][None, :]).float()[None]
        return inside / inside.mean().clamp(min=1e-6)

    def _sides(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Offset, length and canvas length across, then down."""
        return (self.left, self.size[0], self.canvas[0]), (self.top, self.size[1], self.canvas[1])


def place_face(face: Floats, picture: Size, canvas: Size, height: float, centre: tuple[float, float]) -> Placement:
    """Place a picture so that its face has the given `height` and its middle at `centre`, in fractions of the canvas.

    `face` (n, 2) are points of the face in fractions of the picture; `picture` and `canvas` are (width, height).
    """
    low, high = face.min(0), face.max(0)
    scale = height * canvas[1] / max(float(high[1] - low[1]) * picture[1], 1.0)
    size = (max(FACTOR, round(scale * picture[0])), max(FACTOR, round(scale * picture[1])))
    corner = np.array(centre) * canvas - (low + high) / 2 * size
    return Placement(canvas, size, round(float(corner[0])), round(float(corner[1])))


def placement_of_sample(
    seed: int, n: int, track: LandmarkTrack, window: Sequence[int], canvas: Size, settings: HeadshotSettings
) -> Placement:
    """The placement of headshot `n`: one for all its frames, by the face of the first one in which it was found."""
    draw = stream("place", seed, n)
    height, x, y = (_quantile(values, draw.random()) for values in (settings.heights, settings.across, settings.down))
    found = next((points for frame in window if (points := face_points(track, frame)) is not None), None)
    face = found[0] if found is not None else np.array([(0.25, 0.25), (0.75, 0.75)], np.float32)
    return place_face(face, track.image_size, canvas, height, (x, y))


def measure_faces(tracks: Iterable[PoseTrack], count: int = 5) -> HeadshotSettings:
    """Measure the faces of half bodies: `count` quantiles of height and middle, in fractions of the canvas."""
    rows = []
    for track in tracks:
        for frame in range(0, len(track), _FRAMES_APART):
            if (found := face_points(track, frame)) is not None:
                low, high = found[0].min(0), found[0].max(0)
                rows.append((high[1] - low[1], *((low + high) / 2)))
    if not rows:
        return HeadshotSettings()
    quantiles = np.quantile(np.array(rows), np.linspace(0, 1, count), axis=0).round(4)
    heights, across, down = (tuple(float(value) for value in column) for column in quantiles.T)
    return HeadshotSettings(heights, across, down)


def _quantile(values: Sequence[float], u: float) -> float:
    """The value at fraction `u` of a distribution with these evenly spaced quantiles."""
    return float(np.interp(u, np.linspace(0, 1, len(values)), values))

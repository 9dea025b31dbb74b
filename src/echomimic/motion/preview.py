"""Pictures and videos of a motion: its points drawn over a portrait, beside its curves over time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import cv2
import numpy as np

from echomimic.errors import OutputError
from echomimic.landmarks.topology import (
    BODY_NOSE,
    ELBOWS,
    EYES,
    HAND_BONES,
    INNER_LIPS,
    LEFT_BROW,
    NECK,
    NOSE_LINE,
    OUTER_LIPS,
    OVAL,
    RIGHT_BROW,
    SHOULDERS,
    WRISTS,
)
from echomimic.media import atomic_path, write_clip
from echomimic.motion.validate import measure_motion
from echomimic.types import Floats, LandmarkTrack, Motion, Picture, Portrait, PoseTrack, Speech

HEIGHT = 480
_PLOT_WIDTH = 360
_BACKGROUND, _GRID, _TEXT, _CURSOR = (24, 26, 30), (52, 56, 64), (200, 204, 210), (255, 196, 60)
_PLOTS = {
    "mouth": ("mouth, eye distances", (255, 110, 110)),
    "eyes": ("eyes, eye distances", (110, 200, 255)),
    "yaw": ("yaw, degrees", (150, 230, 140)),
    "left reach": ("left reach, shoulder widths", (255, 170, 80)),
    "right reach": ("right reach, shoulder widths", (120, 170, 255)),
    "out": ("hand outside, of picture", (255, 90, 90)),
}
"""The title and the colour of each curve."""
_RINGS: tuple[tuple[tuple[int, ...], tuple[int, int, int]], ...] = (
    *(((*eye.contour, eye.left), (110, 200, 255)) for eye in EYES),
    ((*OUTER_LIPS, OUTER_LIPS[0]), (255, 110, 110)),
    ((*INNER_LIPS, INNER_LIPS[0]), (255, 150, 150)),
    ((*OVAL, OVAL[0]), (150, 230, 140)),
    (NOSE_LINE, (220, 220, 220)),
)
_LIMBS = (
    (BODY_NOSE, NECK),
    *((NECK, shoulder) for shoulder in SHOULDERS),
    *zip(SHOULDERS, ELBOWS, strict=True),
    *zip(ELBOWS, WRISTS, strict=True),
)
_MOMENTS = 6


@dataclass(frozen=True)
class _View:
    """What all frames of a preview share: the background, and the mapping of points to it."""

    background: Picture
    scale: Floats
    shift: Floats


def preview_frames(motion: Motion, over: Portrait | None = None) -> Iterator[Picture]:
    """(480, W, 3) uint8 frames: the motion over the portrait, or over black, beside its curves with a moving cursor."""
    view, plots = _view(motion, over), _plots(motion)
    for frame in range(len(motion)):
        marked = plots.copy()
        marked[:, 1 + round((_PLOT_WIDTH - 3) * frame / max(len(motion) - 1, 1))] = _CURSOR
        yield np.concatenate([_draw_frame(view, motion, frame), marked], axis=1)


def preview_sheet(motion: Motion, over: Portrait | None = None, warnings: tuple[str, ...] = ()) -> Picture:
    """One picture: six moments of the motion, its curves over the whole time, and `warnings` below."""
    view, moments = _view(motion, over), []
    for frame in np.linspace(0, len(motion) - 1, _MOMENTS).round().astype(int):
        moments.append(_draw_frame(view, motion, frame))
        _write(moments[-1], f"{frame / motion.fps:.2f} s", (8, 18))
    half = _MOMENTS // 2
    grid = np.concatenate([np.concatenate(row, axis=1) for row in (moments[:half], moments[half:])], axis=0)
    text = [line for each in warnings or ("no warnings",) for line in wrap(each, max(20, grid.shape[1] // 8))]
    sentences: Picture = np.full((18 * len(text) + 14, grid.shape[1], 3), _BACKGROUND, np.uint8)
    for i, line in enumerate(text):
        _write(sentences, line, (8, 20 + 18 * i))
    return np.concatenate([grid, _plots(motion, grid.shape[1], 110), sentences], axis=0)


def write_preview(
    path: str | Path,
    motion: Motion,
    over: Portrait | None = None,
    speech: Speech | None = None,
    warnings: tuple[str, ...] = (),
) -> Path:
    """Write a preview by the suffix of `path`: .png is one sheet; .mp4, .webm and .gif play it, with the voice."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        write_clip(path, preview_frames(motion, over), motion.fps, speech, {"title": "preview of a motion"})
        return path
    sheet = preview_sheet(motion, over, warnings)
    try:
        with atomic_path(path) as part:
            part.write_bytes(cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}; expected a place that may be written") from None
    return path


def _view(motion: Motion, over: Portrait | None) -> _View:
    """The part of the picture that is worth showing: around a face, all of it for a body."""
    width, height = (over.width, over.height) if over is not None else motion.image_size
    own = np.array((width, height), np.float32) / (motion.image_size if isinstance(motion, LandmarkTrack) else 1)
    left, top, right, bottom = _window(motion, own, (width, height))
    size = (max(2, round(HEIGHT * (right - left) / (bottom - top)) // 2 * 2), HEIGHT)
    background: Picture = np.full((size[1], size[0], 3), 12, np.uint8)
    if over is not None:
        part = over.pixels[top:bottom, left:right]
        background = (cv2.resize(part, size, interpolation=cv2.INTER_AREA) * 0.6).astype(np.uint8)
    zoom = np.array(size, np.float32) / (right - left, bottom - top)
    return _View(background, (own * zoom).astype(np.float32), (zoom * (left, top)).astype(np.float32))


def _window(motion: Motion, scale: Floats, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in pixels: a face with a wide margin, or the image if that is not much larger."""
    whole = (0, 0, *size)
    if not isinstance(motion, LandmarkTrack):
        return whole
    points = motion.points[..., :2] * scale
    low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
    reach = float((high - low).max()) * 0.8
    centre = (low + high) / 2
    left, top = (int(side) for side in np.clip(centre - reach, 0, np.array(size) - 2))
    right, bottom = (int(side) for side in np.clip(centre + reach, (left + 2, top + 2), size))
    return (left, top, right, bottom) if (right - left) * (bottom - top) < 0.6 * size[0] * size[1] else whole


def _draw_frame(view: _View, motion: Motion, frame: int) -> Picture:
    picture = view.background.copy()
    if isinstance(motion, LandmarkTrack):
        _draw_face(picture, motion.points[frame, :, :2] * view.scale - view.shift, bool(motion.valid[frame]))
    else:
        _draw_body(picture, motion, frame, view.scale)
    return picture


def _draw_face(picture: Picture, points: Floats, valid: bool) -> None:
    for ring, colour in _RINGS:
        _polyline(picture, points[list(ring)], colour if valid else (120, 120, 120))
    for brow in (RIGHT_BROW, LEFT_BROW):
        hull = cv2.convexHull(points[list(brow)].astype(np.float32))[:, 0]
        _polyline(picture, np.concatenate([hull, hull[:1]]), (255, 200, 120))
    for iris in (eye.iris[1:] for eye in EYES):
        _polyline(picture, points[[*iris, iris[0]]], (255, 255, 255))


def _draw_body(picture: Picture, track: PoseTrack, frame: int, scale: Floats) -> None:
    body, hands = track.body[frame], track.hands[frame]
    for a, b in _LIMBS:
        if min(body[a, 2], body[b, 2]) > 0:
            _polyline(picture, body[[a, b], :2] * scale, (150, 230, 140))
    for side, colour in enumerate(((255, 170, 80), (120, 170, 255))):
        if hands[side, :, 2].max() > 0:
            for a, b in HAND_BONES:
                _polyline(picture, hands[side][[a, b], :2] * scale, colour)


def _polyline(picture: Picture, points: Floats, colour: tuple[int, int, int]) -> None:
    """An anti-aliased line of one pixel; coordinates in eighths of a pixel."""
    where = np.clip(points * 8, -(2**20), 2**20).round().astype(np.int32)
    cv2.polylines(picture, [where.reshape(-1, 1, 2)], False, colour, 1, cv2.LINE_AA, 3)


def _plots(motion: Motion, width: int = _PLOT_WIDTH, height: int | None = None) -> Picture:
    """The curves one below the other over the whole time, each of `height`; HEIGHT together by default."""
    curves = measure_motion(motion)
    each = height or HEIGHT // len(curves)
    return np.concatenate(
        [_plot(name, values, width, each, len(motion) / motion.fps) for name, values in curves.items()]
    )


def _plot(name: str, values: Floats, width: int, height: int, seconds: float) -> Picture:
    title, colour = _PLOTS[name]
    picture: Picture = np.full((height, width, 3), _BACKGROUND, np.uint8)
    low, high = float(values.min()), float(values.max())
    least = 1.0 if name == "yaw" else 0.02
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    top, bottom = 22, height - 8
    cv2.rectangle(picture, (0, top - 2), (width - 1, bottom + 2), _GRID, 1)
    x = np.linspace(1, width - 2, len(values)) if len(values) > 1 else np.array([1.0])
    y = bottom - (values - low) / (high - low) * (bottom - top)
    _polyline(picture, np.stack([x, y], axis=1).astype(np.float32), colour)
    _write(picture, f"{title}: {values.min():.2f} to {values.max():.2f} in {seconds:.1f} s", (6, 14))
    return picture


def _write(picture: Picture, text: str, place: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _TEXT, 1, cv2.LINE_AA)

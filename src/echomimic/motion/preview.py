"""A motion to look at before anything expensive runs: drawn over a portrait, with its curves beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
from echomimic.motion.validate import read_lines
from echomimic.types import Floats, LandmarkTrack, Motion, Picture, Portrait, PoseTrack, Speech

HEIGHT = 480
_PLOT_WIDTH = 360
_BACK, _GRID, _WORDS, _NOW = (24, 26, 30), (52, 56, 64), (200, 204, 210), (255, 196, 60)
_COLOURS = {
    "mouth": (255, 110, 110),
    "eyes": (110, 200, 255),
    "yaw": (150, 230, 140),
    "left reach": (255, 170, 80),
    "right reach": (120, 170, 255),
    "out": (255, 90, 90),
}
_UNITS = {
    "mouth": "mouth, eye distances",
    "eyes": "eyes, eye distances",
    "yaw": "yaw, degrees",
    "left reach": "left reach, shoulders",
    "right reach": "right reach, shoulders",
    "out": "hand outside, of picture",
}
_RINGS: tuple[tuple[tuple[int, ...], tuple[int, int, int]], ...] = (
    *(((*eye.contour, eye.left), (110, 200, 255)) for eye in EYES),
    ((*OUTER_LIPS, OUTER_LIPS[0]), (255, 110, 110)),
    ((*INNER_LIPS, INNER_LIPS[0]), (255, 150, 150)),
    ((*OVAL, OVAL[0]), (150, 230, 140)),
    (NOSE_LINE, (220, 220, 220)),
)
_ARMS = tuple(
    limb
    for shoulder, elbow, wrist in zip(SHOULDERS, ELBOWS, WRISTS, strict=True)
    for limb in ((NECK, shoulder), (shoulder, elbow), (elbow, wrist))
)
_LIMBS = ((BODY_NOSE, NECK), *_ARMS)
_SHEET = 6


@dataclass(frozen=True)
class _Stage:
    """What every frame of a preview shares: the picture behind, how points come to it, and the curves."""

    back: Picture
    scale: Floats
    shift: Floats
    lines: dict[str, Floats]


def preview_frames(motion: Motion, over: Portrait | None = None) -> Iterator[Picture]:
    """(480, W, 3) uint8 frames: the motion over the portrait, or over black, and its curves with a mark that moves."""
    stage = _set_up(motion, over)
    plots = _plots(stage.lines, motion)
    for frame in range(len(motion)):
        drawn = _drawn(stage, motion, frame)
        yield np.concatenate([drawn, _marked(plots, frame, len(motion))], axis=1)


def preview_sheet(motion: Motion, over: Portrait | None = None, words: tuple[str, ...] = ()) -> Picture:
    """One picture: six moments of the motion, its curves over all of it, and `words` below."""
    stage = _set_up(motion, over)
    frames = np.linspace(0, len(motion) - 1, _SHEET).round().astype(int)
    shots = [_labelled(_drawn(stage, motion, frame), f"{frame / motion.fps:.2f} s") for frame in frames]
    rows = [np.concatenate(shots[i : i + 3], axis=1) for i in range(0, _SHEET, 3)]
    grid = np.concatenate(rows, axis=0)
    plots = _plots(stage.lines, motion, grid.shape[1], 110 * len(stage.lines))
    return np.concatenate([grid, plots, _sentences(words, grid.shape[1])], axis=0)


def write_preview(
    path: str | Path,
    motion: Motion,
    over: Portrait | None = None,
    speech: Speech | None = None,
    words: tuple[str, ...] = (),
) -> Path:
    """Write a preview by the suffix of `path`: .png is one sheet; .mp4, .webm or .gif play it, with the voice given."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        write_clip(path, preview_frames(motion, over), motion.fps, speech, {"title": "preview of a motion"})
        return path
    sheet = preview_sheet(motion, over, words)
    try:
        with atomic_path(path) as part:
            part.write_bytes(cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))[1].tobytes())
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}; expected a place that may be written") from None
    return path


def _set_up(motion: Motion, over: Portrait | None) -> _Stage:
    """The part of the picture that is worth seeing: round a face, all of it for a body."""
    width, height = (over.width, over.height) if over is not None else motion.image_size
    own = np.array((width, height), np.float32) / (motion.image_size if isinstance(motion, LandmarkTrack) else 1)
    left, top, right, bottom = _window(motion, own, (width, height))
    size = (max(2, round(HEIGHT * (right - left) / (bottom - top)) // 2 * 2), HEIGHT)
    back: Picture = np.full((size[1], size[0], 3), 12, np.uint8)
    if over is not None:
        part = over.pixels[top:bottom, left:right]
        back = (cv2.resize(part, size, interpolation=cv2.INTER_AREA) * 0.6).astype(np.uint8)
    zoom = np.array(size, np.float32) / (right - left, bottom - top)
    scale, shift = own * zoom, np.array((left, top), np.float32) * zoom
    return _Stage(back, scale.astype(np.float32), shift.astype(np.float32), read_lines(motion))


def _window(motion: Motion, scale: Floats, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels: a face with as much again round it, where that is not nearly everything."""
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


def _drawn(stage: _Stage, motion: Motion, frame: int) -> Picture:
    picture = stage.back.copy()
    if isinstance(motion, LandmarkTrack):
        _draw_face(picture, motion.points[frame, :, :2] * stage.scale - stage.shift, bool(motion.valid[frame]))
    else:
        _draw_body(picture, motion, frame, stage.scale)
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
    """A thin smooth line; coordinates in eighths of a pixel."""
    where = np.clip(points * 8, -(2**20), 2**20).round().astype(np.int32)
    cv2.polylines(picture, [where.reshape(-1, 1, 2)], False, colour, 1, cv2.LINE_AA, 3)


def _plots(lines: dict[str, Floats], motion: Motion, width: int = _PLOT_WIDTH, height: int = HEIGHT) -> Picture:
    """The curves one below the other over the whole time."""
    each = height // len(lines)
    shown = [_plot(name, line, width, each, len(motion) / motion.fps) for name, line in lines.items()]
    rest: Picture = np.full((height - each * len(lines), width, 3), _BACK, np.uint8)
    return np.concatenate([*shown, rest], axis=0)


def _plot(name: str, line: Floats, width: int, height: int, seconds: float) -> Picture:
    picture: Picture = np.full((height, width, 3), _BACK, np.uint8)
    low, high = float(line.min()), float(line.max())
    least = 1.0 if name == "yaw" else 0.02
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    top, bottom = 22, height - 8
    cv2.rectangle(picture, (0, top - 2), (width - 1, bottom + 2), _GRID, 1)
    x = np.linspace(1, width - 2, len(line)) if len(line) > 1 else np.array([1.0])
    y = bottom - (line - low) / (high - low) * (bottom - top)
    _polyline(picture, np.stack([x, y], axis=1).astype(np.float32), _COLOURS.get(name, _WORDS))
    _say(picture, f"{_UNITS.get(name, name)}: {line.min():.2f} to {line.max():.2f} in {seconds:.1f} s", (6, 14))
    return picture


def _marked(plots: Picture, frame: int, frames: int) -> Picture:
    picture = plots.copy()
    x = 1 + round((picture.shape[1] - 3) * frame / max(frames - 1, 1))
    picture[:, x] = _NOW
    return picture


def _labelled(picture: Picture, text: str) -> Picture:
    _say(picture, text, (8, 18))
    return picture


def _sentences(words: tuple[str, ...], width: int) -> Picture:
    """What will go wrong, in lines that fit."""
    room = max(20, width // 8)
    lines = [line for text in words or ("nothing to warn of",) for line in _wrapped(text, room)]
    picture: Picture = np.full((18 * len(lines) + 14, width, 3), _BACK, np.uint8)
    for i, line in enumerate(lines):
        _say(picture, line, (8, 20 + 18 * i))
    return picture


def _wrapped(text: str, room: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= room:
            lines.append("  ")
        lines[-1] += f"{word} "
    return lines


def _say(picture: Picture, text: str, place: tuple[int, int]) -> None:
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _WORDS, 1, cv2.LINE_AA)

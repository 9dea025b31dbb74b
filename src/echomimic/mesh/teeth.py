"""Two dental arches of fourteen small teeth each, drawn once per portrait and projected with every turn of the head.

An arch is a parabola in the head's horizontal plane. Its texture runs along the arc, so that a turned head shows the
near side wide and the far side foreshortened, and no row of teeth has a cut end. Lengths are in mouth widths.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.mesh.mouth_colours import FaceLight
from echomimic.mesh.upper_body import smoothstep
from echomimic.mesh.warp import Pose, sample
from echomimic.types import Floats

Array = npt.NDArray[np.float64]

UPPER_WIDTHS = (0.148, 0.112, 0.128, 0.118, 0.112, 0.15, 0.14)
LOWER_WIDTHS = (0.092, 0.1, 0.114, 0.116, 0.118, 0.16, 0.15)
"""Widths of half a row from the middle: two incisors, canine, two premolars, two molars."""
UPPER_LENGTHS = (0.185, 0.176, 0.184, 0.174, 0.168, 0.16, 0.155)
LOWER_LENGTHS = (0.15, 0.152, 0.164, 0.155, 0.15, 0.145, 0.14)
UPPER_BEND, LOWER_BEND = 1.55, 1.75
"""Depth of the arch per squared distance from the middle."""
TOP = -0.17
"""Where the texture begins: gum above the necks of the teeth, which lie at 0."""
TALL = 0.42
_POINTED = (0.0, 0.01, 0.1, 0.07, 0.05, 0.03, 0.03)
"""Height of a tooth's tip over its corners, in its widths: canines are pointed."""
_BACK, _DEEP = 0.85, (0.08, 0.42)
"""Light that the back teeth lose, and the depths between which they lose it: cheeks and lips keep it out."""
_LOOKUP = 256
_SAMPLES = 121


@dataclass(frozen=True)
class ToothRow:
    """One row: `texture` (h, w, 4) premultiplied float32, and its arch.

    `arc`, `across` and `away` (n,) sample the arch; `facing` (n, 3) are its normals in the head's axes. `ahead` is the
    length of the front teeth, from neck to edge.
    """

    texture: Floats
    scale: float
    arc: Array
    across: Array
    away: Array
    facing: Array
    ahead: float

    def project(
        self, pose: Pose, axes: Array, start: Array, way: float, width: float, light: FaceLight
    ) -> "Projection":
        """The row in a frame: necks at `start` (3,) in the portrait, teeth along `way` (1 down, -1 up) of the head."""
        points = start + width * (self.across[:, None] * axes[0] + self.away[:, None] * axes[2])
        flat, along = pose.carry(points), pose.direct(way * width * axes[1])
        normals = self.facing @ axes @ pose.turn.T
        dim = 1 - _BACK * smoothstep(self.away, *_DEEP)
        return Projection(self, flat, along, light.on(normals) * dim)


@dataclass(frozen=True)
class Projection:
    """A row in a frame: `flat` (n, 2) the arch in pixels, `along` (2,) a mouth width along the teeth, `light` (n,)."""

    row: ToothRow
    flat: Array
    along: Array
    light: Array

    def draw(self, colour: Floats, corner: Array, finer: int) -> None:
        """Composite the row over `colour` (h, w, 3), `finer` pixels to one of the frame from `corner` on, in place."""
        table, origin, step = self._lookup()
        rows, columns = colour.shape[:2]
        # position across the teeth: linear in x and y, so its map is a sum of a row and a column
        x = (np.arange(columns) + 0.5) / finer - 0.5 + corner[0]
        y = (np.arange(rows) + 0.5) / finer - 0.5 + corner[1]
        d, size = self.along, float(self.along @ self.along)
        parts = (x * d[1] - origin) / step, -y * d[0] / step, x * d[0] / size, y * d[1] / size
        right, below, first, second = (part.astype(np.float32) for part in parts)
        edge = 1 / self.row.scale
        low, high = float(table[..., 1].min()) + TOP - edge, float(table[..., 1].max()) + TOP + TALL + edge
        kept = np.flatnonzero((second + first.max() >= low) & (second + first.min() <= high))
        if not len(kept):
            return
        part = slice(int(kept[0]), int(kept[-1]) + 1)
        below, second, colour, rows = below[part], second[part], colour[part], len(second[part])
        across, down = right[None] + below[:, None], first[None] + second[:, None]
        at = np.zeros((rows, columns, 2), np.float32)
        at[..., 0] = across
        found = sample(table, at)
        scale = np.float32(self.row.scale)
        at[..., 0] = (found[..., 0] - np.float32(self.row.arc[0])) * scale - np.float32(0.5)
        at[..., 1] = (down - found[..., 1] - np.float32(TOP)) * scale - np.float32(0.5)
        outside = (across < 0) | (across > _LOOKUP - 1)
        teeth = cv2.remap(self.row.texture, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)  # type: ignore[call-overload]
        teeth[outside] = 0
        colour *= 1 - teeth[..., 3:]
        colour += teeth[..., :3] * found[..., 2:3]

    def _lookup(self) -> tuple[Floats, float, float]:
        """(1, n, 3) arc length, offset along the teeth and light by position across; where it begins, and its step.

        Only the part of the arch that is not hidden behind its own front is in it.
        """
        d = self.along
        across = self.flat @ np.array([d[1], -d[0]])
        offset = self.flat @ d / float(d @ d)
        middle = len(across) // 2
        sign = np.sign(across[middle + 1] - across[middle - 1]) or 1.0
        rising = np.diff(across) * sign > 0
        high = middle + int(np.argmin(np.append(rising[middle:], False)))
        low = middle - int(np.argmin(np.append(rising[:middle][::-1], False)))
        part = slice(low, high + 1)
        c = np.linspace(across[low], across[high], _LOOKUP)
        values = (self.row.arc, offset, self.light)
        columns = [np.interp(sign * c, sign * across[part], value[part]) for value in values]
        step = float(c[1] - c[0])
        return np.stack(columns, 1)[None].astype(np.float32), float(c[0]), step if step else 1e-6


def tooth_row(upper: bool, fine: float, colour: Floats, gum: Floats, draw: np.random.Generator) -> ToothRow:
    """Draw a row with `fine` pixels to a mouth width; every tooth differs a little, by `draw`."""
    widths = np.array(UPPER_WIDTHS if upper else LOWER_WIDTHS) * draw.uniform(0.96, 1.04, 7)
    lengths = np.array(UPPER_LENGTHS if upper else LOWER_LENGTHS)
    half = float(widths.sum())
    arc = np.linspace(-half, half, _SAMPLES)
    across, away = _arch(np.abs(arc), UPPER_BEND if upper else LOWER_BEND)
    slope = np.gradient(away, arc)
    facing = np.stack([slope, 0 * slope, -np.sqrt(np.maximum(1 - slope**2, 0.02))], 1)
    columns, rows = max(8, round(2 * half * fine)), max(8, round(TALL * fine))
    s = np.asarray((np.arange(columns) + 0.5) / fine - half, np.float64)
    v = np.asarray((np.arange(rows) + 0.5) / fine + TOP, np.float64)[:, None]
    texture = _texture(s, v, widths, lengths, colour, gum, draw)
    return ToothRow(texture, fine, arc, np.sign(arc) * across, away, facing, float(lengths[0]))


def _arch(arc: Array, bend: float) -> tuple[Array, Array]:
    """Position across and depth of a parabola by its arc length."""
    x = np.linspace(0, 1.0, 400)
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(bend * x**2)))])
    across = np.interp(arc, length, x)
    return across, bend * across**2


def _texture(
    s: Array, v: Array, widths: Array, lengths: Array, colour: Floats, gum: Floats, draw: np.random.Generator
) -> Floats:
    """(rows, columns, 4) premultiplied: gum, then teeth whose necks lie at v = 0."""
    edges = np.concatenate([[0], np.cumsum(widths)])
    k = np.clip(np.searchsorted(edges, np.abs(s), "right") - 1, 0, 6)
    side = (s > 0).astype(int)
    u = np.clip((np.abs(s) - edges[k]) / widths[k] * 2 - 1, -1, 1)
    vary = {name: draw.normal(0, size, (2, 7))[side, k] for name, size in _VARIETY.items()}
    wide, tip = widths[k], np.array(_POINTED)[k]
    length = lengths[k] * (1 + vary["length"]) + vary["tilt"] * u * wide
    corner = 0.6 * wide * np.maximum(np.abs(u) - 0.6, 0) ** 2
    end = length - corner - tip * wide * np.abs(u)
    neck = 0.035 * u**2 - 0.012
    soft = 0.008
    # the further towards the edge, the wider the gap between two teeth
    toward = smoothstep(v / np.maximum(length, 0.01), 0.3, 1.0)
    gap = (1 - np.abs(u)) * wide * 0.5
    seam = np.exp(-((gap / (0.004 + 0.003 * toward)) ** 2)) * (0.28 + 0.22 * toward)
    round_ = 1 - 0.13 * u**2 - 0.05 * np.abs(u) ** 6
    rise = 0.84 + 0.16 * smoothstep(v, 0.0, 0.07) - 0.1 * smoothstep(v / np.maximum(length, 0.01), 0.82, 1.0)
    gloss = 0.05 * np.exp(-(((u + 0.15) / 0.35) ** 2)) * np.exp(-(((v - 0.09) / 0.03) ** 2))
    light = (round_ * rise * (1 - seam) + gloss) * (1 + vary["light"])
    # necks are warmer, edges are translucent
    warm = (0.11 - 0.06 * smoothstep(v, 0.0, 0.12) + 0.02 * (k == 2) + vary["warm"])[..., None]
    coloured = float(np.clip(8 * np.ptp(colour) / colour.max(), 0, 1))
    tooth = colour * light[..., None] * (1 + coloured * warm * np.array([0.6, 0.1, -1.0]))
    shaded = 0.25 * gum * np.clip(1 - light, 0, 1)[..., None]
    on_tooth = smoothstep(v - neck, -soft, soft)[..., None]
    rgb = (tooth + shaded) * on_tooth + gum * (0.9 + 0.1 * (1 - u**2))[..., None] * (1 - on_tooth)
    alpha = smoothstep(end - v, -soft, soft)
    texture = np.concatenate([rgb * alpha[..., None], alpha[..., None]], 2)
    return np.asarray(texture, np.float32)


_VARIETY = {"length": 0.012, "tilt": 0.01, "light": 0.018, "warm": 0.008}
"""Standard deviations of what differs from tooth to tooth."""

"""The skin of a shut eye, painted once per portrait, and the photo's own lashes as layers on it.

A shut lid is painted over the eye from the skin between crease and brow and from the skin below the eye. What the photo
shows there instead is kept in two layers: the row of lashes, which moves with the lid's edge, and the rest (wet edges,
corners, highlights), which vanishes as the lid closes. At rest both layers over the painted skin give back the photo.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.openings import FINER, Pixels, smooth_curve
from echomimic.mesh.upper_body import smoothstep
from echomimic.mesh.warp import Box, Grid, Rim, bounds, sample
from echomimic.types import Floats

Array = npt.NDArray[np.float64]

SLIT = 0.4
"""Height in pixels below which an eye is drawn as shut."""
SHUT, _HALF_SHUT = 0.12, 0.32
"""Heights of an eye in eye widths below which it counts as shut in the portrait: alone, and beside a shut one."""
LASHES = (0.45, 0.32)
"""Longest lashes above the eye and beside its corners, in eye widths."""
STRIP = 0.06
"""Thickness of the lash line, in eye widths; longer lashes have to be thin."""
INNER = 0.03
"""Thickness of the lash line below the upper rim, in eye widths."""
_DARK = 0.16
"""Fraction by which lashes are darker than skin."""
_FINE, _COARSE = 0.07, 0.16
"""Radii, in eye widths, below which a dark line is thin: of lashes that move, and of lashes that are painted over."""
_LONG = 0.6
"""Length in eye widths from which a dark line that leaves the surroundings of the eye is hair or the rim of glasses."""
_ZONE = (0.22, 0.3)
"""Distances beside the corners and above the upper rim, in eye widths, of the zone of the lashes."""
_ABOVE = 0.25
"""Distance from the middle of the eye, in eye widths, up to which a strand comes from above, not from the side."""
_BARE = (0.03, 0.16)
"""Distances beyond the inner corner, in eye widths, between which lashes end and the shade beside the nose begins."""
_THICK = 0.12
"""Radius, in eye widths, from which a dark mass in the zone is hair."""
_CREASE = 0.06
"""Fraction by which a crease of the lid is darker than skin."""
_HEM = (0.03, 0.05)
"""Distance above the upper and below the lower rim that is painted too, in eye widths: wet edges, lash roots."""
_FOREIGN = 26.0
"""Difference from skin, in grey levels, of what belongs to the eye if it touches the eye."""
_REACH = 0.14
"""Distance from the rims up to which such pixels are painted too, in eye widths."""
_LIT, _DIM = 0.82, 0.3
"""Brightness of a shut lid as a fraction of the skin below the eye, and the lack of it from which it is given in full:
the skin under a low brow lies in its shadow, a shut lid bulges out of it."""
_BULGE = (0.02, 0.22)
"""Distances above the upper rim, in eye widths, between which the bulge ends."""
_TEXTURE = (0.03, 0.1)
"""Radii in eye widths: finer detail is grain, detail between both is coarse texture."""
_STRENGTH = ((-1.0, 0.0), (6.0, 9.0))
"""For grain and for coarse texture: the median strength, in grey levels, at which the lid begins to get it, and from
which it gets all of it. Grain is always copied."""
_CHEEK = (0.12, 0.4)
"""Distances below the lower rim, in eye widths, between which the skin has the texture of the lid."""
_COLOUR_PIXELS = 40
"""Eye width in pixels at which skin is interpolated."""
_SPREADS = (0.5, 0.25, 0.12)
"""Radii over which skin is interpolated, in eye widths, the coarsest first."""


@dataclass(frozen=True)
class Lid:
    """Layers (rows, columns, 4) uint8 of one eye, premultiplied RGB and alpha, enlarged by `FINER`, in `corner`.

    `lashes` move with the upper rim; `rest` vanishes as the eye shuts.
    """

    corner: Array
    lashes: Pixels
    rest: Pixels


@dataclass(frozen=True)
class _Place:
    """Pixels of a box in the axes of an eye, in eye widths: `along` from the left corner, `over` the upper rim, `under`
    the lower rim (negative inside the eye), `inner` beyond the corner at the nose."""

    box: Box
    width: float
    along: Array
    over: Array
    under: Array
    inner: Array
    upper: Rim

    def opening(self) -> Floats:
        """(h, w): how much of each pixel is eye."""
        inside = np.clip(0.5 - np.maximum(self.over, self.under) * self.width, 0, 1)
        sides = np.clip(np.minimum(self.along, 1 - self.along) * self.width + 0.5, 0, 1)
        return np.asarray(inside * sides * slit_fraction((-self.over - self.under) * self.width), np.float32)

    def resample(self, values: Floats, along: Array, over: Array) -> Floats:
        """Values (h, w) at positions along the eye and over its upper rim, in eye widths."""
        t = along * self.width
        smooth = smooth_curve(len(self.upper.points))
        v = np.interp(t, smooth @ self.upper.t, smooth @ self.upper.v) - over * self.width
        at = self.upper.origin + t[..., None] * self.upper.across + v[..., None] * self.upper.down - self.box[:2]
        return np.asarray(sample(values, at.astype(np.float32)), np.float32)


def slit_fraction(height: Array | Floats) -> Array:
    """The fraction to which an eye of a height in pixels is drawn: a slit fades out instead of flickering."""
    return np.asarray(np.clip(0.7 * (height - SLIT), 0, 1))


def open_eyes(landmarks: Array) -> list[mesh.Eye]:
    """The eyes of the portrait that are not shut; a half shut eye beside a shut one is shut too, else it would wink."""
    heights = [_height(landmarks, eye) for eye in mesh.EYES]
    least = _HALF_SHUT if min(heights) < SHUT else SHUT
    return [eye for eye, height in zip(mesh.EYES, heights, strict=True) if height >= least]


def _height(landmarks: Array, eye: mesh.Eye) -> float:
    """Height of an eye in eye widths."""
    width = float(np.linalg.norm(landmarks[eye.right, :2] - landmarks[eye.left, :2]))
    gap = np.linalg.norm(landmarks[list(eye.lower), :2] - landmarks[list(eye.upper), :2], axis=1)
    return float(gap.max()) / max(width, 1e-6)


def paint_lid(
    picture: Pixels, landmarks: Array, eye: mesh.Eye, softness: float = 0.0, glasses: bool = False
) -> tuple[Pixels, Lid | None]:
    """The picture with the eye shut, and the layers that open it again; none if the eye is outside the picture.

    `softness` is the sigma of the picture's blur in pixels. With `glasses` (see `mesh/glasses.py`) a dark line that
    crosses the surroundings of the eye is their rim.
    """
    place = _place(picture, landmarks, eye)
    left, top, right, bottom = place.box
    if min(right - left, bottom - top) < 3:
        return picture, None
    crop = picture[top:bottom, left:right].astype(np.float32)
    skin = _skin(crop, place, _bands(landmarks, eye, place))
    brows = [
        cv2.convexHull(np.round(landmarks[list(brow), :2] - place.box[:2]).astype(np.int32)) for brow in mesh.BROWS
    ]
    clear = 1 - _occluders(crop, skin, place, brows, glasses)
    clear &= 1 - _low_brows(crop, skin, place, brows)
    clear &= place.inner < _BARE[1]
    lashes = np.maximum(_lashes(crop, place, _FINE) * clear, _line(place).astype(np.uint8))
    dark = _reached(((skin - crop) / np.maximum(skin, 8)).max(2), place) * (np.abs(place.along - 0.5) < 0.42)
    beyond = _with_creases(np.maximum(_lashes(crop, place, _COARSE), (dark > 0.3).astype(np.uint8)), crop, place)
    hole = np.maximum(_eye(crop, skin, place), cv2.dilate(beyond, np.ones((3, 3), np.uint8)) * clear)
    soft = max(0.6, 0.02 * place.width, softness)
    grown = np.maximum(cv2.dilate(hole, _disc(soft)) * clear, hole)
    alpha = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), soft)
    alpha = (alpha * (1 - smoothstep(place.inner, *_BARE)))[..., None].astype(np.float32)
    painted = _shaded(_matched(_lit(skin, place), crop, hole, place.width), place) + _grain(crop, hole, place)
    shut = picture.copy()
    shut[top:bottom, left:right] = np.clip(crop + alpha * (painted - crop) + 0.5, 0, 255).astype(np.uint8)
    return shut, _layers(picture, shut, lashes, place, soft)


def _place(picture: Pixels, landmarks: Array, eye: mesh.Eye) -> _Place:
    upper, lower = Rim.of(eye.upper_curve, landmarks), Rim.of(eye.lower_curve, landmarks)
    width = max(float(upper.t[-1]), 1.0)
    region = [*eye.brow_side, *eye.cheek_side, *eye.upper_curve, *eye.lower]
    box = bounds(landmarks[region], (0.5 * width,) * 4, (picture.shape[1], picture.shape[0]))
    size = (box[3] - box[1], box[2] - box[0])
    points = Grid(box[0], box[1], 1, size[1], size[0]).points().astype(np.float64) - upper.origin
    t, v = (points[..., 0] * way[0] + points[..., 1] * way[1] for way in (upper.across, upper.down))
    smooth = smooth_curve(len(eye.upper_curve))
    over = np.interp(t, smooth @ upper.t, smooth @ upper.v) - v
    under = v - np.interp(t, smooth @ lower.t, smooth @ lower.v)
    along = t / width
    inner = along - 1 if eye is mesh.EYES[0] else -along
    return _Place(box, width, along, over / width, under / width, inner, upper)


def _bands(landmarks: Array, eye: mesh.Eye, place: _Place) -> Floats:
    """(h, w) float32: 1 between crease and brow, and below the lower lid."""
    near = ((place.along > -0.15) & (place.along < 1.15)).astype(np.float32)
    band = np.zeros_like(near)
    corner = np.array(place.box[:2])
    crease, brow = (landmarks[list(ring), :2] - corner for ring in (eye.crease, eye.brow_side))
    cv2.fillPoly(band, [np.round([*crease, *brow[::-1]]).astype(np.int32)], (1.0,))
    band[(place.under > 0.13) & (place.under < 0.36)] = 1
    return band * near


def _skin(crop: Floats, place: _Place, bands: Floats) -> Floats:
    """(h, w, 3): skin interpolated over the eye; lashes, hair, brows and highlights have no weight in it."""
    light = crop.mean(2)
    weight = np.zeros_like(bands)
    for side in (place.over > place.under, place.over <= place.under):
        known = side & (bands > 0)
        if not known.any():
            continue
        middle = _column_medians(light, known, place.along)
        spread = 1.5 * float(np.median(np.abs(light - middle)[known])) + 4
        weight += side * bands * np.exp(-(((light - middle) / spread) ** 2))
    return _interpolated(crop, weight.astype(np.float32), place.width)


def _lit(skin: Floats, place: _Place) -> Floats:
    """The skin with a lid that is no darker than a fraction of the skin below the eye, and then has its hue."""
    below = (place.under > 0.13) & (place.under < 0.36) & (np.abs(place.along - 0.5) < 0.5)
    if not below.any():
        return skin
    bright = _LIT * np.median(skin[below], 0)
    lack = 1 - skin.mean(2) / max(float(bright.mean()), 1.0)
    share = np.clip(lack / _DIM, 0, 1) * (1 - smoothstep(place.over, *_BULGE))
    return np.asarray(skin + share[..., None] * (bright - skin), np.float32)


def _column_medians(light: Floats, known: npt.NDArray[np.bool_], along: Array) -> Array:
    """(h, w): the bright median of the known pixels near each column: hair and lashes are dark."""
    centres = np.linspace(-0.1, 1.1, 9)
    values, where = light[known], along[known]
    whole = float(np.percentile(values, 60))
    found = []
    for centre in centres:
        near = values[np.abs(where - centre) < 0.12]
        found.append(float(np.percentile(near, 60)) if len(near) > 5 else whole)
    smooth = np.convolve(np.pad(found, 1, "edge"), (0.25, 0.5, 0.25), "valid")
    return np.asarray(np.interp(along, centres, smooth))


def _interpolated(colours: Floats, weight: Floats, width: float) -> Floats:
    """(h, w, 3): the mean of the weighted colours near each pixel, as near as there are enough of them."""
    scale = min(1.0, _COLOUR_PIXELS / width)
    size = (max(1, round(weight.shape[1] * scale)), max(1, round(weight.shape[0] * scale)))
    known = cv2.resize(np.dstack([colours * weight[..., None], weight]), size, interpolation=cv2.INTER_AREA)
    total = known.sum((0, 1))
    mean = total[:3] / total[3] if total[3] > 0 else np.median(colours, (0, 1))
    filled = np.broadcast_to(mean.astype(np.float32), (size[1], size[0], 3))
    for spread in _SPREADS:
        near = cv2.GaussianBlur(known, (0, 0), max(spread * width * scale, 0.5), borderType=cv2.BORDER_CONSTANT)
        fraction = np.clip(near[..., 3:] / 0.12, 0, 1)
        filled = filled + fraction * (near[..., :3] / np.maximum(near[..., 3:], 1e-6) - filled)
    filled = cv2.GaussianBlur(filled, (0, 0), max(0.05 * width * scale, 0.5))
    return np.asarray(cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _matched(skin: Floats, crop: Floats, hole: npt.NDArray[np.uint8], width: float) -> Floats:
    """The skin shifted to the colours just outside the hole, near its border."""
    off = crop - skin
    near = (cv2.dilate(hole, _disc(0.03 * width)) == 0) * np.exp(-((off.mean(2) / 40) ** 2))
    known = cv2.GaussianBlur(np.dstack([off * near[..., None], near]), (0, 0), max(0.07 * width, 0.6))
    return np.asarray(skin + known[..., :3] / np.maximum(known[..., 3:], 0.25), np.float32)


def _reached(dark: Floats, place: _Place) -> Floats:
    """(h, w) 0..1: what is dark and can be reached from the upper rim without crossing skin.

    The crease above the lid is not reached, because a lash rises steeply and a crease does not.
    """
    beside = np.maximum(np.abs(place.along - 0.5) - 0.5, 0)
    found = np.where(place.over > -0.03, dark - _DARK - 0.6 * np.maximum(place.over, 1.5 * beside), -1)
    steps = 1 / max(place.width, 16.0)
    along = np.arange(-LASHES[1], 1 + LASHES[1], steps)
    over = np.arange(0, LASHES[0], steps)
    flat = place.resample(np.asarray(found, np.float32), *np.meshgrid(along, over)) > 0
    reached = np.zeros_like(flat)
    inside = (along > -0.02) & (along < 1.02)
    front = inside.copy()
    for k, row in enumerate(flat):
        front &= row | (k * steps < STRIP / 2)
        reached[k] = front
        if k % 2:
            front = front | np.roll(front, 1) | np.roll(front, -1)
    wings = (flat & ~inside) | reached
    label = cv2.connectedComponents(wings.astype(np.uint8))[1]
    reached |= wings & np.isin(label, np.unique(label[reached & (label > 0)]))
    x, y = ((part / steps).astype(np.float32) for part in (place.along + LASHES[1], place.over))
    seen = cv2.remap(reached.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(seen, np.float32)


def _line(place: _Place) -> npt.NDArray[np.bool_]:
    """(h, w): the lash line."""
    bent = STRIP * np.sqrt(np.clip(1 - (2 * place.along - 1) ** 2, 0.05, 1))
    return (place.over > -0.02) & (place.over < bent) & (place.along > -0.02) & (place.along < 1.02)


def _occluders(
    crop: Floats, skin: Floats, place: _Place, brows: Sequence[npt.NDArray[Any]], glasses: bool
) -> npt.NDArray[np.uint8]:
    """(h, w) uint8: hair and glasses over the lid: dark, and reaching far beyond the eye. They do not move."""
    dark = ((skin - crop) / np.maximum(skin, 8)).max(2)
    found = ((dark > 0.3) | (_thinness(crop, _FINE * place.width) > 0.3)).astype(np.uint8)
    eye = (place.over < STRIP + 0.02) & (place.under < 0.1) & (np.abs(place.along - 0.5) < 0.54)
    found[eye] = 0
    kept = _leaving(found, _LONG * place.width, sides=False)
    near = np.zeros_like(found)
    for brow in brows:
        cv2.fillConvexPoly(near, brow, (1,))
        cv2.polylines(near, [brow], True, (1,), max(1, round(0.12 * place.width)))
    kept = np.maximum(kept, _leaving(found & (1 - near), _LONG * place.width, sides=True))
    if glasses:
        label = cv2.connectedComponents(found & near)[1]
        touched = np.unique(label[cv2.dilate(kept, np.ones((3, 3), np.uint8)) > 0])
        kept = np.maximum(kept, np.isin(label, touched) & (label > 0)).astype(np.uint8)
    else:
        kept[_merged(kept, place)] = 0
    return np.asarray(cv2.dilate(kept, np.ones((3, 3), np.uint8)) * ~eye, np.uint8)


def _merged(kept: npt.NDArray[np.uint8], place: _Place) -> npt.NDArray[np.bool_]:
    """(h, w): lashes, creases and shade that merge with hair beside the eye.

    They are thin, and do not come from above.
    """
    beside = np.abs(place.along - 0.5)
    zone = (place.over > place.under) & (place.over < _ZONE[1]) & (beside < 0.5 + _ZONE[0])
    thin = kept & (cv2.morphologyEx(kept, cv2.MORPH_OPEN, _disc(_THICK * place.width)) == 0)
    label = cv2.connectedComponents(thin * zone)[1]
    strands = np.unique(label[zone & (place.over > _ZONE[1] - 1.5 / place.width) & (beside < _ABOVE)])
    return np.asarray((label > 0) & ~np.isin(label, strands))


def _low_brows(crop: Floats, skin: Floats, place: _Place, brows: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.uint8]:
    """(h, w) uint8: dark masses of the brows, which may touch the lashes; lashes are thinner."""
    hulls = np.zeros(crop.shape[:2], np.uint8)
    for brow in brows:
        cv2.fillConvexPoly(hulls, brow, (1,))
    dark = ((skin - crop) / np.maximum(skin, 8)).max(2) > 0.15
    return np.asarray(cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_OPEN, _disc(0.05 * place.width)) * hulls)


def _leaving(found: npt.NDArray[np.uint8], length: float, sides: bool) -> npt.NDArray[np.uint8]:
    """(h, w) uint8: the components of a length that touch the upper border, or one of the sides."""
    label, stats = cv2.connectedComponentsWithStats(found)[1:3]
    left, top, wide, high = stats[:, :4].T
    leaves = (top == 0) | (sides & ((left == 0) | (left + wide == found.shape[1])))
    leaves[0] = False
    return np.asarray((leaves & (np.hypot(wide, high) > length))[label], np.uint8)


def _thinness(crop: Floats, radius: float) -> Floats:
    """(h, w): fraction by which dark lines thinner than twice a radius in pixels are darker than their surroundings."""
    light = crop.mean(2)
    side = 2 * max(1, round(radius)) + 1
    closed = cv2.morphologyEx(light, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    return np.asarray((closed - light) / np.maximum(closed, 8), np.float32)


def _lashes(crop: Floats, place: _Place, thick: float) -> npt.NDArray[np.uint8]:
    """(h, w) uint8: the lash line, and what is dark and thin and touches it."""
    return ((_reached(_thinness(crop, thick * place.width), place) > 0.5) | _line(place)).astype(np.uint8)


def _with_creases(hole: npt.NDArray[np.uint8], crop: Floats, place: _Place) -> npt.NDArray[np.uint8]:
    """The hole, extended by each whole crease that it would cut into pieces."""
    thin = (_thinness(crop, _FINE * place.width) > _CREASE) & (place.over > 0) & (place.over < 0.35)
    thin &= np.abs(place.along - 0.5) < 0.5
    label = cv2.connectedComponents(thin.astype(np.uint8))[1]
    touched = np.unique(label[(hole > 0) & thin])
    return ((hole > 0) | (thin & np.isin(label, touched))).astype(np.uint8)


def _eye(crop: Floats, skin: Floats, place: _Place) -> npt.NDArray[np.uint8]:
    """(h, w) uint8: the eye between its rims, and what touches it and is lighter or redder than skin."""
    taper = np.sqrt(np.clip(1 - (2 * place.along - 1) ** 2, 0, 1))
    inside = (place.along > -0.03) & (place.along < 1.03)
    eye = inside & (place.over < _HEM[0] * taper) & (place.under < 0.01 + _HEM[1] * taper)
    close = (place.over < _REACH * taper) & (place.under < 0.02 + _REACH * taper)
    close &= (place.along > -0.08) & (place.along < 1.08)
    light = (crop - skin).mean(2)
    foreign = (
        close & (np.abs(crop - skin).max(2) > _FOREIGN) & ((light > 0) | (place.under > -0.1) & (place.under < _HEM[1]))
    )
    both = (eye | foreign).astype(np.uint8)
    label = cv2.connectedComponents(both)[1]
    return np.isin(label, np.unique(label[eye & (both > 0)])).astype(np.uint8) * both


def _shaded(skin: Floats, place: _Place) -> Floats:
    """The painted skin as the front of a cylinder: lighter in the middle of the lid, darker towards its edge."""
    tall = np.maximum(-place.over - place.under, 0)
    depth = np.clip(-place.over / np.maximum(tall, 0.02), 0, 1) * (tall > 0)
    side = np.clip(1 - (2 * place.along - 1) ** 2, 0, 1)
    gain = 1 + side * (0.03 * np.sin(np.pi * depth) - 0.05 * depth**2)
    return np.asarray(skin * gain[..., None], np.float32)


def _grain(crop: Floats, hole: npt.NDArray[np.uint8], place: _Place) -> Floats:
    """(h, w, 3): the texture of the skin below the eye, mirrored onto the lid: fine grain, and coarse brush strokes or
    wrinkles if they are strong."""
    low, high = _CHEEK
    below = (place.under > low) & (place.under < high)
    rows, columns = (np.asarray(axis, np.float32) for axis in np.indices(hole.shape))
    # back and forth over the skin below the eye: further down there may be the rim of glasses
    mirrored = place.under + np.maximum(0.16 - 2 * place.under, 0)
    mirrored = high - np.abs((mirrored - low) % (2 * (high - low)) - (high - low))
    source = np.asarray(rows + place.width * (mirrored - place.under), np.float32)
    smooth = [crop, *(cv2.GaussianBlur(crop, (0, 0), max(0.8, part * place.width)) for part in _TEXTURE)]
    texture = np.zeros_like(crop)
    for fine, coarse, (least, full) in zip(smooth, smooth[1:], _STRENGTH, strict=False):
        usual = float(np.median(np.abs(fine - coarse)[below])) if below.any() else 0.0
        detail = cv2.remap(fine - coarse, columns, source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        weight = np.clip((usual - least) / (full - least), 0, 1)
        texture += np.float32(weight) * np.clip(detail, -2.0 * usual - 0.5, 2.0 * usual + 0.5)
    return texture


def _layers(picture: Pixels, shut: Pixels, lashes: npt.NDArray[np.uint8], place: _Place, soft: float) -> Lid:
    """What the picture shows over the shut eye, outside the opening; twice as fine."""
    left, top, right, bottom = place.box
    size = ((right - left) * FINER, (bottom - top) * FINER)

    def finer(values: Floats) -> Floats:
        shift = np.array([[FINER, 0, 0], [0, FINER, 0]], np.float64)
        made = cv2.warpAffine(values, shift, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(made, np.float32)

    photo, under = (finer(image[top:bottom, left:right].astype(np.float32)) for image in (picture, shut))
    opening = finer(place.opening())[..., None]
    # bright lines do not belong to lashes: they are the wet edge or a highlight
    dark = ((under - photo) / np.maximum(under, 8)).mean(2, keepdims=True).astype(np.float64)
    grown = cv2.dilate(lashes, np.ones((3, 3), np.uint8)).astype(np.float32)
    row = finer(np.asarray(cv2.GaussianBlur(grown, (0, 0), soft), np.float32))
    row = row[..., None] * smoothstep(dark, 0.0, 0.04).astype(np.float32)
    line = _difference(under, photo) * row
    left_over = np.clip((photo - line[..., :3]) / np.maximum(1 - line[..., 3:] / 255, 0.02), 0, 255)
    # inside the eye the lash line covers what is there, so that it changes nothing at rest
    near = np.clip((place.over + INNER) * place.width / 1.5, 0, 1).astype(np.float32)
    edge = opening * finer(near)[..., None] * smoothstep(dark, 0.2, 0.45)
    inner = np.concatenate([photo, np.full_like(photo[..., :1], 255)], 2) * edge
    both = (line * (1 - opening) + inner, _difference(under, left_over) * (1 - opening))
    lashes_layer, rest = (np.clip(part + 0.5, 0, 255).astype(np.uint8) for part in both)
    return Lid(np.array([left, top], np.float64), lashes_layer, rest)


def _difference(under: Floats, over: Floats) -> Floats:
    """(h, w, 4): the premultiplied layer 0..255 that turns one picture into the other, with the least alpha."""
    alpha = np.clip((under - over) / np.maximum(under, 1), 0, 1).max(2, keepdims=True)
    return np.concatenate([np.maximum(over - (1 - alpha) * under, 0), 255 * alpha], 2)


def _disc(radius: float) -> npt.NDArray[np.uint8]:
    reach = max(1, round(radius))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)), np.uint8)

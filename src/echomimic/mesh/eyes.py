"""One eye: lids that slide over an eyeball, and an iris that turns behind them.

The eyeball is a texture without lids: its iris is completed to a disc, and white is filled in where a lid hid it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.eyelids import SLIT, STRIP, Lid, slit_fraction
from echomimic.mesh.openings import FINER, Pixels, blend, smooth_curve
from echomimic.mesh.rig import Rig
from echomimic.mesh.upper_body import ramp, smoothstep
from echomimic.mesh.warp import Box, Grid, Pose, Rim, bounds, sample
from echomimic.types import CURVE_NAMES, Floats

Array = npt.NDArray[np.float64]

_REST_FADES = (0.1, 0.65)
"""Range of blinks over which everything but lashes vanishes: wet edges and highlights."""
_CARRIED = 0.3
"""Distance from the rims, in eye widths, at which what surrounds the eye does not move with them."""
_FLATTEST = 0.25
"""Shortest length of lashes that point at the viewer, as a fraction."""
_THINNER = 0.45
"""Fraction by which the lash line of a shut eye is thinner, because it is seen from above."""
_WIDTH_OF_BLUR = 2.35
"""Width of a blurred line at half of its height, in sigmas of the blur."""
_SHADOW, _SHADOW_WIDTH = 0.4, 0.025
"""Darkness of the line of a shut eye, and its thickness in eye widths."""
_FAINT = 4
"""Alpha or colour from which a pixel of a layer is seen."""
_STEPS = 256
"""Entries of the tables of rims."""
_WHOLE = 1.15
"""Radius, in iris radii, that moves rigidly with the iris; the white beyond it stretches."""
_TURNS = (0.02, 0.3)
"""Range of iris shifts, in iris radii, over which the texture without lid edges fades in."""
_BLINK = CURVE_NAMES.index("blink")
_GAZE = (CURVE_NAMES.index("gaze_x"), CURVE_NAMES.index("gaze_y"))

_WET = (0.1, 0.2)
"""Distance below the upper and above the lower rim at which a turning eyeball begins, in eye heights: wet edges stay
with the lids."""
_FADE = 0.2
"""Width of the transition from visible to synthesised texture, in iris radii."""
_RINGS = np.linspace(0, 1.06, 13)
_SPOKES = np.radians(np.array([*range(-60, 61, 6), *range(120, 241, 6)]))
"""Directions from the iris centre in which its edge may be visible between the lids."""
_ENOUGH = 6
"""Number of spokes on which the edge must be visible."""
_EDGE = 12.0
"""Minimum brightness step from iris to white, in grey levels, for an edge to count."""


class EyeRenderer:
    """Draws one eye of one portrait into frames in which it is shut (`painted_shut`)."""

    def __init__(self, picture: Pixels, rig: Rig, eye: mesh.Eye, lid: Lid, softness: float) -> None:
        """`softness` is the sigma of the picture's blur in pixels."""
        self.eye, self._blur = eye, _WIDTH_OF_BLUR * softness
        points = rig.landmarks
        width = float(np.linalg.norm(points[eye.right] - points[eye.left]))
        self._width, self._size = width, (picture.shape[1], picture.shape[0])
        self._contour = points[[*eye.upper_curve, *eye.lower]]
        self._solve = np.linalg.pinv(np.column_stack([self._contour[:, :2], np.ones(len(self._contour))]))
        self._upper, self._lower = Rim.of(eye.upper_curve, points), Rim.of(eye.lower_curve, points)
        self._smooth = smooth_curve(len(eye.upper_curve))
        self._down, self._across = rig.frame.axes[1], rig.frame.axes[0]
        self._ball = 0.42 * width
        self._eyeball = build_eyeball(picture, points, eye)
        self._lid = lid
        self._margins = self._reach()
        self._rest = tuple((self._smooth @ rim.t, self._smooth @ rim.v) for rim in (self._upper, self._lower))

    def paint(self, frame: Pixels, pose: Pose) -> None:
        """Draw the eye into `frame` (H, W, 3 or 4); the face is opaque there."""
        box = bounds(pose.points[list(self.eye.contour)], self._margins, self._size)
        if box[2] - box[0] < 3 or box[3] - box[1] < 3 or not self._eyeball.still.size:
            return
        affine = (self._solve @ pose.carry(self._contour)).T
        back = np.asarray(cv2.invertAffineTransform(affine), np.float64)
        upper, lower = (self._rim(curve, pose, back) for curve in (self.eye.upper_curve, self.eye.lower_curve))
        view = self._view(box, back, upper, lower)
        patch = frame[box[1] : box[3], box[0] : box[2], :3]
        seen = np.ascontiguousarray(patch)
        if (lower[1] - upper[1]).max() > SLIT:
            seen = self._with_eyeball(seen, pose, view)
        patch[:] = self._with_lashes(seen, min(max(float(pose.row[_BLINK]), 0.0), 1.0), view)

    def _reach(self) -> tuple[float, float, float, float]:
        """Pixels at the left, above, at the right and below that the layers reach beyond the rims."""
        seen = np.maximum(self._lid.lashes[..., 3], self._lid.rest.max(2)) > _FAINT
        low, high = self._contour[:, :2].min(0), self._contour[:, :2].max(0)
        spare = 2 + 0.04 * self._width
        if not seen.any():
            return (spare,) * 4
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        first = self._lid.corner + np.array([columns[0], rows[0]]) / FINER
        last = self._lid.corner + np.array([columns[-1], rows[-1]]) / FINER
        left, above, right, below = np.maximum([*(low - first), *(last - high)], 0) + spare
        # hanging lashes are shorter than upright ones, and a shut eye is lower than the upper rim
        return float(left), float(above), float(right), float(max(below, 0.6 * above))

    def _rim(self, curve: tuple[int, ...], pose: Pose, back: Array) -> tuple[Array, Array]:
        """Positions along the eye and below its corners, in the portrait, of the smooth curve of a moved rim."""
        points = self._smooth @ pose.points[list(curve), :2].astype(np.float64)
        points = points @ back[:, :2].T + back[:, 2] - self._upper.origin
        return np.maximum.accumulate(points @ self._upper.across), points @ self._upper.down

    def _view(self, box: Box, back: Array, upper: tuple[Array, Array], lower: tuple[Array, Array]) -> "_View":
        """Positions of the pixels of a box in the portrait, and relative to the rims."""
        x = np.arange(box[0], box[2], dtype=np.float32)
        y = np.arange(box[1], box[3], dtype=np.float32)[:, None]
        across, down, origin = self._upper.across, self._upper.down, self._upper.origin
        at = np.empty((len(y), len(x), 2), np.float32)
        for axis in (0, 1):
            at[..., axis] = np.float32(back[axis, 0]) * x + (np.float32(back[axis, 1]) * y + np.float32(back[axis, 2]))
        t = at[..., 0] * np.float32(across[0]) + at[..., 1] * np.float32(across[1]) - np.float32(across @ origin)
        v = at[..., 0] * np.float32(down[0]) + at[..., 1] * np.float32(down[1]) - np.float32(down @ origin)
        rims = _lookup(t, (upper, lower, *self._rest))
        return _View(at, t, v, rims[0], np.maximum(rims[1], rims[0]), rims[2], rims[3])

    def _with_eyeball(self, patch: Pixels, pose: Pose, view: "_View") -> Pixels:
        """The patch with the eyeball between the lids."""
        ball = self._turned_eyeball(pose, view.at)
        alpha = np.minimum(view.v - view.upper, view.lower - view.v) + np.float32(0.5)
        alpha = np.clip(alpha, 0, 1) * slit_fraction(view.lower - view.upper)
        alpha *= np.clip(np.minimum(view.t, np.float32(self._upper.t[-1]) - view.t) + np.float32(0.5), 0, 1)
        return blend(patch, ball, np.asarray(alpha, np.float32))

    def _with_lashes(self, patch: Pixels, blink: float, view: "_View") -> Pixels:
        """The patch with what the photo shows round the eye, and with the lashes on the upper lid's edge."""
        shut = ramp(blink, 0.3, 1.0)
        stays = 1 - ramp(blink, *_REST_FADES)
        if stays:
            patch = _composite(patch, self._lid.rest, self._on_layer(self._with_rims(view)), stays)

        def place(below: Floats) -> Floats:
            """Positions in the layers of points below the portrait's rim."""
            shift = view.rest + below - view.v
            return self._on_layer(view.at + shift[..., None] * self._upper.down.astype(np.float32))

        # the lashes turn with the lid: they point at the viewer half way, and downwards at the end
        below = view.v - view.upper
        if shut:
            patch = _slit(patch, below / self._width, view.t / self._width, shut)
        flip = 1 - 1.6 * shut
        flip = flip if abs(flip) > _FLATTEST else float(np.copysign(_FLATTEST, flip))
        strip = np.float32(STRIP * self._width)
        if flip > 0:
            short = below < -strip
            source: Floats = np.where(short, (below + strip) / np.float32(flip) - strip, below)
            fainter = np.where(short, np.float32(flip), np.float32(1)) if flip < 1 else 1.0
            patch = _composite(patch, self._lid.lashes, place(source), fainter)
        else:
            thin, share = self._thinned(1 - _THINNER * shut)
            hanging, line = below / np.float32(flip) - strip, np.clip(below + strip * thin + 0.5, 0, 1)
            patch = _composite(patch, self._lid.lashes, place(hanging), share * np.clip(below + 0.5, 0, 1))
            patch = _composite(patch, self._lid.lashes, place(below / thin), share * line)
        return patch

    def _thinned(self, factor: float) -> tuple[np.float32, np.float32]:
        """Factors of the thickness and the darkness of a thinner lash line: a blurred line gets fainter instead."""
        line = STRIP * self._width
        thick = np.hypot(line, self._blur)
        thinner = np.hypot(factor * line, self._blur)
        return np.float32(thinner / thick), np.float32(factor * thick / thinner)

    def _with_rims(self, view: "_View") -> Floats:
        """(h, w, 2): positions in the portrait of pixels that the nearer rim carries along, the further the less."""
        # it is smooth, so every other row and column will do
        v, upper, lower, rest, rest_lower = (
            part[::2, ::2] for part in (view.v, view.upper, view.lower, view.rest, view.rest_lower)
        )
        near = np.float32(1 / (_CARRIED * self._width))
        above = (1 + ((v - upper) * near).clip(-1, 0)) * (upper - rest)
        under = (1 + ((lower - v) * near).clip(-1, 0)) * (lower - rest_lower)
        shift = cv2.resize(np.where(2 * v < upper + lower, above, under), view.v.shape[::-1])
        return np.asarray(view.at - shift[..., None] * self._upper.down.astype(np.float32), np.float32)

    def _on_layer(self, at: Floats) -> Floats:
        """Positions in the layers of the lid of positions in the portrait."""
        return (at - self._lid.corner.astype(np.float32)) * np.float32(FINER)

    def _turned_eyeball(self, pose: Pose, at: Floats) -> Pixels:
        """(h, w, C): the eyeball without lids at positions in the portrait, the iris turned to the gaze of the row."""
        ball = self._eyeball
        angles = np.sin(np.radians([pose.row[_GAZE[0]], pose.row[_GAZE[1]]]))
        shift = self._ball * (angles[0] * self._across + angles[1] * self._down)[:2]
        turned = math.hypot(*shift) / ball.radius
        if turned:
            middle, move = (ball.iris + shift).astype(np.float32), shift.astype(np.float32)
            far = np.hypot(at[..., 0] - middle[0], at[..., 1] - middle[1]) / np.float32(ball.radius)
            at = at - (1 - smoothstep(far, _WHOLE, _WHOLE + max(1.2, 2.4 * turned)))[..., None] * move
        at = np.asarray((at - ball.corner.astype(np.float32)) * np.float32(FINER), np.float32)
        about = ramp(turned, *_TURNS)
        if about in (0.0, 1.0):
            return np.asarray(sample(ball.turning if about else ball.still, at), np.uint8)
        both = sample(ball.still, at), sample(ball.turning, at)
        return np.asarray(cv2.addWeighted(both[0], 1 - about, both[1], about, 0), np.uint8)


@dataclass(frozen=True)
class _View:
    """Pixels of a frame seen from one eye: positions `at` (h, w, 2) in the portrait, `t` along the eye and `v` below
    its corners, and at each `t` the v of the moved rims, and of both rims in the portrait."""

    at: Floats
    t: Floats
    v: Floats
    upper: Floats
    lower: Floats
    rest: Floats
    rest_lower: Floats


def _lookup(t: Floats, curves: Sequence[tuple[Array, Array]]) -> list[Floats]:
    """The curves (positions, values) at each of `t` (h, w), as float32."""
    low, high = float(t.min()), float(t.max())
    steps = np.linspace(low, high, _STEPS)
    at = (t - np.float32(low)) * np.float32((_STEPS - 1) / max(high - low, 1e-6)) + np.float32(0.5)
    nearest = at.astype(np.intp)
    return [np.interp(steps, *curve).astype(np.float32)[nearest] for curve in curves]


def _composite(patch: Pixels, layer: Pixels, at: Floats, share: float | Floats = 1.0) -> Pixels:
    """A share of a premultiplied layer, sampled at positions, over a patch."""
    over = np.asarray(cv2.remap(layer, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.uint8)  # type: ignore[call-overload]
    if isinstance(share, np.ndarray):
        over = blend(np.zeros_like(over), over, share)
    elif share < 1:
        over = np.asarray(cv2.convertScaleAbs(over, alpha=share), np.uint8)
    clear = cv2.cvtColor(cv2.bitwise_not(over[..., 3]), cv2.COLOR_GRAY2BGR)
    colour = cv2.add(cv2.multiply(patch, clear, scale=1 / 255), cv2.cvtColor(over, cv2.COLOR_BGRA2BGR))
    return np.asarray(colour, np.uint8)


def _slit(patch: Pixels, below: Floats, along: Floats, shut: float) -> Pixels:
    """The patch with the contact shadow of a shut eye, for eyes without lashes."""
    side = np.clip(1 - (2 * along - 1) ** 2, 0, 1)
    dark = 1 - np.float32(_SHADOW * shut) * side * np.exp(-((below / np.float32(_SHADOW_WIDTH)) ** 2))
    return np.asarray(patch * dark[..., None] + np.float32(0.5), np.uint8)


@dataclass(frozen=True)
class Eyeball:
    """Two textures (H, W, 3), enlarged by `FINER`: `still` as the portrait shows it, `turning` without the lid edges.

    `corner`, `iris` and `radius` are in pixels of the portrait.
    """

    still: Pixels
    turning: Pixels
    corner: Array
    iris: Array
    radius: float


def build_eyeball(picture: Pixels, landmarks: Array, eye: mesh.Eye) -> Eyeball:
    """The eyeball behind the lids of `eye` in a portrait (H, W, 3) with `landmarks` (478, 3)."""
    return _EyeReader(picture, landmarks, eye).eyeball()


class _EyeReader:
    """One eye of the portrait: separates the visible eyeball from what the lids hide."""

    def __init__(self, picture: Pixels, landmarks: Array, eye: mesh.Eye) -> None:
        self.picture, flat = picture, landmarks[:, :2]
        self.upper, self.lower = Rim.of(eye.upper_curve, flat), Rim.of(eye.lower_curve, flat)
        self.outline = flat[[*eye.upper_curve, *eye.lower]]
        self.width = float(np.linalg.norm(flat[eye.right] - flat[eye.left]))
        self.height = max(float((self.lower.v - self.upper.v).max()), 0.0)
        self.iris = flat[eye.iris[0]]
        self.radius = max(0.5, float(np.linalg.norm(flat[list(eye.iris[1:])] - self.iris, axis=1).mean()))
        self.iris, self.radius = self._limbus()

    def eyeball(self) -> Eyeball:
        """Build the textures and locate the iris."""
        size = (self.picture.shape[1], self.picture.shape[0])
        box = bounds(self.outline, (0.2 * self.width,) * 4, size)
        corner = np.array(box[:2], np.float64)
        columns, rows = (box[2] - box[0]) * FINER, (box[3] - box[1]) * FINER
        if columns < 1 or rows < 1:
            nothing = np.zeros((0, 0, 3), np.uint8)
            return Eyeball(nothing, nothing, corner, self.iris, self.radius)
        place = Grid(0, 0, 1, columns, rows).points().reshape(-1, 2).astype(np.float64) / FINER + corner
        made = self._synthesised(place, (rows, columns))
        still, turning = (self._texture(place, made, hem).reshape(rows, columns, 3) for hem in ((0.0, 0.0), _WET))
        return Eyeball(still, turning, corner, self.iris, self.radius)

    def _texture(self, place: Array, made: Array, hem: tuple[float, float]) -> Pixels:
        """(N, 3): visible colours at points (N, 2), blended into the synthesised `made` where a lid hides them."""
        bare, hidden = self._visible(place, hem)
        fraction = smoothstep(hidden / self.radius, 0.0, _FADE)[:, None]
        seen = self._read(bare, cv2.INTER_CUBIC)
        return np.asarray(np.clip(seen + fraction * (made - seen) + 0.5, 0, 255), np.uint8)

    def _visible(self, place: Array, hem: tuple[float, float] = _WET) -> tuple[Array, Array]:
        """For points (N, 2) the nearest visible points, and the distance (N,) to them.

        The distance is reduced towards the corners of the eye, which are not part of the eyeball.
        """
        # by components: a matrix product of this size would start BLAS threads
        x, y = (place - self.upper.origin).T
        t, v = (x * way[0] + y * way[1] for way in (self.upper.across, self.upper.down))
        held = np.clip(t, self.upper.t[0] + 0.03 * self.width, self.upper.t[-1] - 0.03 * self.width)
        along = np.abs(2 * held / self.upper.t[-1] - 1)
        inside = self.height * (1 - along**2)
        # the lower rim shares its corners with the upper one, so both have the same axes
        top = np.interp(held, self.upper.t, self.upper.v) + hem[0] * inside
        bottom = np.interp(held, self.lower.t, self.lower.v) - hem[1] * inside
        to = np.where(top < bottom, np.clip(v, top, np.maximum(top, bottom)), (top + bottom) / 2)
        hidden = np.abs(v - to) * (1 - smoothstep(along, 0.7, 0.95))
        return self.upper.origin + held[:, None] * self.upper.across + to[:, None] * self.upper.down, hidden

    def _synthesised(self, place: Array, shape: tuple[int, int]) -> Array:
        """(N, 3): synthesised eyeball at the points (N, 2) of a grid.

        Each ring of the iris has its median visible colour; the white is extrapolated from where it is visible.
        """
        bare = self._visible(place)[1] == 0
        colours, far = self._read(place), self._radii(place)
        rings = _ring_colours(colours[bare], far[bare])
        iris = np.stack([np.interp(far, _RINGS, ring) for ring in rings.T], 1)
        light = colours.mean(1) / max(float(np.percentile(colours[bare], 95)), 1.0) if bare.any() else far
        white = bare * (far > 1.25) * np.clip(light, 0, 1) ** 3
        round_ = 1 - smoothstep(far, 0.94, 1.08)[:, None]
        return np.asarray(round_ * iris + (1 - round_) * _extrapolated(colours, white, shape))

    def _limbus(self) -> tuple[Array, float]:
        """Centre and radius of the iris: the landmarks', refined by a circle fit to the visible edge.

        The edge is the steepest brightness step along each of `_SPOKES`; too few edges leave the landmarks unchanged.
        """
        radii = np.linspace(0.7, 1.4, 29) * self.radius
        ways = np.stack([np.cos(_SPOKES), np.sin(_SPOKES)], 1)
        place = self.iris + radii[:, None, None] * (ways @ np.stack([self.upper.across, self.upper.down]))[None]
        light = self._read(place.reshape(-1, 2)).mean(1).reshape(place.shape[:2])
        shown = self._visible(place.reshape(-1, 2))[1].reshape(place.shape[:2]) == 0
        step = np.where(shown[6:], light[6:] - light[:-6], 0.0)
        edge, known = radii[3 + step.argmax(0)], step.max(0) > _EDGE
        if known.any():
            known &= np.abs(edge / np.median(edge[known]) - 1) < 0.2
        if known.sum() < _ENOUGH:
            return self.iris, self.radius
        edge = edge[known]
        terms = np.column_stack([np.ones(len(edge)), ways[known]])
        # few spokes point up or down, so the vertical shift is regularised more
        hold = np.diag([0.0, 1.0, 4.0])
        radius, across, down = np.linalg.solve(terms.T @ terms + hold, terms.T @ edge)
        return self.iris + across * self.upper.across + down * self.upper.down, float(radius)

    def _radii(self, place: Array) -> Array:
        """(N,) distance of the points from the iris centre, in iris radii."""
        return np.asarray(np.linalg.norm(place - self.iris, axis=1) / self.radius)

    def _read(self, place: Array, flags: int = cv2.INTER_LINEAR) -> Array:
        """(N, 3) colours of the portrait at points (N, 2)."""
        at = place.astype(np.float32).reshape(-1, 1, 2)
        # remap takes no side longer than 32767, so the points are arranged in rows
        rows = -(-len(at) // 1024)
        padded = np.concatenate([at, np.zeros((rows * 1024 - len(at), 1, 2), np.float32)])
        read = sample(self.picture, padded.reshape(rows, 1024, 2), flags)
        return read.reshape(-1, read.shape[-1])[: len(at)].astype(np.float64)


def _ring_colours(colours: Array, far: Array) -> Array:
    """(len(_RINGS), 3): the median colour of each ring of the iris; hidden rings are interpolated."""
    which = np.round(far / _RINGS[1]).astype(int)
    known = [k for k in range(len(_RINGS)) if (which == k).sum() >= 3]
    if not known:
        return np.full((len(_RINGS), 3), 60.0)
    seen = np.stack([np.median(colours[which == k], 0) for k in known])
    return np.stack([np.interp(np.arange(len(_RINGS)), known, column) for column in seen.T], 1)


def _extrapolated(colours: Array, weight: Array, shape: tuple[int, int]) -> Array:
    """(N, 3): colours (N, 3) of a grid where their weight (N,) is high, elsewhere extrapolated ever more smoothly."""
    known = np.dstack([(colours * weight[:, None]).reshape(*shape, 3), weight.reshape(shape)]).astype(np.float32)
    total = known.sum((0, 1))
    filled = np.broadcast_to(total[:3] / total[3] if total[3] > 0 else np.median(colours, 0), (*shape, 3))
    for spread in (0.25, 0.12, 0.06):
        near = cv2.GaussianBlur(known, (0, 0), spread * shape[1], borderType=cv2.BORDER_CONSTANT)
        fraction = np.clip(near[..., 3:] / 0.08, 0, 1)
        filled = filled + fraction * (near[..., :3] / np.maximum(near[..., 3:], 1e-6) - filled)
    return np.asarray(filled, np.float64).reshape(-1, 3)

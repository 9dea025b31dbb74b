"""One eye: lids that slide over an eyeball, and an iris that turns behind them.

The eyeball is a texture without lids: its iris is completed to a disc, and white is filled in where a lid hid it.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.openings import FINER, Opening, Pixels, blend, cover, put, smooth_curve
from echomimic.mesh.rig import FOLD, Rig
from echomimic.mesh.upper_body import Surroundings, smoothstep
from echomimic.mesh.warp import Box, Grid, Pose, Rim, bounds, sample
from echomimic.types import CURVE_NAMES

Array = npt.NDArray[np.float64]

LASHES = 0.07
"""Overhang of a closing upper lid over the eyeball, in eye heights: the lash line moves with the lid."""
THICKEST = 0.05
"""Thickest lash line of a shut eye, in eye heights."""
_WHOLE = 1.15
"""Radius, in iris radii, that moves rigidly with the iris; the white beyond it stretches."""
_TURNS = (0.02, 0.3)
"""Range of iris shifts, in iris radii, over which the texture without lid edges fades in."""
_BLINK = CURVE_NAMES.index("blink")
_GAZE = (CURVE_NAMES.index("gaze_x"), CURVE_NAMES.index("gaze_y"))

_HEM = 0.04
"""Distance from the rims at which the eyeball begins if the eye looks ahead, in eye heights; nearer are lashes."""
_WET = (0.1, 0.2)
"""The same below the upper and above the lower rim if the eye turns: the wet edges stay with the lids."""
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
    """Draws one eye of one portrait."""

    def __init__(self, picture: Pixels, rig: Rig, around: Surroundings, eye: mesh.Eye) -> None:
        self.eye = eye
        points = rig.landmarks
        width = float(np.linalg.norm(points[eye.right] - points[eye.left]))
        region = (*eye.crease, *eye.cheek_side, *eye.upper_curve, *eye.lower_curve)
        rims = (eye.upper_curve, eye.lower_curve)
        self.opening = Opening(points, around, rims, region, 0.12 * width, max(1, round(width / 24)), 0.025 * width)
        self._contour = points[[*eye.upper_curve, *eye.lower]]
        self._solve = np.linalg.pinv(np.column_stack([self._contour[:, :2], np.ones(len(self._contour))]))
        self._smooth = smooth_curve(len(eye.upper_curve))
        heights = (points[list(eye.lower)] - points[list(eye.upper)]) @ rig.frame.axes[1]
        s = np.linspace(-1, 1, len(eye.upper_curve))
        self._lash = max(float(heights.max()), 0.0) * (1 - s**2)[:, None]
        self._down = rig.frame.axes[1]
        self._across = rig.frame.axes[0]
        self._excess = self._dark_above(picture, points)
        self._ball = 0.42 * width
        self._eyeball = build_eyeball(picture, points, eye)

    def paint(self, frame: Pixels, portrait: Pixels, pose: Pose) -> None:
        """Draw the eye into `frame` (H, W, 3 or 4); `portrait` is enlarged by `FINER`."""
        box = self.opening.box(pose.points)
        if box[2] - box[0] < 3 or box[3] - box[1] < 3 or not self._eyeball.still.size:
            return
        down = pose.direct(self._down)
        upper = self._smooth @ (pose.points[list(self.eye.upper_curve), :2] + self._overhang(pose) * down)
        lower = self._smooth @ pose.points[list(self.eye.lower_curve), :2].astype(np.float64)
        # where the lids overlap, the upper one is in front
        lower = np.where(((lower - upper) @ down < 0)[:, None], upper, lower)
        # split in the middle of the eye: a split at a lid's edge would show the other lid's colour along it
        skin = self.opening.skin(portrait, self._shutting(pose, down), box, 0.5 * (upper + lower))
        coverage = cover(np.concatenate([upper, lower[::-1]]), box)
        ball = self._turned_eyeball(pose, box)
        if frame.shape[2] == 4:
            ball = np.dstack([ball, np.full(ball.shape[:2], 255, np.uint8)])
        put(frame, blend(skin, ball, coverage), box, 0.6 * self.opening.margin)

    def _overhang(self, pose: Pose) -> Array:
        """(n, 1) pixels by which the upper lid is drawn below its rim."""
        return LASHES * min(1.0, 3.0 * float(np.clip(pose.row[_BLINK], 0, 1))) * self._lash

    def _shutting(self, pose: Pose, down: Array) -> Pose:
        """The pose with the closing upper lid moved further down: by its overhang, and by the error of its mesh rim.

        Without it, parts of the eye that the mesh counts as lid would show on a shut eye.
        """
        shut = float(smoothstep(np.array(float(pose.row[_BLINK])), 0.55, 1.0))
        if not shut:
            return pose
        moved, way = pose.moved.copy(), shut * (self._excess + self._overhang(pose)) * down
        moved[list(self.eye.upper_curve)] += way
        moved[list(self.eye.crease)] += FOLD * way[1:-1]
        return replace(pose, moved=moved)

    def _dark_above(self, picture: Pixels, points: Array) -> Array:
        """(n, 1) pixels by which the mesh rim is too low: dark above it, beyond the thickness of a lash line."""
        height = float(self._lash.max())
        steps = np.linspace(0, 0.45, 19)
        at = points[list(self.eye.upper_curve), None, :2] - (steps[:, None] * height) * self._down[:2]
        light = sample(picture, at.astype(np.float32)).astype(np.float64).mean(2)
        skin, dark = np.median(light[:, -4:]), light[:, :6].min(1, keepdims=True)
        bright = light > dark + 0.5 * np.maximum(skin - dark, 12)
        thick = np.where(bright.any(1), steps[bright.argmax(1)], 0.0)
        middle = np.median(thick[2:-2])
        # a pupil above the rim makes it thicker in the middle, highlights make it thinner
        thick = np.convolve(np.pad(thick, 1, "edge"), (0.25, 0.5, 0.25), "valid").clip(middle - 0.06, middle + 0.12)
        excess = np.clip(thick - THICKEST, 0, 0.3)[:, None]
        return np.asarray(excess * self._lash)

    def _turned_eyeball(self, pose: Pose, box: Box) -> Pixels:
        """(h, w, C): the eyeball without lids, the iris turned to the gaze of the row."""
        ball = self._eyeball
        affine = (self._solve @ pose.carry(self._contour)).T
        back = cv2.invertAffineTransform(affine)
        place = Grid(box[0], box[1], 1, box[2] - box[0], box[3] - box[1]).points()
        at = place @ back[:, :2].T.astype(np.float32) + back[:, 2].astype(np.float32)
        angles = np.sin(np.radians([pose.row[_GAZE[0]], pose.row[_GAZE[1]]]))
        shift = self._ball * (angles[0] * self._across + angles[1] * self._down)[:2]
        turned = float(np.linalg.norm(shift)) / ball.radius
        if turned:
            far = np.linalg.norm(at - (ball.iris + shift), axis=2) / ball.radius
            at = at - (1 - smoothstep(far, _WHOLE, _WHOLE + max(1.2, 2.4 * turned)))[..., None] * shift
        at = ((at - ball.corner) * FINER).astype(np.float32)
        about = float(smoothstep(np.array(turned), *_TURNS))
        if about in (0.0, 1.0):
            return np.asarray(sample(ball.turning if about else ball.still, at), np.uint8)
        both = sample(ball.still, at), sample(ball.turning, at)
        return np.asarray(cv2.addWeighted(both[0], 1 - about, both[1], about, 0), np.uint8)


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
        still, turning = (self._texture(place, made, hem).reshape(rows, columns, 3) for hem in ((_HEM, _HEM), _WET))
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

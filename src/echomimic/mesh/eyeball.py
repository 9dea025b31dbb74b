"""The eyeball of a portrait as if it had no lids: its iris completed to a round, and white where a lid hid it."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.openings import FINER, Pixels
from echomimic.mesh.upper_body import smoothstep
from echomimic.mesh.warp import Grid, Rim, bounds, sample

Array = npt.NDArray[np.float64]

_HEM = 0.04
"""How far inside the rims an eyeball that looks straight on begins, in eye heights: what is nearer is lashes."""
_WET = (0.1, 0.2)
"""The same under the upper and above the lower rim for one that looks about: the wet edges of lids stay with them."""
_FADE = 0.2
"""How fast what a rim shows goes over into what is made up beyond it, in radii of the iris."""
_RINGS = np.linspace(0, 1.06, 13)
_SPOKES = np.radians(np.array([*range(-60, 61, 6), *range(120, 241, 6)]))
"""Ways outwards on which lids may leave the edge of the iris bare."""
_ENOUGH = 6
"""On so many spokes the edge must be seen."""
_EDGE = 12.0
"""How much brighter the white must be than the iris, in grey levels, for its edge to be believed."""


@dataclass(frozen=True)
class Eyeball:
    """Two textures (H, W, 3), enlarged by `FINER`: `still` is what the portrait shows between its lids, `turning` has
    nothing of the lids' edges. `corner`, `iris` and `radius` are in pixels of the portrait."""

    still: Pixels
    turning: Pixels
    corner: Array
    iris: Array
    radius: float


def make_eyeball(picture: Pixels, landmarks: Array, eye: mesh.Eye) -> Eyeball:
    """The eyeball behind the lids of `eye` in a portrait (H, W, 3) with `landmarks` (478, 3)."""
    return _Socket(picture, landmarks, eye).eyeball()


class _Socket:
    """One eye of the portrait: what of the eyeball its lids leave bare."""

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
        """The textures, and where the iris is."""
        size = (self.picture.shape[1], self.picture.shape[0])
        box = bounds(self.outline, (0.2 * self.width,) * 4, size)
        corner = np.array(box[:2], np.float64)
        columns, rows = (box[2] - box[0]) * FINER, (box[3] - box[1]) * FINER
        if columns < 1 or rows < 1:
            nothing = np.zeros((0, 0, 3), np.uint8)
            return Eyeball(nothing, nothing, corner, self.iris, self.radius)
        place = Grid(0, 0, 1, columns, rows).points().reshape(-1, 2).astype(np.float64) / FINER + corner
        made = self._made_up(place, (rows, columns))
        still, turning = (self._texture(place, made, hem).reshape(rows, columns, 3) for hem in ((_HEM, _HEM), _WET))
        return Eyeball(still, turning, corner, self.iris, self.radius)

    def _texture(self, place: Array, made: Array, hem: tuple[float, float]) -> Pixels:
        """(N, 3): what is seen at points (N, 2), going over into what is `made` up where a lid hides it."""
        bare, hidden = self._bare(place, hem)
        share = smoothstep(hidden / self.radius, 0.0, _FADE)[:, None]
        seen = self._read(bare, cv2.INTER_CUBIC)
        return np.asarray(np.clip(seen + share * (made - seen) + 0.5, 0, 255), np.uint8)

    def _bare(self, place: Array, hem: tuple[float, float] = _WET) -> tuple[Array, Array]:
        """For points (N, 2) the nearest that the lids leave bare, and how far (N,) a lid hides them; less so towards
        the corners of the eye, which are no eyeball."""
        # by components, because a matrix product of this size would wake the threads of BLAS for nothing
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

    def _made_up(self, place: Array, shape: tuple[int, int]) -> Array:
        """(N, 3): the eyeball at the points (N, 2) of a grid by what is seen of it: each ring of the iris in its usual
        colour, and round it the white, continued from where it shows."""
        bare = self._bare(place)[1] == 0
        colours, far = self._read(place), self._far(place)
        rings = _usual_rings(colours[bare], far[bare])
        iris = np.stack([np.interp(far, _RINGS, ring) for ring in rings.T], 1)
        light = colours.mean(1) / max(float(np.percentile(colours[bare], 95)), 1.0) if bare.any() else far
        white = bare * (far > 1.25) * np.clip(light, 0, 1) ** 3
        round_ = 1 - smoothstep(far, 0.94, 1.08)[:, None]
        return np.asarray(round_ * iris + (1 - round_) * _continued(colours, white, shape))

    def _limbus(self) -> tuple[Array, float]:
        """Middle and radius of the iris: the landmarks', moved to where it is seen to end in white.

        A circle is laid through the steepest steps outwards along `_SPOKES`, where there are enough of them.
        """
        radii = np.linspace(0.7, 1.4, 29) * self.radius
        ways = np.stack([np.cos(_SPOKES), np.sin(_SPOKES)], 1)
        place = self.iris + radii[:, None, None] * (ways @ np.stack([self.upper.across, self.upper.down]))[None]
        light = self._read(place.reshape(-1, 2)).mean(1).reshape(place.shape[:2])
        shown = self._bare(place.reshape(-1, 2))[1].reshape(place.shape[:2]) == 0
        step = np.where(shown[6:], light[6:] - light[:-6], 0.0)
        edge, known = radii[3 + step.argmax(0)], step.max(0) > _EDGE
        if known.any():
            known &= np.abs(edge / np.median(edge[known]) - 1) < 0.2
        if known.sum() < _ENOUGH:
            return self.iris, self.radius
        edge = edge[known]
        terms = np.column_stack([np.ones(len(edge)), ways[known]])
        # few spokes point up or down: the landmarks are believed unless many say otherwise
        hold = np.diag([0.0, 1.0, 4.0])
        radius, across, down = np.linalg.solve(terms.T @ terms + hold, terms.T @ edge)
        return self.iris + across * self.upper.across + down * self.upper.down, float(radius)

    def _far(self, place: Array) -> Array:
        """(N,) radii of the iris between its middle and the points."""
        return np.asarray(np.linalg.norm(place - self.iris, axis=1) / self.radius)

    def _read(self, place: Array, flags: int = cv2.INTER_LINEAR) -> Array:
        """(N, 3) colours of the portrait at points (N, 2)."""
        at = place.astype(np.float32).reshape(-1, 1, 2)
        # remap takes no side longer than 32767: rows of a thousand
        rows = -(-len(at) // 1024)
        padded = np.concatenate([at, np.zeros((rows * 1024 - len(at), 1, 2), np.float32)])
        read = sample(self.picture, padded.reshape(rows, 1024, 2), flags)
        return read.reshape(-1, read.shape[-1])[: len(at)].astype(np.float64)


def _usual_rings(colours: Array, far: Array) -> Array:
    """(len(_RINGS), 3): the median colour of each ring of the iris; unseen ones as their neighbours."""
    which = np.round(far / _RINGS[1]).astype(int)
    known = [k for k in range(len(_RINGS)) if (which == k).sum() >= 3]
    if not known:
        return np.full((len(_RINGS), 3), 60.0)
    seen = np.stack([np.median(colours[which == k], 0) for k in known])
    return np.stack([np.interp(np.arange(len(_RINGS)), known, column) for column in seen.T], 1)


def _continued(colours: Array, weight: Array, shape: tuple[int, int]) -> Array:
    """(N, 3): colours (N, 3) of a grid where their weight (N,) is high, and beyond that what is near, ever smoother."""
    known = np.dstack([(colours * weight[:, None]).reshape(*shape, 3), weight.reshape(shape)]).astype(np.float32)
    total = known.sum((0, 1))
    filled = np.broadcast_to(total[:3] / total[3] if total[3] > 0 else np.median(colours, 0), (*shape, 3))
    for spread in (0.25, 0.12, 0.06):
        near = cv2.GaussianBlur(known, (0, 0), spread * shape[1], borderType=cv2.BORDER_CONSTANT)
        share = np.clip(near[..., 3:] / 0.08, 0, 1)
        filled = filled + share * (near[..., :3] / np.maximum(near[..., 3:], 1e-6) - filled)
    return np.asarray(filled, np.float64).reshape(-1, 3)

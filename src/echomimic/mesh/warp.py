"""Image warping: the position in the portrait from which each pixel of a frame is sampled.

The motion is known at points of the portrait (forward); a frame needs it at its own pixels (backward). Both are smooth
outside the openings of mouth and eyes, so the forward field is stored on coarse grids, inverted there by Newton's
method, and upsampled. No triangles are drawn per frame and nothing folds: where a rotation would hide skin, pixels are
compressed instead. Lips and lids, where the field is discontinuous, have two fields each: one continues the motion of
the upper rim downwards, one that of the lower rim upwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.upper_body import Surroundings, cross
from echomimic.types import Floats

Array = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom excluded."""

DRIVES = 7
"""Number of drives besides the mesh: head rotation (x, y, z, 1), sway, breath across, breath down."""


@dataclass(frozen=True)
class Grid:
    """Points of a picture: `left + column * cell`, `top + row * cell`."""

    left: float
    top: float
    cell: int
    columns: int
    rows: int

    @classmethod
    def over(cls, box: Box, cell: int) -> "Grid":
        """The grid whose enlargement by `cell` covers `box` with one cell to spare on each side."""
        half = (cell - 1) / 2
        columns, rows = (-(-(high - low) // cell) + 2 for low, high in ((box[0], box[2]), (box[1], box[3])))
        return cls(box[0] - cell + half, box[1] - cell + half, cell, columns, rows)

    def axes(self) -> tuple[Floats, Floats]:
        """x (columns,) and y (rows, 1) of the points in pixels."""
        x, y = (np.arange(count, dtype=np.float32) * self.cell for count in (self.columns, self.rows))
        return x + np.float32(self.left), (y + np.float32(self.top))[:, None]

    def points(self) -> Floats:
        """(rows, columns, 2) float32 pixels."""
        points = np.empty((self.rows, self.columns, 2), np.float32)
        points[..., 0], points[..., 1] = self.axes()
        return points


@dataclass(frozen=True)
class Field:
    """The dependence of the points of a grid on the mesh: `mesh` and `weights` (N, 3), and `drive` (N, 7)."""

    grid: Grid
    mesh: npt.NDArray[np.int64]
    weights: Floats
    drive: Floats

    def motion(self, moved: Floats, drives: Floats) -> Floats:
        """(rows, columns, 2) displacement in pixels for mesh displacements `moved` (478, 2) and `drives` (7, 2)."""
        found = self.drive @ drives
        for axis in (0, 1):  # plane by plane: numpy is slow along axes of two elements
            parts = moved[:, axis][self.mesh] * self.weights
            found[:, axis] += parts[:, 0] + parts[:, 1] + parts[:, 2]
        return np.asarray(found.reshape(self.grid.rows, self.grid.columns, 2))


def build_field(grid: Grid, landmarks: Array, around: Surroundings, without: Sequence[int] = ()) -> Field:
    """The field of a grid: inside the face from its triangles, outside from the outline, the head and the body.

    Triangles with a point of `without` are left out.
    """
    points = grid.points().reshape(-1, 2).astype(np.float64)
    index, weights = _inside_triangles(grid, points, landmarks, without)
    if without:
        whole, whole_weights = _inside_triangles(grid, points, landmarks, ())
        bare = index[:, 0] < 0
        index[bare], weights[bare] = whole[bare], whole_weights[bare]
    drive = np.zeros((len(points), DRIVES))
    out = np.flatnonzero(index[:, 0] < 0)
    if len(out):
        _follow_outside(out, points[out], around, index, weights, drive)
    return Field(grid, index, weights.astype(np.float32), drive.astype(np.float32))


def _follow_outside(
    out: npt.NDArray[np.int64],
    points: Array,
    around: Surroundings,
    index: npt.NDArray[np.int64],
    weights: Array,
    drive: Array,
) -> None:
    """Fill the rows `out` of a field's tables: weighted head rotation plus the outline's own motion."""
    rim = around.outside(points)
    head, skin = around.head(points, rim), around.skin(rim)
    index[out, :2], index[out, 2] = rim.along, 0
    weights[out, :2], weights[out, 2] = rim.weights * skin[:, None], 0
    outline = np.einsum("nk,nkc->nc", rim.weights, around.landmarks[rim.along])
    drive[out, :3] = head[:, None] * np.column_stack([points, rim.away]) - skin[:, None] * outline
    drive[out, 3] = head - skin
    drive[out, 4:] = around.body(points, head)


def _inside_triangles(
    grid: Grid, points: Array, landmarks: Array, without: Sequence[int]
) -> tuple[npt.NDArray[np.int64], Array]:
    """For each grid point the frontmost face triangle that contains it, and its barycentric weights; else -1."""
    triangles = mesh.triangles()
    if without:
        triangles = triangles[~np.isin(triangles, without).any(1)]
    flat = landmarks[triangles, :2]
    low, high = flat.min(1), flat.max(1)
    right, bottom = grid.left + grid.cell * (grid.columns - 1), grid.top + grid.cell * (grid.rows - 1)
    near = (high >= (grid.left, grid.top)).all(1) & (low <= (right, bottom)).all(1)
    order = np.flatnonzero(near)[np.argsort(-landmarks[triangles[near], 2].mean(1))]
    which = np.full((grid.rows, grid.columns), -1, np.int32)
    corners = np.round((flat - (grid.left, grid.top)) / grid.cell * 256).astype(np.int32)
    for k in order.tolist():
        cv2.fillConvexPoly(which, corners[k], k, cv2.LINE_8, 8)
    found = which.ravel()
    index = np.full((len(points), 3), -1, np.int64)
    weights = np.zeros((len(points), 3))
    inside = np.flatnonzero(found >= 0)
    index[inside] = triangles[found[inside]]
    weights[inside] = _barycentric(flat[found[inside]], points[inside])
    return index, weights


def _barycentric(corners: Array, points: Array) -> Array:
    """Barycentric weights (N, 3) of points (N, 2) in triangles (N, 3, 2), clipped to the triangle."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-6, 1e-6, area)
    first, second = cross(b - points, c - points) / area, cross(c - points, a - points) / area
    weights = np.clip(np.stack([first, second, 1 - first - second], 1), 0, 1)
    return np.asarray(weights / np.maximum(weights.sum(1, keepdims=True), 1e-9))


@dataclass(frozen=True)
class Rim:
    """A curve of mesh points across an opening, from its left to its right corner, and its axes in the portrait."""

    points: tuple[int, ...]
    origin: Array
    across: Array
    down: Array
    t: Array
    v: Array

    @classmethod
    def of(cls, points: Sequence[int], landmarks: Array) -> "Rim":
        """The curve through points of the mesh."""
        flat = landmarks[list(points), :2]
        across = flat[-1] - flat[0]
        across = across / max(float(np.linalg.norm(across)), 1e-6)
        down = np.array([-across[1], across[0]])
        t = np.maximum.accumulate((flat - flat[0]) @ across + np.arange(len(points)) * 1e-6)
        return cls(tuple(points), flat[0], across, down, t, (flat - flat[0]) @ down)

    def project(self, points: Array) -> tuple[Array, Array]:
        """(N,) position of each point along the curve, and its distance below it."""
        t = (points - self.origin) @ self.across
        return t, (points - self.origin) @ self.down - np.interp(t, self.t, self.v)


def continue_rim(field: Field, rim: Rim, direction: int) -> Field:
    """The field with the rim's motion continued below it (`direction` +1) or above it (-1), between the corners."""
    points = field.grid.points().reshape(-1, 2).astype(np.float64)
    t, below = rim.project(points)
    beyond = np.flatnonzero((t > rim.t[0]) & (t < rim.t[-1]) & (below * direction > -0.75))
    after = np.clip(np.searchsorted(rim.t, t[beyond]), 1, len(rim.t) - 1)
    part = (t[beyond] - rim.t[after - 1]) / np.maximum(rim.t[after] - rim.t[after - 1], 1e-9)
    index, weights, drive = field.mesh.copy(), field.weights.copy(), field.drive.copy()
    curve = np.array(rim.points)
    index[beyond] = np.stack([curve[after - 1], curve[after], curve[after]], 1)
    weights[beyond] = np.stack([1 - part, part, 0 * part], 1)
    drive[beyond] = 0
    return Field(field.grid, index, weights, drive)


def sample(image: npt.NDArray[Any], at: Floats, flags: int = cv2.INTER_LINEAR) -> npt.NDArray[Any]:
    """Sample a picture or field at (h, w, 2) positions; the border is repeated outside."""
    if not at.size:
        return np.zeros((*at.shape[:2], *image.shape[2:]), image.dtype)
    return np.asarray(cv2.remap(image, at, None, flags, borderMode=cv2.BORDER_REPLICATE))  # type: ignore[call-overload]


def backward(motion: Floats, source: Grid, target: Grid, steps: int, scale: float = 1.0, steep: bool = False) -> Floats:
    """(rows, columns, 2) positions in the portrait of the points of `target`, times `scale`.

    `motion` is given on `source`. Newton's method solves y = x + d(x): for the skin that stretches over a closing eye,
    fixed-point iteration would diverge. A `steep` motion, as at the corners of a mouth, needs steps of limited length,
    and a few points need more of them.
    """
    goal = target.axes()
    slopes = _inverse_slopes(motion, source.cell)
    shape = (target.rows, target.columns)
    found = [
        np.broadcast_to(to - np.float32(m), shape).copy() for to, m in zip(goal, cv2.mean(motion)[:2], strict=True)
    ]
    for step in range(steps):
        at = _places(source, found)
        miss = _misses(motion, at, found, goal)
        if step < _NEWTON_STEPS:
            unbend = _sample_planes(slopes, at)
        for x, change in zip(found, _newton(unbend, miss), strict=True):
            x -= np.clip(change, -_LONGEST * source.cell, _LONGEST * source.cell) if steep else change
    if steep:
        _settle(found, [np.broadcast_to(to, shape) for to in goal], _far_off(miss), motion, slopes, source)
    return np.asarray(cv2.merge([x * np.float32(scale) for x in found]), np.float32)


def _far_off(miss: list[Floats]) -> npt.NDArray[np.intp]:
    """Indices of the points that miss their goals by more than `_NEAR`."""
    return np.flatnonzero(np.maximum(np.abs(miss[0]), np.abs(miss[1])) > _NEAR)


def _settle(
    found: list[Floats],
    goal: list[Floats],
    rest: npt.NDArray[np.intp],
    motion: Floats,
    slopes: Floats,
    source: Grid,
) -> None:
    """Make further steps, in place and with new slopes, for those of the points `rest` that are far off."""
    flat, wanted = [x.reshape(1, -1) for x in found], [to.reshape(1, -1) for to in goal]
    for _ in range(_SETTLING):
        if not rest.size:
            return
        x, to = [part[:, rest] for part in flat], [part[:, rest] for part in wanted]
        at = _places(source, x)
        miss = _misses(motion, at, x, to)
        off = _far_off(miss)
        changes = _newton(_sample_planes(slopes, at), miss)
        rest = rest[off]
        for part, old, change in zip(flat, x, changes, strict=True):
            part[0, rest] = (old - np.clip(change, -_LONGEST * source.cell, _LONGEST * source.cell))[0, off]


def _places(source: Grid, at: list[Floats]) -> list[Floats]:
    """Pixels as columns and rows of a grid; x and y are planes."""
    cell = np.float32(1 / source.cell)
    return [(x - np.float32(low)) * cell for x, low in zip(at, (source.left, source.top), strict=True)]


def _misses(motion: Floats, at: list[Floats], found: list[Floats], goal: Sequence[Floats]) -> list[Floats]:
    """How far the motion carries the points `found`, at the places `at` of its grid, past their goals."""
    miss = _sample_planes(motion, at)
    for off, x, to in zip(miss, found, goal, strict=True):
        off += x
        off -= to
    return miss


def _newton(unbend: list[Floats], miss: list[Floats]) -> list[Floats]:
    """The change of x and y by a step of Newton's method."""
    changes: list[Floats] = []
    for axis in (0, 1):
        change = unbend[axis] * miss[0]
        change += unbend[2 + axis] * miss[1]
        changes.append(change)
    return changes


def _sample_planes(field: Floats, at: list[Floats]) -> list[Floats]:
    """The channels of a field at positions whose x and y are planes: numpy is slow along axes of two elements."""
    return _planes(cv2.remap(field, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _planes(field: npt.NDArray[Any]) -> list[Floats]:
    return [np.asarray(plane, np.float32) for plane in cv2.split(field)]


_NEWTON_STEPS = 2
"""Number of steps after which the slopes are kept, because they hardly change."""
_MOST = 1.7
"""Largest factor of a step: where skin is compressed, longer ones overshoot."""
_LONGEST, _SETTLING, _NEAR = 2, 8, 0.1
"""In a steep motion: longest step in cells, most further steps, and the error in pixels below which none is made."""


def _inverse_slopes(motion: Floats, cell: int) -> Floats:
    """(rows, columns, 4): the inverse of (identity + Jacobian of the motion), column by column."""
    planes = []
    across, below = _planes(motion)
    (a, b), (c, d) = _gradient(across, cell), _gradient(below, cell)
    a += 1
    d += 1
    area = 1 / np.maximum(a * d - b * c, np.float32(0.2))
    for slope in (d, -c, -b, a):
        slope *= area
        planes.append(np.minimum(np.maximum(slope, np.float32(-1)), np.float32(_MOST)))
    return np.asarray(cv2.merge(planes), np.float32)


def _gradient(plane: Floats, cell: int) -> tuple[Floats, Floats]:
    """(rows, columns) each: central differences across and down; the border repeats its neighbour's."""
    right, down = np.empty_like(plane), np.empty_like(plane)
    half = np.float32(0.5 / cell)
    np.subtract(plane[:, 2:], plane[:, :-2], out=right[:, 1:-1])
    np.subtract(plane[2:], plane[:-2], out=down[1:-1])
    right[:, 0], right[:, -1], down[0], down[-1] = right[:, 1], right[:, -2], down[1], down[-2]
    right *= half
    down *= half
    return right, down


def enlarge(found: Floats, grid: Grid, box: Box) -> Floats:
    """(height, width, 2): upsample the map of a grid made by `Grid.over(box, ...)` to the pixels of `box`."""
    cell = grid.cell
    if cell > 1:
        found = np.asarray(cv2.resize(found, (grid.columns * cell, grid.rows * cell)), np.float32)
    return found[cell : cell + box[3] - box[1], cell : cell + box[2] - box[0]]


def bounds(points: Array | Floats, margin: tuple[float, float, float, float], size: tuple[int, int]) -> Box:
    """The bounding box of (N, 2+) points with a margin (left, top, right, bottom), clipped to a picture of `size`."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    left, top = max(0, int(np.floor(low[0] - margin[0]))), max(0, int(np.floor(low[1] - margin[1])))
    right, bottom = min(size[0], int(np.ceil(high[0] + margin[2]))), min(size[1], int(np.ceil(high[1] + margin[3])))
    return left, top, max(right, left), max(bottom, top)


@dataclass(frozen=True)
class Pose:
    """The motion of one frame: its row of curves, mesh `points` (478, 3) and the displacement `moved` (478, 2) of skin.

    A point p fixed to the skull moves to `turn @ p + shift`; `drives` (7, 2) states the same for the fields.
    """

    row: Floats
    points: Floats
    moved: Floats
    turn: Array
    shift: Array
    drives: Floats

    def carry(self, points: Array) -> Array:
        """(..., 2): positions in the frame of points (..., 3) of the skull."""
        return np.asarray((points @ self.turn.T + self.shift)[..., :2])

    def direct(self, vector: Array) -> Array:
        """(2,): direction in the frame of a direction (3,) of the skull."""
        return np.asarray((self.turn @ vector)[:2])

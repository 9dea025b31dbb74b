"""The face rig: deforms a portrait's own face mesh by one row of readable curves.

There is no trained motion basis. Each control displaces a few points (handles) of the lips, jaw, lids or brows, and the
points between them are interpolated harmonically over the mesh. Lengths are in mouth widths or face widths, so the
motion scales with the face.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.landmarks.head_pose import rotation_matrix
from echomimic.types import CURVE_NAMES, Floats

Array = npt.NDArray[np.float64]
Handles = dict[int, tuple[float, float, float]]
"""Displacements of some points in the head's axes: x right, y down, z away."""

COLUMNS = (np.arange(9) - 4) / 5.0
"""Positions of the nine columns of a lip between the corners, -1..1."""
_MIDDLE = 1 - COLUMNS**2
_ZERO = (0.0, 0.0, 0.0)

OPEN = 0.05
"""Lips further apart than this fraction of the mouth width are closed to get the rest pose."""
LIPS_ALONE, SMILE_ALONE = 0.06, 0.26
"""Gaps, in mouth widths, that lips and a smile make without the jaw; the rest of a portrait's gap is a dropped jaw."""
_SMILE = (0.34, 0.42)
"""Mouth widths, in face widths, of a mouth at rest and of a full smile."""
GAP_AT_FULL_JAW = 0.56
STEEPEST = 1.8
_RELIEF = 1.4
"""Factor of the limited depths: the limit leaves two thirds of the distance from the nose to the ears, so that a turn
of 10 degrees looked like one of 6 or 7."""
SNAP = 0.012
"""Gaps below this fraction of the mouth width close, because a dark hairline between lips looks like an error."""
UPPER_FRACTION = 0.35
"""Fraction of a closing gap that the upper lip moves; the lower lip moves the rest."""

ARCH = 0.08
"""Largest height of the line of shut lips over the corners of the mouth, in mouth widths: lips that are round when they
are open would be arched more than shut lips are."""
TUCKED = 0.025
"""Distance of a tucked lower lip below the line of the lips at rest, in mouth widths: it covers the edge of the upper
teeth, which the upper lip does not move."""

FOLD = 0.85
"""Fraction of the upper lid's motion that its fold follows; without it the lashes would be stretched."""
LID_PULL = 0.2
"""Fraction of the lids' motion by which they pull the skin round the eye along."""
_BRIDGE = (168, 6)
"""Landmarks on the bridge of the nose."""
_STIFF_BROWS = 0.25
"""Fraction of the brows' motion that remains with glasses, which would move with the skin below the brows."""
_FLAT, _FLAT_SIDE = (0.11, 0.42), (0.75, 0.95)
"""Distances from the eyes, in face heights, and from the middle of the face, in halves of its width, between which the
plane of glasses goes over into the face."""
SWAY, BREATH = 0.045, 0.022
"""Displacement of the shoulders at full sway and breath, in face widths; the head follows."""

_C = {name: k for k, name in enumerate(CURVE_NAMES)}
_UPPER_FOLLOW, _LOWER_FOLLOW = (1.0, 0.86, 0.7, 0.45), (1.0, 0.92, 0.82, 0.64)
"""Fractions of the inner rim's motion that the rings of a lip follow when the lips close."""


@dataclass(frozen=True)
class Frame:
    """Head coordinates: `axes` in the picture (rows: right, down, away), sizes in pixels, and the neck `pivot`."""

    axes: Array
    face_width: float
    face_height: float
    mouth_width: float
    pivot: Array


class Rig:
    """The face mesh of one portrait and its controls.

    `landmarks` are (478, 3) detected points in pixels. `solid` are the points that move: the landmarks with limited
    depth slopes at the face's rim, because a flat picture has no pixels to show there. `rest` (478, 3) is the
    same with closed lips. `opening` is the lip distance of the portrait in mouth widths. With `stiff_eyes` (glasses,
    see `mesh/glasses.py`) the surroundings of the eyes turn as a plane and brows hardly rise.
    """

    def __init__(self, landmarks: Floats, stiff_eyes: bool = False) -> None:
        self.landmarks = np.asarray(landmarks, np.float64)
        self.solid = points = _limit_slopes(self.landmarks)
        self.frame = measure(points)
        self.stiff_eyes, self._brows = stiff_eyes, _STIFF_BROWS if stiff_eyes else 1.0
        if stiff_eyes:
            self.solid = points = _with_flat_eyes(points, self.frame)
        self._close_upper, self._close_lower = self._closing_weights(points)
        gap = self._gap(points)
        self.opening = float(gap.max() / self.frame.mouth_width)
        self.open = self.opening > OPEN
        self.rest = points
        self._basis = self._build_basis()
        if self.open:
            raised = self._with_jaw_raised(points)
            self.rest = self._flattened(self._closed(raised, np.ones(9)))
            self._basis = self._build_basis()
        self._rest_gap = self._gap(self.rest)
        self._lids = _lid_tables()

    def points(self, row: Floats) -> Floats:
        """(478, 3) float32 pixels of the face under one row of curves, as a landmark detector would find them."""
        turn, move = self.rotation(row)
        return np.asarray((self.shape(row) - self.frame.pivot) @ turn.T + self.frame.pivot + move, np.float32)

    def shape(self, row: Floats) -> Array:
        """(478, 3): the face under one row of curves, before the head rotation."""
        return self.shape_and_skin(row)[0]

    def shape_and_skin(self, row: Floats) -> tuple[Array, Array]:
        """(478, 3) twice: the face, and its skin if the lids slide over it instead of stretching it."""
        v = np.asarray(row, np.float64)
        # einsum, because a matrix product of this size would start BLAS threads
        points: Array = self.rest + np.einsum("k,kn->n", self._amounts(v), self._basis).reshape(mesh.POINTS, 3)
        points = self._seal(points, v)
        moved = self._move_eyes(points, v)
        pull = 0.0 if self.stiff_eyes else LID_PULL  # it would bend the rims of glasses
        return moved, points + pull * (moved - points)

    def jaw_displacement(self, row: Floats) -> Array:
        """(3,) displacement of the lower teeth with the jaw in pixels, before the head rotation."""
        amounts = self._amounts(np.asarray(row, np.float64))[:2]
        return np.asarray((amounts @ self._basis[:2]).reshape(mesh.POINTS, 3)[mesh.LOWER_LIP[4]])

    def rotation(self, row: Floats) -> tuple[Array, Array]:
        """The head rotation (3, 3) about `frame.pivot`, and the translation (3,) in pixels after it."""
        v = np.asarray(row, np.float64)
        width = self.frame.face_width
        across = v[_C["shift_x"]] + SWAY * v[_C["sway"]]
        down = v[_C["shift_y"]] - 0.5 * BREATH * v[_C["breath"]]
        turn = rotation_matrix(v[_C["yaw"]], v[_C["pitch"]], v[_C["roll"]])
        return turn, np.array([across * width, down * width, 0.0])

    def _with_jaw_raised(self, points: Array) -> Array:
        """The points of an open mouth with the jaw raised until the gap is one that lips alone make."""
        gap = float(self._gap(points)[3:6].mean()) / self.frame.mouth_width
        wide = np.linalg.norm(points[mesh.MOUTH_RIGHT] - points[mesh.MOUTH_LEFT]) / self.frame.face_width
        smiling = float(np.clip((wide - _SMILE[0]) / (_SMILE[1] - _SMILE[0]), 0, 1))
        jaw = np.clip((gap - LIPS_ALONE - (SMILE_ALONE - LIPS_ALONE) * smiling) / GAP_AT_FULL_JAW, 0, 1)
        amounts = self._amounts(np.where(np.arange(len(CURVE_NAMES)) == _C["jaw"], jaw, 0.0))
        return np.asarray(points - np.einsum("k,kn->n", amounts, self._basis).reshape(mesh.POINTS, 3))

    def _amounts(self, v: Array) -> Array:
        """(11,) weights of the basis for a row of curves."""
        jaw = min(max(v[_C["jaw"]], 0.0), 1.3) * self._jaw_angle
        spread, smile = v[_C["spread"]], v[_C["smile"]]
        tuck, closure = _unit(v[_C["tuck"]]), _unit(v[_C["closure"]])
        return np.array(
            [
                np.sin(jaw),
                1 - np.cos(jaw),
                jaw / self._jaw_angle,
                max(spread, 0),
                max(-spread, 0),
                v[_C["upper_lip"]],
                tuck,
                closure,
                max(smile, 0),
                max(-smile, 0),
                v[_C["brow"]] * self._brows,
            ]
        )

    def _build_basis(self) -> Array:
        """(11, 478 * 3): displacements for each of `_amounts`, in picture axes."""
        local = self._handles()
        away = self.rest @ self.frame.axes.T
        hinge = (self.landmarks[[mesh.EAR_LEFT, mesh.EAR_RIGHT]] @ self.frame.axes.T).mean(0)
        lever = away - hinge
        self._jaw_angle = (
            GAP_AT_FULL_JAW
            * self.frame.mouth_width
            / max(abs(lever[mesh.LOWER_LIP[4], 2]), 0.25 * self.frame.face_width)
        )
        weight = self._jaw_weights()
        sine = np.stack([0 * weight, -lever[:, 2] * weight, lever[:, 1] * weight], 1)
        cosine = np.stack([0 * weight, -lever[:, 1] * weight, -lever[:, 2] * weight], 1)
        basis = np.concatenate([sine[None], cosine[None], local])
        return np.asarray(basis @ self.frame.axes).reshape(len(basis), -1)

    def _jaw_weights(self) -> Array:
        """(478,) fraction of the jaw rotation that each point follows."""
        known = dict.fromkeys(_fixed_points(self.rest, self.frame), 0.0)
        known |= mesh.JAW_LINE
        corner = 0.4
        for depth, ring in enumerate(mesh.UPPER_RINGS):
            known |= dict(zip(ring, corner * np.abs(COLUMNS) ** (2.4 + 0.4 * depth), strict=True))
        for ring in mesh.LOWER_RINGS:
            known |= dict(zip(ring, corner + (1 - corner) * (1 - COLUMNS**2) ** 0.6, strict=True))
        known |= {p: corner for pair in mesh.CORNERS for p in pair}
        return self._interpolate(known)

    def _handles(self) -> Array:
        """(9, 478, 3) in head axes: the controls that are sums of displaced handles."""
        mouth = [
            *(_jaw_narrows_handles(), _spread_handles(), _rounded_handles(), _upper_lip_handles(), _tuck_handles()),
            *(_press_handles(), _smile_handles(1.0), _smile_handles(-1.0)),
        ]
        hold = dict.fromkeys((*_fixed_points(self.rest, self.frame), *mesh.CHIN_BONE), (0.0, 0.0, 0.0))
        moved = self._interpolate_all([hold | known for known in mouth]) * self.frame.mouth_width
        below = (self.rest @ self.frame.axes[1])[: mesh.SKIN]
        held = np.flatnonzero(below > below[mesh.NOSE_TIP]).tolist()
        brow = self._interpolate_all([dict.fromkeys(held, (0.0, 0.0, 0.0)) | _brow_handles()]) * self.frame.face_width
        return np.concatenate([moved, brow])

    def _interpolate(self, known: dict[int, float]) -> Array:
        index = np.array(list(known), np.int64)
        return harmonic(self.rest, index, np.array(list(known.values()))[:, None])[:, 0]

    def _interpolate_all(self, controls: list[Handles]) -> Array:
        """(n, 478, 3): the controls interpolated over the mesh; those with the same points are solved together."""
        groups: dict[frozenset[int], list[int]] = {}
        for k, known in enumerate(controls):
            groups.setdefault(frozenset(known), []).append(k)
        fields = np.zeros((len(controls), mesh.POINTS, 3))
        for points, members in groups.items():
            index = np.array(sorted(points), np.int64)
            values = np.array([[controls[k][p] for k in members] for p in index.tolist()]).reshape(len(index), -1)
            fields[members] = harmonic(self.rest, index, values).reshape(mesh.POINTS, -1, 3).transpose(1, 0, 2)
        return fields

    def _closing_weights(self, points: Array) -> tuple[Array, Array]:
        """(478, 9) each: weights with which every point follows the nine columns of the upper and the lower lip."""
        index = np.array([*mesh.LIP_RINGS, *_fixed_points(points, self.frame), *mesh.CHIN_BONE], np.int64)
        both = np.zeros((len(index), 18))
        where = {int(p): k for k, p in enumerate(index)}
        for side, rings, follow_rings in ((0, mesh.UPPER_RINGS, _UPPER_FOLLOW), (9, mesh.LOWER_RINGS, _LOWER_FOLLOW)):
            for ring, follow in zip(rings, follow_rings, strict=True):
                for column, p in enumerate(ring):
                    both[where[p], side + column] = follow
        unique, first = np.unique(index, return_index=True)
        spread = harmonic(points, unique, both[first])
        return spread[:, :9], spread[:, 9:]

    def _gap(self, points: Array) -> Array:
        """(9,) distance of the lips at each column, in pixels along the head's down axis."""
        return np.asarray((points[list(mesh.LOWER_LIP)] - points[list(mesh.UPPER_LIP)]) @ self.frame.axes[1])

    def _closed(self, points: Array, fraction: Array, upper: float = UPPER_FRACTION) -> Array:
        """The points with a fraction (9,) of the gap between the lips removed."""
        gap = (points[list(mesh.LOWER_LIP)] - points[list(mesh.UPPER_LIP)]) * fraction[:, None]
        return np.asarray(points + self._close_upper @ (upper * gap) - self._close_lower @ ((1 - upper) * gap))

    def _flattened(self, points: Array) -> Array:
        """The points of shut lips, whose line is lowered to `ARCH` above the corners if it arches more."""
        left, right = points[mesh.MOUTH_LEFT, :2], points[mesh.MOUTH_RIGHT, :2]
        width = max(float(np.linalg.norm(right - left)), 1e-6)
        down = np.array([left[1] - right[1], right[0] - left[0]]) / width
        middle = 0.5 * (points[mesh.UPPER_LIP[4], :2] + points[mesh.LOWER_LIP[4], :2])
        excess = max(float((left - middle) @ down) / width - ARCH, 0.0)
        below = self.frame.axes[1]
        moved = excess * width / max(float(below[:2] @ down), 0.3) * _MIDDLE[:, None] * below
        return np.asarray(points + (self._close_upper + self._close_lower) @ moved)

    def _seal(self, points: Array, v: Array) -> Array:
        """Tuck the lower lip under the teeth, snap hairline gaps shut, and apply `closure`."""
        width = self.frame.mouth_width
        gap = self._gap(points)
        added = gap - self._rest_gap
        snap = SNAP * width
        kept = np.where(added > snap, added - snap * np.exp(-(added - snap) / (2 * snap)), np.minimum(added, 0))
        wanted = np.maximum(self._rest_gap + kept, np.minimum(self._rest_gap, 0))
        closure = _unit(v[_C["closure"]])
        touched = _removed_fraction(gap, wanted * (1 - closure), closure)
        points = self._closed(points, touched)
        tuck = _unit(v[_C["tuck"]]) * (1 - closure)
        if tuck > 0:
            gap, upper = self._gap(points), list(mesh.UPPER_LIP)
            raised = (self.rest - points)[upper] @ self.frame.axes[1]
            points = self._closed(
                points, _removed_fraction(gap, np.minimum(gap, raised + TUCKED * width), 0.0) * tuck, 0.0
            )
        return points

    def _move_eyes(self, points: Array, v: Array) -> Array:
        """Rotate the eyes and close the lids; the lids follow the eyes up and down."""
        blink = _unit(v[_C["blink"]])
        across, down = np.sin(np.radians([v[_C["gaze_x"]], v[_C["gaze_y"]]]))
        if not (blink or across or down):
            return points
        points = points.copy()
        right, below = self.frame.axes[0], self.frame.axes[1]
        for eye, table in zip(mesh.EYES, self._lids, strict=True):
            ball = 0.42 * float(np.linalg.norm(points[eye.right] - points[eye.left]))
            points[list(eye.iris)] += ball * (across * right + down * below)
            follow = ball * down * (1 - blink)
            up, low = points[list(eye.upper)], points[list(eye.lower)]
            most = np.linalg.norm(low - up, axis=1, keepdims=True)
            lid = below * np.minimum(follow * (1.05 if down > 0 else 0.6), 0.8 * most)
            between = (low - up - lid) * blink
            lower = below * follow * 0.3 - 0.1 * between
            for ring, fraction in table.above:
                points[ring] += fraction * (lid + 0.9 * between)
            for ring, fraction in table.under:
                points[ring] += fraction * lower
        return points


@dataclass(frozen=True)
class _Lids:
    """Rings of points above and below an eye, each with the fraction of the lid's motion that it follows."""

    above: tuple[tuple[list[int], float], ...]
    under: tuple[tuple[list[int], float], ...]


def _lid_tables() -> tuple[_Lids, ...]:
    return tuple(
        _Lids(
            ((list(eye.upper), 1.0), (list(eye.crease), FOLD), (list(eye.brow_side), 0.3)),
            ((list(eye.lower), 1.0), (list(eye.cheek_side), 0.5)),
        )
        for eye in mesh.EYES
    )


def _unit(value: float) -> float:
    return min(max(float(value), 0.0), 1.0)


def _removed_fraction(gap: Array, wanted: Array, otherwise: float) -> Array:
    """(9,) fraction of each gap to remove so that `wanted` remains; `otherwise` if there is no gap."""
    safe = np.where(gap > 1e-9, gap, 1.0)
    return np.where(gap > 1e-9, np.clip(1 - wanted / safe, 0, 1), otherwise)


def measure(points: Array) -> Frame:
    """Head axes from pairs of mirrored points and the line from forehead to chin."""
    right = np.sum([points[b] - points[a] for a, b in mesh.MIRRORED_PAIRS], 0)
    right /= np.linalg.norm(right)
    down = points[mesh.CHIN] - points[mesh.FOREHEAD]
    down -= right * (down @ right)
    down /= np.linalg.norm(down)
    width = float(np.linalg.norm(points[mesh.EAR_RIGHT] - points[mesh.EAR_LEFT]))
    height = float(np.linalg.norm(points[mesh.CHIN] - points[mesh.FOREHEAD]))
    mouth = float(np.linalg.norm(points[mesh.MOUTH_RIGHT] - points[mesh.MOUTH_LEFT]))
    ears = points[[mesh.EAR_LEFT, mesh.EAR_RIGHT]].mean(0)
    oval = points[list(mesh.OVAL)].mean(0)
    pivot = np.array([oval[0], points[mesh.CHIN, 1] + 0.12 * height, ears[2] + 0.1 * width])
    return Frame(
        np.stack([right, down, np.cross(right, down)]),
        width,
        height,
        float(np.clip(mouth, 0.2 * width, 0.36 * width)),
        pivot,
    )


def _limit_slopes(points: Array) -> Array:
    """The points with their depth slope limited to `STEEPEST` at the rim and 1.5 times that inside, times `_RELIEF`."""
    flat, depth = points[:, :2], points[:, 2]
    apart = np.sqrt(((flat[:, None] - flat[None]) ** 2).sum(2))
    inward = apart[:, list(mesh.OVAL)].min(1) / (0.2 * np.ptp(flat[:, 0]))
    steep = STEEPEST * (1 + 0.5 * np.minimum(inward, 1))
    rise = np.minimum(steep[:, None], steep[None]) * apart
    for _ in range(3):
        depth = (depth[None] + rise).min(1)
    return np.column_stack([flat, _RELIEF * depth])


def _with_flat_eyes(points: Array, frame: Frame) -> Array:
    """The points with those round the eyes and the bridge of the nose in one plane."""
    corners = [p for eye in mesh.EYES for p in (eye.left, eye.right)]
    terms = np.column_stack([np.ones(len(points)), points[:, :2]])
    chosen = [*corners, *_BRIDGE]
    plane = terms @ np.linalg.lstsq(terms[chosen], points[chosen, 2], rcond=None)[0]
    off = points - points[corners].mean(0)
    below, beside = np.abs(off @ frame.axes[1]) / frame.face_height, np.abs(off @ frame.axes[0]) / frame.face_width * 2
    fractions = [np.clip((x - low) / (high - low), 0, 1) for x, (low, high) in ((below, _FLAT), (beside, _FLAT_SIDE))]
    flat = np.prod([1 - x * x * (3 - 2 * x) for x in fractions], 0)
    return np.column_stack([points[:, :2], points[:, 2] + flat * (plane - points[:, 2])])


def _fixed_points(points: Array, frame: Frame) -> list[int]:
    """Points that the mouth does not move: the nose and all points above its tip."""
    level = (points @ frame.axes[1])[: mesh.SKIN]
    above = np.flatnonzero(level < level[mesh.NOSE_TIP]).tolist()
    return sorted(set(above) | set(mesh.NOSE))


def harmonic(points: Array, known: npt.NDArray[np.int64], values: Array) -> Array:
    """Interpolate `values` (n, k) at the `known` points harmonically over the mesh, as (478, k).

    The graph Laplacian weights edges by their inverse length. The irises stay zero.
    """
    a, b = mesh.edges().T
    weight = 1.0 / np.maximum(np.linalg.norm(points[a] - points[b], axis=1), 1e-3)
    laplace = np.zeros((mesh.SKIN, mesh.SKIN))
    np.add.at(laplace, (a, b), -weight)
    np.add.at(laplace, (b, a), -weight)
    laplace[np.arange(mesh.SKIN), np.arange(mesh.SKIN)] = -laplace.sum(1)
    free = np.setdiff1d(np.arange(mesh.SKIN), known)
    field = np.zeros((mesh.POINTS, values.shape[1]))
    field[known] = values
    field[free] = np.linalg.solve(laplace[np.ix_(free, free)], -laplace[np.ix_(free, known)] @ values)
    return field


def _ring(ring: tuple[int, ...], x: Array, y: Array, z: Array) -> Handles:
    return {p: (float(a), float(b), float(c)) for p, a, b, c in zip(ring, x, y, z, strict=True)}


def _lips(x: Array, upper: Array, lower: Array, z: Array, corner: tuple[float, float, float]) -> Handles:
    """Displace whole lips: `x`, `z` and the y of `upper` and `lower` by column; the right corner by `corner`."""
    known: Handles = {}
    for rings, y in ((mesh.UPPER_RINGS, upper), (mesh.LOWER_RINGS, lower)):
        for ring in rings:
            known |= _ring(ring, x, y, z)
    for left, right in mesh.CORNERS:
        known |= {left: (-corner[0], corner[1], corner[2]), right: corner}
    return known


def _thicken(known: Handles, upper: float, lower: float) -> Handles:
    """Displace the outer rims of the lips up and down, and the rings between in proportion."""
    for rings, way in ((mesh.UPPER_RINGS, -upper), (mesh.LOWER_RINGS, lower)):
        for ring, fraction in zip(rings, (0.0, 0.3, 0.65, 1.0), strict=True):
            for p, column in zip(ring, _MIDDLE, strict=True):
                x, y, z = known[p]
                known[p] = (x, y + float(way * fraction * column), z)
    return known


def _jaw_narrows_handles() -> Handles:
    """The corners move inwards a little as the jaw drops."""
    zero = 0 * COLUMNS
    return _lips(-0.03 * COLUMNS, zero, zero, zero, (-0.03, 0.0, 0.01))


def _spread_handles() -> Handles:
    """Corners outwards as in "ee"; the lips get thinner and lie against the teeth."""
    bend = 0.012 * COLUMNS**2
    known = _lips(0.15 * COLUMNS, -0.008 - bend, 0.004 - bend, 0.02 + 0 * COLUMNS, (0.15, -0.02, 0.06))
    return _thicken(known, -0.018, -0.024) | _cheeks(0.03, -0.012) | _nasolabial(0.075, -0.01, 0.02)


def _rounded_handles() -> Handles:
    """Corners inwards and lips protruded as in "oo"."""
    known = _lips(-0.15 * COLUMNS, -0.01 * _MIDDLE, 0.01 * _MIDDLE, -0.15 * _MIDDLE - 0.04, (-0.14, 0.0, -0.05))
    return _thicken(known, 0.04, 0.035) | _cheeks(-0.025, 0.0) | _nasolabial(-0.07, 0.0, -0.02)


def _upper_lip_handles() -> Handles:
    """The upper lip raised off the teeth."""
    known = _lips(0 * COLUMNS, -0.15 * _MIDDLE**0.7, 0 * COLUMNS, -0.01 * _MIDDLE, (0.0, -0.012, 0.0))
    return _thicken(known, -0.02, 0.0) | _nasolabial(0.0, -0.02, 0.0)


def _tuck_handles() -> Handles:
    """The lower lip rolled in; `_seal` lifts it under the upper teeth."""
    known = _lips(0 * COLUMNS, -0.035 * _MIDDLE, -0.03 * _MIDDLE, 0.05 * _MIDDLE, _ZERO)
    return _thicken(known, 0.0, -0.06)


def _press_handles() -> Handles:
    """Lips pressed together, slightly thinner."""
    known = _lips(0 * COLUMNS, 0 * COLUMNS, 0 * COLUMNS, 0.02 * _MIDDLE, (0.01, 0.0, 0.0))
    return _thicken(known, -0.03, -0.045)


def _smile_handles(direction: float) -> Handles:
    """Corners up and outwards (`direction` +1) or down (-1); the lips follow in one arc, cheeks and lower lids rise."""
    bow = np.abs(COLUMNS) ** 1.5
    if direction < 0:
        return _lips(0.01 * COLUMNS, 0.095 * bow - 0.012, 0.09 * bow - 0.012, 0 * COLUMNS, (0.01, 0.1, 0.01))
    lips = _lips(0.1 * COLUMNS, 0.028 - 0.14 * bow, 0.026 - 0.14 * bow, 0.02 + 0 * COLUMNS, (0.1, -0.125, 0.05))
    return _thicken(lips, -0.018, -0.018) | _cheeks(0.03, -0.06) | _nasolabial(0.06, -0.07, -0.01) | _lower_lids(-0.03)


def _cheeks(out: float, down: float) -> Handles:
    half = len(mesh.CHEEKS) // 2
    left, right = mesh.CHEEKS[:half], mesh.CHEEKS[half:]
    fade = (1.0, 1.0, 0.8, 0.4, 0.3)
    known = {p: (-out * f, down * f, 0.0) for p, f in zip(left, fade, strict=True)}
    return known | {p: (out * f, down * f, 0.0) for p, f in zip(right, fade, strict=True)}


def _nasolabial(out: float, down: float, away: float) -> Handles:
    """The skin from the wings of the nose to below the corners, moved outwards, down and away like the corners."""
    known: Handles = {}
    for left, right, part in mesh.NASOLABIAL:
        known |= {left: (-out * part, down * part, away * part), right: (out * part, down * part, away * part)}
    return known


def _lower_lids(down: float) -> Handles:
    """Both lower lids, most in their middle."""
    known: Handles = {}
    for eye in mesh.EYES:
        bow = 1 - np.linspace(-1, 1, len(eye.lower)) ** 2
        known |= {p: (0.0, float(down * b), 0.0) for p, b in zip(eye.lower, bow, strict=True)}
        known |= dict.fromkeys(eye.cheek_side, (0.0, down, 0.0))
    return known


def _brow_handles() -> Handles:
    """Raised brows, in face widths; the forehead follows, lids and the bridge of the nose are fixed."""
    known: Handles = {}
    for eye, points in zip(mesh.EYES, mesh.BROWS, strict=True):
        known |= dict.fromkeys((*eye.upper_curve, *eye.lower_curve, *eye.cheek_side), _ZERO)
        known |= dict.fromkeys(eye.crease, (0.0, -0.003, 0.0))
        known |= dict.fromkeys(points[:5], (0.0, -0.042, 0.0)) | dict.fromkeys(points[5:], (0.0, -0.042, 0.0))
    top = (10, 338, 297, 332, 284, 251, 109, 67, 103, 54, 21)
    return known | dict.fromkeys(top, (0.0, -0.006, 0.0)) | dict.fromkeys((6, 197, 127, 356, 234, 454), _ZERO)

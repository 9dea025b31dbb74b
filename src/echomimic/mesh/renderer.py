"""Render frames of one portrait from rows of curves.

The whole picture is drawn at once, so nothing is pasted back and there is no seam. With a matte and a background the
person moves over a still background. A frame is a pure function of its row: threads may share a renderer.
"""

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.enlargement import enlarged, sharpening_amount
from echomimic.mesh.eyelids import Lid, open_eyes, paint_lid
from echomimic.mesh.eyes import EyeRenderer
from echomimic.mesh.glasses import covers_bridge
from echomimic.mesh.lip_cleaning import clean_lips
from echomimic.mesh.mouth import MouthRenderer
from echomimic.mesh.mouth_colours import edge_softness, fit_light
from echomimic.mesh.openings import FINER, Pixels, cover
from echomimic.mesh.rig import Rig
from echomimic.mesh.shading import Shade, SkinShading
from echomimic.mesh.upper_body import JAW_REACH, Surroundings
from echomimic.mesh.warp import Box, Field, Grid, Pose, backward, bounds, build_field, enlarge, sample
from echomimic.types import CURVE_NAMES, Floats, Picture

Array = npt.NDArray[np.float64]
_SWAY, _BREATH = CURVE_NAMES.index("sway"), CURVE_NAMES.index("breath")
_BAND = 6
"""Rows of the far grid whose person is drawn as one rectangle."""
_REACH = 0.35
"""Distance that a frame may move the person outside their outline in the portrait, in face widths."""


def fitted_rig(pixels: Picture, landmarks: Floats) -> Rig:
    """The rig of the face at `landmarks` (478, 3) in a picture (H, W, 3), stiff round the eyes if it has glasses."""
    return Rig(landmarks, covers_bridge(pixels, np.asarray(landmarks, np.float64)))


class Renderer:
    """Renders a portrait of any size with the face at `landmarks` (478, 3) pixels.

    `matte` (H, W) float32 in 0..1 is the person, `background` (H, W, 3) uint8 the inpainted background; without them
    the head's motion fades out towards the borders of the picture.
    """

    def __init__(
        self, pixels: Picture, landmarks: Floats, matte: Floats | None = None, background: Picture | None = None
    ) -> None:
        self.pixels = np.ascontiguousarray(pixels)
        self.size = (pixels.shape[1], pixels.shape[0])
        self.rig = fitted_rig(self.pixels, landmarks)
        layered = matte is not None and background is not None
        self.around = Surroundings(self.rig.solid, self.rig.frame, self.size, matte if layered else None)
        self._flat = self.rig.landmarks[:, :2]
        width = self.rig.frame.face_width
        self._face_cell = int(np.clip(round(width / 40), 1, 24))
        self._far_cell = int(np.clip(round(width / 16), 1, 48))
        self.background: Picture | None = None
        self.box = self._moving_box(matte if layered else None)
        soft = edge_softness(self.pixels, self.rig.landmarks, self.rig.frame.mouth_width)
        source, lids = self._eyes_shut(soft)
        source = clean_lips(source, self.rig.landmarks, self.rig.frame.mouth_width, self.rig.open, soft)
        if matte is not None and background is not None:
            source, self.background = self._split_layers(source, matte, background)
        self._portrait = enlarged(source, sharpening_amount(self.pixels, self.rig.landmarks))
        self._still = self._without_person()
        self._occupied = self._occupied_blocks()
        far = Grid.over(_grow(self.box, 2 * self._far_cell), self._far_cell)
        self._far = build_field(far, self.rig.solid, self.around)
        self._face = self._face_field()
        self._shading = SkinShading(self.rig, self.around, self._face, fit_light(self.pixels, self.rig.landmarks))
        self.eyes = [EyeRenderer(self.pixels, self.rig, eye, lid, soft) for eye, lid in lids]
        self.mouth = MouthRenderer(self.pixels, self.rig, self.around, soft)

    def _eyes_shut(self, soft: float) -> tuple[Pixels, list[tuple[mesh.Eye, Lid]]]:
        """The picture with its eyes painted shut, and the lids of the eyes that were open.

        `soft` is the sigma of the picture's blur in pixels.
        """
        picture = self.pixels
        lids: list[tuple[mesh.Eye, Lid]] = []
        for eye in open_eyes(self.rig.landmarks):
            picture, lid = paint_lid(picture, self.rig.landmarks, eye, soft, self.rig.stiff_eyes)
            lids += [(eye, lid)] if lid else []
        return picture, lids

    def landmarks(self, row: Floats) -> Floats:
        """(478, 3) float32 pixels: the face landmarks in the frame of a row."""
        return self.rig.points(row)

    def frame(self, row: Floats) -> Picture:
        """(H, W, 3) uint8 RGB: the portrait under one row of curves."""
        pose = self._pose(row)
        frame, shade, spans = self._warp(pose)
        for eye in self.eyes:
            eye.paint(frame, pose)
        self.mouth.paint(frame, self._portrait, pose)
        if shade:
            shade.apply(frame)
        out = self._still.copy()
        for left, top, right, bottom in spans:
            part = slice(top, bottom), slice(left, right)
            out[part] = frame[part] if self.background is None else composite(frame[part], self.background[part])
        return out

    def _pose(self, row: Floats) -> Pose:
        turn, move = self.rig.rotation(row)
        pivot = self.rig.frame.pivot
        shift = pivot + move - turn @ pivot
        shape, skin = self.rig.shape_and_skin(row)
        points, carried = (np.asarray(part @ turn.T + shift, np.float32) for part in (shape, skin))
        drives = _drives(turn, shift, float(row[_SWAY]), float(row[_BREATH]))
        return Pose(row, points, (carried[:, :2] - self._flat).astype(np.float32), turn, shift, drives)

    def _warp(self, pose: Pose) -> tuple[Pixels, Shade | None, list[Box]]:
        """The warped portrait (H, W, C) without mouth and eyes, the light on its face, if it changes, and the
        rectangles that hold the person; all else is transparent."""
        left, top = self.box[:2]
        far = Grid.over(self.box, self._far_cell)
        found = self._sources(self._far, pose, far)
        places = enlarge(found, far, self.box)
        box = _meet(bounds(pose.points[list(mesh.OVAL)], self._face_margin(), self.size), self.box)
        spans = self._spans(found, box)
        shade = None
        if box[2] > box[0] and box[3] > box[1]:
            near = Grid.over(box, self._face_cell)
            found = self._sources(self._face, pose, near)
            places[box[1] - top : box[3] - top, box[0] - left : box[2] - left] = enlarge(found, near, box)
            shade = self._shading.shade(pose, found / np.float32(FINER), near, box)
        frame = np.zeros((self.size[1], self.size[0], self._portrait.shape[2]), np.uint8)
        for x, y, right, bottom in spans:
            frame[y:bottom, x:right] = sample(self._portrait, places[y - top : bottom - top, x - left : right - left])
        return frame, shade, spans

    def _spans(self, found: Floats, face: Box) -> list[Box]:
        """Rectangles of the frame, one below the other, that hold all of the person and the box of the `face`."""
        left, top, right, bottom = self.box
        if self._occupied is None:
            return [self.box]
        cell = self._far_cell
        at = (found * np.float32(1 / (FINER * cell))).astype(np.intp)
        rows, columns = (np.clip(at[..., k], 0, self._occupied.shape[1 - k] - 1) for k in (1, 0))
        person = self._occupied[rows, columns]
        spans = []
        for row in range(0, len(person), _BAND):
            low, high = top + row * cell, min(top + (row + _BAND) * cell, bottom)
            # points of the grid are the centres of its cells; those of row and column 1 are the first in the box
            seen = np.flatnonzero(person[row + 1 : row + _BAND + 1].any(0))
            ends = [(left + (int(seen[0]) - 1) * cell - 1, left + int(seen[-1]) * cell + 1)] if len(seen) else []
            ends += [(face[0], face[2])] if face[1] < high and face[3] > low else []
            if ends and high > low:
                spans.append((max(left, min(a for a, _ in ends)), low, min(right, max(b for _, b in ends)), high))
        return spans

    def _without_person(self) -> Picture:
        """The picture with the background where the person may move."""
        still = self.pixels.copy()
        if self.background is not None:
            left, top, right, bottom = self.box
            still[top:bottom, left:right] = self.background[top:bottom, left:right]
        return still

    def _occupied_blocks(self) -> npt.NDArray[np.bool_] | None:
        """(rows, columns): blocks of `_far_cell` pixels of the portrait from which the person is not further away than
        the sources of a cell of the frame can lie apart."""
        if self.background is None:
            return None
        alpha, cell = self._portrait[::FINER, ::FINER, 3], self._far_cell
        near = cv2.dilate(alpha, np.ones((2 * int(1.4 * cell) + 3,) * 2, np.uint8))
        return np.asarray(near[cell // 2 :: cell, cell // 2 :: cell] > 0)

    def _sources(self, field: Field, pose: Pose, grid: Grid) -> Floats:
        """(rows, columns, 2): positions in the enlarged portrait from which the points of `grid` are sampled."""
        motion = field.motion(pose.moved, pose.drives)
        # without it, edges of triangles and of the face would bend straight lines
        motion = np.asarray(cv2.GaussianBlur(motion, (0, 0), 0.8), np.float32)
        return backward(motion, field.grid, grid, 4, FINER)

    def _face_margin(self) -> tuple[float, float, float, float]:
        side = 0.12 * self.rig.frame.face_height
        return side, side, side, (JAW_REACH + 0.08) * self.rig.frame.face_height

    def _face_field(self) -> Field:
        spare = 0.06 * self.rig.frame.face_width
        left, top, right, bottom = (int(m + spare) for m in self._face_margin())
        oval = self._flat[list(mesh.OVAL)]
        low, high = oval.min(0).astype(int), oval.max(0).astype(int)
        box = (int(low[0]) - left, int(low[1]) - top, int(high[0]) + right, int(high[1]) + bottom)
        return build_field(Grid.over(box, self._face_cell), self.rig.solid, self.around)

    def _moving_box(self, matte: Floats | None) -> Box:
        """The pixels that may change: those with weights and, with a matte, those that the person may reach."""
        whole = (0, 0, *self.size)
        grid = Grid.over(whole, self._far_cell)
        points = grid.points().reshape(-1, 2).astype(np.float64)
        rim = self.around.outside(points)
        head = self.around.head(points, rim)
        weight = head + np.abs(self.around.body(points, head)).sum(1) + (rim.far <= 0) + self.around.skin(rim)
        box = bounds(points[weight > 1e-3], (self._far_cell,) * 4, self.size)
        if matte is not None:
            rows, columns = np.flatnonzero((matte > 0.03).any(1)), np.flatnonzero((matte > 0.03).any(0))
            if len(rows) and len(columns):
                reach = int(_REACH * self.rig.frame.face_width) + 8
                person = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
                box = _meet(box, _grow(person, reach))
        return box

    def _split_layers(self, source: Pixels, matte: Floats, background: Picture) -> tuple[Pixels, Picture]:
        """Split the picture into the person with alpha and the background; at rest both reproduce the picture exactly.

        The matte is raised wherever the picture is darker than the visible background, so that thin hair, which mattes
        miss, still moves with the head.
        """
        box = (0, 0, *self.size)
        face = cv2.GaussianBlur(cover(self._flat[list(mesh.OVAL)], box), (0, 0), 0.01 * self.rig.frame.face_width + 0.5)
        # where the background is the picture itself, a matte that is not sure of the person is wrong
        alpha = np.maximum(np.where((background == source).all(2) & (matte < 0.5), np.float32(0), matte), face)
        through = (source.astype(np.float32) + 1) / (background.astype(np.float32) + 1)
        alpha = np.maximum(alpha, 1 - through.min(2))
        hidden = np.ceil(np.clip(alpha, 0, 1) * 255).astype(np.uint8)
        person = cv2.subtract(source, _visible_background(background, hidden))
        return np.dstack([person, hidden]), np.ascontiguousarray(background)


def composite(person: Pixels, background: Picture) -> Picture:
    """Composite the person (h, w, 4), premultiplied, over the background (h, w, 3)."""
    return np.asarray(
        cv2.add(cv2.cvtColor(person, cv2.COLOR_BGRA2BGR), _visible_background(background, person[..., 3])), np.uint8
    )


def _visible_background(background: Picture, hidden: Pixels) -> Picture:
    """The background as visible behind a layer with alpha `hidden`."""
    clear = cv2.cvtColor(cv2.bitwise_not(hidden), cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.multiply(background, clear, scale=1 / 255), np.uint8)


def _drives(turn: Array, shift: Array, sway: float, breath: float) -> Floats:
    """(7, 2): the head rotation as displacement per x, y, z and 1, then sway and breath."""
    drives = np.zeros((7, 2), np.float32)
    drives[:3] = (turn.T - np.eye(3))[:, :2]
    drives[3] = shift[:2]
    drives[4:] = [[sway, 0], [breath, 0], [0, breath]]
    return drives


def _grow(box: tuple[int, ...], by: int) -> Box:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _meet(a: tuple[int, ...], b: tuple[int, ...]) -> Box:
    left, top = max(a[0], b[0]), max(a[1], b[1])
    return left, top, max(left, min(a[2], b[2])), max(top, min(a[3], b[3]))

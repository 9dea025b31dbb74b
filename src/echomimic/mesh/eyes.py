"""One eye: lids that slide over an eyeball which stays where it is, and an iris that looks about behind them."""

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.eyeball import make_eyeball
from echomimic.mesh.openings import FINER, Opening, Pixels, blend, cover, put, smooth_curve
from echomimic.mesh.rig import FOLD, Rig
from echomimic.mesh.upper_body import Surroundings, smoothstep
from echomimic.mesh.warp import Box, Grid, Pose, sample
from echomimic.types import CURVE_NAMES

Array = npt.NDArray[np.float64]

LASHES = 0.07
"""How far the edge of a closing upper lid reaches over the ball, in eye heights: the lash line goes with the lid."""
THICKEST = 0.05
"""How thick a lash line may be in a shut eye, in eye heights."""
_WHOLE = 1.15
"""What moves as one with the iris, in its radii; the white beyond that gives way."""
_TURNS = (0.02, 0.3)
"""How far an iris turns, in its radii, while the lids' edges in the eyeball's picture fade away."""
_BLINK = CURVE_NAMES.index("blink")
_GAZE = (CURVE_NAMES.index("gaze_x"), CURVE_NAMES.index("gaze_y"))


class Eye:
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
        self._eyeball = make_eyeball(picture, points, eye)

    def paint(self, frame: Pixels, portrait: Pixels, pose: Pose) -> None:
        """Draw the eye into `frame` (H, W, 3 or 4); `portrait` is enlarged by `FINER`."""
        box = self.opening.box(pose.points)
        if box[2] - box[0] < 3 or box[3] - box[1] < 3 or not self._eyeball.still.size:
            return
        down = pose.direct(self._down)
        upper = self._smooth @ (pose.points[list(self.eye.upper_curve), :2] + self._overhang(pose) * down)
        lower = self._smooth @ pose.points[list(self.eye.lower_curve), :2].astype(np.float64)
        # where the lids overlap, the upper one lies on top
        lower = np.where(((lower - upper) @ down < 0)[:, None], upper, lower)
        # between the lids there is none: were they split at a lid's edge, the other's colour would shine along it
        skin = self.opening.skin(portrait, self._shutting(pose, down), box, 0.5 * (upper + lower))
        share = cover(np.concatenate([upper, lower[::-1]]), box)
        ball = self._look(pose, box)
        if frame.shape[2] == 4:
            ball = np.dstack([ball, np.full(ball.shape[:2], 255, np.uint8)])
        put(frame, blend(skin, ball, share), box, 0.6 * self.opening.margin)

    def _overhang(self, pose: Pose) -> Array:
        """(n, 1) pixels that the upper lid is drawn below its rim."""
        return LASHES * min(1.0, 3.0 * float(np.clip(pose.row[_BLINK], 0, 1))) * self._lash

    def _shutting(self, pose: Pose, down: Array) -> Pose:
        """The pose with the upper lid pulled on as it shuts: by its overhang, and as far as its true edge lies above
        the mesh's, or what shows there of the eye would lie on the shut one."""
        shut = float(smoothstep(np.array(float(pose.row[_BLINK])), 0.55, 1.0))
        if not shut:
            return pose
        moved, way = pose.moved.copy(), shut * (self._excess + self._overhang(pose)) * down
        moved[list(self.eye.upper_curve)] += way
        moved[list(self.eye.crease)] += FOLD * way[1:-1]
        return replace(pose, moved=moved)

    def _dark_above(self, picture: Pixels, points: Array) -> Array:
        """(n, 1) pixels of dark above the upper rim, beyond what a lash line has: the lid's edge lies higher than the
        mesh says, and what is below it would make a shut eye look open."""
        height = float(self._lash.max())
        steps = np.linspace(0, 0.45, 19)
        at = points[list(self.eye.upper_curve), None, :2] - (steps[:, None] * height) * self._down[:2]
        light = sample(picture, at.astype(np.float32)).astype(np.float64).mean(2)
        skin, dark = np.median(light[:, -4:]), light[:, :6].min(1, keepdims=True)
        bright = light > dark + 0.5 * np.maximum(skin - dark, 12)
        thick = np.where(bright.any(1), steps[bright.argmax(1)], 0.0)
        middle = np.median(thick[2:-2])
        # a pupil above the rim makes it thicker in the middle, lights in the eye thinner
        thick = np.convolve(np.pad(thick, 1, "edge"), (0.25, 0.5, 0.25), "valid").clip(middle - 0.06, middle + 0.12)
        excess = np.clip(thick - THICKEST, 0, 0.3)[:, None]
        return np.asarray(excess * self._lash)

    def _look(self, pose: Pose, box: Box) -> Pixels:
        """(h, w, C): the eyeball as if there were no lids, the iris turned to where the row looks."""
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

"""Separate the person from the background, and inpaint the background behind the person.

Close to the person's outline, rows and columns of the background are extended, so that straight structures continue;
further in, which is never visible, the fill is smooth.
"""

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks.detectors import selfie_mask
from echomimic.landmarks.topology import SKIN
from echomimic.mesh.openings import blend
from echomimic.types import Floats, Picture

_T = TypeVar("_T", bound=np.generic)
Hole = npt.NDArray[np.bool_]

COVERAGE = (0.06, 0.92)
"""Fractions of the picture that a plausible person covers."""
FACE_COVERAGE = 0.9
"""Fraction of the face landmarks that a plausible matte contains."""
EDGE = 9 / 512
"""Radius of the edge refinement, as a fraction of the longer side."""
COVERED, CORE = 0.08, 0.3
"""Values of the matte from which a pixel may belong, and belongs, to the person."""
GROW, GROW_LESS = 13 / 512, 6 / 512
"""Margins around both that are inpainted, as fractions of the longer side: mattes miss thin hair, which is seen
before an even background; letters and the like beside the person would be cut off."""
WRONG = 14.0
"""Difference in grey levels from which a fill is wrong."""
NEAR, AROUND = 0.03, 0.1
"""Radii of two surroundings of a pixel, as fractions of the longer side."""
BUSY = (10.0, 20.0)
"""Mean differences of the background from its mean, in grey levels: from the first near a pixel it is busy, from the
second around it so busy that what stands out is no earring."""
COARSE = 256
"""Longer side, in pixels, at which a fill is compared with the picture."""
EASE = 0.006
"""Width over which the filled hole goes over into the picture, as a fraction of the longer side: a step there would be
visible when the head moves."""
EXTEND = 30 / 512
"""Depth to which rows and columns are extended into the hole, as a fraction of the longer side."""
DETAIL = 512
"""Longer side, in pixels, at which the hole is filled."""
ATTACHED, ATTACHED_AREA = 0.14, 0.01
"""Distance from the person up to which small things belong to it, as a fraction of the longer side, and their largest
area, as a fraction of the picture."""
SOFTEN = 3 / 512
"""Depth beyond which extended rows and columns are blurred, and sigma of the blur, as a fraction of the longer side:
thin ones would be seen as lines."""
SMOOTH = 1.2
"""Radius in pixels over which rows and columns are averaged before they are extended: noise would become streaks."""
GRAIN = 2.0
"""Radius in pixels below which detail is grain, which is mirrored into the hole."""
RUN = 6
"""Pixels along a row or column whose evenness weights its extension."""


def person_matte(pixels: Picture, landmarks: Floats) -> Floats | None:
    """Matte (H, W) float32 in 0..1 of the person in `pixels`; None if the segmentation is implausible.

    Selfie segmentation, with its edge refined by a guided filter (He et al., 2010).
    """
    rough = np.clip((selfie_mask(pixels) - 0.25) / 0.5, 0, 1).astype(np.float32)
    matte = _refine_edges(rough, pixels)
    return matte if _plausible(matte, landmarks) else None


def inpaint_background(pixels: Picture, matte: Floats) -> Picture:
    """`pixels` (H, W, 3) with the person of `matte` (H, W) replaced by the continued background.

    What hangs on the person and differs from the background (earrings, strands of hair) is replaced too.
    """
    hole = _grown(matte > COVERED, GROW)
    if not hole.any() or hole.all():
        return pixels
    size = matte.shape[::-1]
    colour = _shrink(pixels, DETAIL)
    busy_around, structure = _structure(_shrink(colour, COARSE), hole)
    if structure.any():
        seen = cv2.resize(structure.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        hole &= ~seen | _grown(matte > CORE, GROW_LESS)
    small = _shrink_hole(hole, colour)
    small |= _attached(colour, small) & (cv2.resize(busy_around, small.shape[::-1]) < 0.5)
    hole |= cv2.resize(small.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    filled = cv2.resize(_fill(colour, small), size, interpolation=cv2.INTER_LINEAR)
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3) / (EASE * max(hole.shape))
    alpha = np.clip(depth, 0, 1).astype(np.float32)
    plate = np.clip(filled + 0.5, 0, 255).astype(np.uint8)
    return blend(pixels, plate, alpha * alpha * (3 - 2 * alpha))


def _grown(mask: Hole, margin: float) -> Hole:
    """The mask with a margin, a fraction of its longer side."""
    reach = max(5, round(max(mask.shape) * margin) | 1)
    return cv2.dilate(mask.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0


def _structure(colour: Floats, hole: Hole) -> tuple[Floats, Hole]:
    """(h, w) each: 1 where the background is so busy all around that what stands out is no earring; and where letters,
    flags and the like would be cut off: it is busy, and a fill is wrong over more than the width of a hair."""
    small = _shrink_hole(hole, colour)
    known, side = (~small).astype(np.float32), max(small.shape)
    off = np.dstack([np.abs(colour - _smooth_background(colour, known, NEAR * side)).max(2)] * 3)
    near, around = (_smooth_background(off, known, spread * side)[..., 0] for spread in (NEAR, AROUND))
    margin = small & _grown(~small, 2 * GROW)
    busy_around, busy = (around > BUSY[1]).astype(np.float32), (near > BUSY[0]) & margin
    if not busy.any():
        return busy_around, busy
    wrong = (np.abs(_continued(colour, small)[0] - colour).max(2) > WRONG) & small
    broad = cv2.morphologyEx(wrong.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return busy_around, (cv2.dilate(broad, np.ones((5, 5), np.uint8)) > 0) & busy


def _attached(colour: Floats, hole: Hole) -> Hole:
    """Small things that touch the hole and stand out from an even background: earrings, hoops, strands of hair."""
    side = max(hole.shape)
    known = (~hole).astype(np.float32)
    away = cv2.distanceTransform(known.astype(np.uint8), cv2.DIST_L2, 3)
    near = (away > 0) & (away < ATTACHED * side)
    if not near.any():
        return np.zeros_like(hole)
    standing = np.zeros(hole.shape, np.uint8)
    for _ in range(2):  # again without what stood out, because it colours its surroundings
        off = np.abs(colour - _smooth_background(colour, known * (1 - standing), 0.03 * side)).max(2)
        standing = (near & (off > max(10.0, 3.5 * float(np.median(off[near]))))).astype(np.uint8)
    joined = cv2.morphologyEx(standing | hole.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, label = cv2.connectedComponents(joined * (~hole).astype(np.uint8))
    touching = np.unique(label[(away > 0) & (away < 2)])
    # what continues further away is a part of the background
    far = np.unique(label[(away >= 0.9 * ATTACHED * side)])
    kept = np.isin(np.arange(count), np.setdiff1d(touching, [0, *far]))
    kept &= np.bincount(label.ravel(), minlength=count) < ATTACHED_AREA * hole.size
    return cv2.dilate(kept[label].astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


def _known_sums(colour: Floats, known: Floats, radius: float) -> Floats:
    """(h, w, 4): sums of the known colours round each pixel, and of their weights."""
    stack = np.dstack([colour * known[..., None], known])
    return np.asarray(cv2.GaussianBlur(stack, (0, 0), radius), np.float32)


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., :3] / np.maximum(sums[..., 3:], 1e-3), np.float32)


def _smooth_background(colour: Floats, known: Floats, radius: float) -> Floats:
    """The mean of the known colours round each pixel, at a quarter of the size."""
    size = (max(1, known.shape[1] // 4), max(1, known.shape[0] // 4))
    small, weight = (
        cv2.resize(array, size, interpolation=cv2.INTER_AREA) for array in (colour * known[..., None], known)
    )
    sums = cv2.GaussianBlur(np.dstack([small, weight]), (0, 0), radius / 4)
    return np.asarray(cv2.resize(_mean(np.asarray(sums, np.float32)), known.shape[::-1]), np.float32)


def _refine_edges(rough: Floats, pixels: Picture) -> Floats:
    """Guided filter of a rough matte by the picture's brightness."""
    guide = pixels.astype(np.float32).mean(2) / 255
    radius = max(2, round(max(rough.shape) * EDGE))
    window = (2 * radius + 1, 2 * radius + 1)

    def blur(values: Floats) -> Floats:
        return np.asarray(cv2.boxFilter(values, -1, window), np.float32)

    mean_guide, mean_rough = blur(guide), blur(rough)
    covariance = blur(guide * rough) - mean_guide * mean_rough
    slope = covariance / (blur(guide * guide) - mean_guide**2 + 1e-4)
    offset = mean_rough - slope * mean_guide
    return np.asarray(np.clip(blur(slope) * guide + blur(offset), 0, 1), np.float32)


def _plausible(matte: Floats, landmarks: Floats) -> bool:
    height, width = matte.shape
    x = np.clip(landmarks[:SKIN, 0].astype(int), 0, width - 1)
    y = np.clip(landmarks[:SKIN, 1].astype(int), 0, height - 1)
    return COVERAGE[0] < float(matte.mean()) < COVERAGE[1] and float(matte[y, x].mean()) > FACE_COVERAGE


def _shrink(pixels: Picture | Floats, side: int) -> Floats:
    """The picture (H, W, 3) at most `side` pixels on the longer side."""
    scale = min(1.0, side / max(pixels.shape))
    size = (max(8, round(pixels.shape[1] * scale)), max(8, round(pixels.shape[0] * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _shrink_hole(hole: Hole, like: Floats) -> Hole:
    """The hole at the size of a smaller picture."""
    covered = cv2.resize(hole.astype(np.float32), like.shape[1::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(covered > 0)


def _fill(colour: Floats, hole: Hole) -> Floats:
    """Fill the hole: extended rows and columns near its edge, smooth further in, with the grain of the background."""
    filled, weight = _continued(colour, hole)
    _add_grain(filled, colour, (~hole).astype(np.float32), weight)
    return np.asarray(np.where(hole[..., None], filled, colour), np.float32)


def _continued(colour: Floats, hole: Hole) -> tuple[Floats, Floats]:
    """The colours that fill the hole without grain, and the weights (h, w) of the rows and columns in them."""
    known = (~hole).astype(np.float32)
    extended, reached = _extend(colour, _known_sums(colour, known, SMOOTH), hole)
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3)
    side = max(hole.shape)
    weight = np.where(reached, np.exp(-((depth / (side * EXTEND)) ** 2)), 0)[..., None]
    blurred = cv2.GaussianBlur(np.where(hole[..., None], extended, colour), (0, 0), SOFTEN * side)
    near = np.exp(-depth / (SOFTEN * side))[..., None]
    extended = extended * near + blurred * (1 - near)
    filled = cv2.GaussianBlur(extended * weight + _smooth_fill(colour, hole) * (1 - weight), (0, 0), 0.8)
    return np.asarray(filled, np.float32), np.asarray(weight[..., 0], np.float32)


def _add_grain(filled: Floats, colour: Floats, known: Floats, weight: Floats) -> None:
    """Add the grain of the background, mirrored at the edge of the hole, in place."""
    fine = (colour - _mean(_known_sums(colour, known, GRAIN))) * known[..., None]
    most = 3 * float(np.median(np.abs(fine[known > 0][::7]))) + 0.5
    labels = cv2.distanceTransformWithLabels(
        (known == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    place = np.empty((int(labels.max()) + 1, 2), np.int64)
    inside = np.nonzero(known)
    place[labels[inside]] = np.transpose(inside)
    hole = np.nonzero(weight > 0.03)
    mirrored = 2 * place[labels[hole]] - np.transpose(hole)
    rows, columns = (np.clip(mirrored[:, axis], 0, known.shape[axis] - 1) for axis in (0, 1))
    mirrored = fine[rows, columns]
    filled[hole] += np.where(np.abs(mirrored) < most, mirrored, 0) * weight[hole][:, None]


def _smooth_fill(colour: Floats, hole: Hole) -> Floats:
    """Pull-push over an image pyramid: a hole gets the colour of the nearest coarser level that has one."""
    known = (~hole).astype(np.float32)
    levels = [(colour * known[..., None], known)]
    while min(levels[-1][1].shape) > 4:
        finer, weight = levels[-1]
        levels.append((np.asarray(cv2.pyrDown(finer), np.float32), np.asarray(cv2.pyrDown(weight), np.float32)))
    filled = levels[-1][0] / np.maximum(levels[-1][1], 1e-3)[..., None]
    for finer, weight in reversed(levels[:-1]):
        coarse = cv2.resize(filled, (finer.shape[1], finer.shape[0]), interpolation=cv2.INTER_LINEAR)
        known_here = np.clip(weight * 4, 0, 1)[..., None]
        filled = finer / np.maximum(weight, 1e-3)[..., None] * known_here + coarse * (1 - known_here)
    return np.asarray(filled, np.float32)


def _extend(colour: Floats, sums: Floats, hole: Hole) -> tuple[Floats, Hole]:
    """Extend every row and column of the means into the hole from both ends; near and even ones weigh most.

    Returns the colours and the pixels that were reached.
    """
    total = np.zeros_like(colour)
    weight = np.zeros(hole.shape, np.float32)
    for transpose in (False, True):
        for mirror in (False, True):
            colours, means = (_turned(array, transpose, mirror) for array in (colour, sums))
            part, part_weight = _extend_right(colours, means, _turned(hole, transpose, mirror))
            total += _turned_back(part, transpose, mirror)
            weight += _turned_back(part_weight, transpose, mirror)
    return total / np.maximum(weight, 1e-9)[..., None], weight > 0


def _extend_right(colour: Floats, sums: Floats, hole: Hole) -> tuple[Floats, Floats]:
    """The mean of the last known colours of each row extended to the right, times its weight, and the weight."""
    columns = np.arange(hole.shape[1])
    last = np.maximum.accumulate(np.where(hole, -1, columns), axis=1)
    start = np.maximum(last, RUN)
    rows = np.arange(len(hole))[:, None]
    steps = np.abs(np.diff(colour, axis=1, prepend=colour[:, :1]))
    steps = (steps[..., 0] + steps[..., 1] + steps[..., 2]) / np.float32(3)
    change = np.cumsum(np.where(hole, 0, steps), axis=1)
    uneven = (change[rows, start] - change[rows, start - RUN]) / RUN
    fall = np.arange(1, hole.shape[1] + 2) ** 1.5
    weight = 1 / (fall[columns - last] * (uneven + 1) ** 2)
    weight = np.where(last >= RUN, weight, 0).astype(np.float32)
    run = cv2.boxFilter(np.ascontiguousarray(sums), -1, (RUN, 1), anchor=(RUN - 1, 0))
    extended = _mean(np.asarray(run, np.float32)[rows, start])
    for plane in range(3):
        extended[..., plane] *= weight
    return extended, weight


def _turned(array: npt.NDArray[_T], transpose: bool, mirror: bool) -> npt.NDArray[_T]:
    turned = np.swapaxes(array, 0, 1) if transpose else array
    return turned[:, ::-1] if mirror else turned


def _turned_back(array: npt.NDArray[_T], transpose: bool, mirror: bool) -> npt.NDArray[_T]:
    straight = array[:, ::-1] if mirror else array
    return np.swapaxes(straight, 0, 1) if transpose else straight

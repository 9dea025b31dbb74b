"""Which point of mediapipe's 478-point face mesh is where: lips, lids, brows, oval, and the triangles between them.

Columns run from the left of the picture to its right; "upper" and "lower" are as seen in the picture.
"""

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int32]

POINTS = 478
SKIN = 468
"""Points 0..467 lie on the skin; 468..477 are the two irises."""

CORNERS = ((78, 308), (62, 292), (76, 306), (61, 291))
"""Left and right corner of the four lip rings, the inner one first."""
UPPER_RINGS = (
    (191, 80, 81, 82, 13, 312, 311, 310, 415),
    (183, 42, 41, 38, 12, 268, 271, 272, 407),
    (184, 74, 73, 72, 11, 302, 303, 304, 408),
    (185, 40, 39, 37, 0, 267, 269, 270, 409),
)
LOWER_RINGS = (
    (95, 88, 178, 87, 14, 317, 402, 318, 324),
    (96, 89, 179, 86, 15, 316, 403, 319, 325),
    (77, 90, 180, 85, 16, 315, 404, 320, 307),
    (146, 91, 181, 84, 17, 314, 405, 321, 375),
)
UPPER_LIP, LOWER_LIP = UPPER_RINGS[0], LOWER_RINGS[0]
MOUTH_LEFT, MOUTH_RIGHT = CORNERS[0]

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
FOREHEAD, CHIN, EAR_LEFT, EAR_RIGHT, NOSE_BASE, NOSE_TIP = 10, 152, 234, 454, 2, 4

JAW_LINE = {
    152: 1.0,
    148: 1.0,
    377: 1.0,
    176: 1.0,
    400: 1.0,
    149: 0.98,
    378: 0.98,
    150: 0.93,
    379: 0.93,
    136: 0.84,
    365: 0.84,
    172: 0.66,
    397: 0.66,
    58: 0.4,
    288: 0.4,
    132: 0.18,
    361: 0.18,
    93: 0.06,
    323: 0.06,
    199: 1.0,
    200: 1.0,
    175: 1.0,
    18: 1.0,
    171: 1.0,
    396: 1.0,
    140: 1.0,
    369: 1.0,
    201: 1.0,
    421: 1.0,
}
"""How much of the jaw's turn the points of the jaw bone follow."""
NOSE = (
    *(1, 2, 4, 5, 6, 19, 20, 44, 45, 48, 51, 60, 64, 75, 79, 94, 97, 98, 99, 115, 122, 125, 128, 129, 131, 134, 141),
    *(166, 168, 188, 195, 196, 197, 198, 217, 218, 219, 220, 235, 236, 237, 238, 239, 240, 241, 242, 248, 250),
    *(274, 275, 278, 281, 289, 290, 294, 305, 309, 326, 327, 328, 344, 351, 354, 357, 358, 360, 363, 370, 392, 399),
    *(412, 419, 420, 437, 438, 439, 440, 455, 456, 457, 458, 459, 460, 461, 462, 3, 59, 49, 279, 102, 331),
)
CHEEKS = (50, 205, 36, 101, 118, 280, 425, 266, 330, 347)
BROWS = ((70, 63, 105, 66, 107, 46, 53, 52, 65, 55), (336, 296, 334, 293, 300, 285, 295, 282, 283, 276))
CHIN_BONE = (
    152,
    148,
    377,
    176,
    400,
    149,
    378,
    150,
    379,
    136,
    365,
    172,
    397,
    58,
    288,
    132,
    361,
    93,
    323,
    199,
    175,
    208,
    428,
)
"""Points that stay where the jaw is while the lips alone move."""


@dataclass(frozen=True)
class Eye:
    """The rings of one eye: its lids by column, its corners, the crease and brow side of the lids, its iris.

    `iris` starts with the iris' middle.
    """

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    left: int
    right: int
    crease: tuple[int, ...]
    brow_side: tuple[int, ...]
    cheek_side: tuple[int, ...]
    iris: tuple[int, ...]

    @property
    def upper_curve(self) -> tuple[int, ...]:
        """The upper lid with both corners."""
        return (self.left, *self.upper, self.right)

    @property
    def lower_curve(self) -> tuple[int, ...]:
        """The lower lid with both corners."""
        return (self.left, *self.lower, self.right)


EYES = (
    Eye(
        upper=(246, 161, 160, 159, 158, 157, 173),
        lower=(7, 163, 144, 145, 153, 154, 155),
        left=33,
        right=133,
        crease=(247, 30, 29, 27, 28, 56, 190),
        brow_side=(113, 225, 224, 223, 222, 221, 189),
        cheek_side=(25, 110, 24, 23, 22, 26, 112),
        iris=(468, 469, 470, 471, 472),
    ),
    Eye(
        upper=(398, 384, 385, 386, 387, 388, 466),
        lower=(382, 381, 380, 374, 373, 390, 249),
        left=362,
        right=263,
        crease=(414, 286, 258, 257, 259, 260, 467),
        brow_side=(413, 441, 442, 443, 444, 445, 342),
        cheek_side=(341, 256, 252, 253, 254, 339, 255),
        iris=(473, 474, 475, 476, 477),
    ),
)
UPPER_CURVE = (MOUTH_LEFT, *UPPER_LIP, MOUTH_RIGHT)
LOWER_CURVE = (MOUTH_LEFT, *LOWER_LIP, MOUTH_RIGHT)


def _strip(upper: tuple[int, ...], lower: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Triangles that fill the opening between two curves that share their ends."""
    pairs = list(zip(upper, lower, strict=True))
    found = [(a, b, d) for (a, _), (b, d) in itertools.pairwise(pairs)]
    found += [(a, c, d) for (a, c), (_, d) in itertools.pairwise(pairs)]
    return [t for t in found if len(set(t)) == 3]


@cache
def triangles() -> Indices:
    """(N, 3) triangles of the whole face; the openings of eyes and mouth are filled.

    They are the closed three-rings of the edges that mediapipe publishes, which is why mediapipe is imported here.
    """
    from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION

    near: dict[int, set[int]] = {}
    for a, b in FACEMESH_TESSELATION:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    found = {tuple(sorted((a, b, c))) for a in near for b in near[a] for c in near[a] & near[b]}
    openings = [(UPPER_CURVE, LOWER_CURVE), *((eye.upper_curve, eye.lower_curve) for eye in EYES)]
    rims = [set(upper) | set(lower) for upper, lower in openings]
    skin = [t for t in sorted(found) if not any(rim.issuperset(t) for rim in rims)]
    return np.array(skin + [t for pair in openings for t in _strip(*pair)], np.int32)


@cache
def edges() -> Indices:
    """(N, 2) edges of the skin: none crosses the mouth or an eye."""
    rims = [(set(UPPER_LIP), set(LOWER_LIP)), *((set(eye.upper), set(eye.lower)) for eye in EYES)]
    found = {(min(a, b), max(a, b)) for t in triangles().tolist() for a, b in zip(t, t[1:] + t[:1], strict=True)}
    kept = [e for e in sorted(found) if not any(_crosses(e, *rim) for rim in rims)]
    return np.array(kept, np.int32)


def _crosses(edge: tuple[int, int], upper: set[int], lower: set[int]) -> bool:
    a, b = edge
    return (a in upper and b in lower) or (b in upper and a in lower)


HAND_BONES: tuple[tuple[int, int], ...] = tuple(
    bone
    for first in (1, 5, 9, 13, 17)
    for bone in ((0, first), (first, first + 1), (first + 1, first + 2), (first + 2, first + 3))
)
"""The twenty bones of a hand of 21 key points: thumb, index, middle, ring, little finger, each from the wrist."""

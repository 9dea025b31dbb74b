"""Index tables of the 478-point face mesh, of the key points of bodies and hands, and the triangles of the mesh.

In the tables of lips and lids, columns run from the left of the picture to its right; "upper" and "lower" are as seen
in the picture. `LEFT_…` and `RIGHT_…` are the person's own sides; in a pair the side at the left of the picture is
first. The point numbers are those of mediapipe's face mesh, body (33), hand (21) and of OpenPose (18 and 68).
"""

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from echomimic.data import data_path

Indices = npt.NDArray[np.int32]
Edges = tuple[tuple[int, int], ...]

POINTS = 478
SKIN = 468
"""Points 0..467 lie on the skin; 468..477 are the two irises."""

# Lips

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
UPPER_CURVE = (MOUTH_LEFT, *UPPER_LIP, MOUTH_RIGHT)
LOWER_CURVE = (MOUTH_LEFT, *LOWER_LIP, MOUTH_RIGHT)
MOUTH_CORNERS = CORNERS[-1]
UPPER_LIP_MIDDLE, LOWER_LIP_MIDDLE = UPPER_LIP[3:6], LOWER_LIP[3:6]
LIP_PAIRS: Edges = tuple(zip(UPPER_LIP, LOWER_LIP, strict=True))
"""Points of the inner rims that may meet but not pass each other."""
OUTER_LIPS = (MOUTH_CORNERS[0], *LOWER_RINGS[-1], MOUTH_CORNERS[1], *reversed(UPPER_RINGS[-1]))
INNER_LIPS = (MOUTH_LEFT, *LOWER_LIP, MOUTH_RIGHT, *reversed(UPPER_LIP))
"""The rims of the lips, once round."""
LIPS = OUTER_LIPS + INNER_LIPS
LIP_RINGS = tuple(p for ring in (*UPPER_RINGS, *LOWER_RINGS, *CORNERS) for p in ring)
"""Every point of the lips."""

# Eyes and brows


@dataclass(frozen=True)
class Eye:
    """One eye: its lids by column, its corners, the crease and brow side of the lids, its iris (middle first).

    `outer` and `inner` are the corners away from and towards the nose; `upper_middle` and `lower_middle` are the points
    between which the opening is measured.
    """

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    left: int
    right: int
    outer: int
    inner: int
    upper_middle: tuple[int, ...]
    lower_middle: tuple[int, ...]
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

    @property
    def contour(self) -> tuple[int, ...]:
        """The points of both lids and the corners, once round."""
        return (*self.upper_curve, *reversed(self.lower))


EYES = (
    Eye(
        upper=(246, 161, 160, 159, 158, 157, 173),
        lower=(7, 163, 144, 145, 153, 154, 155),
        left=33,
        right=133,
        outer=33,
        inner=133,
        upper_middle=(159, 158, 160),
        lower_middle=(145, 153, 144),
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
        outer=263,
        inner=362,
        upper_middle=(386, 385, 387),
        lower_middle=(374, 380, 373),
        crease=(414, 286, 258, 257, 259, 260, 467),
        brow_side=(413, 441, 442, 443, 444, 445, 342),
        cheek_side=(341, 256, 252, 253, 254, 339, 255),
        iris=(473, 474, 475, 476, 477),
    ),
)
"""The person's right eye, then the left one."""
RIGHT_EYE, LEFT_EYE = (tuple(sorted(eye.contour)) for eye in EYES)
OUTER_EYES = (EYES[0].outer, EYES[1].outer)
EYE_CORNERS = (33, 133, 263, 362)
IRIS_CENTRES = (EYES[0].iris[0], EYES[1].iris[0])
IRISES = EYES[0].iris + EYES[1].iris
LID_PAIRS: Edges = (
    *((160, 144), (159, 145), (158, 153), (161, 163), (157, 154)),
    *((387, 373), (386, 374), (385, 380), (388, 390), (384, 381)),
)
"""Upper and lower points of the lids that may meet but not pass each other."""
BROWS = ((70, 63, 105, 66, 107, 46, 53, 52, 65, 55), (336, 296, 334, 293, 300, 285, 295, 282, 283, 276))
RIGHT_BROW, LEFT_BROW = (tuple(sorted(brow)) for brow in BROWS)
BROW_MIDDLES = (105, 66, 334, 296)

# The rest of the face

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
FOREHEAD, CHIN, EAR_LEFT, EAR_RIGHT, NOSE_TIP = 10, 152, 234, 454, 4
NOSE = (
    *(1, 2, 4, 5, 6, 19, 20, 44, 45, 48, 51, 60, 64, 75, 79, 94, 97, 98, 99, 115, 122, 125, 128, 129, 131, 134, 141),
    *(166, 168, 188, 195, 196, 197, 198, 217, 218, 219, 220, 235, 236, 237, 238, 239, 240, 241, 242, 248, 250),
    *(274, 275, 278, 281, 289, 290, 294, 305, 309, 326, 327, 328, 344, 351, 354, 357, 358, 360, 363, 370, 392, 399),
    *(412, 419, 420, 437, 438, 439, 440, 455, 456, 457, 458, 459, 460, 461, 462, 3, 59, 49, 279, 102, 331),
)
NOSE_LINE = (168, 6, 197, 195, 5, 4)
"""The bridge of the nose from between the eyes to the tip."""
NOSE_END = (1, 4, 5, 44, 45, 51, 220, 274, 275, 281, 440)
"""The tip of the nose and what is round it."""
JAW_LINE = {
    **dict.fromkeys((152, 148, 377, 176, 400, 199, 200, 175, 18, 171, 396, 140, 369, 201, 421), 1.0),
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
}
"""How much of the jaw's rotation the points of the jaw bone follow."""
CHIN_BONE = (
    *(152, 148, 377, 176, 400, 149, 378, 150, 379, 136, 365, 172, 397),
    *(58, 288, 132, 361, 93, 323, 199, 175, 208, 428),
)
"""Points that stay where the jaw is while the lips alone move."""
CHEEKS = (50, 205, 36, 101, 118, 280, 425, 266, 330, 347)
NASOLABIAL = ((216, 436, 1.0), (212, 432, 0.9), (206, 426, 0.7), (207, 427, 0.8), (214, 434, 0.5), (203, 423, 0.25))
"""Pairs of points along the fold from nose to mouth and below the corners, and how much of its motion they follow."""
NASOLABIAL_FOLDS = ((129, 203, 206, 216, 212), (358, 423, 426, 436, 432))
"""The folds from the wings of the nose round the corners of the mouth."""
SKIN_SAMPLES = (50, 280, 151)
"""Both cheeks and the forehead: points with bare skin around them."""
STABLE = (
    *(10, 67, 297, 103, 332, 54, 284, 21, 251, 127, 356, 234, 454, 93, 323, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1),
    *(33, 133, 362, 263, 98, 327, 116, 345, 117, 346, 50, 280, 205, 425, 227, 447),
)
"""Landmarks that speech, blinks and brows leave nearly still: temples, nose, eye corners, cheekbones."""
MIRRORED_PAIRS: Edges = ((33, 263), (EAR_LEFT, EAR_RIGHT), (127, 356), (133, 362), (70, 300), (58, 288))
"""Points whose connecting lines run across the head, left of the picture first."""
FACE_CROP_POINTS = (*IRIS_CENTRES, 1, *MOUTH_CORNERS)
"""The five points by which networks that recognise faces want their crops aligned (Deng et al., 2019)."""
REGIONS: dict[str, tuple[int, ...]] = {
    "eyes": RIGHT_EYE + LEFT_EYE,
    "brows": RIGHT_BROW + LEFT_BROW,
    "mouth": LIPS,
    "pupils": IRISES,
    "nose": NOSE_END,
}
"""The landmarks of each region of the face. `head` has none: it is how all of them move together."""


def _strip(upper: tuple[int, ...], lower: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Triangles that fill the opening between two curves that share their ends."""
    pairs = list(zip(upper, lower, strict=True))
    found = [(a, b, d) for (a, _), (b, d) in itertools.pairwise(pairs)]
    found += [(a, c, d) for (a, c), (_, d) in itertools.pairwise(pairs)]
    return [t for t in found if len(set(t)) == 3]


@cache
def triangles() -> Indices:
    """(N, 3) triangles of the whole face; the openings of eyes and mouth are filled.

    Those of the skin come from a data file: the closed rings of three edges in the tessellation that mediapipe
    publishes, in ascending order, without the openings.
    """
    skin = load(data_path("face_mesh.safetensors").read_bytes())["triangles"].tolist()
    openings = [(UPPER_CURVE, LOWER_CURVE), *((eye.upper_curve, eye.lower_curve) for eye in EYES)]
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


# Lines of V1's condition pictures


def _edges(text: str) -> Edges:
    """Edges written as `a-b c-d`."""
    return tuple((int(a), int(b)) for a, b in (pair.split("-") for pair in text.split()))


DRAWN_EYES = (
    _edges("154-155 33-7 246-161 159-158 144-145 173-133 158-157 163-144")
    + _edges("153-154 7-163 161-160 157-173 33-246 160-159 145-153 155-133"),
    _edges("374-380 390-373 249-390 385-384 373-374 263-466 387-386 381-382")
    + _edges("384-398 466-388 386-385 388-387 263-249 380-381 398-362 382-362"),
)
DRAWN_BROWS = (
    _edges("46-53 66-107 52-65 53-52 63-105 70-63 65-55 105-66"),
    _edges("334-296 276-283 293-334 295-285 296-336 282-295 283-282 300-293"),
)
"""Edges of the lids and brows, right ones first, in the order in which the original walks mediapipe's sets."""


def _halves(left: int, ring: tuple[int, ...], right: int) -> tuple[Edges, Edges]:
    line = (left, *ring, right)
    return tuple(itertools.pairwise(line[:6])), tuple(itertools.pairwise(line[5:]))


DRAWN_LIPS = tuple(
    half
    for rings in (LOWER_RINGS, UPPER_RINGS)
    for ring in (-1, 0)
    for half in _halves(CORNERS[ring][0], rings[ring], CORNERS[ring][1])
)
"""Edges of the lips by halves: lower outer, lower inner, upper outer, upper inner rim; left, then right half."""

# Bodies and hands

BODY_NOSE, NECK = 0, 1
SHOULDERS, ELBOWS, WRISTS = (5, 2), (6, 3), (7, 4)
"""Points of OpenPose's 18, left and right in the order of `Body.hands`; left is the person's own left."""
BODY_FROM_33 = (0, None, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27, 5, 2, 8, 7)
"""mediapipe's 33 body points in OpenPose's order of 18; the neck is made of the shoulders."""
BODY_18_FROM_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
"""OpenPose's 25 points without the middle of the hips and the feet."""
FACE_68 = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)
"""The points of the face mesh that stand for OpenPose's 68."""
BODY_BONES: Edges = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
"""The bones between OpenPose's 18 points: shoulders, arms, trunk and legs, then neck, eyes and ears."""
BODY_HEAD = (0, 14, 15, 16, 17)
"""Points of OpenPose's 18 that belong to the head: nose, eyes, ears."""
LIPS_68 = tuple(range(48, 68))
"""The lips among OpenPose's 68 points of a face."""
MIRRORED_BODY = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)
MIRRORED_FACE_68 = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
)
HAND_BONES: Edges = tuple(
    bone
    for first in (1, 5, 9, 13, 17)
    for bone in ((0, first), (first, first + 1), (first + 1, first + 2), (first + 2, first + 3))
)
"""The twenty bones of a hand of 21 key points: thumb, index, middle, ring, little finger, each from the wrist."""

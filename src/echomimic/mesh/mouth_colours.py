"""Colours and light of the inside of a mouth, chosen to fit one portrait: its skin, its own teeth, its saturation."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.mesh.openings import Pixels, cover
from echomimic.mesh.warp import bounds
from echomimic.types import Floats

Array = npt.NDArray[np.float64]

FULL_COLOUR = 24.0
"""Saturation of a face (largest minus smallest channel) from which its mouth has its full colour."""
ONE_HUE, MANY_HUES = 0.8, 3.0
"""Spread of hue at equal lightness, in 8-bit Lab: pictures are grey below the first, coloured above the second."""
OWN_SHADE, BRIGHTEST = 1.12, 280
"""Brightness of a bare tooth relative to the same tooth between lips, which shade it, and its limit."""
_ENOUGH_WHITE, _WHITE = 60, 0.25
"""Pixels between the lids from which the white of the eyes can be measured, and its largest saturation."""
_OWN_PALE = 0.7
"""Chroma of teeth, at most, as a fraction of the skin's: skin is redder than white under the same light."""
_OWN_WARM = 0.4
"""Saturation of a portrait's own teeth, at most, as a fraction of the skin's."""
_PALE = 0.55
"""Chroma of teeth that the portrait does not show, at most, as a fraction of the skin's: eyes reflect the skin."""
_LUMA = np.array([0.299, 0.587, 0.114])
_SPOTS = (50, 280, 205, 425, mesh.NOSE_TIP, 9, 151)


@dataclass(frozen=True)
class MouthColours:
    """RGB float32 colours of the inside of a mouth; `skin` is the face's, `light` its brightness relative to usual."""

    skin: Array
    light: float
    teeth: Floats
    gum: Floats
    tongue: Floats
    cavity: Floats


def mouth_colours(picture: Pixels, points: Array, is_open: bool) -> MouthColours:
    """The colours for a portrait (H, W, 3) with landmarks (478, 3); its own teeth give theirs if the lips are open."""
    spots = np.array([_around(picture, points[p]) for p in _SPOTS])
    skin = np.median(spots, 0)
    light = float(np.percentile(spots.mean(1), 70))
    dim = float(np.clip(light / 175, 0.3, 1.1))
    lips = np.median([_around(picture, points[p]) for p in (17, 16, 85, 315, 0, 72, 302)], 0)
    hue = skin / max(float(skin.mean()), 1.0)
    # under coloured light nothing is white: the redder the skin, the more of its hue the teeth get
    cast = float(np.clip(0.22 + 1.2 * (0.75 - hue.min()), 0.2, 0.5))
    eyes = _white_of_the_eyes(picture, points)
    if eyes is not None:  # the green of an iris may be in it, light is hardly ever green
        eyes[1] = min(eyes[1], max(eyes[0], eyes[2], hue[1]))
    white = np.array([1.02, 1.0, 0.95])
    white = white * (1 - cast) + hue * cast if eyes is None else white * (0.85 * eyes + 0.15 * hue)
    white = white / white.mean()
    white = 1 + (white - 1) * min(1.0, _PALE * float(np.ptp(hue)) / max(float(np.ptp(white)), 1e-6))
    teeth = white * np.clip(light * 1.05 + 12, 60, 222)
    own = own_tooth_colour(picture, points, skin) if is_open else None
    warm = dim * (1 + cast * (hue / hue.mean() - 1))
    flesh = np.array([168.0, 84.0, 84.0]) * warm
    made = {
        "teeth": teeth if own is None else own * min(OWN_SHADE, BRIGHTEST / float(own.max())),
        "cavity": np.array([40.0, 15.0, 15.0]) * warm,
        "tongue": 0.95 * (0.72 * flesh + 0.28 * lips),
        "gum": 0.8 * (0.6 * np.array([150.0, 72.0, 74.0]) * warm + 0.4 * lips),
    }
    colour, tint = saturation(picture, points), hue
    toned = {name: _toned(value, tint, colour).astype(np.float32) for name, value in made.items()}
    return MouthColours(skin, dim, **toned)


def _white_of_the_eyes(picture: Pixels, points: Array) -> Array | None:
    """(3,) hue of the palest bright pixels between the lids, with mean 1: the colour of the light; None if too few."""
    found = []
    for eye in mesh.EYES:
        rim = points[[*eye.upper_curve, *eye.lower[::-1]], :2]
        box = bounds(rim, (0, 0, 0, 0), (picture.shape[1], picture.shape[0]))
        crop = picture[box[1] : box[3], box[0] : box[2]]
        if crop.size:
            found.append(crop[cover(rim, box) > 0.99].astype(np.float64))
    inside = np.concatenate(found) if found else np.zeros((0, 3))
    if len(inside) < _ENOUGH_WHITE:
        return None
    bright = inside[inside.mean(1) >= np.percentile(inside.mean(1), 60)]
    vivid = np.ptp(bright, axis=1) / np.maximum(bright.mean(1), 1)
    white = np.median(bright[vivid <= np.percentile(vivid, 50)], 0)
    return white / white.mean() if np.ptp(white) < _WHITE * white.mean() else None


def saturation(picture: Pixels, points: Array) -> float:
    """How coloured a portrait's face is, 0 (grey, or toned in a single hue) to 1."""
    box = bounds(points[list(mesh.OVAL)], (0, 0, 0, 0), (picture.shape[1], picture.shape[0]))
    face = np.ascontiguousarray(picture[box[1] : box[3], box[0] : box[2]])
    if face.size == 0:
        return 1.0
    pixels = face.reshape(-1, 3).astype(np.float32)
    vivid = float(np.median(pixels.max(1) - pixels.min(1)))
    hues = _hue_spread(cv2.cvtColor(face, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32))
    return float(np.clip(min(vivid / FULL_COLOUR, (hues - ONE_HUE) / (MANY_HUES - ONE_HUE)), 0, 1))


def _hue_spread(lab: Floats) -> float:
    """Standard deviation of both colour channels among pixels (N, 3) of equal lightness."""
    which = (lab[:, 0] / 8).astype(int)
    count = np.maximum(np.bincount(which, minlength=32), 1)
    total = 0.0
    for channel in (1, 2):
        mean = np.bincount(which, lab[:, channel], 32) / count
        total += float(((lab[:, channel] - mean[which]) ** 2).mean())
    return float(np.sqrt(total / 2))


def _toned(colour: Array, tint: Array, saturation: float) -> Array:
    """The colour with its chroma scaled by `saturation`; at 0 it is the grey of a picture with this tint."""
    grey = float(colour @ _LUMA) * tint / max(float(tint @ _LUMA), 1e-6)
    return np.asarray(grey + (colour - grey) * saturation)


def own_tooth_colour(picture: Pixels, points: Array, skin: Array) -> Array | None:
    """(3,) colour of the teeth that an open mouth shows; None if it shows too few."""
    rim = points[[*mesh.UPPER_CURVE, *mesh.LOWER_CURVE[::-1]], :2]
    box = bounds(rim, (0, 0, 0, 0), (picture.shape[1], picture.shape[0]))
    crop = np.ascontiguousarray(picture[box[1] : box[3], box[0] : box[2]])
    if crop.size == 0:
        return None
    inside = crop[cover(rim, box) > 0.99]
    if len(inside) < 12:
        return None
    lab = cv2.cvtColor(inside[None], cv2.COLOR_RGB2LAB)[0].astype(np.float32)
    chroma = np.hypot(lab[:, 1] - 128, lab[:, 2] - 128)
    flesh = cv2.cvtColor(np.asarray(skin, np.uint8)[None, None], cv2.COLOR_RGB2LAB)[0, 0].astype(np.float32)
    pale = max(12.0, _OWN_PALE * float(np.hypot(flesh[1] - 128, flesh[2] - 128)))
    teeth = (lab[:, 0] > 0.72 * flesh[0]) & (chroma < pale)
    if teeth.sum() < max(12, 0.08 * len(inside)):
        return None
    seen = inside[teeth].astype(np.float64)
    score = lab[teeth, 0] - chroma[teeth]
    own = np.median(seen[score >= np.percentile(score, 70)], 0)
    # blur and compression give teeth the red of the lips beside them; they are white, or as warm as light on skin
    warm = skin / max(float(skin.mean()), 1.0) - 1
    amount = float((own / own.mean() - 1) @ warm) / max(float(warm @ warm), 1e-6)
    return np.asarray(own.mean() * (1 + warm * np.clip(amount, 0, _OWN_WARM)))


def _around(picture: Pixels, point: Array) -> Array:
    """The mean colour of a few pixels around a point."""
    x, y = np.round(point[:2]).astype(int)
    reach = max(1, picture.shape[0] // 200)
    rows = slice(max(0, min(y, picture.shape[0] - 1) - reach), max(1, y + reach + 1))
    columns = slice(max(0, min(x, picture.shape[1] - 1) - reach), max(1, x + reach + 1))
    return np.asarray(picture[rows, columns].reshape(-1, 3).mean(0))


@dataclass(frozen=True)
class FaceLight:
    """First-order light: brightness of skin by its normal, `level + slope @ normal`, in the picture's axes."""

    level: float
    slope: Array

    def on(self, normals: Array) -> Array:
        """Brightness of normals (..., 3) relative to a surface that faces the viewer."""
        front = max(self.level - self.slope[2], 1.0)
        return np.clip((self.level + normals @ self.slope) / front, 0.45, 1.3)


def vertex_normals(points: Array) -> Array:
    """(478, 3) unit normals of the mesh, away from the head; z is away from the viewer."""
    triangles = mesh.triangles()
    a, b, c = (points[triangles[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    face *= np.where(face[:, 2:] > 0, -1.0, 1.0)
    normals = np.zeros((mesh.POINTS, 3))
    for k in range(3):
        np.add.at(normals, triangles[:, k], face)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9))


def fit_light(picture: Pixels, points: Array) -> FaceLight:
    """Least-squares fit of the light over the skin of a face; lips, eyes, brows and the darkest points are left out."""
    left_out = {*mesh.LIP_RINGS, *mesh.OVAL, *(p for eye in mesh.EYES for p in eye.contour), *sum(mesh.BROWS, ())}
    skin = np.array([p for p in range(mesh.SKIN) if p not in left_out])
    inside = ((points[skin, :2] >= 0) & (points[skin, :2] < (picture.shape[1], picture.shape[0]))).all(1)
    skin = skin[inside]
    if len(skin) < 30:
        return FaceLight(128.0, np.zeros(3))
    seen = np.array([_around(picture, points[p]).mean() for p in skin])
    normals = vertex_normals(points)[skin]
    kept = seen >= np.percentile(seen, 10)
    terms = np.column_stack([np.ones(int(kept.sum())), normals[kept]])
    ridge = np.diag([1e-3, 2.0, 2.0, 2.0])
    level, *slope = np.linalg.solve(terms.T @ terms + ridge, terms.T @ seen[kept])
    return FaceLight(float(level), np.array(slope))


def edge_softness(picture: Pixels, points: Array, width: float) -> float:
    """Blur of the portrait's lip edges as the sigma of a Gaussian in pixels, 0.45 to 3.

    For each column, the steepest step of lightness across the lips against its height: the blur of a step edge.
    """
    reach = np.linspace(-0.3, 0.3, 61) * width
    columns = points[list(mesh.UPPER_RINGS[-1] + mesh.LOWER_RINGS[-1] + mesh.UPPER_LIP), :2]
    down = points[mesh.CHIN, :2] - points[mesh.FOREHEAD, :2]
    down = down / max(float(np.linalg.norm(down)), 1e-6)
    at = columns[None] + reach[:, None, None] * down
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    seen = cv2.remap(grey, at.astype(np.float32), None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    seen = np.asarray(seen, np.float64)
    steps = np.abs(np.diff(seen, axis=0)) / float(reach[1] - reach[0])
    window = max(2, round(6 / float(reach[1] - reach[0])))
    found = []
    for k in range(steps.shape[1]):
        peak = int(steps[:, k].argmax())
        near = seen[max(0, peak - window) : peak + window + 2, k]
        height = float(np.ptp(near))
        if height > 15:
            found.append(height / max(float(steps[peak, k]), 1e-6) / np.sqrt(2 * np.pi))
    return float(np.clip(np.percentile(found, 25), 0.45, 3.0)) if len(found) >= 4 else 0.8

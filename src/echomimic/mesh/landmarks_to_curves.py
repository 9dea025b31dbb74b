"""Convert landmark tracks to curves: the inverse of the rig, as far as the landmarks determine them."""

from functools import cache
from typing import cast

import numpy as np
import numpy.typing as npt

from echomimic.errors import MotionError
from echomimic.landmarks.head_pose import align, angles, face_template
from echomimic.landmarks.topology import (
    BROW_MIDDLES,
    EYE_CORNERS,
    EYES,
    LOWER_LIP_MIDDLE,
    MOUTH_CORNERS,
    UPPER_LIP_MIDDLE,
    Eye,
)
from echomimic.mesh.rig import Rig
from echomimic.mesh.upper_body import Array, smoothstep
from echomimic.signals import fill_gaps
from echomimic.types import CURVE_NAMES, Curves, Floats, LandmarkTrack

PROBES = {"jaw": 0.4, "spread": 0.4, "smile": 0.4, "brow": 0.5, "gaze_x": 8.0, "gaze_y": 6.0}
"""Amounts by which the curves are moved on the template to measure their effect."""
SHUT = 0.12
"""Fraction of its usual opening at which an eye counts as shut, because lashes and lids have thickness."""
FLUTTER = (0.08, 0.25)
"""Missing fractions of the usual opening: up to the first it is noise, from the second a blink."""


def read_curves(track: LandmarkTrack) -> Curves:
    """Curves (T, 18) that move any portrait like the tracked face, relative to that face's own rest.

    Rest is measured on the track: lips at their closest, eyes at their usual opening, head at its median pose. Frames
    that are not valid are interpolated.
    """
    if not track.valid.any():
        raise MotionError("the motion has no frame with a face; expected at least one: track another video")
    points = _hold_invalid_frames(track)
    template = face_template()
    faces = np.stack([align(face, template).apply(face) for face in points])
    measured = _measure(faces) - _rest(faces)
    curves = dict(zip(PROBES, (measured @ np.linalg.inv(_responses())).T, strict=True))
    blink = _shut(eye_opening(faces))
    curves["jaw"] = np.maximum(0, curves["jaw"])
    curves["gaze_x"], curves["gaze_y"] = curves["gaze_x"] * (1 - blink), curves["gaze_y"] * (1 - blink)
    read = Curves.rest(len(track), track.fps).replace(**curves, **_head(points), blink=blink)
    return Curves(_filled(read.values, track.valid), track.fps)


def _hold_invalid_frames(track: LandmarkTrack) -> Floats:
    """The points, with invalid frames replaced by the last valid one; their curves are interpolated later."""
    last = np.maximum.accumulate(np.where(track.valid, np.arange(len(track)), -1))
    return track.points[np.where(last < 0, np.flatnonzero(track.valid)[0], last)]


def _head(points: Floats) -> dict[str, Floats]:
    """Head rotation in degrees and translation of the neck in face widths, each relative to its median.

    As in the rig, rotations are about the axes of the picture: relative to the mean rotation, not to the template's, or
    a nod of a turned head would count as a turn.
    """
    rig = _template_rig()
    fits = [align(face_template(), face) for face in points]
    left, _, right = np.linalg.svd(np.mean([fit.rotation for fit in fits], axis=0))
    turned = np.array([angles(fit.rotation @ (left @ right).T) for fit in fits], np.float32)
    neck = np.array([fit.apply(rig.frame.pivot[None].astype(np.float32))[0, :2] for fit in fits])
    place = neck / (rig.frame.face_width * float(np.median([fit.scale for fit in fits])))
    values = np.concatenate([turned, place], axis=1)
    return dict(
        zip(("yaw", "pitch", "roll", "shift_x", "shift_y"), (values - np.median(values, axis=0)).T, strict=True)
    )


def _measure(faces: Floats) -> Floats:
    """(T, 6): lip gap, mouth width and height of its corners in usual mouth widths; brows and irises in eye widths."""
    left, right = faces[:, MOUTH_CORNERS[0]], faces[:, MOUTH_CORNERS[1]]
    width = np.linalg.norm(right - left, axis=1)
    usual = float(np.median(width))
    gap = (faces[:, LOWER_LIP_MIDDLE, 1] - faces[:, UPPER_LIP_MIDDLE, 1]).mean(1)
    rise = faces[:, (0, 17), 1].mean(1) - (left[:, 1] + right[:, 1]) / 2
    brows = faces[:, EYE_CORNERS, 1].mean(1) - faces[:, BROW_MIDDLES, 1].mean(1)
    offsets = [_iris(faces, eye) for eye in EYES]
    across, down = np.mean(offsets, axis=0).T
    return np.asarray(np.stack([gap / usual, width / usual, rise / usual, brows, across, down], axis=1), np.float32)


def _iris(faces: Floats, eye: Eye) -> npt.NDArray[np.float64]:
    """(T, 2): position of the iris relative to the middle of the eye, in eye widths."""
    outer, inner = faces[:, eye.outer, :2], faces[:, eye.inner, :2]
    wide = np.linalg.norm(outer - inner, axis=1)[:, None]
    return np.asarray((faces[:, eye.iris[0], :2] - (outer + inner) / 2) / wide, np.float64)


def _rest(faces: Floats) -> Floats:
    """The measurements at rest: medians, but the lip gap at its closest."""
    measured = _measure(faces)
    rest = np.median(measured, axis=0)
    rest[0] = np.percentile(measured[:, 0], 5)
    return np.asarray(rest, np.float32)


@cache
def _template_rig() -> Rig:
    return Rig(face_template())


@cache
def _responses() -> npt.NDArray[np.float64]:
    """(6, 6): change of each measurement per unit of each probed curve, on the template."""
    rig = _template_rig()
    rows = np.zeros((1 + len(PROBES), len(CURVE_NAMES)), np.float32)
    for line, (name, amount) in enumerate(PROBES.items(), start=1):
        rows[line, CURVE_NAMES.index(name)] = amount
    measured = _measure(np.stack([rig.points(row) for row in rows]))
    return np.asarray((measured[1:] - measured[0]) / np.array(list(PROBES.values()))[:, None], np.float64)


def eye_opening(faces: Floats) -> Floats:
    """Height of the eye openings over their width (T,), mean of both eyes, of faces (T, 478, 3) without a pose."""
    openings = []
    for eye in EYES:
        wide = np.linalg.norm(faces[:, eye.outer] - faces[:, eye.inner], axis=1)
        openings.append((faces[:, eye.lower_middle, 1] - faces[:, eye.upper_middle, 1]).mean(1) / wide)
    return np.asarray(np.mean(openings, axis=0), np.float32)


def _shut(opening: Floats) -> Floats:
    """Blink 0..1 from eye openness; the noise of an open eye is suppressed, because lids would flutter."""
    usual = max(1e-3, float(np.percentile(opening, 70)))
    closed = 1 - (opening / usual - SHUT) / (1 - SHUT)
    return np.asarray(np.clip(closed / 0.9, 0, 1) * smoothstep(cast(Array, closed), *FLUTTER), np.float32)


def _filled(values: Floats, valid: npt.NDArray[np.bool_]) -> Floats:
    if valid.all() or not valid.any():
        return values
    return fill_gaps(values.astype(np.float64), valid).astype(np.float32)

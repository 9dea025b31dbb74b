"""Read the curves off a track of landmarks, whoever's face it was: the inverse of the rig, up to what can be seen."""

from functools import cache

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
from echomimic.mesh.upper_body import smoothstep
from echomimic.signals import fill_gaps
from echomimic.types import CURVE_NAMES, Curves, Floats, LandmarkTrack

PROBES = {"jaw": 0.4, "spread": 0.4, "smile": 0.4, "brow": 0.5, "gaze_x": 8.0, "gaze_y": 6.0}
"""How far each curve is moved on the template to learn what it looks like."""
SHUT = 0.12
"""Share of its usual opening at which an eye counts as shut: lashes and lids have thickness."""
FLUTTER = (0.08, 0.25)
"""Shares of its usual opening that an open eye may seem to lack, and from which it counts as closing."""


def read_curves(track: LandmarkTrack) -> Curves:
    """Curves (T, 18) that move any portrait as the track's face moves, against that face's own rest.

    Rest is taken from the track: lips at their closest, eyes at their usual opening, head at its median pose. Frames
    that are not valid are filled in between their neighbours.
    """
    if not track.valid.any():
        raise MotionError("the motion has no frame with a face; expected at least one: track another video")
    points = _held(track)
    template = face_template()
    faces = np.stack([align(face, template).apply(face) for face in points])
    seen = _measure(faces) - _rest(faces)
    curves = dict(zip(PROBES, (seen @ np.linalg.inv(_responses())).T, strict=True))
    blink = _shut(_eye_opening(faces))
    curves["jaw"] = np.maximum(0, curves["jaw"])
    curves["gaze_x"], curves["gaze_y"] = curves["gaze_x"] * (1 - blink), curves["gaze_y"] * (1 - blink)
    read = Curves.rest(len(track), track.fps).replace(**curves, **_head(points), blink=blink)
    return Curves(_filled(read.values, track.valid), track.fps)


def _held(track: LandmarkTrack) -> Floats:
    """The points, those of the last valid frame standing in for others; their curves are filled in later."""
    last = np.maximum.accumulate(np.where(track.valid, np.arange(len(track)), -1))
    held: Floats = track.points[np.where(last < 0, np.flatnonzero(track.valid)[0], last)]
    return held


def _head(points: Floats) -> dict[str, Floats]:
    """Turn in degrees and shift in face widths, each against its median; shift is where the neck goes."""
    rig = _template_rig()
    fits = [align(face_template(), face) for face in points]
    turned = np.array([angles(fit.rotation) for fit in fits], np.float32)
    neck = np.array([fit.apply(rig.frame.pivot[None].astype(np.float32))[0, :2] for fit in fits])
    place = neck / (rig.frame.face_width * float(np.median([fit.scale for fit in fits])))
    values = np.concatenate([turned, place], axis=1)
    return dict(
        zip(("yaw", "pitch", "roll", "shift_x", "shift_y"), (values - np.median(values, axis=0)).T, strict=True)
    )


def _measure(faces: Floats) -> Floats:
    """(T, 6): lip gap, mouth width and rise of its corners in usual mouth widths; brows and irises in eye widths."""
    left, right = faces[:, MOUTH_CORNERS[0]], faces[:, MOUTH_CORNERS[1]]
    width = np.linalg.norm(right - left, axis=1)
    usual = float(np.median(width))
    gap = (faces[:, LOWER_LIP_MIDDLE, 1] - faces[:, UPPER_LIP_MIDDLE, 1]).mean(1)
    rise = faces[:, (0, 17), 1].mean(1) - (left[:, 1] + right[:, 1]) / 2
    brows = faces[:, EYE_CORNERS, 1].mean(1) - faces[:, BROW_MIDDLES, 1].mean(1)
    looks = [_iris(faces, eye) for eye in EYES]
    across, down = np.mean(looks, axis=0).T
    return np.asarray(np.stack([gap / usual, width / usual, rise / usual, brows, across, down], axis=1), np.float32)


def _iris(faces: Floats, eye: Eye) -> npt.NDArray[np.float64]:
    """(T, 2): the iris from the middle of the eye, in eye widths."""
    outer, inner = faces[:, eye.outer, :2], faces[:, eye.inner, :2]
    wide = np.linalg.norm(outer - inner, axis=1)[:, None]
    return np.asarray((faces[:, eye.iris[0], :2] - (outer + inner) / 2) / wide, np.float64)


def _rest(faces: Floats) -> Floats:
    """What a face measures at rest: its usual values, but lips at their closest, and width where they are closest."""
    seen = _measure(faces)
    rest = np.median(seen, axis=0)
    rest[0] = np.percentile(seen[:, 0], 5)
    return np.asarray(rest, np.float32)


@cache
def _template_rig() -> Rig:
    return Rig(face_template())


@cache
def _responses() -> npt.NDArray[np.float64]:
    """(6, 6): what one unit of each probed curve adds to each measure, on the template."""
    rig = _template_rig()
    rows = np.zeros((1 + len(PROBES), len(CURVE_NAMES)), np.float32)
    for line, (name, amount) in enumerate(PROBES.items(), start=1):
        rows[line, CURVE_NAMES.index(name)] = amount
    seen = _measure(np.stack([rig.points(row) for row in rows]))
    return np.asarray((seen[1:] - seen[0]) / np.array(list(PROBES.values()))[:, None], np.float64)


def _eye_opening(faces: Floats) -> Floats:
    openings = []
    for eye in EYES:
        wide = np.linalg.norm(faces[:, eye.outer] - faces[:, eye.inner], axis=1)
        openings.append((faces[:, eye.lower_middle, 1] - faces[:, eye.upper_middle, 1]).mean(1) / wide)
    return np.asarray(np.mean(openings, axis=0), np.float32)


def _shut(opening: Floats) -> Floats:
    """Blink 0..1 from eye openness; what lies within the noise of an open eye fades out, or lids would flutter."""
    usual = max(1e-3, float(np.percentile(opening, 70)))
    closed = 1 - (opening / usual - SHUT) / (1 - SHUT)
    return np.asarray(np.clip(closed / 0.9, 0, 1) * smoothstep(closed, *FLUTTER), np.float32)


def _filled(values: Floats, valid: npt.NDArray[np.bool_]) -> Floats:
    if valid.all() or not valid.any():
        return values
    return fill_gaps(values.astype(np.float64), valid).astype(np.float32)

"""Read the curves off a track of landmarks, whoever's face it was: the inverse of the rig, up to what can be seen."""

import numpy as np

from echomimic.pose import align, angles, face_template
from echomimic.types import CURVE_NAMES, Curves, Floats, LandmarkTrack

INNER_UP, INNER_LOW, CORNERS = (82, 13, 312), (87, 14, 317), (61, 291)
EYES = (((159, 158, 160), (145, 153, 144), (33, 133), 468), ((386, 385, 387), (374, 380, 373), (263, 362), 473))
BROWS, BROW_BASE = (105, 66, 334, 296), (33, 133, 263, 362)
GAP_AT_FULL_JAW = 0.5
"""Inner-lip gap in mouth widths that `jaw` 1 stands for."""
SPREAD_SHARE = 0.16
"""Change of the mouth's width, in shares of its width at rest, that `spread` 1 stands for."""
SMILE_SHARE = 0.16
"""Rise of the lip corners in mouth widths that `smile` 1 stands for."""
BROW_SHARE = 0.09
"""Rise of the brows in outer-eye distances that `brow` 1 stands for."""
SHUT = 0.12
"""Share of its usual opening at which an eye counts as shut: lashes and lids have thickness."""
EYEBALL = 0.62
"""Radius of the eyeball in widths of the eye opening."""
FACE_WIDTH = 1.6
"""Width of the face in outer-eye distances, as the template has it."""


def read_curves(track: LandmarkTrack) -> Curves:
    """Curves (T, 18) that move any portrait as the track's face moves, against that face's own rest.

    Rest is taken from the track: lips at their closest, eyes at their usual opening, head at its median pose. Frames
    that are not valid are filled in between their neighbours.
    """
    template = face_template()
    fits = [align(points, template) for points in track.points]
    faces = np.stack([fit.apply(points) for fit, points in zip(fits, track.points, strict=True)])
    curves = {**_head(track, template), **_mouth(faces), **_eyes(faces)}
    rest = Curves.rest(len(track), track.fps).replace(**curves)
    return Curves(_filled(rest.values, track.valid), track.fps)


def _head(track: LandmarkTrack, template: Floats) -> dict[str, Floats]:
    fits = [align(template, points) for points in track.points]
    turned = np.array([angles(fit.rotation) for fit in fits], np.float32)
    turned -= np.median(turned, axis=0)
    width = FACE_WIDTH * float(np.median([fit.scale for fit in fits]))
    place = np.array([fit.shift[:2] for fit in fits], np.float32) / width
    place -= np.median(place, axis=0)
    return dict(
        zip(("yaw", "pitch", "roll", "shift_x", "shift_y"), [*turned.T, *place.T], strict=True),
    )


def _mouth(faces: Floats) -> dict[str, Floats]:
    left, right = faces[:, CORNERS[0]], faces[:, CORNERS[1]]
    width = np.linalg.norm(right - left, axis=1)
    gap = np.maximum(0, (faces[:, INNER_LOW, 1] - faces[:, INNER_UP, 1]).mean(1))
    usual = float(np.median(width))
    open_ = np.maximum(0, gap / usual - float(np.percentile(gap / usual, 5)))
    centre = faces[:, (0, 17), 1].mean(1)
    rise = (centre - (left[:, 1] + right[:, 1]) / 2) / usual
    return {
        "jaw": (open_ / GAP_AT_FULL_JAW).astype(np.float32),
        "spread": ((width / usual - 1) / SPREAD_SHARE).astype(np.float32),
        "smile": ((rise - np.median(rise)) / SMILE_SHARE).astype(np.float32) * 0.5,
    }


def _eyes(faces: Floats) -> dict[str, Floats]:
    openness, across, down = [], [], []
    for upper, lower, (outer, inner), iris in EYES:
        wide = np.linalg.norm(faces[:, outer] - faces[:, inner], axis=1)
        openness.append((faces[:, lower, 1] - faces[:, upper, 1]).mean(1) / wide)
        offset = (faces[:, iris, :2] - (faces[:, outer, :2] + faces[:, inner, :2]) / 2) / wide[:, None]
        across.append(offset[:, 0])
        down.append(offset[:, 1])
    opening = np.mean(openness, axis=0)
    blink = _shut(opening)
    gaze = {"gaze_x": np.mean(across, axis=0), "gaze_y": np.mean(down, axis=0)}
    raised = -(faces[:, BROWS, 1].mean(1) - faces[:, BROW_BASE, 1].mean(1))
    looking = {
        name: (np.degrees(np.arcsin(np.clip((side - np.median(side)) / EYEBALL, -0.5, 0.5))) * (1 - blink))
        for name, side in gaze.items()
    }
    brow = (raised - np.median(raised)) / BROW_SHARE
    return {"blink": blink, "brow": brow.astype(np.float32), **{k: v.astype(np.float32) for k, v in looking.items()}}


def _shut(opening: Floats) -> Floats:
    """Blink 0..1 from eye openness: nothing until an eye is a fifth closed, so that its noise does not flutter."""
    usual = max(1e-3, float(np.percentile(opening, 70)))
    closed = 1 - (opening / usual - SHUT) / (1 - SHUT)
    return np.asarray(np.clip((closed - 0.15) / 0.75, 0, 1), np.float32)


def _filled(values: Floats, valid: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Floats:
    if valid.all() or not valid.any():
        return values
    known = np.flatnonzero(valid)
    columns = [np.interp(np.arange(len(values)), known, column[known]) for column in values.T]
    filled: Floats = np.stack(columns, axis=1).astype(np.float32)
    assert filled.shape[1] == len(CURVE_NAMES)
    return filled

"""What can be read off face landmarks: blinks, head motion, energy, whether a face stays itself, distances."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.evaluate.container import Values
from echomimic.evaluate.picture import Light, drift, seconds
from echomimic.landmarks.head_pose import OUTER_EYES, STABLE, align, face_template
from echomimic.mesh.landmarks_to_curves import read_curves
from echomimic.types import Curves, Floats, LandmarkTrack

INNER_UP, INNER_LOW, CORNERS = (82, 13, 312), (87, 14, 317), (61, 291)
LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
"""Outer and inner contour of the lips."""
FACE = 468
"""Landmarks without the irises."""
_LIDS = (((159, 158, 160), (145, 153, 144), (33, 133)), ((386, 385, 387), (374, 380, 373), (263, 362)))
"""Upper lid, lower lid and both corners of each eye."""
_BLINK, _USUAL = 0.7, 3.0
"""Share of the usual opening (the median over so many seconds) under which an eye blinks: stills vary by 0.06."""


@dataclass(frozen=True)
class Faces:
    """A track read once: `still` (T, 478, 3) with the head's pose and size taken out (outer eyes 1 apart), `curves` as
    the mesh engine has them, `valid` (T,) where the face was seen."""

    track: LandmarkTrack
    still: Floats
    curves: Curves

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.track.fps

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """(T,) where the face was seen."""
        return self.track.valid


def read_faces(track: LandmarkTrack) -> Faces:
    """Take the pose out of a track."""
    template = face_template()
    still = np.stack([align(points, template).apply(points) for points in track.points])
    return Faces(track, still, read_curves(track))


def opening(faces: Faces) -> Floats:
    """Gap between the inner lips (T,) in outer-eye distances, never below 0."""
    gap: Floats = (faces.still[:, INNER_LOW, 1] - faces.still[:, INNER_UP, 1]).mean(axis=1)
    return np.maximum(gap, 0)


def eye_opening(faces: Faces) -> Floats:
    """Height of the eye openings over their width (T,), mean of both eyes."""
    still = faces.still
    rows = [
        (still[:, low, 1] - still[:, up, 1]).mean(axis=1) / np.linalg.norm(still[:, a] - still[:, b], axis=1)
        for up, low, (a, b) in _LIDS
    ]
    return np.asarray(np.mean(rows, axis=0), np.float32)


def face_metrics(faces: Faces, light: Light) -> Values:
    """Blinks, head motion, motion energy, stability of identity (see the catalogue)."""
    return {
        "face_found": float(faces.valid.mean()),
        **_blinks(faces),
        **_head(faces),
        "motion_energy": motion_energy(faces.track),
        "mouth_motion": float(opening(faces).std()),
        "identity_shape": identity_shape(faces),
        "identity_colour": drift(light.skin, faces.fps),
    }


def _blinks(faces: Faces) -> Values:
    eyes = eye_opening(faces)
    reach = round(_USUAL * faces.fps / 2)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(eyes, reach, mode="reflect"), 2 * reach + 1)
    shut = np.concatenate([[False], eyes < _BLINK * np.median(around, axis=1), [False]])
    edges = np.flatnonzero(np.diff(shut.astype(np.int8)))
    lengths = (edges[1::2] - edges[::2]) / faces.fps
    minutes = len(faces.still) / faces.fps / 60
    return {
        "blink_rate": len(lengths) / minutes,
        "blink_seconds": float(lengths.mean()) if len(lengths) else None,
    }


def _head(faces: Faces) -> Values:
    turns = np.stack([faces.curves[name] for name in ("yaw", "pitch", "roll")], axis=1).astype(np.float64)
    spread = turns.std(axis=0)
    speed = np.linalg.norm(np.diff(turns, axis=0), axis=1).mean() * faces.fps if len(turns) > 1 else 0.0
    return {
        "head_yaw_spread": float(spread[0]),
        "head_pitch_spread": float(spread[1]),
        "head_roll_spread": float(spread[2]),
        "head_speed": float(speed),
    }


def motion_energy(track: LandmarkTrack) -> float | None:
    """Root mean square speed of the landmarks of a frame, in outer-eye distances a second; mean over frames."""
    if len(track) < 2:
        return None
    points = track.points[:, :FACE, :2].astype(np.float64)
    size = np.median(np.linalg.norm(points[:, OUTER_EYES[1]] - points[:, OUTER_EYES[0]], axis=1))
    steps = np.diff(points, axis=0) * track.fps / size
    return float(np.sqrt((steps**2).sum(axis=2).mean(axis=1)).mean())


def identity_shape(faces: Faces) -> float | None:
    """Largest distance of the mean shape of a second from the first second's, in % of the outer-eye distance: root mean
    square over landmarks that speech and blinks leave nearly still, after taking out the pose."""
    rows = faces.still[:, list(STABLE), :2].astype(np.float32)
    rows = np.where(faces.valid[:, None, None], rows, np.nan)
    means = seconds(rows, faces.fps).reshape(-1, len(STABLE), 2)
    if len(means) < 2:
        return None
    return float(100 * np.sqrt(((means - means[0]) ** 2).sum(axis=2).mean(axis=1)).max())


def landmark_distances(ours: Faces, theirs: Faces) -> Values:
    """LMD of the face and of the mouth against a reference of the same motion (see the catalogue).

    Frames are paired by time; those where either face was not seen are left out.
    """
    frames = np.minimum(np.round(np.arange(len(ours.still)) / ours.fps * theirs.fps).astype(int), len(theirs.still) - 1)
    seen = ours.valid & theirs.valid[frames]
    if not seen.any():
        return {"lmd_face": None, "lmd_mouth": None}
    scale = np.array([t / o for t, o in zip(theirs.track.image_size, ours.track.image_size, strict=True)])
    one = ours.track.points[seen][:, :FACE, :2] * scale
    other = theirs.track.points[frames[seen]][:, :FACE, :2].astype(np.float64)
    size = np.linalg.norm(other[:, OUTER_EYES[1]] - other[:, OUTER_EYES[0]], axis=1)[:, None]
    lips = [points[:, LIPS] - points[:, LIPS].mean(axis=1, keepdims=True) for points in (one, other)]
    return {
        "lmd_face": float(100 * (np.linalg.norm(one - other, axis=2) / size).mean()),
        "lmd_mouth": float(100 * (np.linalg.norm(lips[0] - lips[1], axis=2) / size).mean()),
    }

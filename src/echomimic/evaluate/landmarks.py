"""Metrics of landmarks: blinks, head motion, energy, identity and distances of faces; quality of hands."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from echomimic.evaluate.container import Values
from echomimic.evaluate.picture import SIDE, PictureStatistics, drift, seconds
from echomimic.landmarks.detectors import hand_landmarker
from echomimic.landmarks.face import shrink
from echomimic.landmarks.head_pose import without_pose
from echomimic.landmarks.topology import LIPS, OUTER_EYES, SKIN, STABLE
from echomimic.mesh.landmarks_to_curves import eye_opening, read_curves
from echomimic.motion.lags import lip_gap
from echomimic.signals import runs
from echomimic.types import CURVES, Curves, Floats, LandmarkTrack, Picture

_BLINK, _AROUND = 0.7, 3.0
"""Fraction of the usual opening (the median over `_AROUND` seconds) under which an eye blinks: stills vary by 0.06."""


@dataclass(frozen=True)
class Faces:
    """A track read once: `still` (T, 478, 3) with the head's pose and size taken out (outer eyes 1 apart), `curves` as
    the mesh engine has them, `valid` (T,) True if the face was found."""

    track: LandmarkTrack
    still: Floats
    curves: Curves

    @property
    def fps(self) -> float:
        return self.track.fps

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """(T,) True if the face was found."""
        return self.track.valid


def read_faces(track: LandmarkTrack) -> Faces:
    """Remove the head pose from a track and read its curves."""
    return Faces(track, without_pose(track.points), read_curves(track))


def opening(faces: Faces) -> Floats:
    """Gap between the inner lips (T,) in outer-eye distances, never below 0."""
    return lip_gap(faces.still)


def face_metrics(faces: Faces, statistics: PictureStatistics) -> Values:
    """Blinks, head motion, motion energy and stability of identity (see the catalogue)."""
    return {
        "face_found": float(faces.valid.mean()),
        **_blinks(faces),
        **_head(faces),
        "motion_energy": motion_energy(faces.track),
        "mouth_motion": float(opening(faces).std()),
        "identity_shape": identity_shape(faces),
        "identity_colour": drift(statistics.skin, faces.fps),
    }


def _blinks(faces: Faces) -> Values:
    eyes = eye_opening(faces.still)
    reach = round(_AROUND * faces.fps / 2)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(eyes, reach, mode="reflect"), 2 * reach + 1)
    shut = runs(eyes < _BLINK * np.median(around, axis=1))
    lengths = np.array([stop - start for start, stop in shut]) / faces.fps
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
    points = track.points[:, :SKIN, :2].astype(np.float64)
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

    Frames are paired by time; frames in which either face was not found are skipped.
    """
    frames = np.minimum(np.round(np.arange(len(ours.still)) / ours.fps * theirs.fps).astype(int), len(theirs.still) - 1)
    seen = ours.valid & theirs.valid[frames]
    if not seen.any():
        return {"lmd_face": None, "lmd_mouth": None}
    scale = np.array([t / o for t, o in zip(theirs.track.image_size, ours.track.image_size, strict=True)])
    one = ours.track.points[seen][:, :SKIN, :2] * scale
    other = theirs.track.points[frames[seen]][:, :SKIN, :2].astype(np.float64)
    size = np.linalg.norm(other[:, OUTER_EYES[1]] - other[:, OUTER_EYES[0]], axis=1)[:, None]
    lips = [points[:, LIPS] - points[:, LIPS].mean(axis=1, keepdims=True) for points in (one, other)]
    return {
        "lmd_face": float(100 * (np.linalg.norm(one - other, axis=2) / size).mean()),
        "lmd_mouth": float(100 * (np.linalg.norm(lips[0] - lips[1], axis=2) / size).mean()),
    }


EXPRESSION_CURVES = ("jaw", "spread", "smile", "blink", "brow", "gaze_x", "gaze_y")


def expression_features(faces: Faces) -> Floats:
    """(n, 7) float32 of the frames where the face was seen: curves against the clip's own rest, in fractions of their
    range."""
    ranges = {curve.name: max(abs(curve.low), abs(curve.high)) for curve in CURVES}
    columns = [faces.curves[name] / np.float32(ranges[name]) for name in EXPRESSION_CURVES]
    return np.stack(columns, axis=1)[faces.valid].astype(np.float32)


_USUAL = 0.5
"""A hand that is found in this fraction of the frames belongs to the clip; in the others it counts as lost."""
_CONFIDENCE = 0.5


@dataclass(frozen=True)
class HandDetections:
    """Hands in N frames: `points` (N, 2, 21, 2) in pixels of the evaluated picture, left and right by the detector's
    label, NaN if not found; `scores` (N, 2), 0 if not found."""

    points: Floats
    scores: Floats


class HandDetector:
    """Detects up to two hands in each frame independently."""

    def __init__(self) -> None:
        self._find = hand_landmarker(most=2, confidence=_CONFIDENCE)
        self._points: list[Floats] = []
        self._scores: list[Floats] = []

    def add(self, pixels: Picture) -> None:
        """Detect hands in one frame (H, W, 3)."""
        pixels, _ = shrink(pixels, SIDE)
        points, scores = np.full((2, 21, 2), np.nan, np.float32), np.zeros(2, np.float32)
        size = np.array([pixels.shape[1], pixels.shape[0]], np.float32)
        for hand in sorted(self._find(pixels), key=lambda hand: -hand.score):
            slot = hand.side if scores[hand.side] == 0 else 1 - hand.side
            points[slot], scores[slot] = hand.points[:, :2] * size, hand.score
        self._points.append(points)
        self._scores.append(scores)

    def result(self) -> HandDetections:
        return HandDetections(np.array(self._points, np.float32), np.array(self._scores, np.float32))


def hand_metrics(hands: HandDetections) -> Values:
    """HKC, HKV, detection rate and lost hands (see the catalogue); None if no hand was ever found."""
    seen = hands.scores > 0
    if not seen.any():
        found = 0.0 if len(seen) else None
        return {"hands_found": found, "hands_lost": None, "hkc": None, "hkc_missing_as_zero": None, "hkv": None}
    usual = seen.mean(axis=0) >= _USUAL
    return {
        "hands_found": float(seen.any(axis=1).mean()),
        "hands_lost": float(1 - seen[:, usual].mean()) if usual.any() else None,
        "hkc": float(hands.scores[seen].mean(dtype=np.float64)),
        "hkc_missing_as_zero": float(hands.scores[:, usual].mean(dtype=np.float64)) if usual.any() else None,
        "hkv": hand_variance(hands),
    }


def hand_variance(hands: HandDetections) -> float | None:
    """Variance over time of each key point's x plus y in hand lengths squared, averaged over points, then hands.

    A hand's length is the median distance from its wrist to the knuckle of its middle finger. Hands found less than
    twice are skipped.
    """
    values = []
    for slot in range(2):
        points = hands.points[hands.scores[:, slot] > 0, slot].astype(np.float64)
        if len(points) > 1:
            length = max(1e-6, float(np.median(np.linalg.norm(points[:, 9] - points[:, 0], axis=1))))
            values.append(float((points / length).var(axis=0).sum(axis=1).mean()))
    return float(np.mean(values)) if values else None

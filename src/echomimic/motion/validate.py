"""Checks of a motion before it is rendered: measured curves, and warnings of what will look wrong."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from echomimic.landmarks.body import Body
from echomimic.landmarks.head_pose import align, angles, face_template
from echomimic.landmarks.topology import EAR_LEFT, EAR_RIGHT, LID_PAIRS, NECK, SHOULDERS, WRISTS
from echomimic.notes import Note
from echomimic.types import Floats, LandmarkTrack, Motion, PoseTrack

SMALLEST_FACE = 64.0
"""Width of a face in pixels below which its parts are a few pixels each."""
SMALLEST_FRACTION = 0.12
"""The same as a fraction of the image, for V1, which draws on 512 pixels."""
WIDEST_YAW = 30.0
FASTEST = 0.03
"""Fraction of the picture that a point of a hand may move between frames at 25 a second."""
_RARE = 0.02
ALIGNED = 0.6
"""Overlap of two faces from which one can drive the other without alignment."""


def measure_motion(motion: Motion) -> dict[str, Floats]:
    """Measure curves (T,) on the points: mouth, eyes and yaw of a face; the reach of both hands of a body.

    Mouth and eyes are openings in eye distances, yaw is in degrees, reach is from wrist to shoulder in shoulder widths,
    and `out` is how far the furthest hand point is outside the picture, as a fraction of it.
    """
    return _face_curves(motion) if isinstance(motion, LandmarkTrack) else _body_curves(motion)


def _face_curves(track: LandmarkTrack) -> dict[str, Floats]:
    fits = [align(points, face_template()) for points in track.points]
    faces = np.stack([fit.apply(points) for fit, points in zip(fits, track.points, strict=True)])
    lids = np.mean([faces[:, low, 1] - faces[:, up, 1] for up, low in LID_PAIRS], axis=0)
    yaw = np.array([angles(fit.rotation.T)[0] for fit in fits], np.float32)
    lips = faces[:, 14, 1] - faces[:, 13, 1]
    return {"mouth": lips.astype(np.float32), "eyes": np.asarray(lids, np.float32), "yaw": yaw}


def _body_curves(track: PoseTrack) -> dict[str, Floats]:
    points = track.body[..., :2] * np.array(track.image_size, np.float32)
    hands = track.hands[:, :, 0, :2] * np.array(track.image_size, np.float32)
    width = max(float(np.median(np.linalg.norm(points[:, SHOULDERS[0]] - points[:, SHOULDERS[1]], axis=-1))), 1.0)
    curves = {}
    for side, name in enumerate(("left", "right")):
        shown = track.hands[:, side, 0, 2] > 0
        wrist = np.where(shown[:, None], hands[:, side], points[:, WRISTS[side]])
        curves[f"{name} reach"] = np.linalg.norm(wrist - points[:, SHOULDERS[side]], axis=-1) / width
    seen, places = track.hands[..., 2] > 0, track.hands[..., :2]
    beyond = np.where(seen, np.maximum(np.maximum(-places, places - 1).max(axis=-1), 0), 0)
    curves["out"] = beyond.max(axis=(1, 2))
    return {name: np.asarray(values, np.float32) for name, values in curves.items()}


def preflight(
    motion: Motion,
    seconds: float | None = None,
    size: tuple[int, int] | None = None,
    landmarks: Floats | None = None,
    body: Body | None = None,
) -> tuple[Note, ...]:
    """Warnings of what will look wrong, one line each; empty if nothing will.

    `seconds` is the length of the voice, `size` (width, height) the portrait's, `landmarks` (478, 3) or `body` what was
    found in it.
    """
    found = _faults_of_face(motion) if isinstance(motion, LandmarkTrack) else _faults_of_hands(motion)
    warnings = [*found, *_faults_of_length(motion, seconds), *_faults_of_canvas(motion, size)]
    if isinstance(motion, LandmarkTrack) and landmarks is not None and size is not None:
        warnings += _misplaced_face(motion, landmarks, size)
    if isinstance(motion, PoseTrack) and body is not None:
        warnings += _misplaced_body(motion, body)
    return tuple(warnings)


def _faults_of_length(motion: Motion, seconds: float | None) -> Iterator[Note]:
    length = len(motion) / motion.fps
    if seconds is not None and length < seconds - 0.5 / motion.fps:
        yield Note.make(
            "motion_shorter_than_voice",
            "the motion lasts {motion:.1f} s and the voice {voice:.1f} s: it will be played back and forth; loop, "
            "stretch or join it to change that",
            motion=length,
            voice=seconds,
        )


def _faults_of_canvas(motion: Motion, size: tuple[int, int] | None) -> Iterator[Note]:
    if size is None:
        return
    own, wanted = motion.image_size[0] / motion.image_size[1], size[0] / size[1]
    if abs(own / wanted - 1) > 0.02:
        yield Note.make(
            "motion_other_shape",
            "the motion is for an image of {motion} and the picture has {picture}: it would be distorted; align it to "
            "the portrait",
            motion=f"{motion.image_size[0]}x{motion.image_size[1]}",
            picture=f"{size[0]}x{size[1]}",
        )


def _faults_of_face(track: LandmarkTrack) -> Iterator[Note]:
    width = float(np.median(np.linalg.norm(track.points[:, EAR_LEFT, :2] - track.points[:, EAR_RIGHT, :2], axis=-1)))
    if width < SMALLEST_FACE or width < SMALLEST_FRACTION * min(track.image_size):
        yield Note.make(
            "motion_face_small",
            "the face is {width:.0f} px wide, {fraction:.0%} of the image: too small to be read well; crop closer",
            width=width,
            fraction=width / min(track.image_size),
        )
    turned = np.abs(measure_motion(track)["yaw"]) > WIDEST_YAW
    if turned.mean() > _RARE:
        yield Note.make(
            "motion_head_turned",
            "the head is turned by more than {degrees:.0f} degrees in {fraction:.0%} of the frames",
            degrees=WIDEST_YAW,
            fraction=float(turned.mean()),
        )
    outside = ((track.points[..., :2] < 0) | (track.points[..., :2] > np.array(track.image_size))).any(axis=(1, 2))
    if outside.mean() > _RARE:
        yield Note.make(
            "motion_face_outside",
            "the face leaves the image in {fraction:.0%} of the frames: parts of it will not be drawn",
            fraction=float(outside.mean()),
        )
    if (~track.valid).mean() > _RARE:
        yield Note.make(
            "motion_face_missing",
            "no face was seen in {fraction:.0%} of the frames; they are interpolated",
            fraction=float((~track.valid).mean()),
        )


def _faults_of_hands(track: PoseTrack) -> Iterator[Note]:
    seen = track.hands[..., 2].max(axis=-1) > 0
    for side, name in enumerate(("left", "right")):
        if (~seen[:, side]).mean() > _RARE:
            yield Note.make(
                "motion_hand_missing",
                "the {side} hand is missing in {fraction:.0%} of the frames: the network will invent it",
                side=name,
                fraction=float((~seen[:, side]).mean()),
            )
    out = measure_motion(track)["out"]
    if (out > 0).mean() > _RARE:
        yield Note.make(
            "motion_hands_outside",
            "hands are outside the picture in {fraction:.0%} of the frames, by up to {distance:.0%} of it",
            fraction=float((out > 0).mean()),
            distance=float(out.max()),
        )
    both = (seen[1:] & seen[:-1])[:, :, None]
    steps = np.where(both, np.linalg.norm(np.diff(track.hands[..., :2], axis=0), axis=-1), 0) * track.fps / 25
    fast = steps.max(axis=(1, 2), initial=0) > FASTEST
    if fast.any():
        yield Note.make(
            "motion_hands_jump",
            "hands jump by up to {distance:.0%} of the picture between frames, {count} times over {limit:.0%}: they "
            "will blur; smooth or stretch the motion",
            distance=float(steps.max()),
            count=int(fast.sum()),
            limit=FASTEST,
        )


def face_overlap(track: LandmarkTrack, landmarks: Floats, size: tuple[int, int]) -> float:
    """Intersection over union of the boxes of the track's face and the portrait's, in fractions of their images."""
    own = _box(np.divide(landmarks[:, :2], np.array(size, np.float32), dtype=np.float32))
    middle = np.median(track.points, axis=0)[:, :2]
    driver = _box(np.divide(middle, np.array(track.image_size, np.float32), dtype=np.float32))
    return _overlap(own, driver)


def _misplaced_face(track: LandmarkTrack, landmarks: Floats, size: tuple[int, int]) -> Iterator[Note]:
    overlap = face_overlap(track, landmarks, size)
    if overlap < ALIGNED:
        yield Note.make(
            "motion_face_misplaced",
            "the motion's face covers {overlap:.0%} of the portrait's: poorly aligned; align it to the portrait",
            overlap=overlap,
        )


def _box(points: Floats) -> npt.NDArray[np.float32]:
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _overlap(a: Floats, b: Floats) -> float:
    """Intersection over union of two boxes."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = float(sides.prod())
    return shared / max(float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared, 1e-9)


def _misplaced_body(track: PoseTrack, body: Body) -> Iterator[Note]:
    usual = np.median(track.body, axis=0)
    if usual[list(SHOULDERS), 2].min() <= 0:
        return
    apart = float(np.linalg.norm(usual[NECK, :2] - body.body[NECK, :2]))
    width = float(np.linalg.norm((usual[SHOULDERS[0]] - usual[SHOULDERS[1]])[:2]))
    ratio = width / max(body.shoulder_width, 1e-6)
    if apart > 0.08 or not 0.8 < ratio < 1.25:
        yield Note.make(
            "motion_body_misplaced",
            "the motion's body is {ratio:.2f} times as wide as the portrait's and its neck {distance:.0%} of the "
            "picture away: poorly aligned; align it to the portrait",
            ratio=ratio,
            distance=apart,
        )

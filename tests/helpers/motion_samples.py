"""Motions that several tests need: moving faces and bodies, and the files of V1 and V2."""

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from echomimic.landmarks.body import Body
from echomimic.landmarks.head_pose import face_template, rotation_matrix
from echomimic.landmarks.topology import LIPS, WRISTS
from echomimic.mesh.rig import Rig
from echomimic.motion import load_motion
from echomimic.types import Curves, Floats, LandmarkTrack, PoseTrack


def load_landmarks(path: str | Path) -> LandmarkTrack:
    """The face motion of a file."""
    track = load_motion(path)
    assert isinstance(track, LandmarkTrack)
    return track


def face_track(frames: int = 50, fps: float = 25.0, seed: int = 0) -> LandmarkTrack:
    """A face that turns, opens its mouth and drifts; with curves."""
    random = np.random.default_rng(seed)
    time = np.arange(frames) / fps
    template = face_template()
    points = np.empty((frames, 478, 3), np.float32)
    for i, second in enumerate(time):
        face = template.copy()
        face[list(LIPS), 1] += 0.05 * np.sin(9 * second)
        turned = face @ rotation_matrix(12 * np.sin(2 * second), 5 * np.cos(second), 3 * np.sin(second)).T
        points[i] = turned * 100 + np.array((256 + 8 * np.sin(second), 250, 0)) + random.normal(0, 0.05, 3)
    lines = Curves(random.uniform(0, 0.4, (frames, 18)).astype(np.float32), fps)
    return LandmarkTrack(points, (512, 512), fps, np.ones(frames, bool), lines)


def pose_track(frames: int = 50, fps: float = 25.0, seed: int = 0) -> PoseTrack:
    random = np.random.default_rng(seed)
    sway = 0.05 * np.sin(np.arange(frames) / fps * 3)[:, None, None]
    parts = []
    for shape in ((18,), (42,), (68,)):
        points = np.tile(random.uniform(0.3, 0.7, (1, *shape, 3)), (frames, 1, 1))
        points[..., :2] += sway
        parts.append(points.astype(np.float32))
    return PoseTrack(parts[0], parts[1].reshape(frames, 2, 21, 3), parts[2], fps)


def skeleton(scale: float = 1.0, x: float = 0.5, y: float = 0.45, aspect: float = 1.0) -> tuple[Floats, Floats]:
    """A body with its arms held out before it, and its hands, in shares of a picture."""
    body = np.zeros((18, 3), np.float32)
    places = {0: (0, -0.25), 1: (0, 0), 5: (0.2, 0), 2: (-0.2, 0), 6: (0.25, 0.3), 3: (-0.25, 0.3)}
    places |= {7: (0.3, 0.1), 4: (-0.3, 0.1), 8: (-0.12, 0.5), 11: (0.12, 0.5)}
    for joint, (dx, dy) in places.items():
        body[joint] = (x + scale * dx * aspect, y + scale * dy, 1)
    fan = np.array([(0.0, 0.0)] + [(0.02 * (f - 2) * k / 2, -0.04 * k) for f in range(5) for k in (1, 2, 3, 4)])
    hands = np.ones((2, 21, 3), np.float32)
    for side, wrist in enumerate(WRISTS):
        hands[side, :, :2] = body[wrist, :2] + scale * fan * (aspect, 1)
    return body, hands


def portrait_body() -> Body:
    body, hands = skeleton(0.8, 0.52, 0.4, aspect=1000 / 800)
    return Body(body, hands, np.zeros((68, 3), np.float32))


def driver(frames: int = 30, swing: float = 0.1, seed: int = 0) -> PoseTrack:
    random = np.random.default_rng(seed)
    body, hands = skeleton()
    bodies, both = np.tile(body, (frames, 1, 1)), np.tile(hands, (frames, 1, 1, 1))
    move = swing * np.sin(np.arange(frames)[:, None] / 5 + random.uniform(0, 6, 2))
    for side, wrist in enumerate(WRISTS):
        bodies[:, wrist, :2] += move
        both[:, side, :, :2] += move[:, None]
    return PoseTrack(bodies, both, np.zeros((frames, 68, 3), np.float32), 25.0)


def portrait_face(yaw: float = 8.0, size: float = 170.0) -> Floats:
    face = face_template() * np.array((1.1, 0.95, 1.0), np.float32)
    return (face @ rotation_matrix(yaw, -4, 2).T * size + np.array((500, 420, 0))).astype(np.float32)


def v2_frame(people: int = 1, shift: float = 0.0, params: list[int] | None = None) -> dict[str, Any]:
    random = np.random.default_rng(people)
    return {
        "bodies": {
            "candidate": random.random((people * 18, 2)) * 0.2 + shift,
            "subset": np.zeros((people, 18)),
            "score": random.random((people, 18)),
        },
        "hands": random.random((people * 2, 21, 2)) + shift,
        "hands_score": random.random((people * 2, 21)) + 0.4,
        "faces": random.random((people, 68, 2)),
        "faces_score": random.random((people, 68)),
        "num": 3,
        "draw_pose_params": params or [768, 768, 0, 768, 0, 768],
    }


def write_v1(
    folder: Path, frames: int = 4, numbers: list[int] | None = None, shape: tuple[int, ...] = (478, 3)
) -> Path:
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(1)
    for number in numbers if numbers is not None else range(frames):
        (folder / f"{number}.pkl").write_bytes(pickle.dumps(random.random(shape) * 512))
    return folder


def write_v2(folder: Path, frames: list[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for i, frame in enumerate(frames):
        np.save(folder / f"{i}.npy", frame, allow_pickle=True)
    return folder


@cache
def rigged_track(frames: int = 60, seed: int = 0, **held: float) -> LandmarkTrack:
    """A face whose landmarks are computed from its curves; curves named in `held` keep that value."""
    random = np.random.default_rng(seed)
    time = np.arange(frames) / 25
    curves = Curves.rest(frames, 25.0)
    for name, reach in {
        "jaw": 0.3,
        "yaw": 9,
        "pitch": 6,
        "roll": 5,
        "gaze_x": 6,
        "shift_x": 0.06,
        "shift_y": 0.05,
    }.items():
        curves[name][:] = reach * np.sin(random.uniform(2, 5) * time + random.uniform(0, 6)) + (
            reach if name == "jaw" else 0
        )
    for name, value in held.items():
        curves[name][:] = value
    rig = Rig(face_template() * 90 + np.array((256, 240, 0), np.float32))
    points = np.stack([rig.points(row) for row in curves.values])
    seen = np.ones(frames, bool)
    for array in (points, curves.values, seen):
        array.setflags(write=False)  # every test gets the same
    return LandmarkTrack(points, (512, 512), 25.0, seen, curves)

"""Is what was commanded what can be seen? Curves against the motion re-detected in the encoded video, Pearson r."""

import tempfile
from pathlib import Path

import numpy as np

from echomimic.evaluate.landmarks import opening, read_faces
from echomimic.landmarks.detectors import face_landmarker
from echomimic.media import read_video, write_clip
from echomimic.mesh.engine import MeshEngine
from echomimic.options import make_options
from echomimic.types import Floats, LandmarkTrack, Portrait, Speech
from samples import portraits, voices

SHOWN = ("opening", "width", "yaw", "pitch", "blink")
SIZE = 512
LIDS = ((159, 145), (158, 153), (160, 144), (386, 374), (385, 380), (387, 373))
"""Landmarks of the upper and lower lids that lie opposite each other."""


def main() -> None:
    table = []
    for person in portraits():
        for voice in voices():
            found, scores = compare(person, voice)
            table.append(scores)
            row = "  ".join(f"{name} {score:.3f}" for name, score in zip(SHOWN, scores, strict=True))
            print(f"{person.name:18} {voice.name:24} face found {found:.2f}  {row}", flush=True)
    means = np.mean(table, axis=0)
    print("mean", "  ".join(f"{name} {score:.3f}" for name, score in zip(SHOWN, means, strict=True)))


def compare(person: Portrait, voice: Speech) -> tuple[float, list[float]]:
    """Share of frames with a face, and r of opening, width, yaw, pitch and blink."""
    engine = MeshEngine()
    options = make_options({"size": SIZE, "framing": "crop"})
    track = engine.prepare(person, voice, None, options).motion
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, engine.prepare(person, voice, track, options).frames(), options.fps, voice, {})
        seen = redetect(path, track.fps)
    assert track.curves is not None
    count = min(len(track), len(seen))
    ours, theirs = measures(track)[:count], measures(seen)[:count]
    ours[:, 2:] = np.stack([track.curves[name][:count] for name in SHOWN[2:]], axis=1)
    kept = seen.valid[:count]
    scores = [float(np.corrcoef(a[kept], b[kept])[0, 1]) for a, b in zip(ours.T, theirs.T, strict=True)]
    return float(seen.valid.mean()), scores


def measures(track: LandmarkTrack) -> Floats:
    """Columns of SHOWN off the landmarks: lips, yaw and pitch as `echomimic evaluate` has them, the mouth's width and
    how far the eyes are shut in pixels."""
    faces = read_faces(track)
    width, *eyes = (
        np.linalg.norm(track.points[:, a, :2] - track.points[:, b, :2], axis=1) for a, b in ((61, 291), *LIDS)
    )
    shut = -np.mean(eyes, axis=0)
    return np.stack([opening(faces), width, faces.curves["yaw"], faces.curves["pitch"], shut], axis=1)


def redetect(path: Path, fps: float) -> LandmarkTrack:
    """Landmarks that a face mesh sees in a video."""
    video = read_video(path)
    points, valid = [], []
    with face_landmarker(video=True) as find:
        for _, frame in video.frames():
            faces = find(frame)
            valid.append(bool(faces))
            points.append(faces[0] if faces else (points[-1] if points else np.zeros((478, 3), np.float32)))
    return LandmarkTrack(np.stack(points), (video.width, video.height), fps, np.array(valid))


if __name__ == "__main__":
    main()

"""Pearson's r between the rendered curves and the same curves measured in the encoded video.

A face mesh takes a part of other motion for turns of the head: at a full jaw its temples drop by 2 to 3 % of the
distance of the outer eye corners and its nose comes forward, though no pixel moves there, which reads as 1 to 3 degrees
of pitch; with a yaw of 0 throughout it still sees turns with a deviation of 0.3 to 0.5 degrees. `turns` and `nods` are
therefore yaw and pitch against the difference to a second video, which is the same except that its yaw and pitch are 0.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from echomimic.evaluate.landmarks import opening, read_faces
from echomimic.landmarks.detectors import face_landmarker
from echomimic.media import read_video, write_clip
from echomimic.mesh.engine import MeshEngine
from echomimic.options import Options, make_options
from echomimic.types import Floats, LandmarkTrack, Portrait, Speech
from samples import portraits, voices

SHOWN = ("opening", "width", "yaw", "pitch", "blink", "turns", "nods")
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
    """Share of frames with a face, and r of each of SHOWN."""
    engine = MeshEngine()
    options = make_options({"size": SIZE, "framing": "crop"})
    track = engine.prepare(person, voice, None, options).motion
    curves = track.curves
    assert curves is not None
    still_head = replace(track, curves=curves.replace(yaw=0 * curves["yaw"], pitch=0 * curves["pitch"]))
    seen, still = (filmed(engine, person, voice, each, options) for each in (track, still_head))
    count = min(len(track), len(seen), len(still))
    ours, theirs = measures(track)[:count], measures(seen)[:count]
    ours[:, 2:] = np.stack([curves[name][:count] for name in SHOWN[2:5]], axis=1)
    ours = np.column_stack([ours, ours[:, 2:4]])
    theirs = np.column_stack([theirs, theirs[:, 2:4] - measures(still)[:count, 2:4]])
    kept = seen.valid[:count] & still.valid[:count]
    scores = [float(np.corrcoef(a[kept], b[kept])[0, 1]) for a, b in zip(ours.T, theirs.T, strict=True)]
    return float(seen.valid.mean()), scores


def filmed(
    engine: MeshEngine, person: Portrait, voice: Speech, track: LandmarkTrack, options: Options
) -> LandmarkTrack:
    """Landmarks that a face mesh sees in the encoded video of a track."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, engine.prepare(person, voice, track, options).frames(), options.fps, voice, {})
        return redetect(path, track.fps)


def measures(track: LandmarkTrack) -> Floats:
    """Columns of SHOWN but the last two: lips, yaw and pitch as `echomimic evaluate` has them, the mouth's width and
    the height of the eyes, negative, in pixels."""
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
    find = face_landmarker(video=True)
    for _, frame in video.frames():
        faces = find(frame)
        valid.append(bool(faces))
        points.append(faces[0] if faces else (points[-1] if points else np.zeros((478, 3), np.float32)))
    return LandmarkTrack(np.stack(points), (video.width, video.height), fps, np.array(valid))


if __name__ == "__main__":
    main()

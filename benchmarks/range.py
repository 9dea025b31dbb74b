"""How far does the mouth move, compared with filmed speech? Lip gap, shut frames and mouth width, as seen in the video.

Measured by a face landmarker in the encoded video: the gap in usual mouth widths, the width in distances of the outer
eye corners and relative to a frame at rest. The values of filmed speech are in `echomimic.mesh.mouth_range.TARGETS`.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from echomimic.landmarks.face import find_faces
from echomimic.media import read_speech, write_clip
from echomimic.mesh.engine import MeshEngine
from echomimic.mesh.mouth_range import TARGETS
from echomimic.options import make_options
from echomimic.types import CURVES, Floats, Portrait, Speech
from roundtrip import redetect
from samples import SHARED, demo_voice, portraits

SHUT = 0.02
"""Gap, in mouth widths, below which the mouth counts as shut."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    folder = SHARED / "data" / "speech"
    paths = sorted(folder.iterdir()) if folder.is_dir() else [demo_voice()]
    rows = []
    for person in portraits():
        for path in paths:
            rows.append(measure(person, read_speech(path)))
            print(f"{person.name:14} {path.stem:20} {_row(rows[-1])}", flush=True)
    print(f"{'mean':35} {_row(np.mean(rows, axis=0))}")
    print("film: ", ", ".join(f"{name} {value}" for name, value in TARGETS.items()))


def _row(scores: Floats) -> str:
    names = ("gap p50", "p95", "shut", "width sd", "p3", "p97")
    return "  ".join(f"{name} {score:.3f}" for name, score in zip(names, scores, strict=True))


def measure(person: Portrait, voice: Speech) -> Floats:
    """(6,): median and 95th percentile of the gap, share of shut frames, deviation and range of the width."""
    options, engine = make_options({"size": 512, "framing": "crop"}), MeshEngine()
    render = engine.prepare(person, voice, None, options)
    still = find_faces(render.prepared.scene.frame(np.zeros(len(CURVES), np.float32)), 1)[0].landmarks
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "clip.mp4"
        write_clip(path, render.frames(), options.fps, voice, {})
        seen = redetect(path, options.fps).points
    width, eyes = _distance(seen, 61, 291), _distance(seen, 33, 263)
    gap, relative = _distance(seen, 13, 14) / np.median(width), width / eyes
    rest = float(_distance(still[None], 61, 291)[0] / _distance(still[None], 33, 263)[0])
    low, high = np.percentile(relative / rest, [3, 97])
    return np.array([*np.percentile(gap, [50, 95]), (gap < SHUT).mean(), relative.std(), low, high])


def _distance(points: Floats, a: int, b: int) -> Floats:
    return np.linalg.norm(points[:, a, :2] - points[:, b, :2], axis=1)


if __name__ == "__main__":
    main()

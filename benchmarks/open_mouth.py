"""Does a portrait with an open mouth move like the same person with a shut one?

Closed loop: a frame of a portrait's own video in which the mouth is open becomes a portrait; its frames must match the
original portrait's under the same curves. For each portrait of the samples (or the bundled one): the mean absolute
difference in luma inside the mouth's box, the distance of the re-detected lip rims in mouth widths, and the pixels of
teeth that are left on shut lips, as a fraction of the lips.
"""

import argparse
from collections.abc import Iterator

import cv2
import numpy as np

from echomimic.landmarks import topology as mesh
from echomimic.landmarks.face import find_faces
from echomimic.mesh.engine import MeshEngine
from echomimic.mesh.renderer import Renderer
from echomimic.options import make_options
from echomimic.types import CURVE_NAMES, Floats, Picture, Portrait
from samples import portraits

SIZE = 512
OPEN: dict[str, dict[str, float]] = {
    "jaw .2": {"jaw": 0.2},
    "jaw .4": {"jaw": 0.4},
    "jaw .7": {"jaw": 0.7},
    "jaw 1": {"jaw": 1.0},
    "smile": {"jaw": 0.3, "smile": 0.7, "upper_lip": 0.5},
    "round": {"jaw": 0.4, "spread": -0.7},
}
"""The frames that become portraits."""
KEPT = ("smile", "spread", "upper_lip")
"""What a portrait cannot tell from a face at rest: the comparison has it on both sides."""
SPOKEN: tuple[dict[str, float], ...] = (
    {},
    {"closure": 1.0},
    {"jaw": 0.15},
    {"jaw": 0.3},
    {"jaw": 0.6},
    {"jaw": 0.3, "yaw": 6.0},
)
BRIGHTER, PALER = 25, 8
"""How much brighter and less coloured than the original's lip a pixel is that counts as tooth, in 8-bit Lab."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the portrait's name")
    parser.add_argument("--sheets", default="", help="folder for sheets: the original above, the open portrait below")
    given = parser.parse_args()
    people = [person for person in portraits(None) if given.only in person.name]
    table = []
    for person in people:
        scores = np.array([score for _, score in _loop(person, given.sheets)])
        table.append(scores)
        print(f"{person.name:18} {_row(scores.mean(0))}", flush=True)
    for k, name in enumerate(OPEN):
        print(f"{name:18} {_row(np.mean([scores[k] for scores in table], 0))}")
    print(f"{'mean':18} {_row(np.mean(table, (0, 1)))}")


def _row(scores: Floats) -> str:
    luma, rims, teeth = scores
    return f"luma MAE {luma:5.2f}  lip rims {rims:.3f} mouth widths  teeth left on shut lips {teeth:.2%}"


def _loop(person: Portrait, sheets: str) -> Iterator[tuple[str, Floats]]:
    """The scores (3,) of each frame of `OPEN` as a portrait."""
    original = scene(person)
    for name, curves in OPEN.items():
        frame = original.frame(row(curves))
        again = scene(Portrait(frame, name=f"{person.name} {name}"))
        kept = {key: curves[key] for key in KEPT if key in curves}
        pairs = [(original.frame(row(kept | said)), again.frame(row(said))) for said in SPOKEN]
        points = [original.landmarks(row(kept | said)) for said in SPOKEN]
        scores = [score(theirs, ours, at) for (theirs, ours), at in zip(pairs, points, strict=True)]
        if sheets:
            _save(pairs, frame, points[0], f"{sheets}/{person.name.split('.')[0]}_{name.replace(' ', '_')}.png")
        yield name, np.array([np.mean([s[0] for s in scores]), np.nanmean([s[1] for s in scores]), scores[1][2]])


def scene(person: Portrait) -> Renderer:
    """The renderer of a portrait."""
    return MeshEngine().prepare_portrait(person, make_options({"size": SIZE, "framing": "crop"})).scene


def row(curves: dict[str, float]) -> Floats:
    """A row of curves, at rest except for `curves`."""
    values = np.zeros(len(CURVE_NAMES), np.float32)
    for name, value in curves.items():
        values[CURVE_NAMES.index(name)] = value
    return values


def score(theirs: Picture, ours: Picture, points: Floats) -> tuple[float, float, float]:
    """Luma MAE in the mouth's box, distance of the lip rims in mouth widths, fraction of lip pixels that are teeth."""
    lips = points[list(mesh.LIPS), :2]
    width = float(np.linalg.norm(points[mesh.MOUTH_RIGHT] - points[mesh.MOUTH_LEFT]))
    low = np.maximum(np.floor(lips.min(0) - 0.15 * width).astype(int), 0)
    high = np.ceil(lips.max(0) + 0.15 * width).astype(int)
    box = np.s_[low[1] : high[1], low[0] : high[0]]
    a, b = (np.asarray(cv2.cvtColor(frame[box], cv2.COLOR_RGB2LAB), np.float32) for frame in (theirs, ours))
    shape = np.zeros(a.shape[:2], np.uint8)
    cv2.fillPoly(shape, [np.round(points[list(mesh.OUTER_LIPS), :2] - low).astype(np.int32)], (1,))
    colour = [np.hypot(x[..., 1] - 128, x[..., 2] - 128) for x in (a, b)]
    tooth = (b[..., 0] - a[..., 0] > BRIGHTER) & (colour[0] - colour[1] > PALER) & (shape > 0)
    greys = [cv2.cvtColor(frame[box], cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in (theirs, ours)]
    return float(np.abs(greys[0] - greys[1]).mean()), _rims(theirs, ours, width), float(tooth.sum() / shape.sum())


def _rims(theirs: Picture, ours: Picture, width: float) -> float:
    found = [find_faces(frame, 1) for frame in (theirs, ours)]
    if not all(found):
        return float("nan")
    a, b = (faces[0].landmarks[list(mesh.LIPS), :2] for faces in found)
    return float(np.linalg.norm(a - b, axis=1).mean() / width)


def _save(pairs: list[tuple[Picture, Picture]], frame: Picture, points: Floats, path: str) -> None:
    """A sheet: the frame that became the portrait, then the original's frames above and its own below."""
    from PIL import Image

    lips = points[list(mesh.LIPS), :2]
    middle, reach = lips.mean(0), 1.1 * np.ptp(lips[:, 0])
    low = np.maximum((middle - 0.7 * reach).astype(int), 0)
    box = np.s_[low[1] : low[1] + int(1.4 * reach), low[0] : low[0] + int(1.4 * reach)]
    rows = [np.hstack([frame[box], *(pair[k][box] for pair in pairs)]) for k in (0, 1)]
    Image.fromarray(np.vstack(rows)).resize((1400, 400)).save(path)


if __name__ == "__main__":
    main()

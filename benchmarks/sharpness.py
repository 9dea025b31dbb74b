"""How much of a photo's detail is left when it moves: energy of the Laplacian in the face, frames against the photo."""

import argparse

import cv2
import numpy as np

from echomimic.landmarks import topology as mesh
from echomimic.media import read_picture
from echomimic.mesh.engine import MeshEngine
from echomimic.options import make_options
from echomimic.types import Floats, Picture, Portrait, Speech
from samples import SHARED, astronaut, voices

FRAMES = (0, 1, 2, 3, 10, 20, 30, 40)
FOLDERS = ("portraits", "portraits_2", "half_body")
COUNT = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--all", action="store_true", help=f"every portrait, not only the {COUNT} with most detail")
    given = parser.parse_args()
    people = [read_picture(path) for name in FOLDERS for path in sorted((SHARED / "data" / name).glob("*"))]
    rows = [(person.name, *measure(person, voices()[0], given.size)) for person in people or [astronaut()]]
    rows.sort(key=lambda row: -row[1])
    for name, detail, ratios in rows if given.all else rows[:COUNT]:
        print(f"{name:20} detail {detail:6.1f}  " + " ".join(f"{ratio:.2f}" for ratio in ratios), flush=True)
    kept = np.array([row[2] for row in rows[:COUNT]])
    moving = kept[:, 1:].mean(1)
    print(f"frames {FRAMES[1:]}: mean {moving.mean():.2f}, least portrait {moving.min():.2f};", end=" ")
    print(f"frame 0 {kept[:, 0].mean():.2f}")


def measure(person: Portrait, voice: Speech, size: int) -> tuple[float, list[float]]:
    """The photo's energy, and that of some frames divided by it."""
    engine = MeshEngine()
    options = make_options({"size": size, "framing": "crop"})
    scene = engine.prepare_portrait(person, options).scene
    curves = engine.prepare(person, voice, None, options).curves.values
    photo = energy(scene.pixels, scene.rig.landmarks)
    return photo, [energy(scene.frame(curves[k]), scene.landmarks(curves[k])) / photo for k in FRAMES]


def energy(picture: Picture, landmarks: Floats) -> float:
    """Mean squared Laplacian of the face, without eyes and mouth."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(landmarks[list(mesh.OVAL), :2]).astype(np.int32)], (1,))
    reach = max(3, round(0.04 * float(np.ptp(landmarks[: mesh.SKIN, 0]))))
    mask = cv2.erode(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    for part in (
        mesh.LIPS,
        (*mesh.EYES[0].contour, *mesh.EYES[0].crease),
        (*mesh.EYES[1].contour, *mesh.EYES[1].crease),
    ):
        hull = cv2.convexHull(np.round(landmarks[list(part), :2]).astype(np.int32))
        cv2.fillConvexPoly(mask, hull, (0,))
        cv2.polylines(mask, [hull], True, (0,), reach)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float((cv2.Laplacian(grey, cv2.CV_32F)[mask > 0] ** 2).mean())


if __name__ == "__main__":
    main()

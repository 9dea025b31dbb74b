"""How much of a photo's detail is left when it moves: energy of the Laplacian in the face, frames against the photo."""

import argparse

import numpy as np

from echomimic.media import read_picture
from echomimic.mesh.engine import MeshEngine
from echomimic.mesh.enlargement import detail_energy
from echomimic.options import make_options
from echomimic.types import Portrait, Speech
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
    photo = detail_energy(scene.pixels, scene.rig.landmarks)
    return photo, [detail_energy(scene.frame(curves[k]), scene.landmarks(curves[k])) / photo for k in FRAMES]


if __name__ == "__main__":
    main()

"""Contact sheets of consecutive frames, to look at: python benchmarks/sheets.py [-o FOLDER] [--half-body]."""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from echomimic.media import read_picture, read_speech
from echomimic.mesh.engine import MeshEngine
from echomimic.options import make_options
from echomimic.types import Portrait, Speech
from samples import SHARED, astronaut, demo_voice, portraits, voices

STARTS = (0.8, 2.0, 3.2)
"""Seconds of the voice at which rows begin."""
COLUMNS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("out/sheets"))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--framing", default="crop")
    parser.add_argument("--half-body", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--demo", action="store_true", help="the bundled portrait and voice, 224 pixels")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    people = portraits(None)
    if given.half_body:
        people = [read_picture(path) for path in sorted((SHARED / "data" / "half_body").iterdir())]
    voice = voices()[0]
    if given.demo:
        people, voice, given.size = [astronaut()], read_speech(demo_voice()), 224
    for person in people:
        if given.only in person.name:
            sheet = contact_sheet(person, voice, given.size, given.framing)
            Image.fromarray(sheet).save(given.output / f"{Path(person.name).stem}.png")
            print(given.output / f"{Path(person.name).stem}.png")


def contact_sheet(person: Portrait, voice: Speech, size: int, framing: str) -> np.ndarray:
    """Rows of consecutive frames, each row from another moment of the voice."""
    engine = MeshEngine()
    options = make_options({"size": size, "framing": framing})
    scene = engine.prepare_portrait(person, options).scene
    curves = engine.prepare(person, voice, None, options).curves.values
    rows = []
    for start in STARTS:
        first = min(round(start * options.fps), len(curves) - COLUMNS)
        rows.append(np.hstack([scene.frame(curves[first + i]) for i in range(COLUMNS)]))
    return np.vstack(rows)


if __name__ == "__main__":
    main()

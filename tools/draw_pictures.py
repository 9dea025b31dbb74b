"""Draw pictures of the mesh engine for the documentation, from the bundled portrait and voice.

python tools/draw_pictures.py [-o docs/images]

speaking.gif: the portrait as a photo, an old photo and a painting, speaking.
mesh_mouth.png: the photo, then frames: lips shut, two openings of the jaw, "ee", "oo", and a turned head.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from echomimic.data import demo_portrait, demo_voice
from echomimic.media import read_picture, read_speech, write_clip
from echomimic.mesh.engine import MeshEngine
from echomimic.options import Options, make_options
from echomimic.types import Curves, Picture, Portrait

SIZE, FPS, SECONDS, TILE = 200, 10.0, 2.0, 240
MOUTHS: tuple[dict[str, float], ...] = (
    {},
    {"jaw": 0.4},
    {"jaw": 0.9},
    {"jaw": 0.35, "spread": 0.9},
    {"jaw": 0.35, "spread": -0.9},
    {"jaw": 0.5, "yaw": 14, "pitch": -4},
)


def kinds(photo: Picture) -> dict[str, Picture]:
    """The photo, and the two pictures that are made from it."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    old = np.clip(grey[..., None] * np.array([1.02, 0.93, 0.78]), 0, 255).astype(np.uint8)
    painting = cv2.edgePreservingFilter(photo, flags=cv2.RECURS_FILTER, sigma_s=15, sigma_r=0.35)
    return {"photo": photo, "old photo": old, "painting": np.asarray(painting, np.uint8)}


def crop(size: int, margin: float, **more: float) -> Options:
    """Options of a close-up."""
    return make_options({"size": size, "framing": "crop", "crop_margin": margin, **more})


def speak(picture: Picture, seed: int) -> list[Picture]:
    """Frames of a picture that speaks the bundled voice."""
    options = crop(SIZE, 0.35, fps=FPS, frames=round(FPS * SECONDS), seed=seed)
    return list(MeshEngine().prepare(Portrait(picture), read_speech(demo_voice()), None, options).frames())


def draw_speaking(photo: Picture, output: Path) -> None:
    """Write the moving picture of three kinds of portraits."""
    clips = [speak(picture, seed) for seed, picture in enumerate(kinds(photo).values())]
    frames = (np.concatenate(row, axis=1) for row in zip(*clips, strict=True))
    write_clip(output, frames, FPS, None, {"comment": "AI-generated video of a still picture, made by echomimic"})


def draw_mouths(photo: Picture, output: Path) -> None:
    """Write the photo beside some of its mouths."""
    prepared = MeshEngine().prepare_portrait(Portrait(photo), crop(TILE, 0.1))
    rows = [Curves.rest(1, FPS).replace(**mouth).values[0] for mouth in MOUTHS]
    tiles = [prepared.crop.cut(photo), *(prepared.scene.frame(row) for row in rows)]
    cv2.imwrite(str(output), cv2.cvtColor(np.concatenate(tiles, axis=1), cv2.COLOR_RGB2BGR))


def main() -> None:
    """Draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images"), help="folder of the pictures")
    folder: Path = parser.parse_args().output
    photo = read_picture(demo_portrait()).pixels
    draw_speaking(photo, folder / "speaking.gif")
    draw_mouths(photo, folder / "mesh_mouth.png")
    sys.stdout.write(f"{folder / 'speaking.gif'}: {(folder / 'speaking.gif').stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()

"""Draw docs/images/speaking.gif for the README: the bundled portrait as a photo, an old photo and a painting, speaking.

python tools/draw_speaking.py [-o docs/images/speaking.gif]
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from echomimic.data import demo_portrait, demo_voice
from echomimic.media import read_picture, read_speech, write_clip
from echomimic.mesh.engine import MeshEngine
from echomimic.options import make_options
from echomimic.types import Picture, Portrait

SIZE, FPS, SECONDS = 200, 10.0, 2.0


def kinds(photo: Picture) -> dict[str, Picture]:
    """The photo, and the two pictures that are made from it."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    old = np.clip(grey[..., None] * np.array([1.02, 0.93, 0.78]), 0, 255).astype(np.uint8)
    painting = cv2.edgePreservingFilter(photo, flags=cv2.RECURS_FILTER, sigma_s=15, sigma_r=0.35)
    return {"photo": photo, "old photo": old, "painting": np.asarray(painting, np.uint8)}


def speak(picture: Picture, seed: int) -> list[Picture]:
    """Frames of a picture that speaks the bundled voice."""
    options = make_options(
        {"size": SIZE, "fps": FPS, "frames": round(FPS * SECONDS), "framing": "crop", "crop_margin": 0.35, "seed": seed}
    )
    return list(MeshEngine().prepare(Portrait(picture), read_speech(demo_voice()), None, options).frames())


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images/speaking.gif"))
    output: Path = parser.parse_args().output
    clips = [speak(picture, seed) for seed, picture in enumerate(kinds(read_picture(demo_portrait()).pixels).values())]
    frames = (np.concatenate(row, axis=1) for row in zip(*clips, strict=True))
    write_clip(output, frames, FPS, None, {"comment": "AI-generated video of a still picture, made by echomimic"})
    sys.stdout.write(f"{output}: {output.stat().st_size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    sys.exit(main())

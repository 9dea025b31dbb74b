"""Build the face template: `python -m echomimic.train.template PICTURE… -o template.safetensors`.

The template is the symmetric mean of the meshes of freely licensed portraits.
"""

import argparse
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.optimize import linear_sum_assignment

from echomimic.landmarks.face import find_faces
from echomimic.landmarks.head_pose import align
from echomimic.landmarks.topology import OUTER_EYES, STABLE
from echomimic.media import read_picture
from echomimic.types import Floats

ROUNDS = 8


def main() -> None:
    """Read the pictures, average their faces, write the template."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    faces = [find_faces(read_picture(path).pixels)[0].landmarks for path in given.pictures]
    template = build_template(faces)
    save_file({"points": template}, given.output, metadata={"faces": str(len(faces)), "unit": "outer-eye distance"})


def build_template(faces: list[Floats]) -> Floats:
    """The symmetric mean (478, 3) of some faces: outer-eye distance 1, centred between the eyes, looking ahead."""
    mean = _upright(faces[0])
    for _ in range(ROUNDS):
        fitted = [align(face, mean, STABLE).apply(face) for face in faces]
        mean = _symmetric(np.mean(fitted, axis=0).astype(np.float32))
    return _upright(mean)


def _symmetric(points: Floats) -> Floats:
    mirrored = points * np.array([-1, 1, 1], np.float32)
    _, partner = linear_sum_assignment(np.linalg.norm(points[:, None] - mirrored[None], axis=2) ** 2)
    return np.asarray((points + mirrored[partner]) / 2, np.float32)


def _upright(points: Floats) -> Floats:
    left, right = points[OUTER_EYES[0]], points[OUTER_EYES[1]]
    return np.asarray((points - (left + right) / 2) / np.linalg.norm(right - left), np.float32)


if __name__ == "__main__":
    main()

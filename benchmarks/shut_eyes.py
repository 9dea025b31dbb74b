"""Does anything of an eye show on its shut lid? Pixels of white, iris or hair on every portrait at a full blink."""

import argparse

import cv2
import numpy as np
import numpy.typing as npt

from echomimic.landmarks import topology as mesh
from echomimic.media import read_picture
from echomimic.mesh.engine import MeshEngine
from echomimic.options import make_options
from echomimic.types import CURVE_NAMES, Floats, Picture, Portrait
from samples import SHARED, astronaut

FOLDERS = ("portraits", "portraits_2", "half_body")
POSES: tuple[dict[str, float], ...] = ({}, {"yaw": 9.0, "pitch": -4.0}, {"yaw": -9.0, "roll": 4.0})
LINE = 0.16
"""Distance from the line of the shut eye, in eye widths, within which dark pixels are its lashes."""
WHITE, DARK = 8.0, 24.0
"""Differences from the skin in CIELAB from which a pixel is white or iris; more where the skin itself varies."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    people = [read_picture(path) for name in FOLDERS for path in sorted((SHARED / "data" / name).glob("*"))]
    clean = 0
    people = [person for person in people or [astronaut()] if given.only in person.name]
    for person in people:
        counts = [sum(both) for both in measure(person, given.size)]
        clean += not any(counts)
        print(f"{person.name:20} pixels left: front {counts[0]:4}, right {counts[1]:4}, left {counts[2]:4}", flush=True)
    print(f"{clean} of {len(people)} portraits have none")


def measure(person: Portrait, size: int) -> list[tuple[int, int]]:
    """For each pose the pixels of white and of iris that are left on both eyes."""
    scene = MeshEngine().prepare_portrait(person, make_options({"size": size, "framing": "crop"})).scene
    found = []
    for pose in POSES:
        values = np.zeros(len(CURVE_NAMES), np.float32)
        for name, value in pose.items():
            values[CURVE_NAMES.index(name)] = value
        opened = scene.landmarks(values)
        values[CURVE_NAMES.index("blink")] = 1
        frame, shut = scene.frame(values), scene.landmarks(values)
        eyes = [left_over(frame, opened, shut, eye) for eye in mesh.EYES]
        found.append((sum(eye[0] for eye in eyes), sum(eye[1] for eye in eyes)))
    return found


def left_over(frame: Picture, opened: Floats, shut: Floats, eye: mesh.Eye) -> tuple[int, int]:
    """Pixels where the eye was open that are whiter, or darker and not on the lash line, than the skin round it."""
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    width = float(np.linalg.norm(opened[eye.right, :2] - opened[eye.left, :2]))
    was_open = _filled(frame, opened[[*eye.upper_curve, *eye.lower[::-1]], :2])
    line = np.zeros(frame.shape[:2], np.uint8)
    cv2.polylines(line, [np.round(shut[list(eye.lower_curve), :2]).astype(np.int32)], False, (255,), 1)
    away = cv2.distanceTransform(255 - line, cv2.DIST_L2, 5)
    skin = _filled(frame, opened[[*eye.crease, *eye.cheek_side[::-1]], :2]) & ~_grown(was_open, 0.1 * width)
    known = lab[skin]
    light, chroma = known[:, 0], np.hypot(known[:, 1], known[:, 2])
    middle, grey = float(np.median(light)), float(np.median(chroma))
    spread = 2.5 * 1.48 * float(np.median(np.abs(light - middle)))
    ours, colour = lab[..., 0], np.hypot(lab[..., 1], lab[..., 2])
    white = (ours > middle + max(WHITE, spread)) & (colour < grey - 3) & (away > 0.03 * width)
    iris = (ours < middle - max(DARK, spread)) & (away > LINE * width)
    return int((white & was_open).sum()), int((iris & was_open).sum())


def _filled(frame: Picture, polygon: Floats) -> npt.NDArray[np.bool_]:
    mask = np.zeros(frame.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(polygon).astype(np.int32)], (1,))
    return mask > 0


def _grown(mask: npt.NDArray[np.bool_], by: float) -> npt.NDArray[np.bool_]:
    side = 2 * max(1, round(by)) + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


if __name__ == "__main__":
    main()

"""Do the package's own face, hand and body landmarks agree with mediapipe 0.10.21's, and are they as fast?

Needs mediapipe 0.10.21 in the same environment and the sample pictures; without them it says so and ends. It runs
beside numpy 2 too: pip install --no-deps mediapipe==0.10.21 'protobuf<5' absl-py attrs matplotlib.
"""

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from echomimic.landmarks import detectors as ours
from echomimic.media import read_picture, read_video
from echomimic.types import Floats, Picture
from helpers import mediapipe_reference as theirs
from samples import SHARED

SIDE, FRAMES = 512, 200
FULL_RANGE, SHORT_RANGE = 0.6, 0.5
"""The thresholds that mediapipe's face detection has, whatever it is asked for."""
VISIBLE = 0.5
"""Body points that are less visible, or outside the picture, are guesses that no two runs agree on: not compared."""
Distances = dict[str, list[Floats]]


def main() -> None:
    if importlib.util.find_spec("mediapipe") is None or not (SHARED / "data").is_dir():
        print("skipped: needs mediapipe 0.10.21 and the sample data (ECHOMIMIC_SHARED)")
        return
    found: Distances = {}
    counts: dict[str, list[int]] = {}
    stills = list(pictures())
    for picture in stills:
        compare_picture(picture, found, counts)
    report(f"{len(stills)} pictures", found, counts)
    for name, frames, most in videos():
        found, counts = {}, {}
        compare_video(frames, most, found, counts)
        report(f"video {name}, {FRAMES} frames", found, counts)
        self_noise(frames)
    speed()


def pictures() -> Iterator[Picture]:
    """Each sample as it is, turned by 20 degrees, and small; and pairs of them."""
    paths = [
        path for folder in ("half_body", "portraits", "portraits_2") for path in (SHARED / "data" / folder).iterdir()
    ]
    samples = [fitted(read_picture(path).pixels) for path in sorted(paths)]
    for pixels in samples:
        yield pixels
        yield moved(pixels, 20, 0.9)
        yield moved(pixels, -8, 0.35)
    for left, right in zip(samples[:12:2], samples[1:12:2], strict=True):
        yield fitted(np.hstack([moved(left, 0, 1), moved(right, 0, 1)]))


def videos() -> list[tuple[str, list[Picture], int]]:
    """Name, frames, and largest number of faces: a filmed video, a moving camera, and two people."""
    folder = SHARED / "data"
    filmed = [fitted(pixels) for _, pixels in islice(read_video(folder / "driving" / "a.mp4").frames(), FRAMES)]
    body = fitted(read_picture(folder / "half_body" / "0035.png").pixels)
    pair = np.hstack(
        [fitted(read_picture(folder / "portraits" / f"{name}.png").pixels) for name in ("man_0025", "woman_0033")]
    )
    return [("filmed", filmed, 1), ("camera", panned(body), 1), ("pair", panned(pair), 2)]


def panned(pixels: Picture) -> list[Picture]:
    """The picture under a camera that turns, zooms and shifts."""
    phase = np.arange(FRAMES) / 24
    return [
        moved(pixels, 12 * np.sin(2.1 * t), 0.85 + 0.15 * np.sin(1.3 * t), (30 * np.sin(3.1 * t), 20 * np.cos(2.3 * t)))
        for t in phase
    ]


def fitted(pixels: Picture) -> Picture:
    scale = SIDE / max(pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def moved(pixels: Picture, degrees: float, scale: float, shift: tuple[float, float] = (0, 0)) -> Picture:
    """Turned and scaled about the middle, on SIDE x SIDE."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale * SIDE / max(height, width))
    matrix[:, 2] += np.array(shift) + SIDE / 2 - np.array([width, height]) / 2
    return np.asarray(
        cv2.warpAffine(pixels, matrix, (SIDE, SIDE), flags=cv2.INTER_AREA, borderValue=(90, 90, 90)), np.uint8
    )


def compare_picture(pixels: Picture, found: Distances, counts: dict[str, list[int]]) -> None:
    """Faces, boxes, hands, body and mask of one picture."""
    size = np.array([pixels.shape[1], pixels.shape[0]], np.float32)
    both = (theirs, ours)
    faces = [side.face_landmarker(most=4)(pixels) for side in both]
    hands = [side.hand_landmarker(most=4)(pixels) for side in both]
    bodies = [side.body_landmarker()(pixels) for side in both]
    match("face", *faces, found, counts)
    match("hand", *([hand.points[:, :2] * size for hand in side] for side in hands), found, counts)
    compare_bodies(*bodies, size, found, counts)
    for full_range, confidence in ((True, FULL_RANGE), (False, SHORT_RANGE)):
        boxes = [side.detect_faces(pixels, full_range=full_range, confidence=confidence) for side in both]
        corners = [[np.reshape(face.box, (2, 2)) for face in side] for side in boxes]
        match("box", *corners, found, counts, lambda a, b: np.array([1 - overlap(a.ravel(), b.ravel())]))
    found.setdefault("mask", []).append(np.abs(theirs.selfie_mask(pixels) - ours.selfie_mask(pixels)).mean()[None])


def compare_video(frames: list[Picture], most: int, found: Distances, counts: dict[str, list[int]]) -> None:
    """Faces and bodies that are followed through the frames."""
    both = (theirs, ours)
    faces = [side.face_landmarker(video=True, most=most) for side in both]
    bodies = [side.body_landmarker(video=True) for side in both]
    for pixels in frames:
        size = np.array([pixels.shape[1], pixels.shape[0]], np.float32)
        match("face", *(find(pixels) for find in faces), found, counts)
        compare_bodies(*(find(pixels) for find in bodies), size, found, counts)


def self_noise(frames: list[Picture]) -> None:
    """How far mediapipe's own body points move when every fiftieth value of the frames changes by 1."""
    random = np.random.default_rng(0)
    found: Distances = {}
    counts: dict[str, list[int]] = {}
    one, other = (theirs.body_landmarker(video=True) for _ in range(2))
    for pixels in frames:
        step = random.integers(-1, 2, pixels.shape) * (random.random(pixels.shape) < 0.02)
        size = np.array([pixels.shape[1], pixels.shape[0]], np.float32)
        noisy = np.clip(pixels + step, 0, 255).astype(np.uint8)
        compare_bodies(one(pixels), other(noisy), size, found, counts)
    report("  for comparison, mediapipe with and without noise of 1/255 in 2 % of the values:", found, counts)


def compare_bodies(
    a: ours.BodyLandmarks | None,
    b: ours.BodyLandmarks | None,
    size: Floats,
    found: Distances,
    counts: dict[str, list[int]],
) -> None:
    one, other = ([] if body is None else [body.pose[:, :2] * size] for body in (a, b))
    if a is not None and b is not None:
        seen = (np.minimum(a.pose[:, 3], b.pose[:, 3]) > VISIBLE) & ((one[0] >= 0) & (one[0] < size)).all(axis=1)
        one, other = [one[0][seen]], [other[0][seen]]
    match("pose", one, other, found, counts)
    for side in (0, 1):
        hands = (
            [] if body is None or body.hands[side] is None else [body.hands[side][:, :2] * size] for body in (a, b)
        )
        match("hand of body", *hands, found, counts)
    faces = ([] if body is None or body.face is None else [body.face[:, :2] * size] for body in (a, b))
    match("face of body", *faces, found, counts)


def match(
    name: str,
    one: list[Floats],
    other: list[Floats],
    found: Distances,
    counts: dict[str, list[int]],
    distance: Callable[[Floats, Floats], Floats] = lambda a, b: np.linalg.norm(a[:, :2] - b[:, :2], axis=1),
) -> None:
    """Pair what both sides saw, nearest first; `counts` holds how many theirs, ours, and pairs there were."""
    total = counts.setdefault(name, [0, 0, 0])
    total[0] += len(one)
    total[1] += len(other)
    left = list(other)
    for points in one:
        if left:
            nearest = min(
                range(len(left)), key=lambda i: float(np.linalg.norm(left[i][:, :2].mean(0) - points[:, :2].mean(0)))
            )
            found.setdefault(name, []).append(distance(points, left.pop(nearest)))
            total[2] += 1


def overlap(a: Floats, b: Floats) -> float:
    """Intersection over union of boxes x, y, width, height."""
    sides = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.maximum(sides, 0).prod())
    return shared / float(a[2:].prod() + b[2:].prod() - shared)


def report(title: str, found: Distances, counts: dict[str, list[int]]) -> None:
    print(title)
    for name, values in found.items():
        flat = np.concatenate(values)
        there, here, pairs = counts.get(name, [len(values)] * 3)
        print(
            f"  {name:14} mediapipe {there:4}  ours {here:4}  pairs {pairs:4}  median {np.median(flat):.4f}  "
            f"99 % {np.percentile(flat, 99):.4f}  max {flat.max():.4f}",
            flush=True,
        )


def speed() -> None:
    """Frames a second and core (processor time of all threads), alternated; three rounds."""
    name, frames, _ = videos()[0]
    rows: dict[str, list[list[float]]] = {"face": [[], []], "body": [[], []]}
    for _ in range(3):
        for number, side in enumerate((theirs, ours)):
            for part, make in (("face", side.face_landmarker), ("body", side.body_landmarker)):
                find = make(video=True)
                find(frames[0])
                start = time.process_time()
                for pixels in frames[: FRAMES if part == "face" else 60]:
                    find(pixels)
                count = FRAMES if part == "face" else 60
                rows[part][number].append(count / (time.process_time() - start))
    for part, (there, here) in rows.items():
        print(
            f"{part} in the {name} video, frames a second and core: mediapipe {np.median(there):.1f}, "
            f"ours {np.median(here):.1f} ({np.median(here) / np.median(there):.2f} x)"
        )


if __name__ == "__main__":
    main()

"""Count how often the mark is found in pieces of video that have none.

    python benchmarks/mark_false_alarms.py [--videos FILE ...] [--portraits DIR] [--pieces 1000]

Pieces of four seconds: renders of the mesh engine with other seeds, parts of filmed clips, moving noise and texture.
Prints the number found, the highest scores by kind, and the rate that a normal distribution of the correlations gives.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from itertools import chain, cycle, islice
from pathlib import Path

import cv2
import numpy as np

from echomimic.data import demo_portrait, demo_voice
from echomimic.media import read_picture, read_speech, read_video
from echomimic.mesh.engine import MeshEngine
from echomimic.options import make_options
from echomimic.provenance.mark import _SCALES, BINS, FOUND, TILE, WIDTH, find_mark_in
from echomimic.types import Floats, Picture

SECONDS = 4
FPS = 25
Piece = list[tuple[float, Floats]]


def luma(frame: Picture) -> Floats:
    """A luma picture of the width that the detector works with."""
    height = max(1, round(WIDTH * frame.shape[0] / frame.shape[1]))
    small = cv2.resize(frame, (WIDTH, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)


def renders(portraits: list[Path]) -> Iterator[Piece]:
    """Unmarked renders, each with another seed, as 8-bit pictures before any codec."""
    engine, voice = MeshEngine(), read_speech(demo_voice())
    pictures = [read_picture(path) for path in portraits]
    for seed, picture in enumerate(cycle(pictures)):
        options = make_options({"size": WIDTH, "fps": FPS, "frames": SECONDS * FPS, "seed": seed, "workers": 1})
        frames = engine.prepare(picture, voice, None, options).frames()
        yield [(number / FPS, luma(frame)) for number, frame in enumerate(frames)]


def filmed(videos: list[Path]) -> Iterator[Piece]:
    """Neighbouring pieces of filmed clips, once each."""
    for path in videos:
        piece: Piece = []
        start = 0.0
        for time, frame in read_video(path).frames():
            if time - start >= SECONDS:
                yield piece
                piece, start = [], time
            piece.append((time - start, luma(frame)))


def noise() -> Iterator[Piece]:
    """Noise of another size of grain and strength in each piece, still, drifting or new in every frame."""
    for seed in range(10**6):
        random = np.random.default_rng(seed)
        grain, strength, kind = random.uniform(0.5, 12), random.uniform(4, 60), seed % 3
        still = _grain(random, grain) * strength
        drift = random.uniform(-2, 2, 2)
        piece: Piece = []
        for number in range(SECONDS * FPS):
            move = np.round(number * drift).astype(int) if kind == 1 else (0, 0)
            picture = np.roll(still, tuple(move), (0, 1))
            picture = picture + (_grain(random, grain) * strength if kind == 2 else random.normal(0, 1, picture.shape))
            piece.append((number / FPS, np.clip(np.round(128 + picture), 0, 255).astype(np.float32)))
        yield piece


def _grain(random: np.random.Generator, size: float) -> Floats:
    """Noise (WIDTH, WIDTH) of unit variance whose grain is `size` pixels large."""
    smooth = cv2.GaussianBlur(random.normal(size=(WIDTH, WIDTH)).astype(np.float32), (0, 0), size)
    return np.asarray(smooth / smooth.std(), np.float32)


def expected_rate() -> float:
    """Probability that one of all correlations of a video reaches FOUND if they are independent and normal."""
    places = len(_SCALES) * BINS * TILE * TILE
    return places * 0.5 * math.erfc(FOUND / math.sqrt(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="filmed clips")
    parser.add_argument("--portraits", type=Path, help="a folder of portraits; default: the bundled one")
    parser.add_argument("--pieces", type=int, default=1000)
    chosen = parser.parse_args()
    folder: Path | None = chosen.portraits
    portraits = sorted(folder.glob("*.[pj][np]g")) if folder else [demo_portrait()]
    pieces = {"filmed": list(islice(filmed(chosen.videos), chosen.pieces // 3))}
    rest = chosen.pieces - len(pieces["filmed"])
    kinds: dict[str, Iterator[Piece]] = {
        "filmed": iter(pieces["filmed"]),
        "rendered": islice(renders(portraits), rest // 4),
        "noise": islice(noise(), rest - rest // 4),
    }
    scores: dict[str, list[float]] = {name: [] for name in kinds}
    for name, piece in chain.from_iterable(((name, piece) for piece in some) for name, some in kinds.items()):
        scores[name].append(find_mark_in(piece).score)
    for name, found in scores.items():
        top = ", ".join(f"{score:.2f}" for score in sorted(found)[-3:])
        print(f"{name}: {sum(score >= FOUND for score in found)} of {len(found)} found; highest scores {top}")
    every = [score for found in scores.values() for score in found]
    print(f"all: {sum(score >= FOUND for score in every)} of {len(every)}; expected rate {expected_rate():.1e} a video")


if __name__ == "__main__":
    sys.exit(main())

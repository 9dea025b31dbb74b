"""Measure the mark: how much it changes frames, what it survives, false alarms, its cost.

    python benchmarks/mark.py [--portraits DIR] [--count 8] [--curve]

Renders five seconds of each portrait with the mesh engine, marks them, and encodes both as a user or a site would.
`--curve` measures other strengths instead, in echomimic's own files and after crf 18, 23 and 28.
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from echomimic.data import demo_portrait, demo_voice
from echomimic.media import read_picture, read_speech
from echomimic.media.writer import write_clip
from echomimic.mesh.engine import MeshEngine
from echomimic.options import make_options
from echomimic.provenance import mark
from echomimic.provenance.mark import WIDTH, Marker, MarkResult, find_mark_in, mark_frames
from echomimic.types import Floats, Picture

FPS = 25
PAYLOAD = bytes(range(40, 46))
Frames = Sequence[Picture]


def encode(frames: Frames, codec: str = "libx264", fps: float = FPS, scale: float = 1, **options: str) -> bytes:
    """Encode frames as a site would, after a resize by `scale`."""
    target = io.BytesIO()
    height, width = (round(side * scale / 2) * 2 for side in frames[0].shape[:2])
    with av.open(target, "w", format="webm" if "vp" in codec else "mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(small, "rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def written(frames: Frames) -> bytes:
    """The file that echomimic itself writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_clip(path, frames, FPS, None, {})
        return path.read_bytes()


def luma(data: bytes, crop: float = 0, gain: float = 1) -> list[tuple[float, Floats]]:
    """Times and luma pictures of an encoded video, as `find_mark` reads them; cropped or brightened on the way."""
    found = []
    with av.open(io.BytesIO(data)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            picture = np.clip(frame.to_ndarray(format="gray").astype(np.float32) * gain, 0, 255)
            edge = round(picture.shape[1] * crop)
            picture = picture[edge : picture.shape[0] - edge, edge : picture.shape[1] - edge]
            size = (WIDTH, round(WIDTH * picture.shape[0] / picture.shape[1]))
            seconds = index / FPS if frame.time is None else frame.time
            found.append((seconds, cv2.resize(picture, size, interpolation=cv2.INTER_AREA)))
    return found


def at_30(frames: Frames) -> Frames:
    """The frames at 30 frames a second, by repeating the nearest one."""
    count = len(frames) * 30 // FPS
    return [frames[min(len(frames) - 1, int(index * FPS / 30))] for index in range(count)]


CASES: dict[str, Callable[[Frames], MarkResult]] = {
    "echomimic's own file": lambda f: find_mark_in(luma(written(f))),
    "crf 18": lambda f: find_mark_in(luma(encode(f, crf="18", preset="medium"))),
    "crf 23": lambda f: find_mark_in(luma(encode(f, crf="23", preset="medium"))),
    "crf 28": lambda f: find_mark_in(luma(encode(f, crf="28", preset="medium"))),
    "vp9": lambda f: find_mark_in(
        luma(encode(f, "libvpx-vp9", deadline="realtime", **{"cpu-used": "7", "crf": "24", "b": "0"}))
    ),
    "half size, crf 23": lambda f: find_mark_in(luma(encode(f, scale=0.5, crf="23", preset="medium"))),
    "0.7 size, crf 30": lambda f: find_mark_in(luma(encode(f, scale=0.7, crf="30", preset="medium"))),
    "25 to 30 fps, crf 23": lambda f: find_mark_in(luma(encode(at_30(f), fps=30, crf="23", preset="medium"))),
    "crop 5 %, crf 23": lambda f: find_mark_in(luma(encode(f, crf="23", preset="medium"), crop=0.05)),
    "brightness + 10 %": lambda f: find_mark_in(luma(encode(f, crf="23", preset="medium"), gain=1.1)),
    "brightness - 10 %": lambda f: find_mark_in(luma(encode(f, crf="23", preset="medium"), gain=0.9)),
}


def render(portrait: Path) -> Frames:
    """Five seconds of a portrait."""
    options = make_options({"size": 512, "fps": FPS, "frames": 5 * FPS, "framing": "crop", "workers": 1})
    return list(MeshEngine().prepare(read_picture(portrait), read_speech(demo_voice()), None, options).frames())


def psnr(one: Frames, other: Frames) -> float:
    """Peak signal to noise ratio in dB."""
    error = np.mean([((a.astype(np.float32) - b) ** 2).mean() for a, b in zip(one, other, strict=True)])
    return float(10 * np.log10(255**2 / error))


def ssim(one: Frames, other: Frames) -> float:
    """Mean structural similarity of every 25th frame."""
    from skimage.metrics import structural_similarity

    pairs = list(zip(one, other, strict=True))[::25]
    return float(np.mean([structural_similarity(a, b, channel_axis=2) for a, b in pairs]))


def cost(frames: Frames) -> float:
    """Milliseconds of CPU per frame, the median of five runs."""
    runs = []
    for _ in range(5):
        marker = Marker(PAYLOAD, (frames[0].shape[0], frames[0].shape[1]), FPS)
        began = time.process_time()
        for index, frame in enumerate(frames):
            marker.mark(frame, index)
        runs.append((time.process_time() - began) / len(frames) * 1e3)
    return float(np.median(runs))


CURVE = (0.35, 0.5, 0.7, 1.0, 1.4)
"""Strengths relative to the usual one."""


def curve(clips: Sequence[Frames]) -> None:
    """Print by strength: PSNR, the growth of echomimic's own file, and how many clips are found and read exactly."""
    usual = mark.FLAT, mark.TEXTURED
    cases = ("echomimic's own file", "crf 18", "crf 23", "crf 28")
    plain = [len(written(frames)) for frames in clips]
    print("| strength | PSNR | size | " + " | ".join(f"{name}: found, exact, least score" for name in cases) + " |")
    for strength in CURVE:
        mark.FLAT, mark.TEXTURED = usual[0] * strength, usual[1] * strength
        marked = [list(mark_frames(iter(frames), FPS, PAYLOAD)) for frames in clips]
        level = min(psnr(frames, other) for frames, other in zip(clips, marked, strict=True))
        sizes = [len(written(frames)) for frames in marked]
        growth = np.median([size / before for size, before in zip(sizes, plain, strict=True)])
        row = [f"{strength:g}", f"{level:.1f}", f"{growth:.2f}"]
        for name in cases:
            results = [CASES[name](frames) for frames in marked]
            found, exact = sum(r.found for r in results), sum(r.payload == PAYLOAD for r in results)
            row.append(f"{found}, {exact}, {min(r.score for r in results):.1f}")
        print("| " + " | ".join(row) + " |", flush=True)
    mark.FLAT, mark.TEXTURED = usual


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, help="a folder of portraits; default: the bundled one")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--curve", action="store_true", help="measure other strengths")
    chosen = parser.parse_args()
    folder: Path | None = chosen.portraits
    portraits = (
        [demo_portrait()] if folder is None else sorted(p for p in folder.iterdir() if p.suffix in (".png", ".jpg"))
    )
    if chosen.curve:
        curve([render(portrait) for portrait in portraits[: chosen.count]])
        return
    totals = {name: [0, 0, 0.0] for name in CASES}
    unmarked: list[float] = []
    print("| portrait | PSNR | SSIM | ms a frame | size | " + " | ".join(CASES) + " |")
    for portrait in portraits[: chosen.count]:
        frames = render(portrait)
        marked = list(mark_frames(iter(frames), FPS, PAYLOAD))
        plain = written(frames)
        unmarked.append(find_mark_in(luma(plain)).score)
        growth = len(written(marked)) / len(plain)
        row = [f"{psnr(frames, marked):.1f}", f"{ssim(frames, marked):.4f}", f"{cost(marked):.2f}", f"{growth:.2f}"]
        for name, measure in CASES.items():
            result = measure(marked)
            exact = result.payload == PAYLOAD
            totals[name][0] += result.found
            totals[name][1] += exact
            totals[name][2] = min(totals[name][2] or 99.0, result.score)
            row.append(f"{result.score:.1f}{'' if exact else ' -'}")
        print(f"| {portrait.stem} | " + " | ".join(row) + " |", flush=True)
    count = len(unmarked)
    for name, (found, exact, least) in totals.items():
        print(f"{name}: found {found} of {count}, payload exact {exact}, least score {least:.1f}")
    print(f"unmarked: highest score {max(unmarked):.1f} of {count}")


if __name__ == "__main__":
    sys.exit(main())

"""Bad inputs for the command line and the page: how to make each, and a word that its message must contain."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from conftest import write_wav
from echomimic.media import write_clip

Make = Callable[[Path], list[str]]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder with what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def picture(name: str, write: Callable[[Path], object]) -> Make:
    """The command with a portrait that `write` makes under `name`."""

    def make(folder: Path) -> list[str]:
        write(folder / name)
        return [name, "voice.wav"]

    return make


def sound(name: str, write: Callable[[Path], object]) -> Make:
    """The command with a voice that `write` makes under `name`."""

    def make(folder: Path) -> list[str]:
        write(folder / name)
        return ["me.png", name]

    return make


def track(name: str, write: Callable[[Path], object]) -> Make:
    """The command with a motion that `write` makes under `name`."""

    def make(folder: Path) -> list[str]:
        write(folder / name)
        return ["me.png", "voice.wav", "--motion", name]

    return make


def flags(*extra: str) -> Make:
    """The command with good files and more flags."""
    return lambda folder: ["me.png", "voice.wav", *extra]


def nothing(path: Path) -> None:
    """No file at all."""


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("this is neither a picture nor a sound\n" * 40)


def half(name: str) -> Callable[[Path], object]:
    """The first half of a good file."""

    def write(path: Path) -> None:
        whole = (path.parent / name).read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if name == "me.png" else whole[:30])

    return write


def still(width: int, height: int) -> Callable[[Path], object]:
    """A picture of noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return lambda path: Image.fromarray(pixels).save(path, "PNG")


def landscape(path: Path) -> None:
    """A picture of an evening sky over hills."""
    y, x = np.mgrid[0:256, 0:256]
    hills = y > 150 + 30 * np.sin(x / 40) + 15 * np.sin(x / 13)
    sky = np.stack([120 + y / 2, 90 + y / 3, 200 - y / 3], -1)
    grass = np.stack([30 + x / 8, 70 + 20 * np.sin(x * y / 90), 30 + y / 8], -1)
    Image.fromarray(np.where(hills[..., None], grass, sky).astype(np.uint8)).save(path)


def small(side: int) -> Callable[[Path], object]:
    """The portrait made small."""
    return lambda path: Image.open(path.parent / "me.png").resize((side, side)).save(path)


def bomb(path: Path) -> None:
    """A PNG of a few bytes that claims 60000 x 60000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def no_samples(path: Path) -> None:
    write_wav(path, np.zeros(0))


def not_a_number(path: Path) -> None:
    """A 32-bit float WAV whose samples are all NaN."""
    data = np.full(16_000, np.nan, "<f4").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, 16_000, 64_000, 4, 32)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    path.write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)


def silent_film(path: Path) -> None:
    """A video without sound."""
    write_clip(path, iter([np.zeros((64, 64, 3), np.uint8)] * 3), 25, None, {})


def noise_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(20_000))


def folder_of_that_name(path: Path) -> None:
    path.mkdir()


def pickled(path: Path) -> None:
    np.savez(path, points=np.array([{"a": 1}], dtype=object))


BAD: dict[str, tuple[Make, str]] = {
    "picture missing": (picture("gone.png", nothing), "gone.png"),
    "picture empty": (picture("p.png", empty), "p.png"),
    "picture truncated": (picture("p.png", half("me.png")), "p.png"),
    "text called .png": (picture("p.png", text), "p.png"),
    "sound called .png": (picture("p.png", lambda p: p.write_bytes((p.parent / "voice.wav").read_bytes())), "p.png"),
    "folder as picture": (picture("p.png", folder_of_that_name), "p.png"),
    "picture of one pixel": (picture("p.png", still(1, 1)), "1"),
    "decompression bomb": (picture("p.png", bomb), "megapixels"),
    "noise as picture": (picture("p.png", still(256, 256)), "expected a photo"),
    "no face": (picture("p.png", landscape), "--face-box"),
    "face too small": (picture("p.png", small(160)), "64"),
    "no third face": (flags("--face", "3"), "face"),
    "face box of three numbers": (flags("--face-box", "1,2,3"), "x,y,w,h"),
    "face box of words": (flags("--face-box", "here,there,a,b"), "x,y,w,h"),
    "face box outside": (flags("--face-box", "9000,9000,100,100"), "512"),
    "face box without size": (flags("--face-box", "10,10,0,-5"), "face"),
    "sound missing": (sound("gone.wav", nothing), "gone.wav"),
    "sound empty": (sound("s.wav", empty), "s.wav"),
    "sound truncated": (sound("s.wav", half("voice.wav")), "s.wav"),
    "sound of zero length": (sound("s.wav", no_samples), "s.wav"),
    "text called .wav": (sound("s.wav", text), "s.wav"),
    "noise called .mp3": (sound("s.mp3", noise_bytes), "s.mp3"),
    "picture as sound": (sound("s.png", lambda p: p.write_bytes((p.parent / "me.png").read_bytes())), "s.png"),
    "video without sound": (sound("s.mp4", silent_film), "s.mp4"),
    "sound not a number": (sound("s.wav", not_a_number), "s.wav"),
    "folder as sound": (sound("s.wav", folder_of_that_name), "s.wav"),
    "motion missing": (track("gone.npz", nothing), "gone.npz"),
    "motion empty": (track("m.npz", empty), "m.npz"),
    "text called .npz": (track("m.npz", text), "m.npz"),
    "motion with a pickle": (track("m.npz", pickled), "m.npz"),
    "output folder missing": (flags("-o", "nowhere/out.mp4"), "nowhere"),
    "output of unknown kind": (flags("-o", "out.doc"), ".mp4"),
    "output is the portrait": (flags("-o", "me.png"), "me.png"),
    "output is the voice": (lambda f: ["me.png", *film(f), "-o", "film.mp4"], "film.mp4"),
    "motion into a missing folder": (flags("--save-motion", "nowhere/m.npz"), "nowhere"),
    "motion of unknown kind": (flags("--save-motion", "m.doc"), ".npz"),
    "motion onto the portrait": (flags("--save-motion", "me.png"), "me.png"),
    "fps 0": (flags("--fps", "0"), "fps is 0"),
    "fps -1": (flags("--fps", "-1"), "fps is -1"),
    "fps 240": (flags("--fps", "240"), "fps is 240"),
    "fps nan": (flags("--fps", "nan"), "fps is 'nan'; expected a number from 1"),
    "fps of words": (flags("--fps", "fast"), "--fps is 'fast'; expected a number from 1 to 120"),
    "size too small": (flags("--size", "8"), "size is 8"),
    "size huge": (flags("--size", "100000"), "size is 100000"),
    "frames negative": (flags("--frames", "-3"), "frames is -3"),
    "seed negative": (flags("--seed", "-1"), "seed is -1"),
    "framing unknown": (flags("--framing", "wide"), "'full' or 'crop'"),
    "preset unknown": (flags("--preset", "v9"), "mesh"),
    "an address as picture": (lambda f: ["https://a.b/c//d.png", "voice.wav"], "https://a.b/c"),
    "an address as sound": (lambda f: ["me.png", "s3://bucket/voice.wav"], "s3://bucket/voice.wav is an address"),
    "an address as weights": (flags("--weights", "https://a.b/c"), "https://a.b/c is not a folder"),
    "an address as motion": (flags("--motion", "http://a.b/c.npz"), "http://a.b/c.npz is an address"),
    "stdout as output": (flags("-o", "-"), "give one with -o"),
    "stdout as motion": (flags("--save-motion", "-"), "'-'"),
    "output name of 300 bytes": (flags("-o", "a" * 296 + ".mp4"), "a shorter one with -o"),
    "motion name of 300 bytes": (flags("--save-motion", "a" * 296 + ".npz"), "300 bytes"),
    "flag unknown": (flags("--colour", "red"), "--colour"),
}


def film(folder: Path) -> list[str]:
    """A video with sound to be the voice."""
    (folder / "film.mp4").write_bytes(b"x")
    return ["film.mp4"]

"""Small pictures, sounds and videos, made on the fly for the tests of the media package."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def tone(seconds: float = 1.0, rate: int = 16000, channels: int = 1, loud: float = 0.5) -> Array:
    """(n, channels): the same 220 Hz sine on every channel."""
    times = np.arange(round(seconds * rate)) / rate
    return np.repeat((loud * np.sin(2 * np.pi * 220 * times))[:, None], channels, axis=1).astype(np.float32)


def write_wav(path: Path, samples: Array, rate: int = 16000, kind: str = "s16") -> Path:
    """A wav file written byte by byte, so that it can hold what an encoder would not: NaN, wild sizes."""
    types = {"u8": (1, 8), "s16": (1, 16), "s24": (1, 24), "s32": (1, 32), "f32": (3, 32), "f64": (3, 64)}
    code, bits = types[kind]
    if kind == "u8":
        data = np.rint(samples * 127 + 128).astype(np.uint8).tobytes()
    elif kind == "s24":
        wide = np.rint(samples * (2**23 - 1)).astype("<i4").reshape(-1)
        data = wide.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    elif code == 1:
        data = np.rint(samples * (2 ** (bits - 1) - 1.0)).astype(f"<i{bits // 8}").tobytes()
    else:
        data = samples.astype(f"<f{bits // 8}").tobytes()
    channels = samples.shape[1]
    block = channels * bits // 8
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, code, channels, rate, rate * block, block, bits)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
CODECS = {
    ".mp3": "libmp3lame",
    ".m4a": "aac",
    ".flac": "flac",
    ".ogg": "libopus",
    ".opus": "libopus",
    ".webm": "libopus",
}


def write_sound(path: Path, samples: Array, rate: int = 48000, start: float = 0.0) -> Path:
    """A sound file of the kind that its suffix names; its first sample is stamped `start` seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix], rate=rate)
        stream.codec_context.layout = LAYOUTS[samples.shape[1]]
        stream.codec_context.bit_rate = 192_000
        container.mux(encoded(stream, samples, rate, start))
    return path


def encoded(stream: av.AudioStream, samples: Array, rate: int, start: float = 0.0) -> list[av.Packet]:
    packets = []
    for first in range(0, len(samples), 1152):
        piece = np.ascontiguousarray(samples[first : first + 1152].T)
        frame = av.AudioFrame.from_ndarray(piece, "fltp", LAYOUTS[samples.shape[1]])
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = first + round(start * rate)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def picture(width: int = 96, height: int = 64) -> npt.NDArray[np.uint8]:
    """Red grows to the right, green downwards; the upper left corner is blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None, :]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    pixels[: height // 4, : width // 4] = 0, 0, 255
    return pixels


def moving(count: int, width: int = 96, height: int = 64) -> Iterator[npt.NDArray[np.uint8]]:
    """Frames of a soft bar that wanders; frame i has the grey i in its lower right corner block."""
    for index in range(count):
        frame = np.right_shift(picture(width, height), 1)
        left = index % (width // 2)
        frame[:, left : left + 8] = 200
        frame[-16:, -16:] = index % 256
        yield frame


def write_video(
    path: Path,
    count: int = 10,
    size: tuple[int, int] = (96, 64),
    fps: Fraction = Fraction(25),
    stamps: list[int] | None = None,
    sound: Array | None = None,
    sound_start: float = 0.0,
) -> Path:
    """A video, with sound if `sound` is given; `stamps` in units of 1/fps make its frame rate vary."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264" if path.suffix != ".webm" else "libvpx", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        voice = None
        if sound is not None:
            voice = container.add_stream("aac" if path.suffix != ".webm" else "libopus", rate=48000)
            voice.codec_context.layout = LAYOUTS[sound.shape[1]]
        for index, pixels in enumerate(moving(count, *size)):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p")
            frame.pts = stamps[index] if stamps else index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice is not None and sound is not None:
            container.mux(encoded(voice, sound, 48000, sound_start))
    return path

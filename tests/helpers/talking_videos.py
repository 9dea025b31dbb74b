"""Videos of a talking portrait, rendered by the mesh engine, to prepare for training."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from echomimic.data import demo_portrait, demo_voice
from echomimic.media import read_picture, read_speech, sound_blocks, speech_from_samples
from echomimic.mesh.engine import MeshEngine
from echomimic.options import make_options
from echomimic.types import Floats, Picture
from helpers.media_samples import encoded

RATE = 16_000
RIGHTS = '[defaults]\nlicence = "CC0-1.0"\nconsent = "written"\nsubject = "portrait"\n'


@dataclass(frozen=True)
class Take:
    """A part of a video: `frames` (T, H, W, 3) at 24 a second, and the voice that they speak."""

    frames: npt.NDArray[np.uint8]
    sound: Floats

    def with_text(self) -> "Take":
        """The same with a bar of text at the bottom of the picture."""
        frames = self.frames.copy()
        height, width = frames.shape[1:3]
        for frame in frames:
            cv2.putText(frame, "MMHHEEWW" * 3, (0, height - height // 16), 0, height / 400, (255, 255, 255), 2)
            frame[height - height // 20 :, : width // 3] //= 2
        return Take(frames, self.sound)

    def mirrored(self) -> "Take":
        """The same seen in a mirror, so that two takes in a row have a cut between them."""
        return Take(np.ascontiguousarray(self.frames[:, :, ::-1]), self.sound)


def head_picture(folder: Path) -> Path:
    """The head of the demo's portrait, 256 x 256, on clothes without details that look like text."""
    pixels = np.asarray(Image.open(demo_portrait()).convert("RGB").crop((96, 0, 352, 256))).copy()
    pixels[190:] = cv2.GaussianBlur(pixels, (0, 0), 8)[190:]
    path = folder / "head.png"
    Image.fromarray(pixels).save(path)
    return path


def demo_sound(start: float, seconds: float) -> Floats:
    """A part of the demo's voice, 16 kHz."""
    whole = np.concatenate(list(sound_blocks(read_speech(demo_voice()), RATE)))
    return whole[round(start * RATE) : round((start + seconds) * RATE)]


def render(portrait: Path, sound: Floats, size: int, seed: int = 1) -> Take:
    """The portrait speaking."""
    options = make_options({"fps": 24, "size": size, "seed": seed, "workers": 1})
    made = MeshEngine().prepare(read_picture(portrait), speech_from_samples(sound, RATE), None, options)
    return Take(np.stack(list(made.frames())), sound)


def write_video(path: Path, takes: Sequence[Take], late: int = 0) -> Path:
    """One video of several takes; its sound is late by `late` frames."""
    sound = np.concatenate([take.sound for take in takes])
    sound = np.roll(np.pad(sound, (0, abs(late) * RATE // 24)), late * RATE // 24)
    frames = [frame for take in takes for frame in take.frames]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(24), options={"crf": "12", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        voice = container.add_stream("aac", rate=RATE)
        voice.codec_context.layout = "mono"
        for number, pixels in enumerate(frames):
            frame = _frame(pixels)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        container.mux(encoded(voice, sound[:, None], RATE))
    return path


def _frame(pixels: Picture) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24").reformat(format="yuv420p")

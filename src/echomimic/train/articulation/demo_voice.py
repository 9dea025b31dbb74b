"""The demo voice: neutral sentences by flite's voice slt, whose licence permits any use of its output."""

import tempfile
from pathlib import Path

import av

from echomimic.train.articulation.synthesis import Utterance, flite

SENTENCES = (
    "Hello! I am only a photograph, but now I can speak. My lips follow the voice, and you may edit every movement."
)
_FLAGS = ["--setf", "duration_stretch=0.97", "--setf", "int_f0_target_stddev=22"]


def demo_utterance() -> Utterance:
    """The demo voice with its phones, spoken anew by flite."""
    with tempfile.TemporaryDirectory() as folder:
        return flite("slt", SENTENCES, Path(folder) / "demo.wav", _FLAGS)


def write_demo_voice(path: Path) -> None:
    """Write the demo voice as 16-bit mono FLAC at 16 kHz."""
    samples = demo_utterance().samples
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=16_000)
        stream.layout = "mono"
        size = stream.codec_context.frame_size or len(samples)
        for start in range(0, len(samples), size):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + size], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

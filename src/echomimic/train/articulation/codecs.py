"""Degrade voices by the lossy codecs of telephones and web videos, through PyAV."""

from dataclasses import dataclass
from io import BytesIO

import av
import numpy as np

from echomimic.mesh.speech_to_face import SAMPLE_RATE
from echomimic.types import Floats


@dataclass(frozen=True)
class Codec:
    """An encoder of FFmpeg, the container it goes into, its bit rate and the sample rate it runs at."""

    encoder: str
    container: str
    bits: int
    rate: int = SAMPLE_RATE


CODECS: tuple[Codec | None, ...] = (
    None,
    None,
    Codec("libmp3lame", "mp3", 32_000),
    Codec("libmp3lame", "mp3", 64_000),
    Codec("aac", "adts", 40_000),
    Codec("libopus", "ogg", 16_000),
    Codec("libopus", "ogg", 28_000),
    Codec("pcm_mulaw", "wav", 64_000, 8_000),
)
"""Codecs to choose from; None leaves a clip as it is."""


def apply_codec(codec: Codec, samples: Floats) -> Floats:
    """Sound (N,) at 16 kHz encoded and decoded: (N,), with the codec's delay removed."""
    file = BytesIO()
    _encode(codec, samples, file)
    file.seek(0)
    decoded = _decode(file, codec.container)
    delay = _delay(samples, decoded)
    shifted = decoded[delay:] if delay >= 0 else np.concatenate([np.zeros(-delay, np.float32), decoded])
    return np.pad(shifted, (0, max(0, len(samples) - len(shifted))))[: len(samples)]


def _encode(codec: Codec, samples: Floats, file: BytesIO) -> None:
    whole = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
    with av.open(file, "w", format=codec.container) as container:
        stream = container.add_stream(codec.encoder, rate=codec.rate)
        stream.layout = "mono"
        stream.bit_rate = codec.bits
        frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        resampler = av.AudioResampler(stream.format, "mono", codec.rate, frame_size=stream.frame_size or 1024)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


def _decode(file: BytesIO, name: str) -> Floats:
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)
    pieces: list[Floats] = []
    with av.open(file, format="aac" if name == "adts" else name) as container:
        for frame in container.decode(audio=0):
            pieces += [piece.to_ndarray()[0].astype(np.float32) / 32768 for piece in resampler.resample(frame)]
    pieces += [piece.to_ndarray()[0].astype(np.float32) / 32768 for piece in resampler.resample(None)]
    return np.concatenate(pieces)


def _delay(before: Floats, after: Floats) -> int:
    """By how many samples `after` lags behind `before`, at most a tenth of a second, from their correlation."""
    length = min(len(before), len(after), 60 * SAMPLE_RATE)
    product = np.fft.rfft(after[:length], 2 * length) * np.conj(np.fft.rfft(before[:length], 2 * length))
    match, reach = np.fft.irfft(product), SAMPLE_RATE // 10
    lags = np.concatenate([match[-reach:], match[: reach + 1]])
    return int(np.argmax(lags)) - reach

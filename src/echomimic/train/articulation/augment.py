"""Audio augmentation: rooms, noise, equalizers, clipping, level, and the codecs of telephones and web videos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import av
import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve

from echomimic.mesh.speech_to_face import SAMPLE_RATE
from echomimic.types import Floats

_Doubles = npt.NDArray[np.float64]
Random = np.random.Generator


def degrade(samples: Floats, draw: Random, voices: Sequence[npt.NDArray[np.int16]]) -> Floats:
    """Degrade a voice (N,) with random effects; babble noise is made from `voices`."""
    sound = samples.astype(np.float64) / (samples.std() + 1e-6)
    if draw.random() < 0.25:
        sound = sound * np.interp(np.arange(len(sound)), np.linspace(0, len(sound), 5), 10 ** draw.normal(0, 0.15, 5))
    if draw.random() < 0.8:
        sound = _equalise(sound, draw)
    if draw.random() < 0.6:
        sound = fftconvolve(sound, room_response(draw))[: len(sound)]
    sound /= sound.std() + 1e-6
    sound += _disturbance(len(sound), draw, voices)
    if draw.random() < 0.15:
        sound = np.tanh(sound * draw.uniform(0.5, 1.5))
    peak = draw.uniform(0.1, 0.95) if draw.random() < 0.8 else 10 ** (-draw.uniform(20, 45) / 20)
    return (sound / np.abs(sound).max() * peak).astype(np.float32)


def no_voice(length: int, draw: Random) -> Floats:
    """Sound in which nobody speaks (N,): silence, noise or music at any level."""
    makers: list[Callable[[], _Doubles]] = [
        lambda: np.zeros(length),
        lambda: draw.standard_normal(length),
        lambda: pink_noise(length, draw),
        lambda: music(length, draw),
        lambda: music(length, draw),
        lambda: music(length, draw),
        lambda: music(length, draw) + 0.1 * pink_noise(length, draw),
    ]
    sound = makers[int(draw.integers(len(makers)))]()
    return (sound * 10 ** (-draw.uniform(10, 70) / 20) + 1e-5 * draw.standard_normal(length)).astype(np.float32)


def pink_noise(length: int, draw: Random) -> _Doubles:
    """Noise whose power falls with frequency, of unit standard deviation (N,)."""
    spectrum = np.fft.rfft(draw.standard_normal(length))
    sound: _Doubles = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), length)
    sound /= sound.std() + 1e-9
    return sound


def music(length: int, draw: Random) -> _Doubles:
    """Chords, a melody and drums, of unit standard deviation (N,); any of them may be absent."""
    layers = [maker(length, draw) * draw.uniform(0.2, 1) for maker in (_chords, _tune, _drums) if draw.random() < 0.7]
    sound: _Doubles = sum(layers, start=np.zeros(length)) if layers else _chords(length, draw)
    sound /= sound.std() + 1e-6
    return sound


def _chords(length: int, draw: Random) -> _Doubles:
    """Chords of decaying harmonics, of unit standard deviation (N,)."""
    sound, at = np.zeros(length), 0
    while at < length:
        until = min(length, at + int(SAMPLE_RATE * draw.uniform(0.2, 1.5)))
        time = np.arange(until - at) / SAMPLE_RATE
        root, decay = draw.uniform(80, 400), draw.uniform(0.5, 4)
        for interval in draw.choice([1, 1.2, 1.25, 1.5, 2, 2.5, 3], 3):
            for harmonic in range(1, 5):
                wave = np.sin(2 * np.pi * root * interval * harmonic * time + draw.uniform(0, 6))
                sound[at:until] += wave * np.exp(-time * decay) / harmonic**1.3
        at = until
    sound /= sound.std() + 1e-6
    return sound


def _tune(length: int, draw: Random) -> _Doubles:
    """One instrument that plays notes with vibrato, attack and a resonance, of unit standard deviation (N,)."""
    sound, at = np.zeros(length), 0
    root, tilt, attack = draw.uniform(150, 700), draw.uniform(0.6, 2.2), draw.uniform(0.005, 0.08)
    centre, decay = draw.uniform(400, 2500), draw.choice([0.0, draw.uniform(1, 6)])
    while at < length:
        until = min(length, at + int(SAMPLE_RATE * draw.choice([0.12, 0.2, 0.25, 0.4, 0.5, 0.8])))
        time = np.arange(until - at) / SAMPLE_RATE
        if draw.random() < 0.85:
            pitch = root * 2 ** (draw.choice([0, 2, 3, 4, 5, 7, 9, 10, 12]) / 12)
            phase = 2 * np.pi * pitch * time + draw.uniform(0, 3) * np.sin(2 * np.pi * 5.5 * time)
            harmonics = np.arange(1, max(2, min(20, int(7000 / pitch))))
            weights = harmonics**-tilt * (1 + 3 * np.exp(-(((harmonics * pitch - centre) / 300) ** 2)))
            note = (weights[:, None] * np.sin(harmonics[:, None] * phase)).sum(axis=0)
            sound[at:until] = note * np.minimum(1, time / attack) * np.exp(-time * decay)
        at = until
    sound /= sound.std() + 1e-6
    return sound


def _drums(length: int, draw: Random) -> _Doubles:
    """A beat of noise bursts and low thumps, of unit standard deviation (N,)."""
    sound, beat = np.zeros(length), int(SAMPLE_RATE * draw.uniform(0.12, 0.4))
    for k, at in enumerate(range(0, length, beat)):
        time = np.arange(min(beat, length - at)) / SAMPLE_RATE
        if k % 4 == 0:
            sound[at : at + beat] += 2 * np.sin(2 * np.pi * 60 * time) * np.exp(-time * 15)
        if draw.random() < 0.8:
            decay = draw.uniform(15, 80)
            sound[at : at + beat] += draw.uniform(0.2, 1) * draw.standard_normal(len(time)) * np.exp(-time * decay)
    sound /= sound.std() + 1e-6
    return sound


def _disturbance(length: int, draw: Random, voices: Sequence[npt.NDArray[np.int16]]) -> _Doubles:
    """Noise, music or babble at 0 to 30 dB below a voice of unit standard deviation, plus a faint noise floor."""
    kind, level = draw.random(), 10 ** (-draw.uniform(0, 30) / 20)
    sound: _Doubles = 10 ** (-draw.uniform(50, 75) / 20) * draw.standard_normal(length)
    if kind < 0.2:
        sound += level * draw.standard_normal(length)
    elif kind < 0.4:
        sound += level * pink_noise(length, draw)
    elif kind < 0.7:
        sound += level * music(length, draw)
    elif kind < 0.85:
        babble: _Doubles = sum(
            (np.resize(voices[int(draw.integers(len(voices)))].astype(np.float64), length) for _ in range(4)),
            start=np.zeros(length),
        )
        sound += level * babble / (babble.std() + 1e-6)
    return sound


def room_response(draw: Random) -> _Doubles:
    """A room impulse response: direct sound and noise that decays within 0.12 to 0.7 seconds."""
    length = int(SAMPLE_RATE * draw.uniform(0.12, 0.7))
    echo: _Doubles = (
        draw.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length) * draw.uniform(0.015, 0.09)
    )
    echo[: int(0.002 * SAMPLE_RATE)] = 0
    echo[0] = 1
    return echo


def _equalise(sound: _Doubles, draw: Random) -> _Doubles:
    """A random equalizer: eight bands with a spread of 4.5 dB, sometimes with a low-pass or high-pass."""
    spectrum, hertz = np.fft.rfft(sound), np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    bands = np.concatenate([[0], np.cumsum(draw.uniform(600, 1800, 7))])
    gain = 10 ** (np.interp(hertz, bands, draw.normal(0, 4.5, 8)) / 20)
    if draw.random() < 0.25:
        gain /= 1 + (hertz / draw.uniform(3000, 7000)) ** 8
    if draw.random() < 0.3:
        gain /= 1 + (draw.uniform(80, 250) / np.maximum(hertz, 1)) ** 4
    return np.fft.irfft(spectrum * gain, len(sound))


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
"""Codecs to choose from; None leaves a clip unchanged."""


def apply_codec(codec: Codec, samples: Floats) -> Floats:
    """Encode and decode sound (N,) at 16 kHz: (N,), with the codec's delay removed."""
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

"""Training samples from the clips of a prepared data set, each a pure function of its number in the whole run.

Voices are augmented with noise, level, pitch, rooms and codecs; the timing never changes.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from scipy.signal import fftconvolve, istft, stft
from torch import Tensor

from echomimic.diffusion.small import MelSpeech
from echomimic.diffusion.vae import FACTOR
from echomimic.diffusion.whisper import RATE, SpeechEncoder
from echomimic.media import atomic_path
from echomimic.media.loudness import level_loudness
from echomimic.media.output import writing
from echomimic.mesh.speech_to_face import analyze_speech, speech_flags, to_frames
from echomimic.train.articulation.augment import CODECS, Random, apply_codec, music, pink_noise, room_response
from echomimic.train.diffusion.batch import Sample
from echomimic.train.diffusion.clips import Clips, Recent
from echomimic.train.diffusion.conditions import Conditioner, crop_of_sample, make_conditioner, mouth_maps
from echomimic.train.diffusion.randomness import (
    clip_of_sample,
    drops_of_sample,
    noise_of_sample,
    stream,
    timestep_of_sample,
    window_of_sample,
)
from echomimic.train.diffusion.settings import AudioSettings, TrainSettings
from echomimic.types import Floats

_Doubles = npt.NDArray[np.float64]
_WINDOW, _HOP = 1024, 256
NOISE_DB = (5.0, 25.0)
GAIN_DB = 6.0
SEMITONES = 2.0
FEATURE_NOISE = 0.05
"""Standard deviation of the noise on features, relative to that of the features."""


def augment_voice(samples: Floats, draw: Random, settings: AudioSettings) -> Floats:
    """Augment a voice (N,) at 16 kHz with effects of the given probabilities: (N,), with unchanged timing."""
    chosen = {name: draw.random() < getattr(settings, name) for name in ("pitch", "room", "noise", "codec", "gain")}
    sound: _Doubles = samples.astype(np.float64)
    if chosen["pitch"]:
        sound = shift_pitch(sound, draw.uniform(-SEMITONES, SEMITONES))
    if chosen["room"]:
        sound = fftconvolve(sound, room_response(draw))[: len(sound)]
    if chosen["noise"]:
        sound = sound + _noise(sound, draw)
    voice = np.clip(sound, -1, 1).astype(np.float32)
    codec = CODECS[int(draw.integers(len(CODECS)))]
    if chosen["codec"] and codec is not None:
        voice = apply_codec(codec, voice)
    if chosen["gain"]:
        voice = np.clip(voice * 10 ** (draw.uniform(-GAIN_DB, GAIN_DB) / 20), -1, 1)
    return voice.astype(np.float32)


def shift_pitch(sound: _Doubles, semitones: float) -> _Doubles:
    """Multiply all frequencies of a sound (N,) without a change of timing, by a phase vocoder (Bernsee, 1999)."""
    ratio, length = 2 ** (semitones / 12), len(sound)
    _, _, spectrum = stft(sound, nperseg=_WINDOW, noverlap=_WINDOW - _HOP)
    bins = len(spectrum)
    per_hop = 2 * np.pi * _HOP * np.arange(bins)[:, None] / _WINDOW
    turned = np.diff(np.angle(spectrum), axis=1, prepend=0) - per_hop
    rate = per_hop + (turned + np.pi) % (2 * np.pi) - np.pi
    to = np.round(np.arange(bins) * ratio).astype(int)
    kept = to < bins
    size, advance = np.zeros(spectrum.shape), np.tile(per_hop, (1, spectrum.shape[1]))
    np.add.at(size, to[kept], np.abs(spectrum)[kept])
    advance[to[kept]] = rate[kept] * ratio
    _, shifted = istft(size * np.exp(1j * np.cumsum(advance, axis=1)), nperseg=_WINDOW, noverlap=_WINDOW - _HOP)
    return np.asarray(np.pad(shifted, (0, max(0, length - len(shifted))))[:length], np.float64)


def _noise(sound: _Doubles, draw: Random) -> _Doubles:
    """White noise, pink noise, music or babble (the voice itself, reversed and shifted), at 5 to 25 dB below it."""
    length = len(sound)
    kind = int(draw.integers(4))
    if kind == 0:
        noise: _Doubles = draw.standard_normal(length)
    elif kind == 1:
        noise = pink_noise(length, draw)
    elif kind == 2:
        noise = music(length, draw)
    else:
        noise = sum((np.roll(sound[::-1], int(draw.integers(length))) for _ in range(3)), start=np.zeros(length))
    level = sound.std() * 10 ** (-draw.uniform(*NOISE_DB) / 20)
    return noise * level / (noise.std() + 1e-9)


CROP_CELLS = 32
"""Side of the crop that losses on pictures decode, in latent cells, with its margin."""
LATENTS, SPEECH = Path("cache/latents"), Path("cache/speech")
_KEPT = 64
"""Number of clips of which a process keeps speech features in memory."""


class ClipSamples:
    """Samples of a data set (`loop.Samples`).

    `speech` is the speech network, on the CPU. `conditioner` is by default that of the variant that is trained. With
    `augmented` off, the voice is not changed and no condition is dropped, as in validation.
    """

    def __init__(
        self,
        clips: Clips,
        speech: SpeechEncoder | MelSpeech,
        settings: TrainSettings,
        conditioner: Conditioner | None = None,
        *,
        augmented: bool = True,
    ) -> None:
        self.clips, self.speech, self.settings, self.augmented = clips, speech, settings, augmented
        self.conditioner = conditioner or make_conditioner(settings, final=not augmented)
        self._latents = Recent(self._read_latents, _KEPT)
        self._features = Recent(self._make_features, _KEPT)
        self._speaks = Recent(self._find_speech, _KEPT)

    def sample(self, n: int) -> Sample:
        """Sample `n` of the run."""
        seed, data, rows = self.settings.run.seed, self.settings.data, self.clips.rows
        index = self.clip(n)
        first, reference = self.window(index, n)
        window, size = list(range(first, first + data.frames)), rows[index].size
        track = self.clips.track(index)
        conditions = self.conditioner(track, window, size, n)
        speaks = self.speaks(index, window)
        shape = (data.frames, 4, size[1] // FACTOR, size[0] // FACTOR)
        return Sample(
            **self._pictures(index, n, window, reference, shape),
            audio=self.tokens(index, window, n),
            condition=conditions.pictures,
            noise=noise_of_sample(seed, n, shape),
            timestep=torch.tensor(timestep_of_sample(seed, n, self.settings.optimizer.batch)),
            mouth=mouth_maps(track, window, speaks, size, self.settings.loss.mouth),
            keep=self.keep(n, conditions.silent),
            audio_mask=conditions.audio_mask,
            origin=torch.tensor([index, first]),
        )

    def clip(self, n: int) -> int:
        """The index of the clip of sample `n`."""
        return clip_of_sample(self.settings.run.seed, n, len(self.clips))

    def window(self, index: int, n: int) -> tuple[int, int]:
        """First frame of the window and the reference frame of sample `n` in a clip."""
        data, length = self.settings.data, self.clips.rows[index].frames
        return window_of_sample(self.settings.run.seed, n, length, data.frames, data.reference_distance)

    def crop(self, index: int, n: int, window: Sequence[int]) -> tuple[int, ...] | None:
        """The part of sample `n` that losses on pictures decode: frame, top, left, height, width; None without such."""
        if self.settings.loss.spatial <= 0:
            return None
        size, track = self.clips.rows[index].size, self.clips.track(index)
        return crop_of_sample(self.settings.run.seed, n, track, window, size, CROP_CELLS)

    def speaks(self, index: int, window: Sequence[int]) -> list[bool]:
        """Flags of the frames of a window in which somebody speaks."""
        return [bool(value) for value in self._speaks(index)[list(window)]]

    def tokens(self, index: int, window: Sequence[int], n: int) -> Tensor:
        """Speech features (F, tokens, dim) around the frames of a window, from one of the clip's augmented voices."""
        row, audio, seed = self.clips.rows[index], self.settings.audio, self.settings.run.seed
        if not self.augmented:
            return self.speech.tokens(self._features(index, -1), window, row.fps)
        draw = stream("audio", seed, n)
        features = self._features(index, int(draw.integers(audio.variants)))
        tokens = self.speech.tokens(features, window, row.fps)
        if draw.random() >= audio.features:
            return tokens
        noise = torch.from_numpy(draw.standard_normal(tokens.shape, np.float32))
        return tokens + FEATURE_NOISE * features.std() * noise

    def _pictures(
        self, index: int, n: int, window: list[int], reference: int, shape: tuple[int, ...]
    ) -> dict[str, Tensor]:
        """The fields of a sample that depend on pictures: latents or pixels of frames and reference, and the crop."""
        values: dict[str, Tensor] = {}
        if self.settings.data.cached_latents:
            latents = self._latents(index)
            values |= {"latents": latents[window].float(), "reference": latents[reference].float()}
        else:
            pixels = torch.from_numpy(self.clips.frames(index, [*window, reference])).permute(0, 3, 1, 2).contiguous()
            values |= {"latents": torch.zeros(shape), "reference": torch.zeros(shape[1:])}
            values |= {"pictures": pixels[:-1].contiguous(), "reference_picture": pixels[-1].contiguous()}
        if (crop := self.crop(index, n, window)) is None:
            return values
        if "pictures" in values:
            picture = values["pictures"][crop[0]]
        else:
            picture = torch.from_numpy(self.clips.frames(index, [window[crop[0]]])[0]).permute(2, 0, 1)
        return values | {"crop": torch.tensor(crop), "crop_picture": self.crop_picture(picture, crop)}

    def crop_picture(self, picture: Tensor, crop: tuple[int, ...]) -> Tensor:
        """Pixels of a crop of a picture (3, H, W) uint8: see `Sample.crop_picture`."""
        return crop_pixels(picture, crop)

    def keep(self, n: int, silent: float) -> Tensor:
        """Which of audio, condition and reference sample `n` keeps: (3,) of 0 and 1."""
        if not self.augmented:
            return torch.ones(3)
        drops = drops_of_sample(self.settings.run.seed, n, self.settings.drop, silent)
        return torch.tensor([not drops.audio, not drops.condition, not drops.reference], dtype=torch.float32)

    def _read_latents(self, index: int) -> Tensor:
        return load_file(self.clips.folder / LATENTS / f"{self.clips.rows[index].id}.safetensors")["mean"]

    def _find_speech(self, index: int) -> npt.NDArray[np.bool_]:
        """Flags (T,) of the frames of a clip in which somebody speaks."""
        row = self.clips.rows[index]
        flags = speech_flags(analyze_speech([self.clips.sound(index)])).astype(np.float32)
        return np.asarray(to_frames(flags, row.frames, row.fps) > 0.5)

    def _make_features(self, index: int, variant: int) -> Tensor:
        """Speech features of the augmented `variant` of a clip's voice; -1 is the voice itself."""
        row, seed = self.clips.rows[index], self.settings.run.seed
        name = f"{row.id}-{seed}-{variant}-{self._audio_digest()}.safetensors"
        path = self.clips.folder / SPEECH / name
        if self.settings.data.cached_speech and path.is_file():
            return load_file(path)["features"].float()
        sound = self.clips.sound(index)
        if variant >= 0:
            draw = stream("audio", seed, zlib.crc32(row.id.encode()), variant)
            sound = augment_voice(sound, draw, self.settings.audio)
        features = speech_features(self.speech, sound)
        if not self.settings.data.cached_speech:
            return features
        features = features.half()
        with writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as part:
                save_file({"features": features}, part)
        return features.float()

    def _audio_digest(self) -> str:
        """The part of the name of cached features that depends on speech network and settings of augmentation."""
        return f"{zlib.crc32(repr((type(self.speech).__name__, self.settings.audio)).encode()):08x}"


def crop_pixels(picture: Tensor, crop: tuple[int, ...]) -> Tensor:
    """Pixels (3, 8 * height, 8 * width) in -1..1 of a crop (`Sample.crop`) of a picture (3, H, W) uint8."""
    _, top, left, height, width = crop
    rows, columns = (slice(FACTOR * at, FACTOR * (at + span)) for at, span in ((top, height), (left, width)))
    return picture[:, rows, columns].float() / 127.5 - 1


def speech_features(speech: SpeechEncoder | MelSpeech, sound: Floats) -> Tensor:
    """Speech features of a voice (N,) at 16 kHz, computed as the engine computes them."""
    with torch.no_grad():
        return speech.features(level_loudness([sound], RATE)).float()
